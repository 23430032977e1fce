"""The memory of the linear head compared with torch: python -m benches.linear_memory [large].

Forward and backward of one loss over N rows, D features and C classes, with gradients of features
and classifier. Memory is the peak of a fresh process minus its memory before the call and minus the
gradients. Its speed is measured by benches.speed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from softxent import linear_cross_entropy

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
    command = [
        sys.executable,
        "-m",
        "benches.linear_memory",
        "--one",
        peer,
        dtype,
        *map(str, shape),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def usual() -> None:
    """Print the peaks of all peers."""
    for dtype in ("float32", "bfloat16"):
        print(f"\npeak memory without arguments and gradients, {dtype} {SHAPE}, fresh processes")
        for name in PEERS:
            used = fresh(name, dtype, SHAPE)
            copy = dtype == "bfloat16" and name.startswith("softxent")
            note = ", including a float32 copy of dW" if copy else ""
            print(f"  {name:16s} {used['MiB']:7.0f} MiB{note}", flush=True)


def large() -> None:
    """Print what softxent needs where the logits alone would take 3.9 GiB."""
    used = fresh("softxent", "float32", LARGE)
    print(
        f"\nfloat32 {LARGE}: {used['all MiB'] / 1024:.2f} GiB in total, {used['MiB']:.0f} MiB "
        f"without arguments and gradients, {used['seconds']:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", choices=["usual", "large"], default="usual")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        peer, dtype, *shape = args.one
        rows, width, classes = map(int, shape)
        print(json.dumps(measure(peer, getattr(torch, dtype), (rows, width, classes))))
        return
    print(f"torch {torch.__version__}")
    if args.part == "large":
        large()
    else:
        usual()


if __name__ == "__main__":
    main()
