"""The cost of `doctor.watch`: alternate loops with it and without it, in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from softxent import doctor


@dataclass(frozen=True)
class Cost:
    """The processor time of one step of a loop, and the share that watching adds.

    Attributes:
        name, steps: the loop and its number of steps.
        step: microseconds per step, the median of the unwatched loops.
        share: the median of the ratios of neighbouring loops, minus 1.
        low, high: the quartiles of these ratios, minus 1.
    """

    name: str
    steps: int
    step: float
    share: float
    low: float
    high: float


def costs(rounds: int) -> list[Cost]:
    """Four loops, from the shortest possible step to that of a small network."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    widths = (784, 520, 320, 240, 120, 10)
    layers = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)]
    few, three = torch.randn(32, 8), torch.randint(0, 3, (32,))
    yes = torch.randint(0, 2, (32, 1)).float()
    hidden = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    digits, ten = torch.randn(64, 64), torch.randint(0, 10, (64,))
    small = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    images, labels = torch.randn(64, 784), torch.randint(0, 10, (64,))
    mnist = nn.Sequential(*layers[:-1], layers[-1][0])
    return [
        _cost(
            rounds,
            "one layer, BCEWithLogitsLoss",
            nn.Linear(8, 1),
            nn.BCEWithLogitsLoss(),
            few,
            yes,
            9000,
        ),
        _cost(
            rounds, "two layers, CrossEntropyLoss", hidden, nn.CrossEntropyLoss(), few, three, 6000
        ),
        _cost(
            rounds, "two layers for small digits", small, nn.CrossEntropyLoss(), digits, ten, 4000
        ),
        _cost(rounds, "five layers for MNIST", mnist, nn.CrossEntropyLoss(), images, labels, 400),
    ]


def _cost(
    rounds: int, name: str, model: nn.Module, loss: nn.Module, x: Tensor, y: Tensor, steps: int
) -> Cost:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def loop() -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()

    def watched() -> None:
        with doctor.watch(model, loss):
            loop()

    loop()
    watched()
    plain, shares = [], []
    for _ in range(rounds):  # each watched loop is between two unwatched ones
        first = _seconds(loop)
        between = _seconds(watched)
        last = _seconds(loop)
        plain.append((first + last) / 2)
        shares.append(between / plain[-1] - 1)
    low, middle, high = statistics.quantiles(shares)
    return Cost(name, steps, 1e6 * statistics.median(plain) / steps, middle, low, high)


def _seconds(run: Callable[[], None]) -> float:
    """Processor time of this thread, which other processes hardly affect."""
    began = time.thread_time()
    run()
    return time.thread_time() - began
