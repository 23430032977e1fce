"""Random calls of the kernels' binding: an error or a right answer, never a write outside.

python tests/native/fuzz.py [calls] [seed]; a few hundred of them are part of the test suite.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from softxent import _native

GUARD = 0xA5
ERRORS = (TypeError, ValueError, IndexError)
TYPES = (np.float32, np.float64, np.float16, np.uint16, np.int32)


class Fuzz:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.guards: list[tuple[np.ndarray, np.ndarray]] = []
        self.refused = self.answered = 0

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def array(self, shape: tuple[int, ...], dtype: Any, *, writes: bool) -> np.ndarray:
        """Somewhere inside a larger buffer, with random strides, between guard bytes."""
        order = self.rng.permutation(len(shape))
        gaps = self.rng.integers(1, 3, len(shape)) if self.chance(0.5) else [1] * len(shape)
        item = np.dtype(dtype).itemsize
        strides, step = [0] * len(shape), item
        for axis, gap in zip(order, gaps, strict=True):
            step *= int(gap)
            strides[axis] = step
            step *= max(shape[axis], 1)
        offset = 64 + int(self.rng.choice([0, 0, 0, item, 1]))
        buffer = np.full(step + 192, GUARD, np.uint8)
        view = np.ndarray(shape, dtype, buffer.data, offset, tuple(strides))
        if writes:
            inside = np.zeros(buffer.shape, bool)
            marks = np.ndarray((*shape, item), bool, inside.data, offset, (*strides, 1))
            marks[...] = True
            self.guards.append((buffer, inside))
        if self.chance(0.3):
            flipped = tuple(slice(None, None, int(self.rng.choice([1, -1]))) for _ in shape)
            view = view[flipped]
        return view

    def values(self, view: np.ndarray) -> None:
        if view.dtype == np.uint16:
            view[...] = self.rng.integers(0, 2**16, view.shape)
        else:
            scale = self.rng.choice([1, 30, 1e4])
            view[...] = np.clip(scale * self.rng.standard_normal(view.shape), -6e4, 6e4)
            if view.dtype.kind == "f" and view.size and self.chance(0.2):
                special = self.rng.choice([np.nan, np.inf, -np.inf])
                view[tuple(int(self.rng.integers(n)) for n in view.shape)] = special

    def call(self) -> None:
        self.guards = []
        ndim = int(self.rng.integers(1, 5))
        longest = int(self.rng.choice([3, 20, 200])) if ndim < 3 else 6
        shape = tuple(
            int(n) for n in self.rng.integers(0 if self.chance(0.1) else 1, longest + 1, ndim)
        )
        dtype = TYPES[self.rng.choice(5, p=[0.35, 0.25, 0.18, 0.18, 0.04])]
        axis = int(self.rng.integers(-ndim, ndim + (1 if self.chance(0.02) else 0)))
        x = self.array(shape, dtype, writes=False)
        self.values(x)
        rows = int(np.prod([n for d, n in enumerate(shape) if d != axis % ndim], dtype=np.int64))
        classes = shape[axis % ndim]
        if self.chance(0.02):
            rows += 1
        out_shape = shape if not self.chance(0.03) else tuple(n + 1 for n in shape)
        out_type = dtype if not self.chance(0.03) else TYPES[self.rng.integers(5)]
        out = x if self.chance(0.1) else self.array(out_shape, out_type, writes=True)
        if self.chance(0.02):
            out = out[...]
            out.flags.writeable = False
        before = x.copy()
        try:
            operation = int(self.rng.integers(4))
            if operation == 0:
                _native.softmax(x, out, axis=axis, log=self.chance(0.5))
            elif operation == 1:
                _native.logsumexp(x, self.array((rows,), np.float64, writes=True), axis=axis)
                assert x.tobytes() == before.tobytes()
            else:
                self.cross_entropy(x, out, rows, classes, axis)
            self.answered += 1
        except ERRORS:
            self.refused += 1
        for buffer, inside in self.guards:
            assert (buffer[~inside] == GUARD).all(), "written outside"

    def cross_entropy(
        self, x: np.ndarray, out: np.ndarray, rows: int, classes: int, axis: int
    ) -> None:
        rng = self.rng
        given: dict[str, Any] = {}
        if self.chance(0.6):
            y = rng.integers(0, max(classes, 1), rows)
            if rows and self.chance(0.3):
                y[rng.integers(rows)] = rng.choice([-100, -1, classes, 2**62, -(2**62)])
            given["index"] = y
        if self.chance(0.42):
            q = self.array(x.shape, x.dtype, writes=False)
            q[...] = np.abs(self.rng.random(x.shape))
            given["probabilities"] = q
        if self.chance(0.3):
            weight = rng.random(classes + int(self.chance(0.05)))
            given["weight"] = weight.astype(np.float64 if x.dtype == np.float64 else np.float32)
        summary = np.empty((rows, 2))
        options = {
            "label_smoothing": float(rng.choice([0, 0, 0.1, 1])),
            "z_loss": float(rng.choice([0, 0, 1e-3])),
            "softcap": float(rng.choice([0, 0, 5])),
            "temperature": float(rng.choice([1, 1, 0.5])),
        }
        loss = self.array((rows,), np.float64, writes=True)
        before = x.copy()
        grad = out if self.chance(0.8) else None
        _native.cross_entropy(
            x, axis=axis, **given, **options, loss=loss if loss.flags.c_contiguous else None,
            summary=summary, grad=None if grad is x else grad,
        )  # fmt: skip
        assert x.tobytes() == before.tobytes(), "an input was changed"
        if grad is not None and grad is not x:
            want = grad.copy()
            _native.cross_entropy(
                x, axis=axis, **given, **options, summary=summary, from_summary=True, grad=grad
            )
            assert np.array_equal(want, grad, equal_nan=want.dtype.kind == "f"), (
                "forward and backward disagree"
            )


def fuzz(calls: int, seed: int) -> tuple[int, int]:
    """How many were answered and how many refused."""
    run = Fuzz(seed)
    levels = _native.levels()
    for k in range(calls):
        if k % 100 == 0:
            _native.select_level(levels[k // 100 % len(levels)])
            _native.set_num_threads(1 + k // 100 % 3)
        with np.errstate(all="ignore"):
            run.call()
    return run.answered, run.refused


if __name__ == "__main__":
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    answered, refused = fuzz(calls, seed)
    sys.stdout.write(f"answered {answered}, refused {refused}\n")
