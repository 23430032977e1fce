"""Dtypes, layouts and arrays of other libraries: inputs, types of results, unchanged inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import softxent
from softxent.errors import DTypeError
from tests.support import oracle
from tests.support.backends import Backend, ForeignArray, NamespacedArray

Rows = Any
X = np.random.default_rng(5).normal(0, 2, (6, 5))
Y = np.array([0, 4, 2, 2, 1, 3])
Q = np.random.default_rng(6).dirichlet(np.ones(5), 6)
W = np.array([1.0, 0.5, 2.0, 1.0, 0.25])


def probabilities(x: Rows) -> Rows:
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


# name: (what scores it takes, the call); each takes the class axis last unless told otherwise
FUNCTIONS: dict[str, tuple[Callable[[Rows], Rows], Callable[..., Any]]] = {
    "softmax": (lambda x: x, softxent.softmax),
    "log_softmax": (lambda x: x, softxent.log_softmax),
    "logsumexp": (lambda x: x, softxent.logsumexp),
    "cross_entropy": (lambda x: x, lambda x, **o: softxent.cross_entropy(x, Y, **o)),
    "cross_entropy of probabilities": (lambda x: x, lambda x, **o: softxent.cross_entropy(x, Q)),
    "gradient": (lambda x: x, lambda x, **o: softxent.cross_entropy_with_grad(x, Y, **o)[1]),
    "nll_loss": (
        lambda x: np.log(probabilities(x)),
        lambda x, **o: softxent.nll_loss(x, Y, **o),
    ),
    "log_loss": (probabilities, lambda x, **o: softxent.log_loss(x, Y, **o)),
    "binary_cross_entropy": (
        probabilities,
        lambda x, **o: softxent.binary_cross_entropy(x, np.eye(5)[Y], reduction="none"),
    ),
    "binary_cross_entropy_with_logits": (
        lambda x: x,
        lambda x, **o: softxent.binary_cross_entropy_with_logits(x, np.eye(5)[Y], reduction="none"),
    ),
}
SHAPED = ("softmax", "log_softmax", "gradient")  # results of the input's shape and dtype
ON_AN_AXIS = tuple(name for name in FUNCTIONS if name[:6] != "binary" and "of prob" not in name)
functions = pytest.mark.parametrize("name", FUNCTIONS)


# --- dtypes --------------------------------------------------------------------------------------


@functions
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_stay_what_they_are(backend: Backend, name: str, dtype: Any) -> None:
    prepare, compute = FUNCTIONS[name]
    got = backend.take(compute(backend(prepare(X), dtype)))
    assert got.dtype == dtype
    want = backend.take(compute(backend(prepare(X))))
    np.testing.assert_allclose(got, want, rtol=3e-6 if dtype == np.float32 else 0)


@functions
def test_float16_is_computed_in_float32(backend: Backend, name: str) -> None:
    """A loss is float32; what has the input's shape is float16, the rounded float32 result."""
    prepare, compute = FUNCTIONS[name]
    half = prepare(X).astype(np.float16)
    got = backend.take(compute(backend(half)))
    # logsumexp is "x's dtype"; losses are float32
    assert got.dtype == (np.float16 if name in (*SHAPED, "logsumexp") else np.float32)
    wide = backend.take(compute(backend(half, np.float32)))
    if got.dtype == np.float16:
        assert oracle.ulps(got, [oracle.mp.mpf(float(v)) for v in wide.reshape(-1)]) <= 0.51
    else:
        np.testing.assert_array_equal(got, wide)


@functions
def test_bfloat16_arrays(name: str) -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    prepare, compute = FUNCTIONS[name]
    brain = prepare(X).astype(bfloat16)
    got = compute(brain)
    assert got.dtype == (bfloat16 if name in (*SHAPED, "logsumexp") else np.float32)
    if name == "log_loss":  # which doesn't believe these rows in a sharper dtype
        assert got == pytest.approx(-np.log(brain.astype(np.float64)[range(6), Y]).mean())
    else:
        wide = compute(brain.astype(np.float32)).astype(got.dtype)
        np.testing.assert_array_equal(got.astype(np.float32), wide.astype(np.float32))


