"""The training loop over rows in memory, in batches and in a new random order each epoch.

The loop prints nothing; callers that show progress pass a `Progress`.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from softxent.errors import DataError, OptionError, TrainingError
from softxent.learn.data import Dataset
from softxent.learn.evaluation import Evaluation, evaluate
from softxent.learn.model import Network, feature_count
from softxent.learn.recipes import RECIPES, Recipe
from softxent.nn import CrossEntropyLoss
from softxent.ops import Mean
from softxent.record import Epoch, Sum

__all__ = ["Progress", "Trained", "train"]

# With fewer multiplications per step, more than one thread costs more than it gains: on two cores
# with other load, a training on the digits took 47 s with two threads and 4 s with one.
_WORTH_THREADS = 1 << 25

Observer = Callable[[torch.Tensor, torch.Tensor], None]
_FeatureSource = Callable[[torch.Tensor], torch.Tensor]  # row numbers -> (rows, D)


class Progress(Protocol):
    """Callbacks that report the progress of a training."""

    def step(self, done: int, steps: int, loss: Mean) -> None:
        """Called after each step, with the steps done, all steps, and the epoch's loss so far."""

    def epoch(self, epoch: Epoch, epochs: int) -> None:
        """Called after each epoch, with its results on both sets and the number of epochs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The result of a training.

    Attributes:
        network: the trained network, in evaluation mode.
        recipe: the settings.
        seed: the seed of every random choice.
        epochs: loss and accuracy after each epoch.
        test: the logits and losses of the test rows at the end.
        seconds: the duration of training and testing.
        threads: the number of torch's threads; another number can change the last bits.
    """

    network: Network
    recipe: Recipe
    seed: int
    epochs: tuple[Epoch, ...]
    test: Evaluation
    seconds: float
    threads: int


def train(
    dataset: Dataset,
    recipe: Recipe = RECIPES["default"],
    *,
    seed: int = 0,
    progress: Progress | None = None,
    observe: Observer | None = None,
) -> Trained:
    """Train a network; the same seed on the same machine gives the same bits.

    The test rows are only evaluated: no choice depends on them, and the result is the network after
    the last epoch.

    Args:
        dataset: as returned by `softxent.learn.data.load`.
        recipe: the settings of the training.
        seed: the seed of initial weights, order of rows, dropout and shifts; 0 to 2**32 - 1.
            torch's global generator is left unchanged.
        progress: called after each step and epoch.
        observe: called in each step with the logits (N, C), detached, and the target (N,).

    Returns:
        The network, the results of each epoch, and the results on the test rows.

    Raises:
        OptionError: the seed is out of range.
        TrainingError: the loss became NaN or infinite, as it does if the learning rate is too high.
        DataError: there are no rows to train on, or they have no target.

    Example:
        >>> from softxent.learn import data
        >>> trained = train(data.load("digits"))
        >>> trained.test.accuracy.weight
        360
    """
    if not 0 <= seed < 2**32:
        raise OptionError(f"[train] seed is {seed}; it must be from 0 to {2**32 - 1}")
    samples, info = dataset.train, dataset.info
    if len(samples) == 0 or samples.target is None:
        raise DataError(f"[train] {info.name} has no rows with a target to train on")
    started = time.perf_counter()
    epochs: list[Epoch] = []
    widths = [feature_count(info), *recipe.hidden, len(info.classes)]
    batch_rows = recipe.batch_rows(len(samples))
    products = batch_rows * sum(a * b for a, b in itertools.pairwise(widths))
    with torch.random.fork_rng(devices=[]), _threads_for(products) as threads:
        torch.manual_seed(seed)
        network = Network(widths, dropout=recipe.dropout)
        network.fit_scaling(samples.features, info.kind)
        features_of = _feature_source(samples.features, info.image_shape, recipe.shift)
        target = torch.tensor(samples.target, dtype=torch.int64)
        loop = _Loop(network, recipe, features_of, target, progress, observe)
        for number in range(1, recipe.epochs + 1):
            loss, accuracy, seconds = loop.epoch(number)
            test = evaluate(network, dataset.test)
            if not math.isfinite(test.loss.total):
                raise _diverged(f"the test loss is {test.loss.value} after epoch {number}", recipe)
            epochs.append(
                Epoch(
                    number=number,
                    seconds=seconds,
                    learning_rate=loop.learning_rate,
                    train_loss=Sum.of(loss),
                    train_accuracy=Sum.of(accuracy),
                    test_loss=Sum.of(test.loss),
                    test_accuracy=Sum.of(test.accuracy),
                )
            )
            if progress is not None:
                progress.epoch(epochs[-1], recipe.epochs)
    return Trained(
        network=network.eval(),
        recipe=recipe,
        seed=seed,
        epochs=tuple(epochs),
        test=test,
        seconds=time.perf_counter() - started,
        threads=threads,
    )


