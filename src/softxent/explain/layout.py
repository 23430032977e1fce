"""How numbers, names and bars are set as plain text. Nothing here knows of a trace."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence

__all__ = [
    "INDENT",
    "NAME_WIDTH",
    "aligned",
    "bar",
    "clean",
    "exact",
    "pad",
    "plural",
    "short",
    "sign_bar",
    "signed",
    "ten_digits",
    "width_of",
    "wrap",
]

INDENT = "     "
NAME_WIDTH = 16
_COLUMNS = 80
_BAR = 24


def clean(name: str, columns: int = NAME_WIDTH) -> str:
    """Text from data, made safe for a terminal and cut to a number of columns.

    A line break becomes a space; what else isn't printable (escape sequences, marks that turn the
    writing round) becomes U+FFFD.
    """
    name = unicodedata.normalize("NFC", " ".join(name[: 4 * columns].split()))
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    while width_of(name) > columns:
        name = name.removesuffix("…")[:-1] + "…"
    return name


def exact(value: float) -> str:
    """A number with all its digits: it reads back to the same float64."""
    return repr(float(value) + 0.0).removesuffix(".0")  # + 0.0 takes the sign from -0


def signed(value: float) -> str:
    """A change, with its sign."""
    return f"+{exact(value)}" if value > 0 else exact(value)


def ten_digits(value: float) -> str:
    """A number where three of them stand in a line."""
    return f"{value + 0.0:.10g}"


def short(value: float) -> str:
    """A number to be read along with a sentence."""
    return f"{value + 0.0:.5g}"


def plural(count: int, noun: str) -> str:
    """How many there are of something."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def aligned(numbers: Sequence[str]) -> list[str]:
    """The decimal points under each other, and all of one length."""

    def whole(number: str) -> int:
        return min(i for i in (number.find("."), number.find("e"), len(number)) if i >= 0)

    left = max(map(whole, numbers))
    moved = [" " * (left - whole(number)) + number for number in numbers]
    length = max(map(len, moved))
    return [number.ljust(length) for number in moved]


def pad(text: str, columns: int) -> str:
    """A text with spaces behind it, up to a number of columns."""
    return text + " " * (columns - width_of(text))


def wrap(text: str, first: str = "", rest: str = "") -> list[str]:
    """Lines of a text; `first` stands before the first of them, `rest` before the others."""
    # textwrap counts characters; a wide one costs every line a column.
    columns = _COLUMNS - (width_of(text) - len(text))
    return textwrap.wrap(text, columns, initial_indent=first, subsequent_indent=rest)


def bar(share: float) -> str:
    """A bar for a number from 0 to 1."""
    return "█" * round(share * _BAR)


def sign_bar(share: float) -> str:
    """A bar for a number from -1 to 1: negative to the left of the line, positive to the right."""
    half = _BAR // 2
    blocks = "█" * round(abs(share) * half)
    return f"{blocks if share < 0 else '':>{half}}│{blocks if share > 0 else ''}"


def width_of(text: str) -> int:
    """What a text takes of a terminal's line: East Asian wide characters take two columns."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