@functions
def test_bfloat16_tensors(name: str) -> None:
    torch = pytest.importorskip("torch")
    prepare, compute = FUNCTIONS[name]
    brain = torch.tensor(prepare(X)).bfloat16()
    got = compute(brain)
    assert got.dtype == (torch.bfloat16 if name in (*SHAPED, "logsumexp") else torch.float32)
    if name == "log_loss":
        wide = -brain.float().log()[range(6), Y].mean()
    else:
        wide = compute(brain.float())
    torch.testing.assert_close(got.float(), wide, rtol=2**-8, atol=1e-30)


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("classes", [10, 60_000])
def test_log_loss_believes_softmax_in_half_precision(kind: str, half: str, classes: int) -> None:
    """Rows that add up to 1 as far as their dtype can say: here off by up to 0.4%."""
    x = np.random.default_rng(0).normal(0, 3, (50, 10)) if classes == 10 else np.zeros((1, classes))
    y = np.arange(len(x)) % 10
    if kind == "torch":
        torch = pytest.importorskip("torch")
        p = softxent.softmax(torch.tensor(x).to(getattr(torch, half)))
    else:
        dtype = np.float16 if half == "float16" else pytest.importorskip("ml_dtypes").bfloat16
        p = softxent.softmax(x.astype(dtype))
    assert float(softxent.log_loss(p, y)) == pytest.approx(softxent.cross_entropy(x, y), rel=0.01)


@functions
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64, np.bool_])
def test_integers_are_float64(name: str, dtype: Any) -> None:
    certain = name in ("log_loss", "binary_cross_entropy")  # of probabilities: whole ones
    x = np.eye(5)[Y] if certain else np.abs(np.rint(X))
    x = np.minimum(x, 1).astype(dtype) if dtype == np.bool_ else x.astype(dtype)
    _, compute = FUNCTIONS[name]
    got = compute(x)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, compute(x.astype(np.float64)))


def test_integers_of_another_library_are_float64() -> None:
    got = Backend("dlpack").take(softxent.softmax(NamespacedArray(np.array([1, 2, 3]))))
    assert got.dtype == np.float64


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint64])
def test_every_integer_dtype_is_a_target(backend: Backend, dtype: Any) -> None:
    want = softxent.cross_entropy(X, Y)
    assert backend.take(softxent.cross_entropy(backend(X), backend(Y, dtype))) == pytest.approx(
        want, rel=1e-14
    )


def test_ignore_index_in_an_unsigned_target(backend: Backend) -> None:
    target = np.array([0, 4, 255, 2, 1, 255], np.uint8)
    got = backend.take(softxent.cross_entropy(backend(X), backend(target), ignore_index=255))
    kept = target != 255
    assert got == pytest.approx(softxent.cross_entropy(X[kept], Y[kept]), rel=1e-14)
    with pytest.raises(softxent.errors.TargetError):  # -100 isn't 156
        softxent.cross_entropy(backend(X), backend(np.full(6, 156, np.uint8)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.bool_])
def test_class_probabilities_of_any_dtype(backend: Backend, dtype: Any) -> None:
    """A one-hot target needs no decimal point."""
    got = backend.take(softxent.cross_entropy(backend(X), backend(np.eye(5)[Y], dtype)))
    assert got.dtype == np.float64
    assert got == pytest.approx(softxent.cross_entropy(X, Y), rel=1e-14)


@pytest.mark.parametrize("function", [softxent.cross_entropy, softxent.log_loss])
def test_weights_of_any_dtype(backend: Backend, function: Any) -> None:
    scores = probabilities(X)
    want = function(scores, Y, np.array([1.0, 2.0, 3.0, 1.0, 0.0]))
    for dtype in (np.int64, np.float32, np.float16, np.uint8):
        weight = backend([1, 2, 3, 1, 0], dtype)
        got = backend.take(function(backend(scores), backend(Y), weight))
        assert got == pytest.approx(want, rel=1e-14)
    assert function(scores.tolist(), Y.tolist(), [1, 2, 3, 1, 0]) == pytest.approx(want, rel=1e-14)


