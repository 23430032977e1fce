"""The bits of a result depend on its row alone.

Neither the number of threads nor the other rows, the strides, the alignment or the caller's
floating-point state change them; nor those of a reduced loss, which has the rows in their order.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from softxent import _native
from tests.native.test_contract import DTYPES, everything, same_bits
from tests.support.bits import from_bfloat16, to_bfloat16


@pytest.mark.parametrize("dtype", [*DTYPES, np.uint16])
@pytest.mark.parametrize("classes", [2, 10, 63, 64, 65, 1000, 70_000])
@pytest.mark.usefixtures("threads")
def test_bits_depend_on_the_row_alone(dtype: Any, classes: int) -> None:
    rows = 300 if classes < 1000 else 3
    rng = np.random.default_rng(1)
    x = (5 * rng.standard_normal((rows, classes))).astype(np.float32)
    x[1::7] *= 8  # far from 0, beside rows that are near
    x = to_bfloat16(x) if dtype is np.uint16 else x.astype(dtype)
    y = rng.integers(0, classes, rows)
    _native.set_num_threads(1)
    want = everything(x, y)
    for count in (2, 3, 8):
        _native.set_num_threads(count)
        assert same_bits(everything(x, y), want)
    for i in (0, rows - 1):
        assert same_bits(everything(x[[i]], y[[i]]), [a[[i]] for a in want])
    # Another alignment: of elements, and not even that.
    for shift in (x.itemsize, 1):
        buffer = np.empty(x.nbytes + 64, np.uint8)
        moved = np.ndarray(x.shape, dtype, buffer.data, shift)
        moved[...] = x
        assert same_bits(everything(moved, y), want)
    over = x.copy()
    loss = np.empty(rows)
    _native.cross_entropy(over, index=y, loss=loss, grad=over)
    assert over.tobytes() == want[-1].tobytes()


OPTIONS: dict[str, dict[str, Any]] = {
    "probabilities": {"probabilities": ...},
    "weight": {"weight": ...},
    "label_smoothing": {"label_smoothing": 0.1},
    "z_loss": {"z_loss": 1e-3},
    "softcap": {"softcap": 20.0},
    "temperature": {"temperature": 0.7},
    "upstream": {"upstream": ..., "scale": 0.3},
    "everything": {
        "probabilities": ..., "weight": ..., "label_smoothing": 0.2, "z_loss": 1e-3,
        "softcap": 20.0, "temperature": 2.0, "upstream": ..., "scale": 0.3,
    },
}  # fmt: skip


def with_option(x: np.ndarray, rows: slice, option: str, place: Any) -> list[np.ndarray]:
    """Loss, gradient and saved statistics of these rows, and the gradient from them."""
    every, classes = x.shape
    rng = np.random.default_rng(0)
    wide = np.float64 if x.dtype == np.float64 else np.float32
    arrays: dict[str, Any] = {
        "weight": rng.random((classes,)).astype(wide),
        "upstream": rng.random((every,))[rows].copy(),
        "probabilities": rng.random((every, classes)).astype(x.dtype)[rows],
        "index": rng.integers(0, classes, every),
    }
    arrays["index"][every // 2] = -100
    arrays["index"] = arrays["index"][rows].copy()
    given = {k: arrays[k] if v is ... else v for k, v in OPTIONS[option].items()}
    if "probabilities" in given:
        given["probabilities"] = place(given["probabilities"])
    else:
        given["index"] = arrays["index"]
    x = place(x[rows])
    loss, saved = np.empty(len(x)), np.empty((len(x), 2))
    grad, again = place(np.empty_like(x)), place(np.empty_like(x))
    _native.cross_entropy(x, **given, loss=loss, saved=saved, grad=grad)
    _native.cross_entropy(x, **given, saved=saved, from_saved=True, grad=again)
    found = [loss, grad, saved, again]
    for v in found:
        v[np.isnan(v)] = np.nan  # the processor chooses its sign
    assert same_bits([grad], [again])
    return found[:3]


def unaligned(x: np.ndarray) -> np.ndarray:
    buffer = np.empty(x.nbytes + 1, np.uint8)
    moved = np.ndarray(x.shape, x.dtype, buffer.data, 1)
    moved[...] = x
    return moved


def one_element_on(x: np.ndarray) -> np.ndarray:
    moved = np.empty(x.size + 1, x.dtype)[1:].reshape(x.shape)
    moved[...] = x
    return moved


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(400, 10), (40, 333), (3, 40_000)], ids=str)
@pytest.mark.usefixtures("threads")
def test_bits_of_every_option(shape: tuple[int, int], dtype: Any, option: str) -> None:
    """Bits depend neither on threads nor on other rows nor on alignment."""
    x = (5 * np.random.default_rng(1).standard_normal(shape)).astype(dtype)
    whole = slice(0, len(x))
    _native.set_num_threads(1)
    want = with_option(x, whole, option, np.array)
    for count in (2, 5, 8):  # more than rows: all threads share each of the long ones
        _native.set_num_threads(count)
        assert same_bits(with_option(x, whole, option, np.array), want)
    for place in (unaligned, one_element_on):
        assert same_bits(with_option(x, whole, option, place), want)
    for rows in (slice(0, 1), slice(len(x) - 1, len(x)), slice(1, 2 * len(x) // 3)):
        got = with_option(x, rows, option, np.array)
        assert same_bits(got, [a[rows] for a in want])


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_beside_rows_of_any_kind(dtype: Any, option: str) -> None:
    """Rows on the general path change nothing for the rows beside them."""
    x = (5 * np.random.default_rng(6).standard_normal((300, 10))).astype(dtype)
    mixed, other = x.copy(), np.zeros(300, bool)
    other[3::7] = True
    mixed[other] *= 40
    mixed[3] = np.nan
    mixed[10, 4], mixed[17, 2:] = np.inf, -np.inf
    rows = slice(0, 300)
    got, want = (with_option(v, rows, option, np.array) for v in (mixed, x))
    assert same_bits([v[~other] for v in got], [v[~other] for v in want])
    alone = with_option(mixed, slice(10, 40), option, np.array)
    assert same_bits([v[10:40] for v in got], alone)


# --- Strides ---------------------------------------------------------------------------------


def spread(x: np.ndarray) -> np.ndarray:
    """With a gap behind each number."""
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)[..., ::2]
    wide[...] = x
    return wide


def with_gaps_between_rows(x: np.ndarray) -> np.ndarray:
    wide = np.zeros((*x.shape[:-1], x.shape[-1] + 3), x.dtype)[..., :-3]
    wide[...] = x
    return wide


def backwards(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x[..., ::-1])[..., ::-1]


def rows_backwards(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x[::-1])[::-1]


def side_by_side(x: np.ndarray) -> np.ndarray:
    """The classes on axis 0 of the memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, -1, 0)), 0, -1)


