"""softxent.nn compared with torch eager, and the overhead of a call: python -m benches.frontend.

All peers get the same tensors and alternate. On a busy machine processor time is more reliable than
elapsed time: the overhead of a call is measured as processor time of the thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benches.harness import Case, check, interleave, save
from softxent import nn

Run = Callable[[], Any]


def backward_of(function: Any, logits: torch.Tensor, target: torch.Tensor) -> Run:
    def run() -> Any:
        logits.grad = None
        loss = function(logits, target)
        loss.backward()
        return loss

    return run


class _Computed(torch.autograd.Function):
    """Logits as if computed by a layer, so that the backward pass may overwrite them."""

    @staticmethod
    def forward(ctx: Any, anchor: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return values.detach()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return None, None


def in_place(logits: torch.Tensor, target: torch.Tensor) -> Run:
    values, anchor = logits.detach().clone(), torch.zeros((), requires_grad=True)

    def run() -> None:
        computed = _Computed.apply(anchor, values)  # type: ignore[no-untyped-call]
        loss = nn.functional.cross_entropy(computed, target, inplace_backward=True)
        loss.backward()

    return run


def losses(args: argparse.Namespace) -> Iterator[Case]:
    elements = args.megabytes * 2**18
    shapes = [(elements // c, c) for c in (1000, 32000, 128256)] + [(65536, 10), (64, 10)]
    for rows, classes in shapes:
        logits = torch.randn(rows, classes, requires_grad=True)
        target = torch.randint(classes, (rows,))
        ours = backward_of(nn.functional.cross_entropy, logits, target)
        eager = backward_of(F.cross_entropy, logits, target)
        grads = []
        for run in (ours, eager):
            loss = run()
            grads.append((loss.detach(), logits.grad))
        check("loss", grads[0][0], grads[1][0])
        check("gradient", grads[0][1], grads[1][1], rtol=1e-3)
        peers = {"softxent": ours, "torch": eager, "in place": in_place(logits, target)}
        bytes_moved = 2 * logits.numel() * 4
        yield interleave(f"forward and backward ({rows}, {classes})", bytes_moved, peers)


def binary_losses(args: argparse.Namespace) -> Iterator[Case]:
    ours_of, eager_of = (
        nn.functional.binary_cross_entropy_with_logits,
        F.binary_cross_entropy_with_logits,
    )
    for shape in ((args.megabytes * 2**18,), (65536, 10), (64, 10)):
        logits = torch.randn(shape, requires_grad=True)
        target = torch.randint(2, shape).float()
        ours = backward_of(ours_of, logits, target)
        eager = backward_of(eager_of, logits, target)
        grads = []
        for run in (ours, eager):
            loss = run()
            grads.append((loss.detach(), logits.grad))
        check("binary loss", grads[0][0], grads[1][0])
        check("binary gradient", grads[0][1], grads[1][1], rtol=1e-3)
        peers = {"softxent": ours, "torch": eager}
        yield interleave(f"binary, forward and backward {shape}", 8 * logits.numel(), peers)


class _Plain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.scalar_tensor(1.0)

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        return GRADIENT


class _WithSetupContext(torch.autograd.Function):
    """The form that torch.func transforms require."""

    @staticmethod
    def forward(x: torch.Tensor) -> torch.Tensor:
        return torch.scalar_tensor(1.0)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: torch.Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        return GRADIENT


GRADIENT = torch.zeros(64, 10)


@torch.library.custom_op("softxent_benches::empty", mutates_args=())
def _library(x: torch.Tensor) -> torch.Tensor:
    return torch.scalar_tensor(1.0)


_library.register_autograd(lambda ctx, upstream: GRADIENT)


def overhead() -> dict[str, float]:
    """Measure microseconds of processor time of a forward and backward pass at (64, 10)."""
    logits, target = torch.randn(64, 10, requires_grad=True), torch.randint(10, (64,))

    def empty(function: Any) -> Run:
        def run() -> None:
            logits.grad = None
            function(logits).backward()

        return run

    peers = {
        "softxent": backward_of(nn.functional.cross_entropy, logits, target),
        "torch": backward_of(F.cross_entropy, logits, target),
        "softxent's operator": backward_of(
            lambda z, y: torch.ops.softxent.cross_entropy(
                z, y, None, "x", torch.float32, True, 1, -100, "mean", 0.0, 0.0, None, 1.0
            )[0],
            logits,
            target,
        ),
        "torch.sum": empty(torch.sum),
        "empty autograd.Function": empty(_Plain.apply),
        "empty, without its wrapper": empty(super(torch.autograd.Function, _Plain).apply),
        "empty, with setup_context": empty(_WithSetupContext.apply),
        "empty torch.library operator": empty(_library),
    }
    times: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(25):
        for name, run in peers.items():
            start = time.thread_time()
            for _ in range(200):
                run()
            times[name].append((time.thread_time() - start) / 200)
    medians = {name: 1e6 * statistics.median(t) for name, t in times.items()}
    for name, microseconds in medians.items():
        print(f"{name:32s} {microseconds:7.1f} us of processor time", flush=True)
    return medians


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=256, help="size of the large logits")
    parser.add_argument("--out", type=Path, default=Path(".bench/frontend.json"))
    args = parser.parse_args()
    about = {"overhead": overhead()}
    cases = [*losses(args), *binary_losses(args)]
    save(args.out, cases, torch=torch.__version__, **about)


if __name__ == "__main__":
    main()