@contextlib.contextmanager
def _threads_for(products: int) -> Iterator[int]:
    """Limit torch to one thread if a step has few multiplications; yields the number of threads."""
    usual = torch.get_num_threads()
    if products < _WORTH_THREADS:
        torch.set_num_threads(1)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(usual)


class _Loop:
    """The state from epoch to epoch: the optimizer and the number of steps."""

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        features_of: _FeatureSource,
        target: torch.Tensor,
        progress: Progress | None,
        observe: Observer | None,
    ) -> None:
        self.network = network
        self.recipe = recipe
        self.features_of = features_of
        self.target = target
        self.progress = progress
        self.observe = observe
        self.loss = CrossEntropyLoss(reduction="sum")
        self.optimizer = _optimizer(network, recipe)
        self.batch_rows = recipe.batch_rows(len(target))
        self.steps = recipe.epochs * math.ceil(len(target) / self.batch_rows)
        self.done = 0
        self.learning_rate = 0.0

    def epoch(self, number: int) -> tuple[Mean, Mean, float]:
        """Train on each row once; returns loss, accuracy and duration in seconds."""
        started = time.perf_counter()
        loss, accuracy = Mean(0.0, 0), Mean(0, 0)
        self.network.train()
        order = torch.randperm(len(self.target))
        for batch, rows in enumerate(torch.split(order, self.batch_rows), 1):
            total, right = self._step(rows)
            if not math.isfinite(total):
                raise _diverged(
                    f"the loss became {total} in epoch {number}, batch {batch}", self.recipe
                )
            loss += Mean(total, len(rows))
            accuracy += Mean(right, len(rows))
            if self.progress is not None:
                self.progress.step(self.done, self.steps, loss)
        return loss, accuracy, time.perf_counter() - started

    def _step(self, rows: torch.Tensor) -> tuple[float, int]:
        """Train on some rows; returns their summed loss and how many were predicted correctly."""
        self.learning_rate = self.recipe.learning_rate_at(self.done, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        target = self.target[rows]
        logits = self.network(self.features_of(rows))
        if self.observe is not None:
            self.observe(logits.detach(), target)
        total = self.loss(logits, target)
        self.optimizer.zero_grad()
        (total / len(rows)).backward()
        self.optimizer.step()
        self.done += 1
        return total.item(), int((logits.argmax(dim=1) == target).sum())


def _optimizer(network: Network, recipe: Recipe) -> torch.optim.Optimizer:
    parameters, rate, decay = network.parameters(), recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)
    return torch.optim.SGD(
        parameters, lr=rate, momentum=recipe.momentum, weight_decay=decay, fused=True
    )


def _feature_source(
    features: npt.NDArray[np.float32], image_shape: tuple[int, int] | None, shift: float
) -> _FeatureSource:
    """Return a function from row numbers to their features, with images shifted at random."""
    table = torch.from_numpy(np.require(features, np.float32, ["C", "W"]))
    height, width = image_shape or (0, 0)
    down, across = int(height * shift), int(width * shift)
    if not down and not across:
        return table.__getitem__
    images = table.view(-1, height, width)
    padded = torch.nn.functional.pad(images, (across, across, down, down))
    # (N, 2 down + 1, 2 across + 1, height, width): every position of the image, as a view.
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)

    def shifted(rows: torch.Tensor) -> torch.Tensor:
        y = torch.randint(2 * down + 1, rows.shape)
        x = torch.randint(2 * across + 1, rows.shape)
        return windows[rows, y, x].flatten(1)

    return shifted


def _diverged(what: str, recipe: Recipe) -> TrainingError:
    return TrainingError(
        f"[train] {what}: the learning rate {recipe.learning_rate:g} of recipe {recipe.name!r} is "
        "too high for these data. Use another recipe or a lower rate, and check the features for "
        "extreme values."
    )