# --- kinds ---------------------------------------------------------------------------------------


def test_lists_and_numbers_become_numpy() -> None:
    assert isinstance(softxent.softmax([1, 2]), np.ndarray)
    assert isinstance(softxent.cross_entropy([[1, 2]], [0]), np.float64)
    assert isinstance(softxent.cross_entropy([1.0, 2.0], 0), np.float64)
    assert isinstance(softxent.logsumexp([1.0, 2.0]), np.float64)
    assert softxent.one_hot(1, 2).tolist() == [0, 1]


@functions
def test_an_array_without_a_namespace_comes_back_as_numpy(name: str) -> None:
    prepare, compute = FUNCTIONS[name]
    got = compute(ForeignArray(prepare(X)))
    assert isinstance(got, np.ndarray | np.generic)
    np.testing.assert_array_equal(got, compute(prepare(X)))


def test_memory_out_of_reach_is_said() -> None:
    class Elsewhere(ForeignArray):
        def __dlpack__(self, **options: Any) -> Any:
            raise BufferError("on another device")

    with pytest.raises(DTypeError) as raised:
        softxent.softmax(Elsewhere(X))
    assert "[softmax] x is a Elsewhere" in str(raised.value)
    assert "on another device" in str(raised.value)


@pytest.mark.parametrize("name", ["softmax", "cross_entropy", "gradient", "logsumexp"])
def test_jax_arrays(name: str) -> None:
    jax = pytest.importorskip("jax")
    prepare, compute = FUNCTIONS[name]
    for dtype in ("float32", "float16", "bfloat16"):
        got = compute(jax.numpy.asarray(prepare(X), dtype=dtype))
        assert isinstance(got, jax.Array)
        assert got.dtype == (dtype if name != "cross_entropy" else "float32")
        np.testing.assert_allclose(
            np.asarray(got, np.float64), compute(prepare(X)), rtol=0.1, atol=0.01
        )


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(lambda y: y.tolist(), id="list"),
        pytest.param(lambda y: y[::-1][::-1], id="negative strides twice"),
        pytest.param(lambda y: np.ascontiguousarray(y[::-1])[::-1], id="negative strides"),
        pytest.param(lambda y: y.astype(y.dtype.newbyteorder(">")), id="byte-swapped"),
        pytest.param(lambda y: np.repeat(y, 2)[::2], id="strided"),
        pytest.param(lambda y: Backend("readonly")(y), id="read-only"),
        pytest.param(lambda y: Backend("dlpack")(y), id="dlpack"),
        pytest.param(lambda y: Backend("torch")(y), id="tensor"),
    ],
)
@pytest.mark.parametrize("kind", ["numpy", "torch", "dlpack"])
def test_targets_and_weights_of_any_kind(kind: str, target: Any) -> None:
    """The logits' kind is the result's; the other arguments may be of any."""
    backend = Backend(kind)
    want = softxent.cross_entropy(X, Y, W)
    weight = W.astype(np.float32)
    got = backend.take(softxent.cross_entropy(backend(X), target(Y), target(weight)))
    assert got == pytest.approx(want, rel=1e-14)
    loss = softxent.nll_loss(backend(np.log(probabilities(X))), target(Y), target(weight))
    assert backend.take(loss) == pytest.approx(want, rel=1e-14)
    loss = softxent.log_loss(backend(probabilities(X)), target(Y), target(weight))
    assert backend.take(loss) == pytest.approx(want, rel=1e-14)
    binary = softxent.binary_cross_entropy_with_logits(
        backend(W), target(np.array([0, 1, 1, 0, 1])), target(weight), pos_weight=target(weight)
    )
    assert backend.take(binary) == pytest.approx(
        softxent.binary_cross_entropy_with_logits(W, [0, 1, 1, 0, 1], W, pos_weight=W), rel=1e-14
    )


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_half_precision_targets_of_the_other_kind(kind: str) -> None:
    torch, bfloat16 = pytest.importorskip("torch"), pytest.importorskip("ml_dtypes").bfloat16
    onehot = np.eye(5)[Y]
    targets = [torch.tensor(onehot).bfloat16(), onehot.astype(bfloat16), onehot.astype(np.float16)]
    for target in targets:
        got = softxent.cross_entropy(Backend(kind)(X), target)
        assert float(got) == pytest.approx(softxent.cross_entropy(X, Y), rel=1e-14)