def side_by_side_in_threes(x: np.ndarray) -> np.ndarray:
    """The classes on axis 1 of (B, C, 3); as one array of rows where 3 doesn't divide them."""
    if len(x) % 3 != 0:
        return side_by_side(x)
    folded = np.ascontiguousarray(np.moveaxis(x.reshape(-1, 3, x.shape[-1]), -1, 1))
    return np.moveaxis(folded, 1, -1)


STRIDES: list[Callable[[np.ndarray], np.ndarray]] = [
    spread, with_gaps_between_rows, backwards, rows_backwards, side_by_side, side_by_side_in_threes,
    unaligned, one_element_on,
]  # fmt: skip


def results(
    x: np.ndarray, y: np.ndarray, place: Callable[[np.ndarray], np.ndarray], option: dict[str, Any]
) -> list[np.ndarray]:
    """Every function's results, row by row, and the sum of the losses."""
    x, classes = place(x), x.shape[-1]
    given = dict(option)
    if "probabilities" in given:
        q = np.random.default_rng(3).random((y.size, classes)).astype(np.float32)
        given["probabilities"] = place(q)
    else:
        given["index"] = y
    if "weight" in given:
        wide = np.float64 if x.dtype == np.float64 else np.float32
        given["weight"] = np.random.default_rng(4).random((classes,)).astype(wide)
    soft, log, grad = (place(np.zeros_like(x)) for _ in range(3))
    lse, loss, saved = np.empty(y.size), np.empty(y.size), np.empty((y.size, 2))
    _native.softmax(x, soft)
    _native.softmax(x, log, log=True)
    _native.logsumexp(x, lse)
    total, denominator = _native.cross_entropy(x, **given, loss=loss, saved=saved, grad=grad)
    alone, _ = _native.cross_entropy(x, **given)
    again = place(np.zeros_like(x))
    _native.cross_entropy(x, **given, saved=saved, from_saved=True, grad=again)
    entropy, argmax, hits = np.empty(y.size), np.empty(y.size, np.int64), np.empty(y.size, bool)
    _native.cross_entropy(
        x, **given, loss=loss.copy(), saved=saved, entropy=entropy, argmax=argmax, hits=hits
    )
    numbers = [soft, log, lse, loss, grad, again, saved, entropy, argmax, hits]
    rows = [np.ascontiguousarray(v).reshape(y.size, -1) for v in numbers]
    return [*rows, np.array([total, alone, denominator])]


