"""The overhead of a call of softxent.nn and of torch: python -m benches.overhead.

Processor time of the calling thread for a forward and backward pass at (64, 10), beside the
cheapest ways to add an operation to autograd. On a busy machine it is more reliable than elapsed
time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from softxent import nn
from softxent.ops.options import DEFAULTS

Run = Callable[[], Any]


def backward_of(function: Any, logits: torch.Tensor, target: torch.Tensor) -> Run:
    def run() -> Any:
        logits.grad = None
        loss = function(logits, target)
        loss.backward()
        return loss

    return run


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


def main() -> None:
    """Print the medians in microseconds."""
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
                z,
                y,
                op="cross_entropy",
                dtype=torch.float32,
                any_weight=True,
                axis=1,
                **DEFAULTS._asdict(),
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
    for name, seconds in times.items():
        print(f"{name:32s} {1e6 * statistics.median(seconds):7.1f} us of processor time")


if __name__ == "__main__":
    main()
