"""How the commands show losses, accuracies, and the progress of a training."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Self

from softxent.errors import missing_extra
from softxent.learn import ClassScore
from softxent.ops import Mean
from softxent.record import Data, Epoch
from softxent.render import numbers
from softxent.render.terminal import is_dumb
from softxent.render.text import printable, table

try:
    import rich.console
    import rich.progress
except ImportError:
    raise missing_extra("rich", needed_by="cli", extra="learn") from None

__all__ = [
    "Bar",
    "Lines",
    "class_table",
    "fraction_text",
    "loss_text",
    "progress",
    "say",
    "show_data",
]


def say(text: str) -> None:
    """Print a line at once; if its reader has gone (`| head`), the command continues silently."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show_data(data: Data) -> None:
    """Print the number of rows and classes."""
    say(
        f"{printable(data.name)}: {numbers.plural(data.train_rows, 'training row')}, "
        f"{numbers.plural(data.test_rows, 'test row')}, {len(data.classes)} classes"
    )


def loss_text(loss: Mean) -> str:
    """A loss with its denominator: `0.1081 nats per row (1081.2 nats / 10,000 rows)`."""
    return (
        f"{numbers.loss(loss.value)} nats per row "
        f"({numbers.number(loss.total, 6)} nats / {numbers.count(loss.weight)} rows)"
    )


def fraction_text(accuracy: Mean) -> str:
    """An accuracy with its counts: `9696/10000 (96.96%)`."""
    share = numbers.percent(accuracy.total, accuracy.weight)
    return f"{accuracy.total:.0f}/{accuracy.weight:.0f} ({share})"


def class_table(scores: Sequence[ClassScore]) -> str:
    """Precision, recall and number of rows, one line per class."""
    rows = [["class", "precision", "recall", "rows"]]
    rows += [
        [
            printable(score.name),
            numbers.percent(score.precision.total, score.precision.weight),
            numbers.percent(score.recall.total, score.recall.weight),
            numbers.count(score.recall.weight),
        ]
        for score in scores
    ]
    return "\n".join(table(rows, right=(1, 2, 3)))


def _line(epoch: Epoch, epochs: int) -> str:
    return (
        f"epoch {epoch.number:{len(str(epochs))}}/{epochs}  "
        f"train loss {numbers.loss(epoch.train_loss.mean.value)}  "
        f"test loss {numbers.loss(epoch.test_loss.mean.value)}  "
        f"accuracy {fraction_text(epoch.test_accuracy.mean)}  {epoch.seconds:.1f} s"
    )


class Lines:
    """Progress as one line per epoch, for a log or a pipe."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def step(self, done: int, steps: int, loss: Mean) -> None:
        """Nothing: single steps are only shown by a bar."""

    def epoch(self, epoch: Epoch, epochs: int) -> None:
        """Print the line of an epoch."""
        say(_line(epoch, epochs))


class Bar:
    """Progress as a bar with the loss and the remaining time, below the lines of the epochs.

    Args:
        console: a terminal.
    """

    def __init__(self, console: rich.console.Console) -> None:
        self._bar = rich.progress.Progress(
            rich.progress.BarColumn(),
            rich.progress.TaskProgressColumn(),
            rich.progress.TextColumn("train loss {task.fields[loss]}"),
            rich.progress.TimeRemainingColumn(),
            rich.progress.TextColumn("left"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("", visible=False, loss="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def step(self, done: int, steps: int, loss: Mean) -> None:
        """Move the bar; it is drawn a few times a second."""
        shown = numbers.loss(loss.value)
        self._bar.update(self._task, visible=True, completed=done, total=steps, loss=shown)

    def epoch(self, epoch: Epoch, epochs: int) -> None:
        """Print the line of an epoch above the bar."""
        self._bar.console.print(_line(epoch, epochs), highlight=False, soft_wrap=True)


def progress() -> Lines | Bar:
    """A bar on a terminal that can draw one; elsewhere one line per epoch."""
    if sys.stdout.isatty() and not is_dumb():
        return Bar(rich.console.Console())
    return Lines()
