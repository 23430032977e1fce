"""What goes wrong at the first call is named for what it is, with a remedy that works."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import softxent
from softxent.errors import DTypeError, ShapeError, SoftxentError, TargetError
from tests.support.backends import Backend

X = np.array([[0.0, 1.0, 2.0], [0.5, 0.25, 0.25]])


class Missing:
    """A missing value as tables hold them."""

    def __repr__(self) -> str:
        return "<NA>"


class Series:
    """A column of a table: an object that turns into an array."""

    def __init__(self, values: Any) -> None:
        self.values = np.array(values, dtype=object)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.values


UNIQUE = "classes, index = numpy.unique(target, return_inverse=True)"
TARGETS: list[tuple[Any, str]] = [
    (np.array(["a", "b"]), UNIQUE),
    (["a", "b"], UNIQUE),
    (np.array([b"a", b"b"]), UNIQUE),
    (np.array(["a", "b"], object), UNIQUE),
    (Series(["a", "b"]), UNIQUE),
    (None, "target is None"),
    ((i for i in range(2)), "target is a generator: pass an array or nested lists of numbers"),
    (map(int, "01"), "e.g. list(target)"),
    ({0, 1}, "target is a set"),
    ({"a": 0, "b": 1}, "list(target.values())"),
    ({"a": 0}.values(), "dict_values"),
    ([None, 1], "target[0] is None"),
    (Series([1, Missing()]), "target[1] is <NA>"),
    (Series([object(), 1]), "target[0] is a object"),
    (np.array([(1, 2.0), (0, 1.0)], [("id", int), ("p", float)]), "it has the fields id, p"),
    (np.zeros(2, "M8[s]"), "dates and times"),
    (np.array([1j, 0]), "target.real"),
    (object(), "target"),
]


@pytest.mark.parametrize(
    ("target", "words"), TARGETS, ids=lambda v: v if isinstance(v, str) else type(v).__name__
)
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_targets(kind: str, target: Any, words: str) -> None:
    for function in ("cross_entropy", "cross_entropy_with_grad"):
        with pytest.raises(DTypeError) as raised:
            getattr(softxent, function)(Backend(kind)(X), target)
        assert str(raised.value).startswith(f"[{function}] target ")
        assert words in str(raised.value)
        assert "target.astype(numpy.float64)" not in str(raised.value)


@pytest.mark.parametrize(
    "function", ["cross_entropy", "cross_entropy_with_grad", "nll_loss", "log_loss"]
)
def test_missing_labels(backend: Backend, function: str) -> None:
    """Converting them to integers would make any number of them."""
    target = np.array([1.0, np.nan])
    missing = r"target\[1\] is nan, a missing label"
    with pytest.raises(TargetError, match=rf"^\[{function}\] {missing}"):
        getattr(softxent, function)(backend(softxent.softmax(X)), backend(target))
    with pytest.raises(TargetError, match=r"^\[linear_cross_entropy\] target\[1\] is nan"):
        softxent.linear_cross_entropy(backend(X), backend(np.eye(3)), backend(target))
    with pytest.raises(TargetError, match=r"^\[explain\] target\[1\] is nan, a missing label"):
        softxent.explain(X, target)
    index = np.where(np.isnan(target), -100, target).astype(int)
    kept = softxent.cross_entropy(X[:1], [1])
    assert softxent.cross_entropy(X, index) == kept


def test_the_remedy_for_text_numbers_the_classes() -> None:
    target = np.array(["b", "a"])
    _, index = np.unique(target, return_inverse=True)
    assert softxent.cross_entropy(X, index) == softxent.cross_entropy(X, [1, 0])


@pytest.mark.parametrize("function", ["softmax", "log_softmax", "logsumexp"])
def test_logits(function: str) -> None:
    for x, words in (
        (["a"], "text, not"),
        (None, "x is None"),
        ((i for i in range(2)), "x is a generator"),
        ([None, 1.0], "x[0] is None"),
        (Series([[1.0, 2.0], [3.0, Missing()]]), "x[1, 1] is <NA>"),
    ):
        with pytest.raises(DTypeError) as raised:
            getattr(softxent, function)(x)
        assert str(raised.value).startswith(f"[{function}] x ")
        assert words.replace("text, not", "pass numbers, not text") in str(raised.value)


def test_objects_that_are_numbers() -> None:
    """Their remedy works: each of them is a number."""
    x = np.array([1, 2.5, True], dtype=object)
    with pytest.raises(DTypeError, match=r"x\.astype\(numpy\.float64\)"):
        softxent.softmax(x)
    assert softxent.softmax(x.astype(np.float64)).shape == (3,)


def test_lists_of_tensors_with_a_graph() -> None:
    torch = pytest.importorskip("torch")
    rows = [torch.zeros(3, requires_grad=True), torch.ones(3)]
    with pytest.raises(DTypeError, match=r"Pass torch\.stack\(list\)"):
        softxent.softmax(rows)
    assert softxent.softmax(torch.stack(rows)).shape == (2, 3)


def test_a_target_with_a_class_axis_of_length_1(backend: Backend) -> None:
    logits, target = np.zeros((2, 3, 4, 5)), np.zeros((2, 1, 4, 5), int)
    for y in (target, target.astype(np.float32)):
        with pytest.raises(ShapeError, match=r"class axis of length 1: target\.squeeze\(1\)\.$"):
            softxent.cross_entropy(backend(logits), backend(y), axis=1)
    softxent.cross_entropy(backend(logits), backend(target.squeeze(1)), axis=1)
    with pytest.raises(ShapeError, match=r"target\.squeeze\(0\)\.$"):
        softxent.cross_entropy(backend(np.zeros((3, 4))), backend(np.zeros((1, 4), int)), axis=0)


@pytest.mark.parametrize("option", ["weight", "pos_weight"])
@pytest.mark.parametrize(
    ("shape", "like", "words"),
    [
        ((3,), (4,), "Pass one number, or one for each element."),
        ((3,), (2, 3, 4, 4), "on axis 1? Pass {}.reshape(-1, 1, 1)."),
        ((5,), (5, 3), "One weight per row? Pass {}.reshape(-1, 1)."),
        ((2, 4), (4,), "Pass one number"),
    ],
)
def test_weights_of_elements(
    backend: Backend, option: str, shape: Any, like: Any, words: str
) -> None:
    x, weight = backend(np.full(like, 0.5)), backend(np.ones(shape))
    functions = ["binary_cross_entropy_with_logits"]
    functions += ["binary_cross_entropy"] if option == "weight" else []
    for function in functions:
        with pytest.raises(ShapeError) as raised:
            getattr(softxent, function)(x, backend(np.zeros(like)), **{option: weight})
        assert f"[{function}] {option} has shape {shape}" in str(raised.value)
        assert words.format(option) in str(raised.value)


# --- torch's names -------------------------------------------------------------------------------


def test_arguments_of_torch_functions_are_tensors() -> None:
    torch = pytest.importorskip("torch")
    from softxent.nn import functional as F

    z, y, w = torch.from_numpy(X), torch.tensor([0, 1]), torch.ones(3)
    p, head = torch.rand(2, 3), torch.eye(3, dtype=z.dtype)
    calls: list[tuple[Any, tuple[Any, ...], tuple[str, ...]]] = [
        (F.softmax, (z, -1), ("input",)),
        (F.log_softmax, (z, -1), ("input",)),
        (F.cross_entropy, (z, y, w), ("input", "target", "weight")),
        (F.cross_entropy_with_stats, (z, y, w), ("input", "target", "weight")),
        (F.nll_loss, (z, y, w), ("input", "target", "weight")),
        (F.binary_cross_entropy, (p, p, p), ("input", "target", "weight")),
        (F.binary_cross_entropy_with_logits, (z, p, p), ("input", "target", "weight")),
        (F.linear_cross_entropy, (z, head, y), ("input", "linear_weight", "target")),
        (F.linear_cross_entropy_with_stats, (z, head, y), ("features", "classifier", "target")),
        (F.linear_log_prob_and_entropy, (z, head, y), ("features", "classifier", "ids")),
    ]
    for function, arguments, names in calls:
        for position, name in enumerate(names):
            for value in (arguments[position].tolist(), arguments[position].numpy()):
                given = [*arguments]
                given[position] = value
                with pytest.raises(DTypeError) as raised:
                    function(*given)
                message = str(raised.value)
                kind = type(value).__name__
                assert message.startswith(f"[{function.__name__}] {name} is a {kind}: "), message
                assert "pass a tensor" in message
    # The functions that take every kind of array take lists beside tensors.
    assert softxent.cross_entropy(z, [0, 1]) == F.cross_entropy(z, y)


def test_ignore_index_none_keeps_every_row() -> None:
    torch = pytest.importorskip("torch")
    from softxent import doctor, nn
    from softxent.nn import functional as F

    z, y = torch.from_numpy(X), torch.tensor([0, 1])
    log_p, head = z.log_softmax(1), torch.eye(3, dtype=z.dtype)
    want = F.cross_entropy(z, y)
    none: dict[str, Any] = {"ignore_index": None}
    for loss in (
        F.cross_entropy(z, y, **none),
        F.cross_entropy_with_stats(z, y, **none).loss,
        F.nll_loss(log_p, y, **none),
        F.linear_cross_entropy(z, head, y, **none),
        F.linear_cross_entropy_with_stats(z, head, y, **none).loss,
        -F.linear_log_prob_and_entropy(z, head, y, **none)[0].mean(),
        nn.CrossEntropyLoss(**none)(z, y),
        nn.NLLLoss(**none)(log_p, y),
        softxent.cross_entropy(z, y, **none),
        softxent.nll_loss(log_p, y, **none),
        softxent.linear_cross_entropy(z, head, y, **none),
    ):
        torch.testing.assert_close(loss, want)
    assert softxent.explain(X, [0, 1], ignore_index=None).value == pytest.approx(want.item())
    assert doctor.check(X, [0, 1], ignore_index=None).rules == ()
    for function in (F.cross_entropy, F.nll_loss):
        with pytest.raises(SoftxentError, match=r"target\[1\] is -100"):
            function(log_p, torch.tensor([0, -100]), **none)


def test_weights_of_torch_functions() -> None:
    torch = pytest.importorskip("torch")
    from softxent import nn
    from softxent.nn import functional as F

    p, w = torch.rand(2, 3, 4, 4), torch.ones(3)
    for call in (
        lambda: F.binary_cross_entropy(p, p, w),
        lambda: F.binary_cross_entropy_with_logits(p, p, w),
        lambda: nn.BCELoss(w)(p, p),
        lambda: nn.BCEWithLogitsLoss(w)(p, p),
    ):
        with pytest.raises(ShapeError, match=r"Pass weight\.reshape\(-1, 1, 1\)"):
            call()
    with pytest.raises(ShapeError, match=r"Pass pos_weight\.reshape\(-1, 1, 1\)"):
        nn.BCEWithLogitsLoss(pos_weight=w)(p, p)
    nn.BCEWithLogitsLoss(pos_weight=w.reshape(-1, 1, 1))(p, p)
    z, y = torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4).long()
    with pytest.raises(ShapeError, match=r"target\.squeeze\(1\)"):
        nn.CrossEntropyLoss()(z, y)
