"""Numbers as text: rounded correctly, and never rounded into a claim that isn't true."""

from __future__ import annotations

import math
from fractions import Fraction

__all__ = ["NOTHING", "count", "loss", "number", "percent", "probability", "signed", "size"]

NOTHING = "\N{EN DASH}"
"""Stands where there is no number: nothing to divide by."""

_MINUS = "\N{MINUS SIGN}"
_TIMES = "\N{MULTIPLICATION SIGN}"
_NOT_FINITE = "not finite"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def count(value: float) -> str:
    """A number of things: 10,000."""
    return f"{int(value):,}" if math.isfinite(value) and value == int(value) else number(value, 6)


def number(value: float, digits: int = 4) -> str:
    """A number to so many significant digits: 0.06731, 2.303, 2.061×10⁻⁹."""
    if not math.isfinite(value):
        return _NOT_FINITE
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e6:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        return signed(f"{value:,.{decimals}f}")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{signed(mantissa)}{_TIMES}10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def signed(digits: str) -> str:
    """A number's digits with the minus sign that is as wide as they are."""
    return digits.replace("-", _MINUS)


def loss(value: float) -> str:
    """A loss for a column of losses: four decimals, unless they would say that it is 0."""
    return f"{value:,.4f}" if 5e-4 <= value < 1e5 else number(value, 2)


def percent(part: float, whole: float, decimals: int = 2) -> str:
    """A share as a percentage, rounded half up from the exact fraction.

    It says 100% or 0% only where that is exactly so: 99,999 of 100,000 is 99.999%.

    Example:
        >>> percent(9696, 10000), percent(99999, 100000), percent(3, 3)
        ('96.96%', '99.999%', '100%')
    """
    if not (math.isfinite(part) and math.isfinite(whole) and whole > 0):
        return NOTHING
    share = 100 * Fraction(part) / Fraction(whole)
    if share in (0, 100):
        return f"{int(share)}%"
    while True:
        scaled = math.floor(share * 10**decimals + Fraction(1, 2))
        if 0 < scaled < 100 * 10**decimals or decimals == 12:
            return f"{scaled / 10**decimals:.{decimals}f}%"
        decimals += 1


def probability(value: float) -> str:
    """A probability as a percentage; what is beyond two decimals is said, not rounded away."""
    if not math.isfinite(value):
        return _NOT_FINITE
    if 0 < value < 1e-4:
        return "<0.01%"
    if 1 - 1e-4 < value < 1:
        return ">99.99%"
    return percent(value, 1)


def size(number_of_bytes: int) -> str:
    """A file's size: 1.6 MB."""
    value, unit = float(number_of_bytes), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
