"""`softxent explain`: why a loss is what it is.

softxent explain 2 -1 0.1 --target 2
softxent explain logits.npy --target targets.npy
softxent explain RUN --row 17
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softxent.cli.numpy_file import is_numpy_file, load
from softxent.errors import OptionError
from softxent.render.terminal import supports_colour

if TYPE_CHECKING:
    import numpy.typing as npt

    from softxent.explain import Trace, WhatIf

__all__ = ["add_parser"]

# What argparse takes for a negative number rather than for an option. Its own pattern knows neither
# -1e-3 nor -inf; what looks like a number and isn't one is told so below.
_NEGATIVE_NUMBER = re.compile(r"-(\d|[.,]|inf|nan)", re.IGNORECASE)

# What a row of a run brings with it, and can't be told.
_OPTIONS = ("target", "weight", "temperature", "softcap", "label_smoothing", "z_loss", "dtype")


def add_parser(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "explain",
        help="show step by step why a loss is what it is",
        description="Show step by step how logits become probabilities, a loss and a gradient.",
        epilog="examples: softxent explain 2 -1 0.1 --target 2; softxent explain 2 -1 0.1 "
        "--target 2 --set 2=3.5; softxent explain logits.npy --target targets.npy --html "
        "loss.html; softxent explain RUN --row 17",
        allow_abbrev=False,
    )
    parser._negative_number_matcher = _NEGATIVE_NUMBER
    parser.add_argument(
        "logits",
        metavar="LOGIT",
        nargs="+",
        help="one number a class, such as 2 -1e-3 .5 -inf; or a NumPy file with one row (C,) or "
        "many (N, C); or a run directory, with --row",
    )
    parser.add_argument(
        "--target",
        metavar="CLASS",
        help="the true class, from 0; or class probabilities, such as 0.1,0.2,0.7; or a NumPy file "
        "with either for each row",
    )
    parser.add_argument("--row", type=int, help="only this row, from 0; of a run, its test row")
    parser.add_argument(
        "--set",
        metavar="CLASS=LOGIT",
        action="append",
        help="what if this logit were another; may be repeated",
    )
    parser.add_argument("--weight", metavar="W,W,...", help="one weight a class (default ones)")
    parser.add_argument("--temperature", type=float, help="divide the logits by this (default 1)")
    parser.add_argument("--softcap", type=float, help="hold the logits within this by tanh")
    parser.add_argument(
        "--label-smoothing", type=float, metavar="SHARE", help="of the target, 0 to 1 (default 0)"
    )
    parser.add_argument("--z-loss", type=float, metavar="FACTOR", help="of lse^2 (default 0)")
    parser.add_argument(
        "--dtype",
        choices=("float64", "float32", "float16"),
        help="the type of the logits (default: the file's, float64 for typed numbers)",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print every number as JSON")
    output.add_argument(
        "--html", metavar="FILE", type=Path, help="write the explanation as a page instead"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the explanation, or write it to a file."""
    changes = [_change(text) for text in args.set or ()]
    if _is_run(args):
        trace, about = _of_run(args)
    else:
        trace, about = _of_numbers(args), []
    told: Trace | WhatIf = trace
    if changes:
        if len(trace.logits) != 1:
            raise OptionError("[explain] --set changes a single row: choose one with --row NUMBER.")
        told = trace.what_if(dict(changes))
    if args.html is not None:
        _write_page(told, "; ".join(" ".join(line.split()) for line in about), args)
    elif args.json:
        print(told.to_json())
    else:
        print("\n".join([*about, *([""] if about else []), told.text(colour=supports_colour())]))
        if len(trace.logits) > 1:
            print("\nA row step by step: add --row NUMBER.")
    return 0


def _write_page(told: Trace | WhatIf, caption: str, args: argparse.Namespace) -> None:
    from softxent.whole_file import whole_file

    for given in [*args.logits, args.target or ""]:
        if given and args.html.is_file() and Path(given).is_file() and args.html.samefile(given):
            raise OptionError(f"[explain] {given} is what is read; name another file for --html.")
    if args.html.is_dir():
        raise OptionError(f"[explain] {args.html} is a directory; name a file for --html.")
    with whole_file(args.html) as file:
        file.write(told.to_html(caption=caption))
    print(f"written to {args.html}", file=sys.stderr)  # not into a page on standard output


# Numbers, typed or from files.


def _of_numbers(args: argparse.Namespace) -> Trace:
    from softxent.explain import explain

    logits = _logits(args)
    target: Any = None if args.target is None else _target(args.target)
    classes = logits.shape[-1] if logits.ndim else 0
    if isinstance(target, int) and not 0 <= target < classes:
        # The library would offer ignore_index, which isn't an option here.
        raise OptionError(
            f"[explain] --target is {target}, but there are {classes} classes: 0 to {classes - 1}."
        )
    if args.row is not None:
        logits, target = _row(args, logits, target)
    elif logits.ndim == 2 and isinstance(target, int | list):
        if len(logits) != 1:
            raise OptionError(
                f"[explain] --target {args.target} is for one row, and {args.logits[0]} has "
                f"{len(logits):,}: choose one with --row NUMBER, or name a NumPy file of targets."
            )
        target = [target]
    # What isn't given keeps the default that `explain` has.
    names = ("temperature", "softcap", "label_smoothing", "z_loss")
    options = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.row is not None and _is_ignored(target):
        # Its mean alone would be 0/0; in the batch its loss is 0.
        options["reduction"] = "none"
    weight = None if args.weight is None else _numbers("--weight", args.weight)
    return explain(logits, target, weight, **options)


