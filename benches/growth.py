"""Time per element from 10^5 to 10^9 elements, and memory per row: python -m benches.growth.

The time should be proportional to the number of elements. One buffer is allocated once, loss and
gradient are computed in place on parts of it, and the sizes alternate. Memory is the growth of the
peak of a process while it computes losses of many rows, with a fresh process for each measurement.

    python -m benches.growth [--largest 1e9] [--dtype float16]      10^9 float32 take 4 GB
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np

from softxent import cross_entropy, cross_entropy_with_grad, get_num_threads, kernels

CLASSES = 1000
ROUNDS = 5


def growth(largest: int, dtype: Any) -> list[dict[str, float]]:
    sizes = [10**k for k in range(5, 10) if 10**k <= largest]
    if sizes[-1] != largest:
        sizes.append(largest // CLASSES * CLASSES)
    buffer = np.empty(sizes[-1], dtype)
    some = np.random.default_rng(0).standard_normal(10**5).astype(dtype)
    for begin in range(0, len(buffer), len(some)):
        part = buffer[begin : begin + len(some)]
        part[...] = some[: len(part)]
    target = np.arange(sizes[-1] // CLASSES) % CLASSES
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(ROUNDS + 1):
        for size in sizes:
            x = buffer[:size].reshape(-1, CLASSES)
            y = target[: len(x)]
            repeat = max(1, 10**7 // size)
            start = time.perf_counter()
            for _ in range(repeat):
                _, grad = cross_entropy_with_grad(x, y, out=x)
            seconds[size].append((time.perf_counter() - start) / repeat)
            assert grad is x
    found = []
    for size in sizes:
        each = statistics.median(seconds[size][1:]) / size
        found.append({"elements": size, "ns per element": 1e9 * each})
        beside = each / (found[0]["ns per element"] / 1e9)
        print(f"{size:14,d} elements  {1e9 * each:7.3f} ns each  x{beside:.2f}", flush=True)
    return found


def bytes_a_row(reduction: Literal["none", "mean", "sum"], rows: int, classes: int = 4) -> float:
    """Measure by how much one forward pass raises the peak memory of this process."""
    x = np.random.default_rng(0).standard_normal((rows, classes), np.float32)
    y = np.arange(rows)
    y %= classes  # in place: the peak must equal the memory in use
    cross_entropy(x[:1000], y[:1000], reduction=reduction)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = cross_entropy(x, y, reduction=reduction)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert np.isfinite(result).all()
    return (after - before) * 1024 / rows


def memory() -> list[dict[str, Any]]:
    found = []
    for reduction in ("none", "sum", "mean"):
        call = f"from benches.growth import bytes_a_row; print(bytes_a_row({reduction!r}, 10**7))"
        held = float(subprocess.check_output([sys.executable, "-c", call], text=True))
        found.append({"reduction": reduction, "bytes a row": held})
        print(f"forward, reduction {reduction!r}: {held:.1f} bytes per row, without the inputs")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=float, default=1e9, help="elements")
    parser.add_argument("--dtype", choices=["float16", "float32", "float64"], default="float32")
    parser.add_argument("--json", type=Path, default=Path(".bench/growth.json"))
    args = parser.parse_args()
    # This comes first because a process inherits the peak of its parent.
    found: dict[str, Any] = {"memory": memory()}
    print(f"{args.dtype}, loss and gradient over the logits, {CLASSES} classes, {kernels()}")
    found |= {"kernels": kernels(), "threads": get_num_threads(), "dtype": args.dtype}
    found["growth"] = growth(int(args.largest), np.dtype(args.dtype))
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