# --- layouts -------------------------------------------------------------------------------------


def unaligned(x: Rows) -> Rows:
    raw = np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    raw[...] = x
    assert not raw.flags.aligned
    return raw


def field(x: Rows) -> Rows:
    """A field of records: its numbers don't lie a whole number of them apart."""
    records = np.empty(x.shape, [("flag", np.int8), ("number", x.dtype)])
    records["number"] = x
    assert records["number"].strides[-1] % x.itemsize
    return records["number"]


LAYOUTS: dict[str, Callable[[Rows], Rows]] = {
    "Fortran order": np.asfortranarray,
    "every other row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "every other class": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "rows backwards": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "classes backwards": lambda x: np.ascontiguousarray(x[..., ::-1])[..., ::-1],
    "a window": lambda x: np.pad(x, [(1, 1)] * x.ndim, constant_values=np.nan)[1:-1, 1:-1],
    "unaligned": unaligned,
    "a field of records": field,
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder("S")),
    "read-only": lambda x: Backend("readonly")(x),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@functions
def test_layouts(name: str, layout: Callable[[Rows], Rows]) -> None:
    """The same numbers in any layout give the same bits, and stay as they are."""
    prepare, compute = FUNCTIONS[name]
    for dtype in (np.float16, np.float32, np.float64):
        x = prepare(X).astype(dtype)
        view = layout(x)
        got = compute(view)
        np.testing.assert_array_equal(got, compute(x))
        assert got.dtype.isnative
        np.testing.assert_array_equal(view, x)


@pytest.mark.parametrize("name", ON_AN_AXIS)
def test_layouts_of_tensors(name: str) -> None:
    torch = pytest.importorskip("torch")
    prepare, compute = FUNCTIONS[name]
    x = torch.tensor(prepare(X))
    views = [x.T.contiguous().T, x.repeat_interleave(2, 1)[:, ::2], x[None].expand(2, 6, 5)[1]]
    for view in views:
        torch.testing.assert_close(compute(view), compute(x), rtol=1e-14, atol=0)
        assert (view == x).all()


