"""logits_dtype=float32: heads in half precision whose logits are multiplied and kept in float32."""

from __future__ import annotations

import pickle
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import softxent
from softxent import nn
from softxent.errors import OptionError
from softxent.nn import functional as F
from softxent.ops.linear import decompositions, loop, problem
from softxent.ops.options import LossOptions
from tests.support import oracle
from tests.support.linear_head import (
    OPTIONS,
    Inputs,
    assert_close,
    gradients,
    inputs,
    with_all_logits,
)

# Half an ulp of 1. The gradient of the features is rounded before and after the factor of `mean`.
HALF = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
EXACT = 2e-6  # of a float32 loss
WIDE: dict[str, Any] = {"logits_dtype": torch.float32}

each_half = pytest.mark.parametrize("dtype", HALF, ids=str)


def ours(given: Inputs, **options: Any) -> torch.Tensor:
    loss: torch.Tensor = softxent.linear_cross_entropy(
        given.features, given.classifier, given.target, given.bias, given.weight, **options
    )
    return loss


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 10 rows and blocks of 5 classes, so that small inputs have several."""
    monkeypatch.setattr(loop.LinearHead, "_rows_at_once", lambda self: 10)
    monkeypatch.setattr(loop.LinearHead, "_copied", lambda self, itemsize=None: 5)


def exact_losses(given: Inputs, **options: Any) -> list[Any]:
    """Each row's loss from its exact logits, in 50 digits."""
    x, w = given.features.double().tolist(), given.classifier.double().tolist()
    b = given.bias.double().tolist() if given.bias is not None else [0.0] * len(w)
    mp = oracle.mp
    losses = []
    for row, y in zip(x, given.target.tolist(), strict=True):
        logits = [mp.fsum([mp.mpf(p) * q for p, q in zip(row, c, strict=True)]) + d
                  for c, d in zip(w, b, strict=True)]  # fmt: skip
        losses.append(mp.mpf(0) if y == -100 else mp_loss(logits, y, **options))
    return losses


def mp_loss(logits: list[Any], y: int, softcap: float | None = None) -> Any:
    mp = oracle.mp
    u = logits if softcap is None else [softcap * mp.tanh(v / softcap) for v in logits]
    return mp.log(mp.fsum([mp.exp(v) for v in u])) - u[y]


@pytest.mark.usefixtures("few_rows")
@each_half
@pytest.mark.parametrize("options", [{}, {"softcap": 3.0}], ids=str)
def test_losses_against_50_digits(dtype: torch.dtype, options: Any) -> None:
    given = inputs(dtype)
    want = exact_losses(given, **options)
    got = ours(given, reduction="none", **options, **WIDE)
    rounded = ours(given, reduction="none", **options)
    assert got.dtype == torch.float32
    errors = [
        abs(g - float(w)) / max(1.0, float(w)) for g, w in zip(got.tolist(), want, strict=True)
    ]
    assert max(errors) <= EXACT
    # Without the option the logits are rounded: the test can tell the two apart.
    worst = max(abs(g - float(w)) for g, w in zip(rounded.tolist(), want, strict=True))
    assert worst > 20 * EXACT
    log_prob, _ = F.linear_log_prob_and_entropy(
        given.features, given.classifier, given.target, given.bias, **options, **WIDE
    )
    assert torch.equal(-log_prob, got)


@pytest.mark.usefixtures("few_rows")
@each_half
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", ["index", "probabilities"])
def test_loss_and_gradients(dtype: torch.dtype, kind: str, name: str, reduction: Any) -> None:
    """Gradients are rounded only to their own dtype."""
    if kind == "probabilities" and name == "ignored":
        pytest.skip("class probabilities have no ignored rows")
    ignored = OPTIONS[name].get("ignore_index", -100)
    given = inputs(dtype, kind=kind, weight=True, ignored=ignored)
    exact = given.double()
    options = {**OPTIONS[name], "reduction": reduction}
    got, want = ours(given, **options, **WIDE), with_all_logits(exact, **options)
    assert_close(got, want, EXACT)
    upstream = torch.rand(want.shape, generator=torch.Generator().manual_seed(1)) + 0.5
    got_grads = gradients(got, upstream, given.leaves())
    for g, w in zip(got_grads, gradients(want, upstream, exact.leaves()), strict=True):
        assert g.dtype == dtype
        assert_close(g, w, 2.01 * HALF[dtype])
    stats = F.linear_cross_entropy_with_stats(
        given.features, given.classifier, given.target, given.bias, given.weight, **options, **WIDE
    )
    assert_close(stats.loss, want, EXACT)
    u = torch.nn.functional.linear(exact.features, exact.classifier, exact.bias)
    u = u / options.get("temperature", 1.0)
    cap = options.get("softcap")
    u = u if cap is None else cap * torch.tanh(u / cap)
    kept = torch.ones(len(u)) if kind == "probabilities" else given.target != ignored
    assert_close(stats.lse, u.logsumexp(-1) * kept, EXACT)


