"""The matmul engines of the linear head compared: python -m benches.matmul_engines [--rounds N].

Prints GFLOP/s of the head's three matmuls (logits, dX, dW) for each engine, shape and dtype: the
measurements behind `softxent.ops.linear.engines.rule`. Results are compared before anything is
timed. Engines alternate; the waiting threads of one engine would slow down the next one, so each
timed round follows one that isn't timed.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor

from softxent.ops.linear.engines import ENGINES, Engine, available, blas, processor, rule

# (rows of a chunk, features, classes of a block)
SHAPES = [(128, 768, 8192), (256, 768, 8192), (512, 768, 8192), (1024, 1024, 2048), (64, 256, 1000)]


Results = tuple[Tensor, Tensor, Tensor]


def buffers(x: Tensor, w: Tensor) -> Results:
    return x.new_empty(len(x), len(w)), torch.empty_like(x), torch.empty_like(w)


def three_matmuls(engine: Engine, x: Tensor, w: Tensor, out: Results) -> Results:
    """The logits and their products with classifier and features, as the head computes them."""
    z, dx, dw = out
    engine.write(x, w.T, z)
    engine.write(z, w, dx)
    engine.write(z.T, x, dw)
    return out


def compare(dtype: torch.dtype, shape: tuple[int, int, int], rounds: int) -> dict[str, float]:
    """GFLOP/s by engine: medians of alternating rounds."""
    rows, width, classes = shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, width, generator=generator, dtype=dtype)
    w = torch.randn(classes, width, generator=generator, dtype=dtype)
    names = available(dtype)
    wide = x.double(), w.double()
    exact = three_matmuls(ENGINES["torch"], *wide, buffers(*wide))
    out = buffers(x, w)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-11
    for name in names:
        for result, expected in zip(three_matmuls(ENGINES[name], x, w, out), exact, strict=True):
            torch.testing.assert_close(
                result.double(),
                expected,
                rtol=tolerance,
                atol=tolerance * float(expected.abs().max()),
            )
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            three_matmuls(ENGINES[name], x, w, out)
            start = time.perf_counter()
            three_matmuls(ENGINES[name], x, w, out)
            seconds[name].append(time.perf_counter() - start)
    operations = 3 * 2 * rows * width * classes
    return {name: operations / statistics.median(seconds[name]) / 1e9 for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    print(f"{processor()}, NumPy with {blas()}, torch {torch.__version__}, GFLOP/s")
    for dtype in (torch.float32, torch.float64):
        for shape in SHAPES:
            speeds = compare(dtype, shape, rounds)
            name = str(dtype).removeprefix("torch.")
            chosen = rule(processor(), blas(), name)
            shown = "  ".join(f"{engine} {speed:6.0f}" for engine, speed in speeds.items())
            share = speeds[chosen] / max(speeds.values())
            print(f"  {name} {shape!s:18s} {shown}  rule: {chosen}, {share:.0%} of the fastest")


if __name__ == "__main__":
    main()
