"""Numbers typed on the command line."""

from __future__ import annotations

import math
import sys
from pathlib import Path

from softxent.errors import OptionError

__all__ = ["parse_change", "parse_number", "parse_numbers"]


def parse_number(text: str) -> float:
    """One logit."""
    try:
        number = float(text)
    except ValueError:
        if text and Path(text).is_dir():
            raise OptionError(
                f"[explain] {text} is a directory: to explain a row of a run, add --row NUMBER."
            ) from None
        if text and Path(text).is_file():
            raise OptionError(
                f"[explain] {text} is a file: pass a NumPy file of logits alone, without numbers."
            ) from None
        raise OptionError(
            f"[explain] {text!r} is neither a number nor a run directory nor a NumPy file. Logits "
            "are numbers such as 2 -1e-3 .5 -inf, with spaces between them."
        ) from None
    return _within_float64(number, text)


def parse_numbers(option: str, text: str) -> list[float]:
    """One number per class, with commas between them."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(
            f"[explain] {option} is {text!r}: pass one number per class, with commas between them "
            "and no spaces."
        ) from None
    return [_within_float64(*both) for both in zip(numbers, text.split(","), strict=True)]


def parse_change(text: str) -> tuple[int, float]:
    """The value of --set: a class index and its new logit."""
    index, _, logit = text.partition("=")
    try:
        place, number = int(index), float(logit)
    except ValueError:
        raise OptionError(
            f"[explain] --set is {text!r}: pass a class index, =, and a number, such as 2=3.5."
        ) from None
    return place, _within_float64(number, logit)


def _within_float64(number: float, text: str) -> float:
    """The number, unless it became infinite only because it was read as a float64."""
    if math.isinf(number) and "inf" not in text.lower():
        raise OptionError(
            f"[explain] {text} is too large for float64, which ends at {sys.float_info.max:g}: "
            "pass a smaller number, or inf."
        )
    return number
