"""A number as it was printed: its value, and how precisely it was printed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

__all__ = ["PrintedNumber"]

_NUMBER = re.compile(
    r"[-+]?(?P<digits>\d+(?:\.(?P<decimals>\d*))?|\.(?P<bare>\d+))(?:[eE](?P<power>[-+]?\d+))?"
)
_WORDS = {"nan": math.nan, "inf": math.inf, "infinity": math.inf}


@dataclass(frozen=True, slots=True)
class PrintedNumber:
    """A printed number.

    Attributes:
        text: the number as printed.
        value: its value, which may be NaN or infinite.
        resolution: the value of one step of its last digit: 0.0001 for 0.0070.
    """

    text: str
    value: float
    resolution: float

    @property
    def rounding(self) -> float:
        """How far rounding can have moved the number: half of its resolution."""
        return self.resolution / 2

    @classmethod
    def read(cls, text: str) -> PrintedNumber | None:
        """The number that a text consists of, or None.

        Example:
            >>> PrintedNumber.read("0.0070")
            PrintedNumber(text='0.0070', value=0.007, resolution=0.0001)
        """
        text = text.strip()
        word = text.lstrip("+-").lower()
        if word in _WORDS:
            return cls(text, -_WORDS[word] if text.startswith("-") else _WORDS[word], 0.0)
        match = _NUMBER.fullmatch(text)
        if match is None:
            return None
        decimals = len(match["decimals"] or match["bare"] or "")
        return cls(text, float(text), 10.0 ** (int(match["power"] or 0) - decimals))