def test_broadcast_rows() -> None:
    row = np.broadcast_to(X[0], (4, 5))
    np.testing.assert_array_equal(softxent.softmax(row), np.tile(softxent.softmax(X[0]), (4, 1)))
    np.testing.assert_array_equal(
        softxent.cross_entropy_with_grad(row, np.broadcast_to(2, 4), reduction="none")[1],
        np.tile(softxent.cross_entropy_with_grad(X[0], 2)[1], (4, 1)),
    )


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_axes(backend: Backend, name: str, axis: int) -> None:
    cube = np.random.default_rng(0).normal(size=(3, 4, 5))
    compute = getattr(softxent, name)
    got = backend.take(compute(backend(cube), axis=axis))
    want = compute(np.moveaxis(cube, axis, -1))
    if name != "logsumexp":
        want = np.moveaxis(want, -1, axis)
    np.testing.assert_allclose(got, want, rtol=1e-14)
    if name == "logsumexp":
        kept = backend.take(compute(backend(cube), axis=axis, keepdims=True))
        np.testing.assert_allclose(kept, np.expand_dims(want, axis), rtol=1e-14)


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -2])
def test_losses_on_an_axis(backend: Backend, axis: int) -> None:
    """The class axis anywhere is the class axis moved last."""
    last = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    index = np.random.default_rng(1).integers(0, 5, (2, 3, 4))
    probabilities = np.random.default_rng(2).dirichlet(np.ones(5), (2, 3, 4))
    there = np.moveaxis(last, -1, axis)
    for target in (index, np.moveaxis(probabilities, -1, axis)):
        want, want_grad = softxent.cross_entropy_with_grad(
            last, index if target is index else probabilities, W, reduction="none"
        )
        loss, grad = backend.take_both(
            softxent.cross_entropy_with_grad(
                backend(there), backend(target), backend(W), axis=axis, reduction="none"
            )
        )
        np.testing.assert_allclose(loss, want, rtol=1e-13)
        np.testing.assert_allclose(grad, np.moveaxis(want_grad, -1, axis), rtol=1e-11, atol=1e-17)
    log_p = np.moveaxis(softxent.log_softmax(last), -1, axis)
    nll = softxent.nll_loss(backend(log_p), backend(index), backend(W), axis=axis)
    want = softxent.cross_entropy(last, index, W)
    assert backend.take(nll) == pytest.approx(want, rel=1e-14)
    log_loss = softxent.log_loss(backend(np.exp(log_p)), backend(index), backend(W), axis=axis)
    assert backend.take(log_loss) == pytest.approx(want, rel=1e-14)
    moved = np.moveaxis(probabilities, -1, axis)
    log_loss = softxent.log_loss(backend(np.exp(log_p)), backend(moved), backend(W), axis=axis)
    want = softxent.cross_entropy(last, probabilities, W)
    assert backend.take(log_loss) == pytest.approx(want, rel=1e-14)


# --- out -----------------------------------------------------------------------------------------

