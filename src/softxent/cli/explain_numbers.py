"""The trace of logits that are typed or in NumPy files."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from softxent.cli.loss_options import given_loss_options
from softxent.cli.numpy_file import is_numpy_file, load
from softxent.cli.typed_numbers import parse_number, parse_numbers
from softxent.errors import OptionError

if TYPE_CHECKING:
    import numpy.typing as npt

    from softxent.explain import Trace

__all__ = ["trace_of_numbers"]


def trace_of_numbers(args: argparse.Namespace) -> Trace:
    """The trace of the logits, target and options of the command line."""
    from softxent.explain import explain

    logits = _logits(args)
    target: Any = None if args.target is None else _target(args.target)
    classes = logits.shape[-1] if logits.ndim else 0
    if isinstance(target, int) and not 0 <= target < classes:
        # The library would suggest ignore_index, which isn't an option here.
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
    options = given_loss_options(args)
    if args.row is not None and _is_ignored(target):
        # The mean over this row alone would be 0/0; in the batch its loss is 0.
        options["reduction"] = "none"
    return explain(logits, target, **options)


def _is_ignored(target: Any) -> bool:
    from softxent.ops.options import IGNORE_INDEX

    is_index = getattr(target, "shape", None) == () and target.dtype.kind == "i"
    return is_index and int(target) == IGNORE_INDEX


def _logits(args: argparse.Namespace) -> npt.NDArray[Any]:
    """The logits in the requested dtype."""
    import numpy as np

    if len(args.logits) == 1 and is_numpy_file(args.logits[0]):
        logits = load("explain", args.logits[0])
    else:
        logits = np.array([parse_number(text) for text in args.logits])
    if args.dtype is None:
        return logits
    with np.errstate(over="ignore"):
        converted = logits.astype(args.dtype)
    lost = np.isinf(converted) & np.isfinite(logits)
    if lost.any():
        raise OptionError(
            f"[explain] {logits[lost][0]:g} is too large for {args.dtype}, which ends at "
            f"{np.finfo(args.dtype).max:g}: pass a wider --dtype."
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


def _target(text: str) -> int | list[float] | npt.NDArray[Any]:
    """A class index, class probabilities, or the array in a file."""
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if is_numpy_file(text):
        return load("explain", text)
    if "," in text:
        return parse_numbers("--target", text)
    raise OptionError(
        f"[explain] --target is {text!r}: pass a class index, such as 2, or class probabilities, "
        "such as 0.1,0.2,0.7, or a NumPy file."
    )
