"""Random calls of the compiled module: an error or a correct result, never a write outside.

python -m tests.native.fuzz [calls] [seed]; a few thousand of them are part of the test suite, and
`make fuzz` makes a million. Each call takes arrays of random shape, strides, alignment and dtype;
sometimes the dtype is wrong, an array is read-only, or two of them overlap. Results are compared
with the float64 reference; every buffer that is written lies between guard bytes.

One call in four goes through the public functions, which copy what the module refuses. Logits of
any size, up to the largest of the dtype, are compared with 50-digit arithmetic, a few rows of them.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import softxent
from softxent import _native
from softxent.ops import reference
from softxent.ops.options import LossOptions
from tests.support import oracle

GUARD = 0xA5
ERRORS = (TypeError, ValueError, IndexError, BufferError)  # softxent's own are among them
TYPES = (np.float32, np.float64, np.float16, np.uint16, np.int32)  # uint16: bfloat16's bits
# The reference is a plain float64 formula, which loses digits where logits differ by 1e4.
RELATIVE = {np.float32: 4e-6, np.float64: 1e-9, np.float16: 1.1e-3, np.uint16: 2.0**-7}
SMALLEST = {np.float32: 1e-37, np.float64: 1e-300, np.float16: 7e-8, np.uint16: 1e-37}
LARGEST = {np.float32: 3.4e38, np.float64: np.inf, np.float16: 65504, np.uint16: 3.38e38}


# The ulp of 1 and the smallest number of each type.
ULPS = {
    "<f8": (2.0**-52, 2.0**-1074),
    "<f4": (2.0**-23, 2.0**-149),
    "<f2": (2.0**-10, 2.0**-24),
    "<u2": (2.0**-7, 2.0**-133),
}
PLAIN = {"label_smoothing": 0.0, "z_loss": 0.0, "softcap": 0.0, "temperature": 1.0}


def wide(x: np.ndarray) -> np.ndarray:
    """The numbers that an array stands for, in float64."""
    if x.dtype == np.uint16:
        with np.errstate(invalid="ignore"):  # signaling NaN
            return (x.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return x.astype(np.float64)


class Fuzz:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.guards: list[tuple[np.ndarray, np.ndarray]] = []
        self.refused = self.answered = self.shortened = 0

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def choose(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    # --- arrays ----------------------------------------------------------------------------------

    def strides(self, shape: tuple[int, ...], item: int) -> tuple[list[int], int]:
        """Strides for any order of the axes, with or without gaps, and the bytes that they span."""
        strides, step, span = [0] * len(shape), item, item
        gaps, mixed = self.chance(0.5), self.chance(0.5)
        for axis in self.rng.permutation(len(shape)) if mixed else range(len(shape))[::-1]:
            if gaps:
                step *= int(self.rng.integers(1, 3))
            strides[axis] = step
            span += (max(shape[axis], 1) - 1) * step
            step *= max(shape[axis], 1)
        return strides, span

    def array(self, shape: tuple[int, ...], dtype: Any, *, writes: bool) -> np.ndarray:
        """An array inside a buffer: between guard bytes if it is written, else at the very end,
        where a sanitizer detects a read behind it."""
        item = np.dtype(dtype).itemsize
        strides, span = self.strides(shape, item)
        offset = self.choose(0, 0, 0, item, 1) + (64 if writes else 0)
        buffer = np.full(offset + span + (128 if writes else 0), GUARD, np.uint8)
        view = np.ndarray(shape, dtype, buffer.data, offset, tuple(strides))
        if writes:
            self.guard(buffer, view, offset)
        if self.chance(0.2):
            view = view[tuple(slice(None, None, self.choose(1, -1)) for _ in shape)]
        return view

    def guard(self, buffer: np.ndarray, view: np.ndarray, offset: int) -> None:
        """From now on only the view's elements may change in the buffer."""
        inside = np.zeros(buffer.shape, bool)
        item = view.itemsize
        marks = np.ndarray((*view.shape, item), bool, inside.data, offset, (*view.strides, 1))
        marks[...] = True
        self.guards.append((buffer, inside))

    def beside(self, x: np.ndarray) -> np.ndarray:
        """An array of x's shape and dtype whose memory starts inside of x's."""
        flat = np.empty(2 * x.size * x.itemsize + 64, np.uint8)
        moved = np.ndarray(x.shape, x.dtype, flat.data, 0)
        moved[...] = x
        shift = x.itemsize * int(self.rng.integers(0, x.size + 1))
        self.moved = moved
        return np.ndarray(x.shape, x.dtype, flat.data, shift)

    def fill(self, view: np.ndarray) -> None:
        if view.dtype == np.uint16 and self.chance(0.2):
            # With NaN and infinities. In the reference, 1e30 + log 2 equals 1e30.
            bits = self.rng.integers(0, 2**16, view.shape).astype(np.uint16)
            size = np.abs(wide(bits))
            view[...] = np.where(np.isfinite(size) & (size > 6e4), 0, bits)
            return
        if view.dtype.kind == "f" and self.chance(0.1):
            view[...] = self.of_any_size(view.shape, view.dtype)
            return
        numbers = self.choose(1, 30, 1e4) * self.rng.standard_normal(view.shape)
        if view.dtype == np.uint16:
            view[...] = (numbers.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
            return
        view[...] = np.clip(numbers, -6e4, 6e4)
        if view.dtype.kind == "f" and view.size and self.chance(0.2):
            special = self.choose(np.nan, np.inf, -np.inf, -np.inf)
            view[tuple(int(self.rng.integers(n)) for n in view.shape)] = special

    def of_any_size(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Numbers between the smallest and the largest of a dtype, some of them equal."""
        info = np.finfo(dtype)
        lowest, highest = np.log(float(info.tiny)), np.log(float(info.max)) - 1e-6
        if self.chance(0.5):  # the largest, where a difference overflows
            lowest = highest - 2
        numbers = np.exp(self.rng.uniform(lowest, highest, shape))
        numbers *= self.rng.choice([-1, 1], shape, p=self.choose([0.5, 0.5], [1, 0], [0, 1]))
        numbers[self.rng.random(shape) < 0.3] = self.choose(info.max, -info.max, 0)
        return numbers.astype(dtype)

    def shape(self) -> tuple[int, ...]:
        if self.chance(0.01):
            return (int(self.rng.integers(1, 40_000)),)
        ndim = (
            int(self.rng.integers(1, 5)) if not self.chance(0.02) else int(self.rng.integers(9, 12))
        )
        longest = self.choose(3, 20, 200) if ndim < 3 else 6 if ndim < 6 else 2
        lowest = 0 if self.chance(0.1) else 1
        return tuple(int(n) for n in self.rng.integers(lowest, longest + 1, ndim))

    # --- calls -----------------------------------------------------------------------------------

    def call(self) -> None:
        self.guards = []
        shape = self.shape()
        ndim = len(shape)
        dtype = TYPES[self.rng.choice(5, p=[0.36, 0.25, 0.18, 0.18, 0.03])]
        axis = int(self.rng.integers(-ndim, ndim))
        classes = shape[axis]
        rows = int(np.prod([n for d, n in enumerate(shape) if d != axis % ndim], dtype=np.int64))
        if self.chance(0.01):
            axis = ndim
        x = self.array(shape, dtype, writes=False)
        self.fill(x)
        out_shape = shape if not self.chance(0.02) else tuple(n + 1 for n in shape)
        out_type = dtype if not self.chance(0.02) else self.choose(*TYPES)
        out = self.array(out_shape, out_type, writes=True)
        kind = self.choose(
            "apart", "apart", "apart", "apart", "apart", "itself", "beside", "frozen"
        )
        if kind == "itself":
            out = x
        elif kind == "beside":
            out, x = self.beside(x), self.moved
        elif kind == "frozen" and self.chance(0.3):
            out = out[...]
            out.flags.writeable = False
        try:
            with np.errstate(all="ignore"):
                operation = self.choose(self.softmax, self.logsumexp, self.loss, self.loss)
                operation(x, out, axis, rows, classes)
            self.answered += 1
        except ERRORS:
            self.refused += 1
        for buffer, inside in self.guards:
            assert (buffer[~inside] == GUARD).all(), "written outside"

    def by_row(self, x: np.ndarray, axis: int, classes: int) -> np.ndarray:
        return np.moveaxis(wide(x), axis, -1).reshape(-1, classes)

    def compare(self, what: str, got: Any, want: Any, dtype: Any, scale: Any = 0.0) -> None:
        """Equal, or close for the dtype; `scale` is the size of the terms that may cancel."""
        near = np.abs(got - want) <= RELATIVE[dtype] * (np.abs(want) + scale) + SMALLEST[dtype]
        same = (got == want) | (np.isnan(got) & np.isnan(want))
        same |= (np.abs(want) >= LARGEST[dtype]) & (got == np.copysign(np.inf, want))
        if not (near | same).all():
            at = np.argwhere(~(near | same))[0]
            raise AssertionError(f"{what} at {at}: {got[tuple(at)]} instead of {want[tuple(at)]}")

    def softmax(self, x: np.ndarray, out: np.ndarray, axis: int, rows: int, classes: int) -> None:
        log = self.chance(0.5)
        z: Any = self.by_row(x, axis, classes) if -x.ndim <= axis < x.ndim else None
        if self.chance(0.25):
            (softxent.log_softmax if log else softxent.softmax)(x, axis, out=out)
            if x.dtype.kind in "iu":  # computed in float64, and `out` has that dtype
                return
        else:
            _native.softmax(x, out, axis=axis, log=log)
        if self.is_huge(z):
            self.check_huge("softmax", self.by_row(out, axis, classes), z, x, log)
            return
        want = (reference.log_softmax if log else reference.softmax)(z)
        want[~np.isfinite(reference.logsumexp(z))] = np.nan
        got = self.by_row(out, axis, classes)
        size = np.abs(z).max(axis=1, keepdims=True, initial=0, where=np.isfinite(z))
        self.compare("softmax", got, want, x.dtype.type, 1e-3 * size if log else 0)

    def logsumexp(self, x: np.ndarray, out: np.ndarray, axis: int, rows: int, classes: int) -> None:
        dtype = x.dtype.type
        if self.chance(0.25):
            got = np.reshape(np.asarray(softxent.logsumexp(x, axis), np.float64), -1)
            if x.dtype.kind in "iu":
                return
        else:
            dtype = dtype if dtype == np.float64 else np.float32
            got = self.array((rows + int(self.chance(0.02)),), np.float64, writes=True)
            _native.logsumexp(x, got, axis=axis)
        z = self.by_row(x, axis, classes)
        if self.is_huge(z):
            self.check_huge("logsumexp", got, z, x)
            return
        want = reference.logsumexp(z)
        want[np.isnan(z).any(axis=1)] = np.nan
        self.compare("logsumexp", got, want, dtype, 1)

    def target(self, x: np.ndarray, axis: int, rows: int, classes: int) -> dict[str, Any]:
        rng = self.rng
        given: dict[str, Any] = {}
        both = self.chance(0.01)
        if self.chance(0.6) or both:
            y = rng.integers(0, max(classes, 1), rows)
            if rows and self.chance(0.3):
                y[rng.integers(rows)] = -100
            if rows and self.chance(0.1):
                y[rng.integers(rows)] = self.choose(-1, classes, 2**62, -(2**62))
            given["index"] = y if not self.chance(0.02) else y.astype(np.int32)
        if both or (not given and not self.chance(0.01)):
            q = self.array(x.shape, self.choose(x.dtype.type, np.float32), writes=False)
            numbers = rng.random(x.shape, np.float32)
            if self.chance(0.3):
                numbers[numbers < 0.5] = 0
            q[...] = numbers if q.dtype != np.uint16 else (
                (numbers.view(np.uint32) >> 16).astype(np.uint16)
            )  # fmt: skip
            given["probabilities"] = q
        if self.chance(0.3):
            weight = rng.random(classes + int(self.chance(0.05)))
            weight[weight < 0.2] = 0
            given["weight"] = weight.astype(np.float64 if x.dtype == np.float64 else np.float32)
        return given

    def loss(self, x: np.ndarray, out: np.ndarray, axis: int, rows: int, classes: int) -> None:
        given = self.target(x, axis, rows, classes)
        options = {
            "label_smoothing": self.choose(0.0, 0.0, 0.1, 1.0),
            "z_loss": self.choose(0.0, 0.0, 1e-3),
            "softcap": self.choose(0.0, 0.0, 5.0),
            "temperature": self.choose(1.0, 1.0, 0.5),
        }
        if self.chance(0.5):
            options = {**PLAIN, "label_smoothing": options["label_smoothing"]}
        z: Any = self.by_row(x, axis, classes) if -x.ndim <= axis < x.ndim else None
        if self.chance(0.25) and len(given) and not {"index", "probabilities"} <= set(given):
            got_loss: Any = self.public_loss(x, out, axis, given, options)
            grad: Any = out
            scale: Any = 1.0
            if got_loss is None:
                return
        else:
            scale = self.choose(1.0, 1.0, 0.25)
            got_loss, grad, scale = self.native_loss(x, out, axis, rows, given, options, scale)
        if classes == 0 or not rows:
            return
        dtype = np.float64 if x.dtype.kind == "i" else x.dtype.type
        self.check_loss(z, got_loss, grad, axis, given, options, scale, dtype)

    def public_loss(
        self, x: np.ndarray, out: np.ndarray, axis: int, given: dict[str, Any], options: Any
    ) -> np.ndarray | None:
        target = given.get("index")
        if target is not None:
            shape = tuple(n for d, n in enumerate(x.shape) if d != axis % x.ndim)
            target = target.reshape(shape)
        else:
            target = given.get("probabilities")
        if "uint16" in (x.dtype.name, getattr(target, "dtype", x.dtype).name):
            return None  # the public functions would take it for integers
        if target is None:
            return None
        loss, _ = softxent.cross_entropy_with_grad(
            x, target, given.get("weight"), axis=axis, reduction="none", out=out,
            **{**options, "softcap": options["softcap"] or None},
        )  # fmt: skip
        return np.asarray(loss, np.float64).reshape(-1)

    def native_loss(
        self, x: np.ndarray, out: np.ndarray, axis: int, rows: int, given: dict[str, Any],
        options: dict[str, Any], scale: float,
    ) -> tuple[np.ndarray, np.ndarray | None, Any]:  # fmt: skip
        loss = np.empty(rows) if self.chance(0.5) else self.array((rows,), np.float64, writes=True)
        saved = np.empty((rows + int(self.chance(0.01)), 2))
        grad = out if self.chance(0.8) else None
        upstream = self.rng.random(rows) if self.chance(0.3) else None
        again = grad is not None and not np.may_share_memory(x, grad)
        before = x.copy() if grad is None or again else None
        reduced = self.reduced_loss(x, given, options) if scale == 1 and upstream is None else None
        given = {**given, **options, "scale": scale, "upstream": upstream, "axis": axis}
        total, _ = _native.cross_entropy(x, **given, loss=loss, saved=saved, grad=grad)
        self.compare("total", np.array([total]), loss.sum(keepdims=True), np.float64, 1.0)
        if before is not None:
            assert x.tobytes() == before.tobytes(), "an input was changed"
        if reduced is not None and axis % x.ndim == x.ndim - 1:
            self.compare("total", np.array([reduced[0]]), np.array([total]), np.float64, abs(total))
            if grad is not None:
                assert np.array_equal(wide(reduced[1]), wide(grad), equal_nan=True), "reduced"
        if grad is not None and again:
            want = wide(grad)
            _native.cross_entropy(x, **given, saved=saved, from_saved=True, grad=grad)
            # Chunks of a long row are relative to their own maxima here, and to the row's before.
            ulp, least = ULPS[x.dtype.str] if x.shape[axis] > 2048 else (0, 0)
            assert np.allclose(wide(grad), want, 8 * ulp, 8 * least, equal_nan=True), (
                "forward and backward disagree"
            )
        return loss, grad, scale if upstream is None else scale * upstream[:, None]

    def reduced_loss(
        self, x: np.ndarray, given: dict[str, Any], options: dict[str, Any]
    ) -> tuple[float, np.ndarray] | None:
        """The sum of the losses by the fast path, and the gradient, if it takes such arrays."""
        plain = {**options, "label_smoothing": 0.0} == PLAIN and set(given) == {"index"}
        if not plain:
            return None
        logits = np.array(x, order="C") if self.chance(0.8) else x
        kind = self.choose("apart", "new", "itself", "beside")
        if kind == "beside":
            grad, logits = self.beside(x), self.moved
        elif kind == "itself" and logits is not x:
            grad = logits
        else:
            grad = self.array(x.shape, x.dtype, writes=True) if kind == "apart" else x.copy("C")
        try:
            total = _native.reduced_cross_entropy(
                logits, given["index"], grad, -100, options["label_smoothing"], False
            )
        except (TypeError, ValueError, IndexError, BufferError):
            return None
        self.shortened += 1
        return total, grad

    def check_loss(
        self, z: np.ndarray, loss: np.ndarray, grad: np.ndarray | None, axis: int,
        given: dict[str, Any], options: dict[str, Any], scale: Any, dtype: Any,
    ) -> None:  # fmt: skip
        if self.is_huge(z):
            self.check_huge_loss(z, loss, grad, axis, given, options, scale, dtype)
            return
        classes = z.shape[1]
        y, q = given.get("index"), given.get("probabilities")
        ignored = np.zeros(len(z), bool) if y is None else y == -100
        if y is None:
            assert q is not None
            target = self.by_row(q, axis, classes)
        else:
            target = np.zeros(z.shape)
            target[np.arange(len(z)), np.where(ignored, 0, y)] = 1
        options = {**options, "softcap": options["softcap"] or None}
        want, want_grad, _ = reference.cross_entropy(
            z, target, LossOptions(weight=given.get("weight"), **options)
        )
        undefined = np.isnan(want)
        want_grad[undefined] = np.nan
        want[ignored], want_grad[ignored] = 0, 0
        finite = np.where(np.isfinite(z), z, 0)
        lse = np.abs(finite).max(axis=1, initial=0) / options["temperature"] + np.log(classes)
        if options["softcap"]:
            lse = options["softcap"] + np.log(classes)
        distribution = reference.target_distribution(
            target, classes, given.get("weight"), options["label_smoothing"]
        )
        total = distribution.sum(axis=1)
        sharp = np.float64 if dtype == np.float64 else np.float32
        terms = total * lse + options["z_loss"] * lse**2
        self.compare("loss", loss, want, sharp, 1e-3 * terms)
        if grad is None:
            return
        size = (total + 2 * options["z_loss"] * lse)[:, None] / options["temperature"]
        self.compare("gradient", self.by_row(grad, axis, classes), want_grad * scale, dtype, size)

    # --- logits of any size ----------------------------------------------------------------------

    def is_huge(self, z: np.ndarray) -> bool:
        """Whether the plain reference has lost the differences between the logits."""
        return bool(z.size and np.isfinite(z).all() and np.abs(z).max() > 1e8)

    def some_rows(self, z: np.ndarray) -> np.ndarray:
        """A few rows; of long ones seldom one, since hundreds of digits take their time."""
        long = z.shape[1] > 40
        return self.rng.integers(0, len(z), int(self.chance(0.1)) if long else 2)

    def check_huge(
        self, what: str, got: np.ndarray, z: np.ndarray, x: np.ndarray, log: bool = False
    ) -> None:
        of_row: Any = oracle.log_softmax if log else getattr(oracle, what)
        dtype = x.dtype.type
        if what == "logsumexp" and dtype != np.float64:
            dtype = np.float32
        for i in self.some_rows(z):
            want = np.atleast_1d(np.array(of_row(z[i]), object)).astype(np.float64)
            self.compare(what, np.atleast_1d(got[i]), want, dtype)

    def check_huge_loss(
        self, z: np.ndarray, loss: np.ndarray, grad: np.ndarray | None, axis: int,
        given: dict[str, Any], options: dict[str, Any], scale: Any, dtype: Any,
    ) -> None:  # fmt: skip
        y, q = given.get("index"), given.get("probabilities")
        upstream = np.broadcast_to(np.reshape(scale, -1), len(z))
        options = {**options, "softcap": options["softcap"] or None}
        for i in self.some_rows(z):
            if y is not None and y[i] == -100:
                continue
            with np.errstate(over="ignore"):
                if np.isinf(z[i] / options["temperature"]).any():
                    continue  # beyond float64: NaN
            target: Any
            if y is None:
                assert q is not None
                target = self.by_row(q, axis, z.shape[1])[i]
            else:
                target = y[i]
            result = oracle.cross_entropy(z[i], target, given.get("weight"), **options)
            sharp = np.float64 if dtype == np.float64 else np.float32
            self.compare("loss", loss[[i]], np.array([float(result.loss)]), sharp)
            if options["z_loss"] and not np.isfinite(float(result.loss)):
                continue  # lse^2 is beyond float64
            if grad is not None:
                want, terms = (
                    np.array([float(g * oracle.exact(upstream[i])) for g in numbers])
                    for numbers in (result.grad, result.terms)
                )
                got = self.by_row(grad, axis, z.shape[1])[i]
                self.compare("gradient", got, want, dtype, np.abs(terms))


def fuzz(calls: int, seed: int) -> tuple[int, int, int]:
    """How many calls were answered, how many refused, and how many also took the fast path."""
    run = Fuzz(seed)
    levels = _native.levels()
    for k in range(calls):
        if k % 100 == 0:
            _native.select_level(levels[k // 100 % len(levels)])
            _native.set_num_threads(1 + k // 100 % 3)
        try:
            run.call()
        except AssertionError as error:
            error.add_note(f"call {k} of seed {seed}, {_native.current_level()}")
            raise
    return run.answered, run.refused, run.shortened


if __name__ == "__main__":
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    answered, refused, shortened = fuzz(calls, seed)
    sys.stdout.write(f"answered {answered}, refused {refused}, the fast path {shortened}\n")
