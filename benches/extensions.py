"""Compare two builds of the compiled kernels in one process: first their bits, then their speed.

    python -m benches.extensions OLD.so NEW.so

Every instruction set that this processor has computes every operation over a range of dtypes,
shapes, options and numbers of threads with both extensions. Results must have the same bits. Then
the two alternate over the same arrays; printed is the median of the ratios new / old of adjacent
calls for each cell, and every cell beyond the limit, which is timed again with more calls. The exit
status is 1 where a bit differs, and the timing leaves it alone: a busy machine has outliers.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

DTYPES = ("float16", "bfloat16", "float32", "float64")
THREADS = (1, 2)
LIMIT = 0.02  # of the time that a call takes
# Names of these arguments in older extensions.
OLDER_NAMES = {"saved": "summary", "from_saved": "from_summary"}


def load(path: Path, package: str) -> ModuleType:
    """The extension at `path`, beside others of the same module name."""
    spec = importlib.util.spec_from_file_location(f"{package}._native", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments(module: ModuleType, given: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments under the names that this extension has for them."""
    if "saved" in str(module.cross_entropy.__doc__):
        return given
    return {OLDER_NAMES.get(name, name): value for name, value in given.items()}


# ---- Inputs


def as_dtype(values: npt.NDArray[np.float64], dtype: str) -> Array:
    """Rounded to the dtype; bfloat16 as the bits that the kernels take for it."""
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    bits = values.astype(np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)


SHAPES = {  # name: (shape, axis of the classes)
    "2": ((5003, 2), -1),
    "3": ((5003, 3), -1),
    "10": ((8192, 10), -1),
    "19 on axis 1": ((4, 19, 48, 40), 1),
    "100": ((1013, 100), -1),
    "1000": ((257, 1000), -1),
    "2049": ((61, 2049), -1),
    "32000": ((17, 32000), -1),
    "128256": ((5, 128256), -1),
    "one row of 1000003": ((1, 1000003), -1),
}
VALUES = ("everyday", "far apart", "offset", "special")


def logits_of(shape: tuple[int, ...], values: str) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(len(values) + sum(shape))
    z = rng.standard_normal(shape)
    if values == "everyday":
        return 3 * z
    if values == "far apart":
        return 60 * z
    if values == "offset":
        return 4 * z + 700
    z *= 5
    z[rng.random(shape) < 0.01] = -np.inf
    z[rng.random(shape) < 0.0005] = np.nan
    z[rng.random(shape) < 0.0005] = np.inf
    return z


@dataclass(frozen=True)
class Problem:
    """Logits with everything that an operation may read beside them."""

    dtype: str
    logits: Array
    axis: int
    index: npt.NDArray[np.int64]
    weight: Array
    probabilities: Array

    @property
    def rows(self) -> int:
        return self.index.size

    @classmethod
    def of(cls, dtype: str, shape: str, values: str) -> Problem:
        dims, axis = SHAPES[shape]
        rng = np.random.default_rng(7)
        classes = dims[axis]
        rows = int(np.prod(dims)) // classes
        index = rng.integers(0, classes, rows)
        index[rng.random(rows) < 0.05] = -100
        wide = np.float64 if dtype == "float64" else np.float32
        q = rng.random(dims)
        q /= q.sum(axis, keepdims=True)
        logits = as_dtype(logits_of(dims, values), dtype)
        weight = (0.5 + rng.random(classes)).astype(wide)
        return cls(dtype, logits, axis, index, weight, as_dtype(q, dtype))


# ---- Operations: each returns every array and number that it computed


def aligned_like(a: Array) -> Array:
    """An array of the same shape that begins a cache line.

    The order in which the rows' losses are added depends on where rows begin, and with it the last
    bits of their sum.
    """
    memory = np.empty(a.nbytes + 64, np.uint8)
    offset = -memory.ctypes.data % 64
    return memory[offset : offset + a.nbytes].view(a.dtype).reshape(a.shape)


Results = list[Any]
Operation = Callable[[ModuleType, Problem], Results]

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "weight": {"weight": True},
    "smoothing": {"weight": True, "label_smoothing": 0.1},
    "probabilities": {"probabilities": True},
    "z_loss": {"z_loss": 1e-4},
    "z_loss and smoothing": {"z_loss": 1e-3, "label_smoothing": 0.2},
    "softcap": {"softcap": 20.0, "temperature": 0.7},
    "temperature": {"temperature": 1.7, "probabilities": True},
}


