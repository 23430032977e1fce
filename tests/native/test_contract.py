"""What every kernel does at the edges: ignored rows, NaN, masks, views, threads, processes."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from softxent import _native
from softxent.ops import reference
from softxent.ops.options import LossOptions
from tests.support.bits import from_bfloat16, to_bfloat16

DTYPES = [np.float32, np.float64, np.float16]


def everything(x: np.ndarray, y: np.ndarray, axis: int = -1, **options: Any) -> list[np.ndarray]:
    """softmax, log_softmax, logsumexp, loss and gradient."""
    rows = y.size
    soft, log, grad = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    lse, loss = np.empty(rows), np.empty(rows)
    _native.softmax(x, soft, axis=axis)
    _native.softmax(x, log, axis=axis, log=True)
    _native.logsumexp(x, lse, axis=axis)
    _native.cross_entropy(x, axis=axis, index=y, loss=loss, grad=grad, **options)
    return [soft, log, lse, loss, grad]


def same_bits(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(p.tobytes() == q.tobytes() for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_chunks_far_from_0_with_different_maxima(dtype: Any) -> None:
    """The exponentials of a chunk are rescaled by exp(max of the chunk - max of the row)."""
    for ahead in (2, 4, 8):
        x = np.full((1, 3000), -1000, dtype)
        x[0, 16], x[0, -3] = 3160 - ahead, 3160
        soft, _, _, _, grad = everything(x, np.array([0]))
        want = 1 / (1 + math.exp(ahead))
        few = 2 * np.finfo(dtype).eps
        for result in (soft, grad):
            np.testing.assert_allclose(result[0, [16, -3]], [want, 1 - want], rtol=few)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [1, 2, 5, 64, 65, 1000, 40_000])
def test_special_rows(dtype: Any, classes: int) -> None:
    x = np.random.default_rng(0).standard_normal((7, classes)).astype(dtype)
    clean = everything(x[[0]], np.array([0]))
    bad = x.copy()
    bad[1, -1], bad[2, 0], bad[3], bad[4, classes // 2] = np.nan, np.inf, -np.inf, np.nan
    y = np.array([0, 0, 0, 0, -100, -100, 0])
    soft, log, lse, loss, grad = everything(bad, y)
    assert same_bits([a[:1] for a in (soft, log, lse, loss, grad)], clean)
    for i in (1, 2, 3):
        assert np.isnan(soft[i]).all()
        assert np.isnan(log[i]).all()
        assert np.isnan(loss[i])
        assert np.isnan(grad[i]).all()
    assert np.isnan(lse[1])
    assert lse[2] == np.inf
    assert lse[3] == -np.inf
    assert loss[4] == loss[5] == 0
    assert (grad[4:6] == 0).all()
    options: list[dict[str, Any]]
    options = [{"label_smoothing": 0.1}, {"softcap": 5.0}, {"temperature": 2.0}]
    for option in options:
        grad = everything(bad, y, **option)[-1]
        assert (grad[4:6] == 0).all()
        assert np.isfinite(grad[[0, 6]]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [3, 500])
def test_masked_classes(dtype: Any, classes: int) -> None:
    x = np.zeros((2, classes), dtype)
    x[:, 1] = -np.inf
    soft, log, _, loss, grad = everything(x, np.array([1, 0]))
    assert (soft[:, 1] == 0).all()
    assert (log[:, 1] == -np.inf).all()
    assert loss[0] == np.inf
    assert np.isfinite(loss[1])
    assert np.isfinite(grad).all()
    assert grad[0, 1] == -1
    assert grad[1, 1] == 0
    q = np.zeros((2, classes), dtype)
    q[:, 0] = 1
    _native.cross_entropy(x, probabilities=q, loss=loss)
    assert np.isfinite(loss).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_class(dtype: Any) -> None:
    x = np.array([[3.7], [-1e4]], dtype)
    soft, log, lse, loss, grad = everything(x, np.array([0, 0]))
    assert (soft == 1).all()
    assert (log == 0).all()
    assert (lse == x[:, 0]).all()
    assert (loss == 0).all()
    assert (grad == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_logits_have_equal_probabilities(dtype: Any, level: str) -> None:
    """1 / classes to the last bit, for rows in lanes with fused multiply-add."""
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.uniform(-50, 50, 40), rng.uniform(-1e4, 1e4, 24)]).astype(dtype)
    for classes in range(1, 161):
        x = np.repeat(values[:, None], classes, 1)
        out = np.empty_like(x)
        _native.softmax(x, out)
        error = np.abs(out - dtype(1 / classes)).max() / np.spacing(dtype(1 / classes))
        assert error <= (level == "baseline"), classes


@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
def test_ties_get_the_same_bits(classes: int) -> None:
    x = np.full((1, classes), 0.3, np.float32)
    out = np.empty_like(x)
    _native.softmax(x, out)
    assert (out == np.float32(1 / classes)).all()


@pytest.mark.parametrize("classes", [1, 2, 5, 64, 200, 1000, 40_000])
def test_bfloat16_is_float32_rounded(classes: int) -> None:
    """Ordinary rows, and those with NaN, infinities, masks, and an ignored target."""
    x = (4 * np.random.default_rng(0).standard_normal((8, classes))).astype(np.float32)
    x[1, -1], x[2, 0], x[3], x[4, classes // 2] = np.nan, np.inf, -np.inf, np.nan
    x[7, ::2] = -np.inf
    x[7, -1] = 2.5
    y = np.array([0, 0, 0, 0, -100, -100, 0, classes - 1])
    short = to_bfloat16(x)
    wide = from_bfloat16(short)
    for got, want in zip(everything(short, y), everything(wide, y), strict=True):
        if got.dtype == np.float64:  # lse and loss
            np.testing.assert_allclose(got, want, rtol=1e-6)
            continue
        nan = np.isnan(want)
        assert ((got & 0x7FFF) > 0x7F80)[nan].all()
        bits = to_bfloat16(want).astype(np.int64), got.astype(np.int64)
        place = [np.where(b >= 0x8000, 0x8000 - b, b) for b in bits]  # neighbours differ by 1
        assert (np.abs(place[0] - place[1])[~nan] <= 1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1, 15, 60])
def test_the_sum_of_the_losses_has_their_digits(dtype: Any, scale: float) -> None:
    """For confident predictions and improbable targets, for whole tiles and partial ones."""
    rng = np.random.default_rng(7)
    for rows, classes in ((640, 10), (700, 3), (64, 33), (200, 1)):
        x = (scale * rng.uniform(-0.5, 0.5, (rows, classes))).astype(dtype)
        for confident in (False, True):
            y = x.argmax(1) if confident else rng.integers(0, classes, rows)
            if confident:  # losses of e^-20 and less
                x[np.arange(rows), y] = 39
            losses = np.empty(rows)
            _native.cross_entropy(x, index=y, loss=losses)
            total, _ = _native.cross_entropy(x, index=y)
            with_grad, _ = _native.cross_entropy(x, index=y, grad=np.empty_like(x))
            rtol = 1e-9 if dtype is np.float32 else 1e-15  # float: 6e-8
            np.testing.assert_allclose([total, with_grad], math.fsum(losses), rtol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(4, 19, 5, 6), (2, 3, 4, 5), (3, 100, 40), (0, 3), (1, 1, 1), (5,)]
)
def test_any_axis_and_strides(dtype: Any, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)
    whole = rng.standard_normal(tuple(2 * n for n in shape)).astype(dtype)
    x = whole[tuple(slice(None, None, 2) for _ in shape)]
    tolerance: dict[str, Any] = {"rtol": 2e-3 if dtype is np.float16 else 1e-6, "atol": 1e-6}
    for view in (x, x[..., ::-1], x.T, np.ascontiguousarray(x)):
        for axis in range(view.ndim):
            moved = np.ascontiguousarray(np.moveaxis(view, axis, -1))
            y = rng.integers(0, max(view.shape[axis], 1), moved.shape[:-1]).reshape(-1)
            y[:] = y if view.shape[axis] else -100
            got = everything(view, y, axis)
            want = everything(moved, y)
            for a, b in zip(got, want, strict=True):
                a = np.moveaxis(a, axis, -1) if a.ndim == view.ndim and a.shape == view.shape else a
                np.testing.assert_allclose(a.reshape(b.shape), b, **tolerance)


@pytest.mark.parametrize("row", [0, 1023, 1024, 2999])
def test_an_invalid_index_in_any_row(row: int) -> None:
    """Indices are checked in blocks of rows."""
    y = np.zeros(3000, np.int64)
    y[row] = 3
    with pytest.raises(IndexError, match="out of range"):
        _native.cross_entropy(np.zeros((3000, 3), np.float32), index=y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("option", [{}, {"label_smoothing": 0.1}, {"z_loss": 1e-3}], ids=str)
@pytest.mark.parametrize("soft", [False, True])
def test_the_weight_of_each_of_many_classes(dtype: Any, option: Any, soft: bool) -> None:
    """Targets and weights are read in blocks of classes, one with another."""
    rng = np.random.default_rng(9)
    classes = 3000
    x = rng.standard_normal((2, classes)).astype(dtype)
    weight = rng.uniform(0.1, 2.0, (classes,)).astype(dtype)
    y = np.array([1500, 2999])
    q = rng.dirichlet(np.ones(classes), 2).astype(dtype)
    loss, grad = np.empty(2), np.empty_like(x)
    target: dict[str, Any] = {"probabilities": q} if soft else {"index": y}
    _native.cross_entropy(x, **target, weight=weight, **option, loss=loss, grad=grad)
    record = LossOptions(weight=weight, reduction="none", **option)
    want, want_grad, _ = reference.cross_entropy(x, q if soft else y, record)
    close = 1e-5 if dtype is np.float32 else 1e-11
    np.testing.assert_allclose(loss, want, close)
    np.testing.assert_allclose(grad, want_grad, close, close * 1e-3)


def test_arrays_that_overlap_or_do_not_fit_are_refused() -> None:
    x, y = np.zeros((3, 4), np.float32), np.zeros(3, np.int64)
    out = np.empty_like(x)
    with pytest.raises(ValueError, match="fit"):
        _native.softmax(x, out[:2])
    with pytest.raises(ValueError, match="fit"):
        _native.softmax(x, out[:, :3])
    with pytest.raises(TypeError):
        _native.softmax(x, out.astype(np.float64))
    with pytest.raises(TypeError):
        _native.softmax(x.astype(np.int32), out)
    frozen = out.copy()
    frozen.flags.writeable = False
    with pytest.raises(TypeError):
        _native.softmax(x, frozen)
    with pytest.raises(ValueError, match="axis"):
        _native.softmax(x, out, axis=2)
    memory = np.zeros(24, np.float32)
    here = memory[:12].reshape(3, 4)
    for there in (
        memory[1:13].reshape(3, 4),
        memory[11:23].reshape(3, 4),
        here[::-1],
        here[:, ::-1],
    ):
        with pytest.raises(BufferError, match="another array"):
            _native.softmax(here, there)
        with pytest.raises(BufferError, match="another array"):
            _native.cross_entropy(here, index=y, grad=there)
    _native.softmax(here, memory[12:].reshape(3, 4))
    with pytest.raises(ValueError, match="itself"):
        _native.softmax(x, np.lib.stride_tricks.as_strided(out, (3, 4), (0, 4)))
    loss = np.zeros(3)
    overlapping: list[dict[str, Any]] = [
        {"upstream": loss},
        {"index": loss.view(np.int64)},
        {"index": y, "saved": np.zeros(8).reshape(4, 2)[:3]},
    ]
    for given in overlapping:
        shared = given.get("saved", loss).reshape(-1)[:3]
        with pytest.raises(BufferError, match="another array"):
            _native.cross_entropy(x, **{"index": y, **given}, loss=shared)
    q = np.full((3, 4), 0.25, np.float32)
    with pytest.raises(BufferError, match="another array"):
        _native.cross_entropy(x, probabilities=q, grad=q)
    with pytest.raises(ValueError, match="fit"):
        _native.logsumexp(x, np.empty(2))
    for bad in (4, -1, 2**40, -(2**40)):
        with pytest.raises(IndexError):
            _native.cross_entropy(x, index=np.array([0, bad, 0]), loss=np.empty(3))
    with pytest.raises(ValueError, match="fit"):
        _native.cross_entropy(x, index=y[:2], loss=np.empty(3))
    with pytest.raises(ValueError, match="fit"):
        _native.cross_entropy(x, index=y, weight=np.ones(3, np.float32), loss=np.empty(3))
    with pytest.raises(TypeError):
        _native.cross_entropy(x, index=y, weight=np.ones(4), loss=np.empty(3))
    with pytest.raises(ValueError, match="fit"):
        _native.cross_entropy(x, index=y, loss=np.empty(3), saved=np.empty((2, 2)))
    with pytest.raises(ValueError, match="target"):
        _native.cross_entropy(x, loss=np.empty(3))
    with pytest.raises(ValueError, match="a gradient from"):
        _native.cross_entropy(x, index=y, from_saved=True, grad=out)
    assert (x == 0).all()


@pytest.mark.parametrize("target", [0, 35_000, 69_999])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("threads")
@pytest.mark.slow
def test_one_row_by_several_threads_in_place(dtype: Any, target: int) -> None:
    """What one of them overwrites, another may have yet to read: the target's logit is read first.

    With a logsumexp near 0, which floats sum up a second time, in double.
    """
    x = np.random.default_rng(8).standard_normal((1, 70_000)).astype(dtype)
    x -= 11.66 - 0.01  # the logarithm of the sum, nearly
    y = np.array([target])

    def work() -> list[np.ndarray]:
        over, soft, log = x.copy(), x.copy(), x.copy()
        loss, lse = np.empty(1), np.empty(1)
        _native.cross_entropy(over, index=y, loss=loss, grad=over)
        _native.softmax(soft, soft)
        _native.softmax(log, log, log=True)
        _native.logsumexp(x, lse)
        return [over, loss, soft, log, lse]

    _native.set_num_threads(1)
    want = work()
    assert abs(want[-1][0]) < 1
    for _ in range(20):
        for count in (2, 3, 8):
            _native.set_num_threads(count)
            assert same_bits(work(), want)


@pytest.mark.usefixtures("threads")
def test_many_python_threads_at_once() -> None:
    _native.set_num_threads(2)
    rng = np.random.default_rng(4)
    x = rng.standard_normal((2000, 100)).astype(np.float32)
    y = rng.integers(0, 100, 2000)
    want = everything(x, y)
    failures = []

    def work() -> None:
        for _ in range(10):
            if not same_bits(everything(x, y), want):
                failures.append(1)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


@pytest.fixture
def no_switching() -> Iterator[None]:
    """Python threads alternate only where one releases the interpreter."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("operation", ["softmax", "logsumexp", "cross_entropy", "gradient"])