@each_half
def test_the_functions_agree(dtype: torch.dtype) -> None:
    """with_grad, the module, torch's name, a compiled graph and the decomposition."""
    given = inputs(dtype)
    exact = given.double()
    want = with_all_logits(exact)
    wanted = gradients(want, torch.ones(()), exact.leaves())
    call = (given.features, given.classifier, given.target, given.bias)

    value, grads = softxent.linear_cross_entropy_with_grad(*call, **WIDE)
    assert_close(value, want, EXACT)
    for g, w in zip((grads.features, grads.classifier, grads.bias), wanted, strict=True):
        assert g is not None
        assert_close(g, w, 2.01 * HALF[dtype])

    module = nn.LinearCrossEntropyLoss(
        given.features.shape[-1], len(given.classifier), bias=True, dtype=dtype, **WIDE
    )
    assert given.bias is not None
    assert module.linear.bias is not None
    with torch.no_grad():
        module.linear.weight.copy_(given.classifier)
        module.linear.bias.copy_(given.bias)
    again = pickle.loads(pickle.dumps(module))
    compiled = torch.compile(
        lambda x, w, b: F.linear_cross_entropy(x, w, given.target, linear_bias=b, **WIDE),
        backend="aot_eager",
        fullgraph=True,
    )
    per_row = torch.compile(
        lambda x, w, b: F.linear_cross_entropy(
            x, w, given.target, linear_bias=b, reduction="none", **WIDE
        ),
        backend="aot_eager",
        fullgraph=True,
    )
    target, weight, checked = problem.receive("op", *call, LossOptions(), 2**20, 0.0, torch.float32)
    loops = (given.features, given.classifier, given.bias, target, weight)
    for loss in (
        module(given.features, given.target),
        again(given.features, given.target),
        compiled(given.features, given.classifier, given.bias),
        per_row(given.features, given.classifier, given.bias).sum() / 35,
        decompositions.linear_cross_entropy(checked, *loops),
        decompositions.in_chunks(checked, *loops),
    ):
        assert_close(loss, want, EXACT)

    def in_chunks(x: Any, w: Any, b: Any) -> torch.Tensor:
        return decompositions.in_chunks(checked, x, w, b, target, weight)

    for function in (compiled, in_chunks):
        got = gradients(
            function(given.features, given.classifier, given.bias), torch.ones(()), given.leaves()
        )
        for g, w in zip(got, wanted, strict=True):
            assert g.dtype == dtype
            assert_close(g, w, 2.01 * HALF[dtype])


def test_second_derivatives() -> None:
    given = inputs(torch.bfloat16)
    loss = ours(given, **WIDE)
    (grad,) = torch.autograd.grad(loss, given.features, create_graph=True)
    exact = given.double()
    (want,) = torch.autograd.grad(with_all_logits(exact), exact.features, create_graph=True)
    assert_close(grad, want, 2.01 * HALF[torch.bfloat16])
    (second,) = torch.autograd.grad(grad.float().square().sum(), given.features)
    assert second.isfinite().all()


@pytest.mark.parametrize("lower", ["all", "features"])
def test_under_autocast_nothing_is_rounded(lower: str) -> None:
    """Features of a layer in half precision, and a classifier in float32."""
    given = inputs(torch.float32)
    if lower == "all":
        given.classifier, given.bias = given.classifier.bfloat16(), given.bias.bfloat16()  # type: ignore[union-attr]
    given.features = given.features.detach().bfloat16().requires_grad_()
    want = with_all_logits(given.double())
    with torch.autocast("cpu", torch.bfloat16):
        loss = ours(given, **WIDE)
        stats = F.linear_cross_entropy_with_stats(
            given.features, given.classifier, given.target, given.bias, **WIDE
        )
    assert_close(loss, want, EXACT)
    assert_close(stats.loss, want, EXACT)


def test_stats_under_autocast_take_a_float32_classifier() -> None:
    given = inputs(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        stats = F.linear_cross_entropy_with_stats(
            given.features, given.classifier, given.target, given.bias
        )
        loss = ours(given)
    torch.testing.assert_close(stats.loss, loss)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_arrays_have_float32_logits_anyway(dtype: str) -> None:
    given = inputs(torch.float32)
    numpy_dtype = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    features = given.features.detach().numpy().astype(numpy_dtype)
    classifier = given.classifier.detach().numpy().astype(numpy_dtype)
    target = given.target.numpy()
    alone = softxent.linear_cross_entropy(features, classifier, target)
    names: list[Any] = ["float32", np.float32, np.dtype("float32"), torch.float32]
    for name in names:
        assert (
            softxent.linear_cross_entropy(features, classifier, target, logits_dtype=name) == alone
        )
    with pytest.raises(OptionError, match="the logits of these arrays are float32: pass None"):
        softxent.linear_cross_entropy(features, classifier, target, logits_dtype=dtype)


def test_names_and_refusals() -> None:
    given = inputs(torch.bfloat16)
    want = ours(given, **WIDE)
    names: list[Any] = ["float32", np.float32, np.dtype("float32")]
    for name in names:
        assert torch.equal(ours(given, logits_dtype=name), want)
    for own in (None, torch.bfloat16, "bfloat16"):
        assert torch.equal(ours(given, logits_dtype=own), ours(given))
    refused: list[tuple[Any, str]] = [
        (torch.float16, "have logits of bfloat16 or float32"),
        ("float64", "have logits of bfloat16 or float32"),
        ("wide", "logits_dtype is 'wide': pass a dtype, such as float32, or None"),
        (32, "logits_dtype is 32"),
        (torch.int64, "logits_dtype is torch.int64"),
    ]
    for bad, words in refused:
        with pytest.raises(OptionError, match=words):
            ours(given, logits_dtype=bad)
    wide = inputs(torch.float64)
    assert torch.equal(ours(wide, logits_dtype=torch.float64), ours(wide))
    with pytest.raises(OptionError, match=r"have logits of float64: pass"):
        ours(wide, **WIDE)


def test_classes_below_a_limit() -> None:
    """skip_below leaves out the same classes as in float32."""
    given = inputs(torch.bfloat16, classes=400)
    with torch.no_grad():
        given.features.mul_(4)
    loss = ours(given, skip_below=1e-4, **WIDE)
    exact = given.double()
    for g, w in zip(
        gradients(loss, torch.ones(()), given.leaves()),
        gradients(with_all_logits(exact), torch.ones(()), exact.leaves()),
        strict=True,
    ):
        assert_close(g, w, 2.01 * HALF[torch.bfloat16] + 2e-4)
