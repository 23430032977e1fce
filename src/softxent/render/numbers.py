"""Numbers as text: rounded correctly, and never rounded into a statement that is false.

`exact`, `ten_digits`, `short` and `with_sign` write numbers as Python does, for text that may be
copied into code. The others are typeset: with thousands separators and a real minus sign.
"""

from __future__ import annotations

import math
from fractions import Fraction

__all__ = [
    "MISSING",
    "count",
    "exact",
    "loss",
    "number",
    "percent",
    "plural",
    "probability",
    "short",
    "size",
    "ten_digits",
    "typeset_minus",
    "with_sign",
]

MISSING = "\N{EN DASH}"
"""Stands where there is no number, because there is nothing to divide by."""

_MINUS = "\N{MINUS SIGN}"
_TIMES = "\N{MULTIPLICATION SIGN}"
_NOT_FINITE = "not finite"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def exact(value: float) -> str:
    """The shortest decimal that reads back to the same float64.

    Example:
        >>> exact(0.1 + 0.2), exact(2.0)
        ('0.30000000000000004', '2')
    """
    return repr(float(value) + 0.0).removesuffix(".0")  # + 0.0 turns -0.0 into 0.0


def with_sign(value: float) -> str:
    """A change: `exact`, with a plus sign where it is positive."""
    return f"+{exact(value)}" if value > 0 else exact(value)


def ten_digits(value: float) -> str:
    """Ten significant digits, where several numbers share a line."""
    return f"{value + 0.0:.10g}"


def short(value: float) -> str:
    """Five significant digits, within a sentence."""
    return f"{value + 0.0:.5g}"


def plural(amount: int, noun: str) -> str:
    """So many of something: `1 row`, `1,000 rows`."""
    return f"{amount:,} {noun}" + ("" if amount == 1 else "s")


def count(value: float) -> str:
    """How many: 10,000."""
    return f"{int(value):,}" if math.isfinite(value) and value == int(value) else number(value, 6)


def number(value: float, digits: int = 4) -> str:
    """A number with so many significant digits: 0.06731, 2.303, 2.061×10⁻⁹."""
    if not math.isfinite(value):
        return _NOT_FINITE
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e6:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        return typeset_minus(f"{value:,.{decimals}f}")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{typeset_minus(mantissa)}{_TIMES}10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def typeset_minus(digits: str) -> str:
    """A number's digits with the minus sign that is as wide as they are."""
    return digits.replace("-", _MINUS)


def loss(value: float) -> str:
    """A loss with four decimals, or with two significant digits where these would show 0."""
    return f"{value:,.4f}" if 5e-4 <= value < 1e5 else number(value, 2)


def percent(part: float, whole: float, decimals: int = 2) -> str:
    """A share as a percentage, rounded half up from the exact fraction.

    It is 100% or 0% only where that is exactly true: 99,999 of 100,000 is 99.999%.

    Example:
        >>> percent(9696, 10000), percent(99999, 100000), percent(3, 3)
        ('96.96%', '99.999%', '100%')
    """
    if not (math.isfinite(part) and math.isfinite(whole) and whole > 0):
        return MISSING
    share = 100 * Fraction(part) / Fraction(whole)
    if share in (0, 100):
        return f"{int(share)}%"
    while True:
        scaled = math.floor(share * 10**decimals + Fraction(1, 2))
        if 0 < scaled < 100 * 10**decimals or decimals == 12:
            return f"{scaled / 10**decimals:.{decimals}f}%"
        decimals += 1


def probability(value: float) -> str:
    """A probability as a percentage; `>99.99%` and `<0.01%` close to 1 and to 0."""
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