# a fresh array of the shape and dtype of x to write to, in many layouts; or x itself
OUTS: dict[str, Callable[[Rows], Rows]] = {
    "fresh": np.empty_like,
    "x itself": lambda x: x,
    "a view of x itself": lambda x: x[:],
    "Fortran order": lambda x: np.empty_like(x, order="F"),
    "every other class": lambda x: np.empty((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)[..., ::2],
    "rows backwards": lambda x: np.empty_like(x)[::-1],
    "x backwards": lambda x: x[::-1],
    "x's classes backwards": lambda x: x[:, ::-1],
    "unaligned": unaligned,
    "a field of records": field,
}


@pytest.mark.parametrize("make", OUTS.values(), ids=OUTS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", SHAPED)
@pytest.mark.parametrize("axis", [0, -1])
def test_out(name: str, make: Callable[[Rows], Rows], dtype: Any, axis: int) -> None:
    x = (X[:5] if axis == 0 else X).astype(dtype)
    options = {"axis": axis}
    compute = FUNCTIONS[name][1]
    if name == "gradient":
        target = Y[: x.shape[1 - axis % 2]] % 5

        def compute(x: Rows, **options: Any) -> Any:
            return softxent.cross_entropy_with_grad(x, target, **options)[1]

    want = compute(x, **options)
    out = make(x)
    got = compute(x, out=out, **options)
    assert got is out
    np.testing.assert_array_equal(out, want)


# Few classes are worked on in tiles of rows, many row by row, in blocks of classes.
@pytest.mark.parametrize("shape", [(6, 5), (90, 3), (90, 40), (3, 3_000)], ids=str)
@pytest.mark.parametrize("name", SHAPED)
def test_out_that_overlaps_x(name: str, shape: tuple[int, int]) -> None:
    rows, classes = shape
    numbers = np.random.default_rng(0).normal(0, 2, shape)
    target = np.arange(rows) % classes

    def compute(x: Rows, **out: Any) -> Any:
        if name == "gradient":
            return softxent.cross_entropy_with_grad(x, target, **out)[1]
        return getattr(softxent, name)(x, **out)

    want = compute(numbers)
    for shift in (1, 2, 5, classes - 1, classes, 17 * classes, rows * classes - 1):
        for sign in (-1, 1):
            memory = np.zeros(3 * numbers.size)
            start = numbers.size
            x = memory[start : start + numbers.size].reshape(shape)
            x[...] = numbers
            start += sign * min(shift, numbers.size)
            out = memory[start : start + numbers.size].reshape(shape)
            np.testing.assert_array_equal(compute(x, out=out), want, str(sign * shift))


def test_out_that_overlaps_the_target_or_the_weight() -> None:
    want = softxent.cross_entropy_with_grad(X, Q, W)[1]
    q = Q.copy()
    np.testing.assert_array_equal(softxent.cross_entropy_with_grad(X, q, W, out=q)[1], want)
    memory = np.zeros((7, 5))
    memory[3] = W
    got = softxent.cross_entropy_with_grad(X, Q, memory[3], out=memory[:6])[1]
    np.testing.assert_array_equal(got, want)


def test_out_in_place_of_ignored_and_broken_rows() -> None:
    x = X.copy()
    x[1], x[2, 3] = np.nan, np.inf
    y = np.array([0, -100, 1, -100, 2, 3])
    want = softxent.cross_entropy_with_grad(x.copy(), y)[1]
    np.testing.assert_array_equal(softxent.cross_entropy_with_grad(x, y, out=x)[1], want)
    assert (x[[1, 3]] == 0).all()


@pytest.mark.parametrize("name", SHAPED)
def test_out_tensors(name: str) -> None:
    torch = pytest.importorskip("torch")
    compute = FUNCTIONS[name][1]
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = torch.tensor(X).to(dtype)
        want = compute(x)
        for out in (torch.empty_like(x), torch.empty(5, 6, dtype=dtype).T, x):
            got = compute(x, out=out)
            assert got is out
            assert (out == want).all()


def test_out_over_logits_that_want_a_gradient() -> None:
    """Under no_grad they can be written over, as torch's own in-place operations can."""
    torch = pytest.importorskip("torch")
    logits = torch.tensor(X, requires_grad=True)
    want = softxent.cross_entropy_with_grad(logits, Y)[1]
    with torch.no_grad():
        softxent.cross_entropy_with_grad(logits, Y, out=logits)
    assert (logits == want).all()


def test_out_of_a_foreign_array() -> None:
    """The memory to write to is NumPy's; the result is of x's kind all the same."""
    out = np.empty_like(X)
    got = Backend("dlpack").take(softxent.softmax(NamespacedArray(X), out=out))
    np.testing.assert_array_equal(got, softxent.softmax(X))
    np.testing.assert_array_equal(out, got)


# --- inputs stay as they are ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_input_is_changed(backend: Backend, dtype: Any) -> None:
    options: dict[str, Any] = {
        "label_smoothing": 0.1,
        "z_loss": 1e-3,
        "softcap": 3.0,
        "temperature": 2.0,
    }
    x, q, w, y = backend(X, dtype), backend(Q, dtype), backend(W, dtype), backend(Y)
    for target in (y, q):
        softxent.cross_entropy_with_grad(x, target, w, **options)
        softxent.cross_entropy(x, target, w, **options)
    softxent.nll_loss(x, y, w)
    softxent.log_loss(q, y, w)
    softxent.log_loss(q, q, w)
    softxent.binary_cross_entropy(q, q, w)
    softxent.binary_cross_entropy_with_logits(x, q, w, pos_weight=w)
    for function in (softxent.softmax, softxent.log_softmax, softxent.logsumexp):
        function(x)
        function(x, axis=0)
    softxent.top_k(x, 2)
    softxent.one_hot(y, 5)
    given = ((x, X.astype(dtype)), (q, Q.astype(dtype)), (w, W.astype(dtype)), (y, Y))
    for argument, before in given:
        np.testing.assert_array_equal(backend.take(argument), before)