STRIDED_OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "weight": {"weight": ...},
    "label_smoothing": {"label_smoothing": 0.1},
    "probabilities": {"probabilities": ...},
    "z_loss": {"z_loss": 1e-3},
    "softcap": {"softcap": 20.0, "temperature": 0.7},
}


@pytest.mark.parametrize("option", STRIDED_OPTIONS)
@pytest.mark.parametrize("dtype", [*DTYPES, np.uint16])
@pytest.mark.parametrize(
    "shape", [(150, 3), (257, 64), (36, 160), (36, 161), (30, 1000), (9, 5000)], ids=str
)
def test_bits_for_any_strides(shape: tuple[int, int], dtype: Any, option: str) -> None:
    rng = np.random.default_rng(5)
    numbers = rng.standard_normal(shape).astype(np.float32) * 3
    numbers[1::7] *= 30  # far from 0, beside rows that are near
    numbers[2::9, 0] = 39  # nearly the whole sum
    x = to_bfloat16(numbers) if dtype is np.uint16 else numbers.astype(dtype)
    y = rng.integers(0, shape[1], shape[0])
    y[5] = -100
    want = results(x, y, np.array, STRIDED_OPTIONS[option])
    for place in STRIDES:
        got = results(x, y, place, STRIDED_OPTIONS[option])
        for k, (a, b) in enumerate(zip(got, want, strict=True)):
            assert a.tobytes() == b.tobytes(), (place.__name__, k)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [1, 10, 200, 1000])
def test_a_column_has_the_bits_of_its_array(dtype: Any, classes: int) -> None:
    """Softmax over axis 0 of (C, 64), and of its first column."""
    x = np.random.default_rng(6).standard_normal((classes, 64)).astype(dtype)
    whole, column = np.empty_like(x), np.empty((classes, 1), dtype)
    for log in (False, True):
        _native.softmax(x, whole, axis=0, log=log)
        for first in (x[:, :1], np.ascontiguousarray(x[:, :1])):
            _native.softmax(first, column, axis=0, log=log)
            assert column.tobytes() == whole[:, :1].tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(512, 10), (4096, 3), (700, 100)], ids=str)
