"""The trace of one test row of a run."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from softxent.cli.loss_options import LOSS_OPTIONS
from softxent.cli.numpy_file import is_numpy_file
from softxent.errors import OptionError
from softxent.render.text import shorten

if TYPE_CHECKING:
    from softxent.explain import Trace

__all__ = ["is_run", "trace_of_run"]

_NOT_FOR_RUNS = ("target", *LOSS_OPTIONS, "dtype")  # a row of a run has its own
_NAME_WIDTH = 60


def is_run(args: argparse.Namespace) -> bool:
    """Whether the command line means a row of a run: it has --row, and names no NumPy file."""
    return args.row is not None and not (len(args.logits) == 1 and is_numpy_file(args.logits[0]))


def trace_of_run(args: argparse.Namespace) -> tuple[Trace, list[str]]:
    """A test row's trace, and the lines of its heading."""
    for option in _NOT_FOR_RUNS:
        if getattr(args, option) is not None:
            raise OptionError(
                f"[explain] --{option.replace('_', '-')} goes with typed logits or a NumPy file; a "
                "row of a run has its own logits and target."
            )
    if len(args.logits) != 1:
        raise OptionError(
            "[explain] --row goes with a single run directory or NumPy file, not with logits."
        )

    from softxent import record
    from softxent.explain import explain

    run = record.read(Path(args.logits[0]))
    rows = len(run.test.rows)
    if not 0 <= args.row < rows:
        raise OptionError(
            f"[explain] {run.path} has no test row {args.row}: it has {rows:,}, "
            f"{f'0 to {rows - 1}' if rows else 'none'}."
        )
    data, target = run.run.data, run.test.target[args.row]
    trace = explain(run.test_logits[args.row], target, classes=data.classes)
    best = int(trace.probabilities[0].argmax())
    probability = trace.probabilities[0, best]
    predicted = f"{shorten(data.classes[best], _NAME_WIDTH)}, probability {probability:.4g}"
    if math.isnan(probability):
        predicted = "nothing: its logits aren't finite numbers"
    return trace, [
        f"Test row {args.row} of {run.path}: row {run.test.rows[args.row]} of "
        f"{shorten(data.name, _NAME_WIDTH)}",
        f"true class  {shorten(data.classes[target], _NAME_WIDTH)}",
        f"predicted   {predicted}",
    ]