def _is_ignored(target: Any) -> bool:
    from softxent.ops.spec import IGNORE_INDEX

    return (
        getattr(target, "shape", None) == ()
        and target.dtype.kind == "i"
        and (int(target) == IGNORE_INDEX)
    )


def _logits(args: argparse.Namespace) -> npt.NDArray[Any]:
    """The logits in the type that is asked for."""
    import numpy as np

    if len(args.logits) == 1 and is_numpy_file(args.logits[0]):
        logits = load("explain", args.logits[0])
    else:
        logits = np.array([_number(text) for text in args.logits])
    if args.dtype is None:
        return logits
    with np.errstate(over="ignore"):
        converted = logits.astype(args.dtype)
    lost = np.isinf(converted) & np.isfinite(logits)
    if lost.any():
        raise OptionError(
            f"[explain] {logits[lost][0]:g} is too large for {args.dtype}, which ends at "
            f"{np.finfo(args.dtype).max:g}."
        )
    return converted


def _row(
    args: argparse.Namespace, logits: npt.NDArray[Any], target: Any
) -> tuple[npt.NDArray[Any], Any]:
    """One row of a batch, with its target."""
    if logits.ndim != 2:
        raise OptionError(
            f"[explain] --row chooses a row of a batch (N, C), and {args.logits[0]} has shape "
            f"{logits.shape}."
        )
    rows = len(logits)
    if not 0 <= args.row < rows:
        raise OptionError(
            f"[explain] {args.logits[0]} has no row {args.row}: it has {rows:,}, "
            f"{f'0 to {rows - 1}' if rows else 'none'}."
        )
    if target is not None and not isinstance(target, int | list):
        if target.ndim == 0 or len(target) != rows:
            raise OptionError(
                f"[explain] {args.target} has shape {target.shape}, but {args.logits[0]} has "
                f"{rows:,} rows: save one target for each."
            )
        target = target[args.row]
    return logits[args.row], target


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        if text and Path(text).is_dir():
            raise OptionError(
                f"[explain] {text} is a directory: to explain a row of a run, add --row NUMBER."
            ) from None
        if text and Path(text).is_file():
            raise OptionError(
                f"[explain] {text} is a file: a NumPy file of logits stands alone, without numbers "
                "beside it."
            ) from None
        raise OptionError(
            f"[explain] {text!r} is neither a number nor a run directory nor a NumPy file. Logits "
            "are numbers such as 2 -1e-3 .5 -inf, with spaces between them."
        ) from None
    return _within_float64(number, text)


def _within_float64(number: float, text: str) -> float:
    """The number, unless it became infinite only by being read."""
    if math.isinf(number) and "inf" not in text.lower():
        raise OptionError(
            f"[explain] {text} is too large for float64, which ends at {sys.float_info.max:g}: "
            "pass a smaller number, or inf."
        )
    return number


def _numbers(option: str, text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(
            f"[explain] {option} is {text!r}: pass one number a class, with commas between them "
            "and no spaces."
        ) from None
    return [_within_float64(*both) for both in zip(numbers, text.split(","), strict=True)]


def _target(text: str) -> int | list[float] | npt.NDArray[Any]:
    """A class index, class probabilities, or the array of a file."""
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if is_numpy_file(text):
        return load("explain", text)
    if "," in text:
        return _numbers("--target", text)
    raise OptionError(
        f"[explain] --target is {text!r}: pass a class index, such as 2, or class probabilities, "
        "such as 0.1,0.2,0.7, or a NumPy file."
    )


def _change(text: str) -> tuple[int, float]:
    """One --set: which logit, and what it would be."""
    index, _, logit = text.partition("=")
    try:
        place, number = int(index), float(logit)
    except ValueError:
        raise OptionError(
            f"[explain] --set is {text!r}: pass a class index, =, and a number, such as 2=3.5."
        ) from None
    return place, _within_float64(number, logit)


# A row of a run.


def _is_run(args: argparse.Namespace) -> bool:
    """Whether a run's row is meant: where there is no file that has rows."""
    return args.row is not None and not (len(args.logits) == 1 and is_numpy_file(args.logits[0]))


def _of_run(args: argparse.Namespace) -> tuple[Trace, list[str]]:
    """A test row's trace, and what it is in a few words."""
    for option in _OPTIONS:
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
    from softxent.render.text import shorten

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
    lines = [
        f"Test row {args.row} of {run.path}: row {run.test.rows[args.row]} of "
        f"{shorten(data.name, 60)}",
        f"true class  {shorten(data.classes[target], 60)}",
        f"predicted   {shorten(data.classes[best], 60)}, probability {probability:.4g}",
    ]
    if math.isnan(probability):
        lines[-1] = "predicted   nothing: its logits aren't finite numbers"
    return trace, lines