@pytest.mark.usefixtures("threads")
def test_the_reduced_loss_for_any_address(shape: tuple[int, int], dtype: Any) -> None:
    """At each of the addresses of a cache line, with and without a gradient, by any threads."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal(shape).astype(dtype)
    y = rng.integers(0, shape[1], shape[0])
    line = np.empty(x.nbytes + 128, np.uint8)
    totals = set()
    for shift in range(0, 64, x.itemsize):
        moved = np.ndarray(shape, dtype, line.data, shift)
        moved[...] = x
        _native.set_num_threads(1 + shift % 3)
        for grad in (None, np.empty_like(x), moved):
            totals.add(_native.cross_entropy(moved, index=y, grad=grad)[0])
            if grad is moved:
                moved[...] = x
        totals.add(_native.reduced_cross_entropy(moved, y, None, -100, 0.0, False))
    assert len(totals) == 1


# --- The floating-point state ------------------------------------------------------------------

# Where fenv_t has the control register, the bits that flush subnormal numbers to 0, and the other
# directions of rounding.
REGISTERS = {
    "x86_64": (28, 0x8040, (0x2000, 0x4000, 0x6000)),
    "aarch64": (0, 0x1000000, (0x400000, 0x800000, 0xC00000)),
}
STATE = REGISTERS.get(platform.machine()) if sys.platform == "linux" else None


@contextmanager
def floating_point(bits: int) -> Iterator[None]:
    """With these bits set in the control register of this thread."""
    assert STATE is not None
    libm = ctypes.CDLL("libm.so.6")
    before, changed = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
    libm.fegetenv(before)
    libm.fegetenv(changed)
    register = ctypes.c_uint32.from_buffer(changed, STATE[0])
    register.value |= bits
    libm.fesetenv(changed)
    try:
        yield
        after = ctypes.create_string_buffer(64)
        libm.fegetenv(after)
        assert ctypes.c_uint32.from_buffer(after, STATE[0]).value & bits == bits, "not restored"
    finally:
        libm.fesetenv(before)


@pytest.mark.skipif(STATE is None, reason="needs Linux on x86-64 or aarch64")
@pytest.mark.parametrize("shape", [(3000, 10), (50, 1000), (2, 70_000)], ids=str)
@pytest.mark.usefixtures("threads")
def test_bits_for_any_floating_point_state(shape: tuple[int, int]) -> None:
    """Flushed subnormal numbers and another rounding are the caller's affair."""
    assert STATE is not None
    x = np.zeros(shape, np.float32)
    x[:, 1:] = -95  # exp(-95) is subnormal
    x[::5] = np.random.default_rng(8).standard_normal(x[::5].shape)
    y = np.zeros(len(x), np.int64)
    want = everything(x, y)
    assert 0 < want[0][1, 1] < np.finfo(np.float32).tiny
    for threads in (1, 2):
        _native.set_num_threads(threads)
        for bits in (STATE[1], *STATE[2]):
            with floating_point(bits):
                got = everything(x, y)
            assert same_bits(got, want)


# --- Instruction sets ----------------------------------------------------------------------------

SAME_BITS = {"x86_64": "x86-64-v3", "aarch64": "baseline"}  # AVX2 with FMA, and NEON
DIGESTS = {
    "float32": "65bc26ef47178887",
    "float64": "c4088a0757b73474",
    "float16": "ad4120df0ae87ac9",
    "bfloat16": "5523147f4a3f0ee4",
}


def inputs(rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits and targets that don't depend on anybody's random numbers."""
    bits = np.arange(rows * classes, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (bits >> np.uint64(40)).astype(np.float64) / 2**20 - 8
    x = x.reshape(rows, classes)
    x[1::5] *= 20
    return x, (np.arange(rows) * 7919) % classes


@pytest.mark.parametrize("name", DIGESTS)
def test_avx2_and_neon_have_the_same_bits(name: str, level: str) -> None:
    """The digest of results of every function, layout and option; the same file runs on both."""
    if SAME_BITS.get(platform.machine()) != level:
        pytest.skip(f"{level} of {platform.machine()} has bits of its own")
    digest = hashlib.sha256()
    for rows, classes in ((131, 1), (140, 3), (70, 10), (40, 100), (20, 333), (3, 5000)):
        numbers, y = inputs(rows, classes)
        x = to_bfloat16(numbers.astype(np.float32)) if name == "bfloat16" else numbers.astype(name)
        for option in STRIDED_OPTIONS.values():
            if "probabilities" in option or "weight" in option:  # of random numbers
                continue
            for v in results(x, y, np.array, option):
                wide = from_bfloat16(v) if v.dtype == np.uint16 else v
                wide = wide.astype(np.float64)
                wide[np.isnan(wide)] = np.nan  # the processor chooses its sign
                digest.update(wide.tobytes())
    assert digest.hexdigest()[:16] == DIGESTS[name]


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_the_same_on_every_instruction_set(dtype: Any, level: str) -> None:
    """Ranks and zeros, and every other result within the sum of two error bounds."""
    x, y = (v.astype(t) for v, t in zip(inputs(60, 500), (dtype, np.int64), strict=True))
    x[:, 3] = -np.inf
    here = results(x, y, np.array, {})
    _native.select_level("baseline")
    there = results(x, y, np.array, {})
    _native.select_level(level)
    soft, argmax, hits = here[0], here[8], here[9]
    assert (soft[:, 3] == 0).all()
    assert argmax.tobytes() == there[8].tobytes()
    assert hits.tobytes() == there[9].tobytes()
    ulps = 8 * np.finfo(dtype).eps
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(soft, there[0], ulps, np.finfo(dtype).tiny)
        np.testing.assert_allclose(here[2], there[2], 8 * np.finfo(np.float64).eps * 2**29)