@pytest.mark.usefixtures("threads", "no_switching")
def test_python_runs_while_kernels_do(operation: str) -> None:
    """Another thread runs before the computing one is done: the interpreter is free."""
    x = np.random.default_rng(4).standard_normal((2000, 500)).astype(np.float32)
    y, out, losses = np.zeros(2000, np.int64), np.empty_like(x), np.empty(2000)
    saved = np.empty((2000, 2))
    _native.cross_entropy(x, index=y, saved=saved)
    runs: dict[str, Any] = {
        "softmax": lambda: _native.softmax(x, out),
        "logsumexp": lambda: _native.logsumexp(x, losses),
        "cross_entropy": lambda: _native.cross_entropy(x, index=y, loss=losses),
        "gradient": lambda: _native.cross_entropy(
            x, index=y, saved=saved, from_saved=True, grad=out
        ),
    }
    run = runs[operation]
    seen: list[Any] = []
    calls: list[Any] = []

    def compute() -> None:
        while not seen and len(calls) < 500:
            run()
            calls.append(1)

    worker = threading.Thread(target=compute)
    worker.start()
    seen.append(len(calls))
    worker.join()
    assert seen[0] < 500


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.usefixtures("threads")
def test_a_forked_child_works() -> None:
    _native.set_num_threads(3)
    x = np.random.default_rng(5).standard_normal((2000, 100)).astype(np.float32)
    y = np.zeros(2000, np.int64)
    want = everything(x, y)
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        good = same_bits(everything(x, y), want)
        if grandchild == 0:
            os._exit(0 if good else 1)
        _, status = os.waitpid(grandchild, 0)
        os._exit(0 if good and status == 0 else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert same_bits(everything(x, y), want)


@pytest.mark.parametrize("classes", [2, 10, 161, 1000, 2049, 5000])
@pytest.mark.parametrize("scale", [1, 5, 20, 40])
def test_many_rows_beside_plain_numpy(classes: int, scale: float) -> None:
    """Confident and uncertain rows take different paths through a kernel: thousands of both."""
    rows = 2_000_000 // max(classes, 400)
    rng = np.random.default_rng(classes)
    x = (scale * rng.standard_normal((rows, classes))).astype(np.float32)
    y = rng.integers(0, classes, rows)
    y[rng.random(rows) < 0.1] = -100
    kept = y >= 0
    below = x.astype(np.float64) - x.max(1, keepdims=True)
    want = np.exp(below) / np.exp(below).sum(1, keepdims=True)
    lose = np.log(np.exp(below).sum(1)) - below[np.arange(rows), np.where(kept, y, 0)]
    want[kept, y[kept]] -= 1
    want[~kept], lose[~kept] = 0, 0
    loss, saved, fused, over, after = (
        np.empty(rows), np.empty((rows, 2)), np.empty_like(x), x.copy(), np.empty_like(x)
    )  # fmt: skip
    _native.cross_entropy(x, index=y, loss=loss, saved=saved, grad=fused)
    _native.cross_entropy(over, index=y, grad=over)
    _native.cross_entropy(x, index=y, saved=saved, from_saved=True, grad=after)
    np.testing.assert_allclose(loss, lose, 1e-6, 1e-9)
    for got in (fused, over, after):
        np.testing.assert_allclose(got, want, 1e-5, 2e-7)
