"""Each option by itself, on everything that takes it, compared with the reference.

A function that accepts an option and ignores it fails here. What an option does is written in
`ops/reference.py`; the other files must agree with it.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softxent
from softxent.ops import reference
from softxent.ops.options import DEFAULTS, NAMES, LossOptions
from tests.ops.test_options import WITH_ALL
from tests.support import oracle
from tests.support.options import OF_A_ROW, VALUES

DOCS = Path(__file__).parents[2] / "docs"

LOGITS = np.array([[2.0, -1.0, 0.1], [0.3, 0.8, -0.5], [-1.0, 0.2, 0.4]])
INDEX = np.array([2, 1, 0])
TARGETS = {
    "index": INDEX,
    "probabilities": np.array([[0.2, 0.3, 0.5], [0.1, 0.8, 0.1], [0.6, 0.0, 0.4]]),
}
HEAD = np.eye(3)  # a linear head whose logits are its features

each_option = pytest.mark.parametrize("option", NAMES)
each_kind = pytest.mark.parametrize("kind", TARGETS)
# Without ignore_index for target probabilities: it is a class index.
each_case = pytest.mark.parametrize(
    ("option", "kind"),
    [
        (option, kind)
        for option in NAMES
        for kind in TARGETS
        if (option, kind) != ("ignore_index", "probabilities")
    ],
)


def with_option(option: str) -> LossOptions:
    """One option with its example value, the others with their defaults."""
    return DEFAULTS._replace(**{option: VALUES[option]})


def expected(target: Any, options: LossOptions) -> tuple[Any, Any]:
    """The reduced loss and its gradient, by the reference."""
    losses, grad, denominator = reference.cross_entropy(LOGITS, target, options)
    scale = 1 / denominator if options.reduction == "mean" else 1.0
    return losses.sum() * scale, grad * scale


def test_every_option_has_an_example_value() -> None:
    missing = [name for name in NAMES if name not in VALUES]
    assert not missing, f"VALUES in tests/support/options.py lacks {missing}"


# --- the reference and the oracle ---


@each_option
def test_the_reference_has_the_option(option: str) -> None:
    before, after = expected(INDEX, DEFAULTS), expected(INDEX, with_option(option))
    assert before[0] != after[0], f"the loss in ops/reference.py ignores {option}"
    assert not np.array_equal(before[1], after[1]), f"its gradient ignores {option}"


@each_option
@each_kind
def test_the_gradient_of_the_reference_is_the_derivative_of_its_loss(
    option: str, kind: str
) -> None:
    options, step = with_option(option), 1e-6
    _, grad, _ = reference.cross_entropy(LOGITS, TARGETS[kind], options)
    for j in range(3):
        higher, lower = (
            reference.cross_entropy(LOGITS + shift * np.eye(3)[j], TARGETS[kind], options)[0]
            for shift in (step, -step)
        )
        np.testing.assert_allclose((higher - lower) / (2 * step), grad[:, j], atol=1e-8)


@pytest.mark.parametrize("option", OF_A_ROW)
@each_kind
def test_the_oracle_has_the_option(option: str, kind: str) -> None:
    takes = inspect.signature(oracle.cross_entropy).parameters
    assert option in takes, f"cross_entropy in tests/support/oracle.py lacks {option}"
    target = TARGETS[kind]
    losses, grad, _ = reference.cross_entropy(LOGITS, target, with_option(option))
    for row, row_target, loss, row_grad in zip(LOGITS, target, losses, grad, strict=True):
        exact = oracle.cross_entropy(row, row_target, **{option: VALUES[option]})
        np.testing.assert_allclose(float(exact.loss), loss, rtol=1e-13)
        np.testing.assert_allclose([float(g) for g in exact.grad], row_grad, rtol=1e-12, atol=1e-15)


# --- the public functions ---


@pytest.mark.parametrize("name", WITH_ALL)
@each_case
def test_every_function_computes_the_option(name: str, option: str, kind: str) -> None:
    want_loss, want_grad = expected(TARGETS[kind], with_option(option))
    loss, grad = loss_and_gradient(name, TARGETS[kind], {option: VALUES[option]})
    np.testing.assert_allclose(loss, want_loss, rtol=1e-12)
    if grad is not None:
        np.testing.assert_allclose(grad, want_grad, rtol=1e-12, atol=1e-15)


def loss_and_gradient(name: str, target: Any, options: dict[str, Any]) -> tuple[Any, Any]:
    """What a public function or module computes; the gradient is None if it returns none."""
    function, kind = WITH_ALL[name], name.rpartition(".")[2]
    linear = kind.startswith("linear")
    if not name.startswith("nn."):
        given = (LOGITS, HEAD, target) if linear else (LOGITS, target)
        result = function(*given, **options)
        if name == "explain":
            return result.value, result.gradient
        if name.endswith("_with_grad"):
            return result[0], result[1].features if linear else result[1]
        return result, None
    torch = pytest.importorskip("torch")
    logits, head = torch.from_numpy(LOGITS).requires_grad_(), torch.from_numpy(HEAD)
    target = torch.from_numpy(target)
    if "weight" in options:
        options = {"weight": torch.from_numpy(options["weight"])}
    if kind == "LinearCrossEntropyLoss":
        module = function(3, 3, dtype=logits.dtype, **options)
        with torch.no_grad():
            module.linear.weight.copy_(head)
        result = module(logits, target)
    elif kind == "CrossEntropyLoss":
        result = function(**options)(logits, target)
    elif linear:
        result = function(logits, head, target, **options)
    else:
        result = function(logits, target, **options)
    loss = getattr(result, "loss", result)
    return loss.item(), torch.autograd.grad(loss, logits)[0].numpy()


@each_case
def test_the_decomposition_into_torch_operations_computes_the_option(
    option: str, kind: str
) -> None:
    """A gradient with create_graph=True is computed by `ops/tensors/decompositions.py`."""
    torch = pytest.importorskip("torch")
    value = VALUES[option]
    options = {option: torch.from_numpy(value) if option == "weight" else value}
    logits = torch.from_numpy(LOGITS).requires_grad_()
    loss = softxent.cross_entropy(logits, torch.from_numpy(TARGETS[kind]), axis=-1, **options)
    (grad,) = torch.autograd.grad(loss, logits, create_graph=True)
    _, want_grad = expected(TARGETS[kind], with_option(option))
    np.testing.assert_allclose(grad.detach(), want_grad, rtol=1e-12, atol=1e-15)


@each_option
def test_skip_below_keeps_its_bound(option: str) -> None:
    """An option can make the gradient of other classes than the target negative."""
    classes, skip = 400, 1e-4
    rng = np.random.default_rng(0)
    features, bias = rng.standard_normal((37, 12)), np.full(classes, -30.0)
    head, target = rng.standard_normal((classes, 12)), rng.integers(0, classes, 37)
    changed = {"weight": np.ones(classes), "z_loss": 2.0}
    given: dict[str, Any] = {"reduction": "sum", option: changed.get(option, VALUES[option])}

    def gradient(skip_below: float) -> Any:
        return softxent.linear_cross_entropy_with_grad(
            features, head, target, bias, skip_below=skip_below, max_bytes=2**20, **given
        )[1].classifier

    error = np.abs(gradient(skip) - gradient(0.0))
    assert (error <= skip * np.abs(features).sum(0) + 1e-12).all()


# --- explain ---


@each_option
def test_the_plain_formulas_of_explain_have_the_option(option: str) -> None:
    trace: Any = softxent.explain(LOGITS, INDEX, **{option: VALUES[option]})
    for plain in trace.plain:
        np.testing.assert_allclose(plain.losses, trace.losses, rtol=1e-12, err_msg=plain.way)
        np.testing.assert_allclose(plain.row_gradient, trace.row_gradient, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("option", [name for name in NAMES if name != "reduction"])
def test_the_explanation_of_a_row_names_the_option(option: str) -> None:
    target = VALUES[option] if option == "ignore_index" else 2
    without = softxent.explain(LOGITS[0], target).text()
    trace: Any = softxent.explain(LOGITS[0], target, **{option: VALUES[option]})
    assert names(option, trace.text()), f"explain/steps/loss.py doesn't name {option}"
    assert not names(option, without)
    if "minus the natural logarithm of that probability." in trace.text():
        np.testing.assert_allclose(trace.losses[0], -trace.log_probabilities[0, 2], rtol=1e-12)


@each_option
def test_the_explanation_of_a_batch_names_the_option(option: str) -> None:
    text = softxent.explain(LOGITS, INDEX, **{option: VALUES[option]}).text()
    assert names(option, text), f"explain/steps/batch.py doesn't name {option}"


# The words of an explanation, where they aren't the option's name.
WORDS = {
    "weight": "class weights|weight of the class",
    "ignore_index": "ignore",
    "reduction": "The losses add up",
    "label_smoothing": "label smoothing|smoothed by",
    "softcap": "softcap|the cap",
}


def names(option: str, text: str) -> bool:
    """Whether an explanation names an option."""
    words = WORDS.get(option, option.replace("_", "[ _]"))
    return bool(re.search(words, " ".join(text.split())))


# --- pages ---


def test_the_pages_name_every_option() -> None:
    torch = pytest.importorskip("torch")
    of_torch = inspect.signature(torch.nn.functional.cross_entropy).parameters
    text = (DOCS / "torch.md").read_text(encoding="utf-8")
    missing = [name for name in NAMES if name not in of_torch and f"`{name}`" not in text]
    assert not missing, f"docs/torch.md, Additions to torch, lacks {missing}"
    text = (DOCS / "architecture.md").read_text(encoding="utf-8").replace("_", " ")
    missing = [name for name in OF_A_ROW if name.replace("_", " ") not in text]
    assert not missing, f"the formula in docs/architecture.md lacks {missing}"
