"""A mask is never dropped: every argument of every function refuses one, with a remedy that works.

Nested and sparse tensors, sparse matrices, and masks inside lists are refused by their names too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse

import softxent
from softxent.errors import DTypeError
from softxent.ops.options import IGNORE_INDEX

X = np.array([[0.0, 1.0, 2.0], [0.5, 0.25, 0.25]])
P = softxent.softmax(X)
HEAD = np.eye(3)
INDEX = np.array([1, 0])
WEIGHT = np.array([1.0, 2.0, 3.0])
B = np.array([0.25, 0.5])

# Every array that every function takes.
CALLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "softmax": (softxent.softmax, {"x": X}),
    "log_softmax": (softxent.log_softmax, {"x": X}),
    "logsumexp": (softxent.logsumexp, {"x": X}),
    "top_k": (lambda x: softxent.top_k(x, 1), {"x": X}),
    "one_hot": (lambda target: softxent.one_hot(target, 3), {"target": INDEX}),
    "cross_entropy": (softxent.cross_entropy, {"logits": X, "target": INDEX, "weight": WEIGHT}),
    "cross_entropy_with_grad": (
        softxent.cross_entropy_with_grad,
        {"logits": X, "target": P, "weight": WEIGHT},
    ),
    "nll_loss": (
        softxent.nll_loss,
        {"log_probs": np.log(P), "target": INDEX, "weight": WEIGHT},
    ),
    "log_loss": (softxent.log_loss, {"probs": P, "target": P, "weight": WEIGHT}),
    "binary_cross_entropy": (
        softxent.binary_cross_entropy,
        {"probs": B, "target": B, "weight": B},
    ),
    "binary_cross_entropy_with_logits": (
        softxent.binary_cross_entropy_with_logits,
        {"logits": B, "target": B, "weight": B, "pos_weight": B},
    ),
    "linear_cross_entropy": (
        softxent.linear_cross_entropy,
        {"features": X, "classifier": HEAD, "target": INDEX, "bias": WEIGHT, "weight": WEIGHT},
    ),
    "linear_cross_entropy_with_grad": (
        softxent.linear_cross_entropy_with_grad,
        {"features": X, "classifier": HEAD, "target": P, "bias": WEIGHT, "weight": WEIGHT},
    ),
    "explain": (softxent.explain, {"logits": X, "target": INDEX, "weight": WEIGHT}),
    "check": (softxent.doctor.check, {"scores": X, "target": INDEX, "weight": WEIGHT}),
    "check_predictions": (
        softxent.doctor.check_predictions,
        {"predicted": INDEX, "target": INDEX},
    ),
    "check_mean": (
        lambda means, counts: softxent.doctor.check_mean(0.5, means, counts),
        {"means": B, "counts": INDEX + 1},
    ),
}
ARGUMENTS = [(name, argument) for name, (_, given) in CALLS.items() for argument in given]
each_argument = pytest.mark.parametrize(("name", "argument"), ARGUMENTS)


def call(name: str, argument: str, value: Any) -> Any:
    function, given = CALLS[name]
    return function(**{**given, argument: value})


def masked(x: Any) -> Any:
    mask = np.zeros(x.shape, bool)
    mask.flat[0] = True
    return np.ma.array(x, mask=mask)


def refused(name: str, argument: str, value: Any, *parts: str) -> None:
    with pytest.raises(DTypeError) as raised:
        call(name, argument, value)
    message = str(raised.value)
    assert message.startswith(f"[{name}] {argument} is a "), message
    for part in parts:
        assert part in message, message


@each_argument
def test_masked_arrays(name: str, argument: str) -> None:
    x = masked(CALLS[name][1][argument])
    refused(name, argument, x, f"masked array, and 1 of its {x.size} numbers is masked", "filled(")


@each_argument
def test_masked_arrays_without_a_masked_number_are_arrays(name: str, argument: str) -> None:
    x = CALLS[name][1][argument]
    call(name, argument, np.ma.array(x))
    call(name, argument, np.ma.array(x, mask=np.zeros(x.shape, bool)))


@each_argument
def test_masks_in_lists(name: str, argument: str) -> None:
    x = masked(CALLS[name][1][argument])
    refused(name, argument, [*x], "with masked numbers")
    refused(name, argument, tuple(x), "with masked numbers")


class NetworkVariable:
    """What some readers of files give: an object whose `__array__` returns a masked array."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.x


@each_argument
def test_objects_that_turn_into_masked_arrays(name: str, argument: str) -> None:
    x = NetworkVariable(masked(CALLS[name][1][argument]))
    refused(name, argument, x, "is a masked array")


