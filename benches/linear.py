"""The linear head compared with torch: python -m benches.linear [speed] [memory] [large].

Forward and backward of one loss over N rows, D features and C classes, with gradients of features
and classifier. Peers alternate in one process, after a comparison of their results. Memory is the
peak of a fresh process minus its memory before the call and minus the gradients.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benches.harness import Case, check, save
from softxent import linear_cross_entropy
from softxent.ops.linear.engines import chosen_engines

SHAPE = (2048, 768, 50257)
LARGE = (8192, 1024, 128256)
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def eager(X: Tensor, W: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(X, W), y)


def torch_chunked(X: Tensor, W: Tensor, y: Tensor) -> Tensor:
    options = torch.nn.LinearCrossEntropyOptions()
    return F.linear_cross_entropy(X, W, y, options=options)


def ours(X: Tensor, W: Tensor, y: Tensor) -> Tensor:
    loss: Tensor = linear_cross_entropy(X, W, y)
    return loss


def per_row(X: Tensor, W: Tensor, y: Tensor) -> Tensor:
    loss: Tensor = linear_cross_entropy(X, W, y, reduction="none")
    return loss.mean()


PEERS: dict[str, Loss] = {"softxent": ours, "softxent, none": per_row, "torch eager": eager}
if hasattr(torch.nn, "LinearCrossEntropyOptions"):
    PEERS["torch chunked"] = torch_chunked


def inputs(dtype: torch.dtype, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    rows, width, classes = shape
    torch.manual_seed(0)
    X = torch.randn(rows, width).to(dtype).requires_grad_()
    W = torch.empty(classes, width, dtype=dtype).normal_(std=0.02).requires_grad_()
    return X, W, torch.randint(classes, (rows,))


def step(loss: Loss, X: Tensor, W: Tensor, y: Tensor) -> Tensor:
    X.grad = W.grad = None
    value = loss(X, W, y)
    value.backward()
    return value.detach()


def matmuls(X: Tensor, W: Tensor, y: Tensor) -> Callable[[], None]:
    """Return the matmuls alone, by torch, with all logits: a lower bound for exact results."""
    x, w = X.detach(), W.detach()
    g = torch.empty(len(x), len(w), dtype=x.dtype)
    dx, dw = torch.empty_like(x), torch.empty_like(w)

    def run() -> None:
        torch.mm(x, w.T, out=g)
        torch.mm(g, w, out=dx)
        torch.mm(g.T, x, out=dw)

    return run


def speed(args: argparse.Namespace) -> list[Case]:
    cases = []
    for dtype in (torch.float32, torch.bfloat16):
        X, W, y = inputs(dtype, SHAPE)
        value = step(eager, X, W, y)
        assert W.grad is not None
        want = W.grad.float()
        for name, loss in PEERS.items():
            got = step(loss, X, W, y)
            tolerance = 1e-4 if dtype == torch.float32 else 2e-2
            check(name, got.float(), value.float(), rtol=tolerance)
            worst = float((W.grad.float() - want).abs().max() / want.abs().max())
            assert worst < tolerance, f"{name}: gradient off by {worst}"
        runs: dict[str, Callable[[], Any]] = {
            name: partial(step, loss, X, W, y) for name, loss in PEERS.items()
        }
        runs["matmuls alone"] = matmuls(X, W, y)
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(args.rounds):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
        case = Case(f"{dtype} {SHAPE}", 0, {n: statistics.median(t) for n, t in times.items()})
        cases.append(case)
        print(f"\n{case.name}, medians of {args.rounds}; engine: {chosen_engines() or 'torch'}")
        for name, seconds in case.seconds.items():
            ratio = seconds / case.seconds["torch eager"]
            print(f"  {name:16s} {seconds:8.3f} s   {ratio:5.2f} of torch eager", flush=True)
    return cases


def peak() -> float:
    """Return the peak memory of this process since the last reset, in MiB; Linux only."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def measure(peer: str, dtype: torch.dtype, shape: tuple[int, int, int]) -> dict[str, float]:
    """Measure one step in this process."""
    X, W, y = inputs(dtype, shape)
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak after making the inputs
    before = peak()
    start = time.perf_counter()
    step(PEERS[peer], X, W, y)
    assert X.grad is not None
    assert W.grad is not None
    gradients = (X.grad.nbytes + W.grad.nbytes) / 2**20
    taken = time.perf_counter() - start
    return {"MiB": peak() - before - gradients, "all MiB": peak(), "seconds": taken}


def fresh(peer: str, dtype: str, shape: tuple[int, int, int]) -> dict[str, float]:
    command = [sys.executable, "-m", "benches.linear", "--one", peer, dtype, *map(str, shape)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def memory(args: argparse.Namespace) -> list[Case]:
    cases = []
    for dtype in ("float32", "bfloat16"):
        print(f"\npeak memory without arguments and gradients, {dtype} {SHAPE}, fresh processes")
        case = Case(f"memory {dtype}", 0)
        for name in PEERS:
            used = fresh(name, dtype, SHAPE)
            if dtype == "bfloat16" and name.startswith("softxent"):
                print(f"  {name:16s} {used['MiB']:7.0f} MiB, including a float32 copy of dW")
            else:
                print(f"  {name:16s} {used['MiB']:7.0f} MiB", flush=True)
            case.seconds[name] = used["MiB"]
        cases.append(case)
    return cases


def large(args: argparse.Namespace) -> list[Case]:
    used = fresh("softxent", "float32", LARGE)
    print(
        f"\nfloat32 {LARGE}: {used['all MiB'] / 1024:.2f} GiB in total, {used['MiB']:.0f} MiB "
        f"without arguments and gradients, {used['seconds']:.1f} s"
    )
    return [Case(f"large {LARGE}", 0, used)]


PARTS = {"speed": speed, "memory": memory, "large": large}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path(".bench/linear.json"))
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        peer, dtype, *shape = args.one
        rows, width, classes = map(int, shape)
        print(json.dumps(measure(peer, getattr(torch, dtype), (rows, width, classes))))
        return
    print(f"{os.cpu_count()} processors, torch {torch.__version__}")
    cases = [case for part in args.parts or PARTS for case in PARTS[part](args)]
    save(args.json, cases)


if __name__ == "__main__":
    main()
