"""`softxent explain`: why a loss is what it is, for typed logits or for a test row of a run.

softxent explain 2 -1 0.1 --target 2
softxent explain RUN --row 17
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softxent.errors import OptionError

if TYPE_CHECKING:
    from softxent.record import Record

__all__ = ["add_parser"]

# What argparse takes for a negative number rather than for an option. Its own pattern knows neither
# -1e-3 nor -inf; what looks like a number and isn't one is told so below.
_NEGATIVE_NUMBER = re.compile(r"-(\d|[.,]|inf|nan)", re.IGNORECASE)


def add_parser(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "explain",
        help="show step by step why a loss is what it is",
        description="Show step by step how logits become probabilities, a loss and a gradient.",
        epilog="examples: softxent explain 2 -1 0.1 --target 2; softxent explain RUN --row 17",
        allow_abbrev=False,
    )
    parser._negative_number_matcher = _NEGATIVE_NUMBER
    parser.add_argument(
        "logits",
        metavar="LOGIT",
        nargs="+",
        help="one number a class, such as 2 -1e-3 .5 -inf; or a run directory, with --row",
    )
    parser.add_argument("--target", type=int, metavar="CLASS", help="the true class, from 0")
    parser.add_argument("--temperature", type=float, help="divide the logits by this (default 1)")
    parser.add_argument(
        "--label-smoothing", type=float, metavar="SHARE", help="of the target, 0 to 1 (default 0)"
    )
    parser.add_argument("--row", type=int, help="of a run: which test row, from 0")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the explanation."""
    text = _of_numbers(args) if args.row is None else _of_run(args)
    # A terminal that can't show a name or a bar gets question marks, not a traceback.
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))
    return 0


def _of_numbers(args: argparse.Namespace) -> str:
    from softxent.explain import explain

    trace = explain(
        [_number(text) for text in args.logits],
        args.target,
        temperature=1.0 if args.temperature is None else args.temperature,
        label_smoothing=0.0 if args.label_smoothing is None else args.label_smoothing,
    )
    return trace.text()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        if text and Path(text).is_dir():
            raise OptionError(
                f"[explain] {text} is a directory: to explain a row of a run, add --row NUMBER."
            ) from None
        raise OptionError(
            f"[explain] {text!r} is neither a number nor a run directory. Logits are numbers such "
            "as 2 -1e-3 .5 -inf, with spaces between them."
        ) from None


def _of_run(args: argparse.Namespace) -> str:
    for option in ("target", "temperature", "label_smoothing"):
        if getattr(args, option) is not None:
            raise OptionError(
                f"[explain] --{option.replace('_', '-')} goes with typed logits; a row of a run "
                "has its own logits and target."
            )
    if len(args.logits) != 1:
        raise OptionError("[explain] --row goes with a single run directory, not with logits.")

    from softxent import record

    run = record.read(Path(args.logits[0]))
    rows = len(run.test.rows)
    if not 0 <= args.row < rows:
        raise OptionError(
            f"[explain] {run.path} has no test row {args.row}: it has {rows:,}, "
            f"{f'0 to {rows - 1}' if rows else 'none'}."
        )
    return _explain_row(run, args.row)


def _explain_row(run: Record, place: int) -> str:
    """The row in a few words, then its explanation."""
    from softxent.explain import explain
    from softxent.explain.layout import clean

    data = run.run.data
    target = run.test.target[place]
    trace = explain(run.test_logits[place], target, classes=data.classes)
    best = int(trace.probabilities[0].argmax())
    probability = trace.probabilities[0, best]
    lines = [
        f"Test row {place} of {run.path}: row {run.test.rows[place]} of {clean(data.name, 60)}",
        f"true class  {clean(data.classes[target], 60)}",
        f"predicted   {clean(data.classes[best], 60)}, probability {probability:.4g}",
    ]
    if math.isnan(probability):
        lines[-1] = "predicted   nothing: its logits aren't finite numbers"
    return "\n".join([*lines, "", trace.text()])
