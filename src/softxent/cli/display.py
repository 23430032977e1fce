"""How the commands show a loss, an accuracy, and a training that is under way."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Self

from softxent.errors import missing_extra
from softxent.learn import ClassScore
from softxent.ops.mean import Mean
from softxent.record import Data, Epoch
from softxent.render import numbers

try:
    import rich.console
    import rich.progress
except ImportError:
    raise missing_extra("rich", needed_by="cli", extra="learn") from None

__all__ = [
    "Bar",
    "Lines",
    "as_fraction",
    "class_table",
    "in_nats",
    "printable",
    "progress",
    "say",
    "show_data",
]


def say(text: str) -> None:
    """Print a line at once; where its reader has gone (`| head`), the work goes on unseen."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def printable(text: str) -> str:
    """A name out of somebody's file; what would steer the terminal is shown escaped."""
    return text if text.isprintable() else ascii(text)


def show_data(data: Data) -> None:
    """Print what there is to learn from."""
    say(
        f"{printable(data.name)}: {data.train_rows:,} rows to learn from, "
        f"{data.test_rows:,} to test on, {len(data.classes)} classes"
    )


def in_nats(loss: Mean) -> str:
    """A loss with its denominator: `0.1081 nats a row (1081.2 nats / 10,000 rows)`."""
    return (
        f"{numbers.loss(loss.value)} nats a row "
        f"({numbers.number(loss.total, 6)} nats / {numbers.count(loss.weight)} rows)"
    )


def as_fraction(accuracy: Mean) -> str:
    """An accuracy as what was counted: `9696/10000 (96.96%)`."""
    share = numbers.percent(accuracy.total, accuracy.weight)
    return f"{accuracy.total:.0f}/{accuracy.weight:.0f} ({share})"


def class_table(scores: Sequence[ClassScore]) -> str:
    """Precision, recall and rows of each class, one a line."""
    names = [printable(score.name) for score in scores]
    width = max(len(name) for name in ["class", *names])
    lines = [f"{'class':{width}}  {'precision':>9}  {'recall':>9}  {'rows':>9}"]
    for name, score in zip(names, scores, strict=True):
        precision, recall = (
            numbers.percent(share.total, share.weight) for share in (score.precision, score.recall)
        )
        rows = numbers.count(score.recall.weight)
        lines.append(f"{name:{width}}  {precision:>9}  {recall:>9}  {rows:>9}")
    return "\n".join(lines)


def _line(epoch: Epoch, epochs: int) -> str:
    return (
        f"epoch {epoch.number:{len(str(epochs))}}/{epochs}  "
        f"train loss {numbers.loss(epoch.train_loss.mean.value)}  "
        f"test loss {numbers.loss(epoch.test_loss.mean.value)}  "
        f"accuracy {as_fraction(epoch.test_accuracy.mean)}  {epoch.seconds:.1f} s"
    )


class Lines:
    """One line an epoch: what a log or a pipe gets."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def step(self, done: int, steps: int, loss: Mean) -> None:
        """Nothing: a log wants no bar."""

    def epoch(self, epoch: Epoch, epochs: int) -> None:
        """Print the line."""
        say(_line(epoch, epochs))


class Bar:
    """A bar with the loss and the time left, and above it the line of each epoch.

    Args:
        console: a terminal, as rich knows it.
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
        """Print the line above the bar."""
        self._bar.console.print(_line(epoch, epochs), highlight=False, soft_wrap=True)


def progress() -> Lines | Bar:
    """A bar on a terminal; elsewhere, in a log say, only the lines of the epochs."""
    return Bar(rich.console.Console()) if sys.stdout.isatty() else Lines()
