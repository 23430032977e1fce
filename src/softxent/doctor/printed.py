"""A number as somebody printed it: its value, and how much its last digit leaves open."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

__all__ = ["Printed"]

_NUMBER = re.compile(
    r"[-+]?(?P<digits>\d+(?:\.(?P<decimals>\d*))?|\.(?P<bare>\d+))(?:[eE](?P<power>[-+]?\d+))?"
)
_WORDS = {"nan": math.nan, "inf": math.inf, "infinity": math.inf}


@dataclass(frozen=True, slots=True)
class Printed:
    """A printed number.

    Attributes:
        text: as it stood there.
        value: its value; NaN and infinity too.
        unit: the value of its last digit: 0.0001 for 0.0070.
    """

    text: str
    value: float
    unit: float

    @property
    def half(self) -> float:
        """Half of the last digit: how far rounding can have moved the number."""
        return self.unit / 2

    @classmethod
    def read(cls, text: str) -> Printed | None:
        """The number that a text is, or None.

        Example:
            >>> Printed.read("0.0070")
            Printed(text='0.0070', value=0.007, unit=0.0001)
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