def options_of(problem: Problem, options: dict[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = dict(options, axis=problem.axis, scale=0.5, mean=True)
    if given.get("weight"):
        given["weight"] = problem.weight
    if given.get("probabilities"):
        given["probabilities"] = problem.probabilities
    else:
        given["index"] = problem.index
    return given


def softmax(log: bool) -> Operation:
    def run(module: ModuleType, p: Problem) -> Results:
        out = aligned_like(p.logits)
        module.softmax(p.logits, out, axis=p.axis, log=log)
        in_place = aligned_like(p.logits)
        in_place[...] = p.logits
        module.softmax(in_place, in_place, axis=p.axis, log=log)
        return [out, in_place]

    return run


def logsumexp(module: ModuleType, p: Problem) -> Results:
    out = np.empty(p.rows)
    module.logsumexp(p.logits, out, axis=p.axis)
    return [out]


def loss_and_gradient(options: dict[str, Any]) -> Operation:
    def run(module: ModuleType, p: Problem) -> Results:
        given = options_of(p, options)
        loss, saved, grad = np.empty(p.rows), np.empty((p.rows, 2)), aligned_like(p.logits)
        together = {"loss": loss, "saved": saved, "grad": grad}
        numbers = module.cross_entropy(p.logits, **arguments(module, given | together))
        alone = module.cross_entropy(p.logits, **arguments(module, given))
        return [loss, saved, grad, numbers, alone]

    return run


def gradient_from_saved(options: dict[str, Any]) -> Operation:
    def run(module: ModuleType, p: Problem) -> Results:
        given = options_of(p, options)
        loss, saved, grad = np.empty(p.rows), np.empty((p.rows, 2)), aligned_like(p.logits)
        forward = given | {"loss": loss, "saved": saved}
        module.cross_entropy(p.logits, **arguments(module, forward))
        upstream = np.linspace(-1, 2, p.rows)
        backward = given | {"saved": saved, "from_saved": True, "grad": grad, "upstream": upstream}
        denominator = module.cross_entropy(p.logits, **arguments(module, backward))[1]
        return [loss, saved, grad, denominator]

    return run


def with_statistics(module: ModuleType, p: Problem) -> Results:
    loss, saved, entropy = np.empty(p.rows), np.empty((p.rows, 2)), np.empty(p.rows)
    argmax, hits = np.empty(p.rows, np.int64), np.empty(p.rows, np.bool_)
    given = options_of(p, {}) | {"k": 2, "entropy": entropy, "argmax": argmax, "hits": hits}
    given |= {"loss": loss, "saved": saved}
    return [
        loss,
        saved,
        entropy,
        argmax,
        hits,
        module.cross_entropy(p.logits, **arguments(module, given)),
    ]


def reduced(module: ModuleType, p: Problem) -> Results:
    if p.axis != -1:
        return []
    grad = aligned_like(p.logits)
    both = module.reduced_cross_entropy(p.logits, p.index, grad, -100, 0.0, True)
    return [grad, both, module.reduced_cross_entropy(p.logits, p.index, None, -100, 0.1, False)]


def binary(module: ModuleType, p: Problem) -> Results:
    x, y = p.logits.reshape(-1), p.probabilities.reshape(-1)
    loss, grad = np.empty(x.size), aligned_like(x)
    return [loss, grad, module.binary_cross_entropy(x, y, loss=loss, grad=grad, scale=0.25)]


OPERATIONS: dict[str, Operation] = {
    "softmax": softmax(log=False),
    "log_softmax": softmax(log=True),
    "logsumexp": logsumexp,
    "statistics": with_statistics,
    "reduced": reduced,
    "binary": binary,
}
for _name, _options in OPTIONS.items():
    OPERATIONS[f"loss and gradient, {_name}"] = loss_and_gradient(_options)
    OPERATIONS[f"gradient from saved, {_name}"] = gradient_from_saved(_options)


def same_bits(a: Any, b: Any) -> bool:
    """Whether every bit agrees; a NaN equals a NaN, whose bits mean nothing."""
    if isinstance(a, tuple):
        return all(same_bits(x, y) for x, y in zip(a, b, strict=True))
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind != "f":
        return a.dtype == b.dtype and bool(np.array_equal(a, b))
    bits = {2: np.uint16, 4: np.uint32, 8: np.uint64}[a.itemsize]
    equal = (a.view(bits) == b.view(bits)) | (np.isnan(a) & np.isnan(b))
    return a.dtype == b.dtype and bool(equal.all())


def select(modules: tuple[ModuleType, ModuleType], level: str, threads: int) -> None:
    for module in modules:
        assert module.select_level(level)
        module.set_num_threads(threads)


def levels_of(modules: tuple[ModuleType, ModuleType], wanted: list[str]) -> list[str]:
    return [
        name
        for name in modules[0].levels()
        if name in modules[1].levels() and (not wanted or name in wanted)
    ]


@dataclass(frozen=True)
class Cell:
    level: str
    threads: int
    dtype: str
    shape: str
    operation: str

    def __str__(self) -> str:
        return f"{self.level}, {self.threads} threads, {self.dtype}, {self.shape}: {self.operation}"


def compare_bits(
    modules: tuple[ModuleType, ModuleType],
    levels: list[str],
    dtypes: list[str],
    shapes: list[str],
) -> list[str]:
    """The cells whose bits differ."""
    different, count = [], 0
    for dtype in dtypes:
        for shape in shapes:
            for values in VALUES:
                problem = Problem.of(dtype, shape, values)
                for level in levels:
                    for threads in THREADS:
                        select(modules, level, threads)
                        for name, run in OPERATIONS.items():
                            old, new = (run(module, problem) for module in modules)
                            count += len(old)
                            if not all(map(same_bits, old, new)):
                                cell = Cell(level, threads, dtype, f"{shape}, {values}", name)
                                different.append(str(cell))
    print(f"{count} results compared; {len(different)} cells differ")
    return different


# ---- Speed


Call = Callable[[ModuleType], object]


def timed_calls(dtype: str, shape: str) -> dict[str, Call]:
    """One call of each kind, into arrays that both extensions share."""
    p = Problem.of(dtype, shape, "everyday")
    out, rows = aligned_like(p.logits), np.empty(p.rows)
    saved = np.empty((p.rows, 2))

    def cross_entropy(**more: Any) -> Call:
        given = {"axis": p.axis, "index": p.index} | more
        return lambda m: m.cross_entropy(p.logits, **arguments(m, given))

    dense = {"index": None, "probabilities": p.probabilities}
    return {
        "softmax": lambda m: m.softmax(p.logits, out, axis=p.axis),
        "log_softmax": lambda m: m.softmax(p.logits, out, axis=p.axis, log=True),
        "logsumexp": lambda m: m.logsumexp(p.logits, rows, axis=p.axis),
        "loss": cross_entropy(loss=rows, saved=saved),
        "loss and gradient": cross_entropy(grad=out),
        "gradient from saved": cross_entropy(grad=out, saved=saved, from_saved=True),
        "loss and gradient, probabilities": cross_entropy(grad=out, **dense),
        "binary": lambda m: m.binary_cross_entropy(
            p.logits.reshape(-1), p.probabilities.reshape(-1), grad=out.reshape(-1)
        ),
    }


def ratio(modules: tuple[ModuleType, ModuleType], call: Call, seconds: float) -> float:
    """The median of new / old over pairs of calls, each pair in the other order than the last."""
    seen = [time_of(call, module, 1) for module in modules]
    seen = [time_of(call, module, 1) for module in modules]
    repeats = max(1, int(1e-3 / max(seen)))
    pairs = max(7, int(seconds / (repeats * sum(seen))))
    ratios = []
    for k in range(pairs):
        order = modules if k % 2 == 0 else modules[::-1]
        took = {id(module): time_of(call, module, repeats) for module in order}
        ratios.append(took[id(modules[1])] / took[id(modules[0])])
    return statistics.median(ratios)


def time_of(call: Call, module: ModuleType, repeats: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        call(module)
    return time.perf_counter() - begin


def cells(levels: list[str], dtypes: list[str], shapes: list[str]) -> Iterator[tuple[Cell, Call]]:
    for shape in shapes:
        for dtype in dtypes:
            calls = timed_calls(dtype, shape)
            for level in levels:
                for threads in THREADS:
                    for name, call in calls.items():
                        yield Cell(level, threads, dtype, shape, name), call


def compare_speed(
    modules: tuple[ModuleType, ModuleType],
    levels: list[str],
    dtypes: list[str],
    shapes: list[str],
    seconds: float,
) -> None:
    ratios: dict[Cell, float] = {}
    for cell, call in cells(levels, dtypes, shapes):
        select(modules, cell.level, cell.threads)
        ratios[cell] = ratio(modules, call, seconds)
        if ratios[cell] > 1 + LIMIT:
            first = ratios[cell]
            ratios[cell] = min(ratio(modules, call, 5 * seconds) for _ in range(2))
            print(f"{ratios[cell]:.3f} (at first {first:.3f})  {cell}", flush=True)
    for level in levels:
        of_level = sorted(r for cell, r in ratios.items() if cell.level == level)
        beyond = sum(r > 1 + LIMIT for r in of_level)
        print(
            f"{level}: {len(of_level)} cells, new / old {of_level[0]:.3f} to {of_level[-1]:.3f}, "
            f"median {statistics.median(of_level):.3f}; {beyond} above {1 + LIMIT:.2f}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path, help="the extension to compare with")
    parser.add_argument("new", type=Path)
    parser.add_argument("--only", choices=("bits", "speed"), help="one of the two comparisons")
    parser.add_argument("--level", action="append", default=[], help="this instruction set alone")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="this dtype alone")
    parser.add_argument("--shape", action="append", choices=list(SHAPES), help="this shape alone")
    parser.add_argument("--seconds", type=float, default=0.05, help="for each timed cell")
    args = parser.parse_args()
    modules = load(args.old, "old"), load(args.new, "new")
    levels = levels_of(modules, args.level)
    dtypes, shapes = args.dtype or list(DTYPES), args.shape or list(SHAPES)
    if args.only != "speed":
        different = compare_bits(modules, levels, dtypes, shapes)
        for cell in different[:50]:
            print(f"different: {cell}")
        if different:
            return 1
    if args.only != "bits":
        compare_speed(modules, levels, dtypes, shapes, args.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