@each_argument
def test_sparse_matrices(name: str, argument: str) -> None:
    x = CALLS[name][1][argument]
    for make in (scipy.sparse.csr_array, scipy.sparse.coo_matrix):
        if x.ndim == 2:
            refused(name, argument, make(x), "is a sparse ", f"pass {argument}.toarray()")


def test_the_remedies_do_what_they_say() -> None:
    x: Any = np.ma.array([0.0, 1.0, 2.0], mask=[True, False, False])
    assert softxent.logsumexp(x.filled(-np.inf)) == softxent.logsumexp([1.0, 2.0])
    with pytest.raises(DTypeError, match=r"x\.astype\(float\)\.filled\(-numpy\.inf\)"):
        softxent.logsumexp(x.astype(int))
    whole = x.astype(int).astype(float).filled(-np.inf)
    assert softxent.logsumexp(whole) == softxent.logsumexp([1.0, 2.0])
    target: Any = np.ma.array([1, 0], mask=[True, False])
    with pytest.raises(DTypeError, match=r"target\.filled\(-100\) leaves these rows out"):
        softxent.cross_entropy(X, target)
    kept = softxent.cross_entropy(X[1:], [0])
    assert softxent.cross_entropy(X, target.filled(IGNORE_INDEX)) == kept


@pytest.mark.parametrize("function", ["softmax", "log_softmax", "cross_entropy_with_grad"])
def test_out_with_a_mask(function: str) -> None:
    out: Any = np.ma.array(np.zeros_like(X), mask=X > 1)
    more = (INDEX,) if function == "cross_entropy_with_grad" else ()
    with pytest.raises(DTypeError, match=rf"^\[{function}\] out is a masked array"):
        getattr(softxent, function)(X, *more, out=out)
    assert (out.data == 0).all()


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_matrices_are_arrays() -> None:
    x = np.asmatrix(X)
    assert type(softxent.softmax(x)) is np.ndarray
    assert np.array_equal(softxent.softmax(x), softxent.softmax(X))
    assert softxent.logsumexp(x).shape == (2,)
    assert softxent.cross_entropy(x, INDEX) == softxent.cross_entropy(X, INDEX)


# --- tensors -------------------------------------------------------------------------------------

OF_TENSORS = [
    (name, argument)
    for name, argument in ARGUMENTS
    if name not in ("check_predictions", "check_mean")
]


def tensors(name: str) -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    return {key: torch.from_numpy(np.array(x)) for key, x in CALLS[name][1].items()}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize(("name", "argument"), OF_TENSORS)
@pytest.mark.parametrize("kind", ["nested", "jagged", "sparse", "csr", "masked"])
def test_tensors_that_are_not_dense(kind: str, name: str, argument: str) -> None:
    torch = pytest.importorskip("torch")
    given = tensors(name)
    x = given[argument]
    if x.ndim == 1 and kind in ("csr", "jagged"):
        pytest.skip("these have two axes")
    match kind:
        case "nested":
            value, words = torch.nested.nested_tensor([*x]), "is a nested tensor"
        case "jagged":
            value = torch.nested.nested_tensor([*x], layout=torch.jagged)
            words = "is a nested tensor"
        case "sparse":
            value, words = x.to_sparse(), f"{argument}.to_dense()"
        case "csr":
            value, words = x.to_sparse_csr(), f"{argument}.to_dense()"
        case _:
            mask = torch.ones(x.shape, dtype=torch.bool)
            value = torch.masked.masked_tensor(x, mask)
            words = f"{argument}.to_tensor("
    function = CALLS[name][0]
    with pytest.raises(DTypeError) as raised:
        function(**{**given, argument: value})
    message = str(raised.value)
    assert message.startswith(f"[{name}] {argument} is a "), message
    assert words in message, message


def test_a_masked_array_beside_tensors() -> None:
    torch = pytest.importorskip("torch")
    logits = torch.from_numpy(X)
    for argument, value in (("target", masked(INDEX)), ("weight", masked(WEIGHT))):
        given = {"target": INDEX, argument: value}
        with pytest.raises(DTypeError, match=f"{argument} is a masked array"):
            softxent.cross_entropy(logits, **given)


def test_batches_of_examine() -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(3, 3)
    loss = torch.nn.functional.cross_entropy
    for batch in ((masked(X.astype(np.float32)), INDEX), (X.astype(np.float32), masked(INDEX))):
        with pytest.raises(DTypeError, match=r"^\[examine\] (inputs|target) is a masked array"):
            softxent.doctor.examine(model, batch, loss)


def test_features_of_a_trained_network() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    from softxent.learn import Network, predict

    with pytest.raises(DTypeError, match=r"^\[predict\] features is a masked array"):
        predict(Network([3, 2]), masked(X.astype(np.float32)))
