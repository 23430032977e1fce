"""Plain text: display width, wrapping, columns, bars, and untrusted names made safe to print."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence

__all__ = [
    "COLUMNS",
    "align_decimals",
    "bar",
    "pad",
    "printable",
    "shorten",
    "signed_bar",
    "table",
    "width",
    "wrap",
]

COLUMNS = 80
"""How wide text is set."""

_BAR = 24  # columns
_FULL = "\N{FULL BLOCK}"
_AXIS = "\N{BOX DRAWINGS LIGHT VERTICAL}"


def width(text: str) -> int:
    """The number of terminal columns that a text takes.

    East Asian wide characters take two, combining marks none.

    Example:
        >>> width("naïve"), width("日本語")
        (5, 6)
    """
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def printable(text: str) -> str:
    """Untrusted text on one line that can't control a terminal.

    White space becomes a single space. Every other character that isn't printable (escape
    sequences, direction overrides) becomes U+FFFD.

    Example:
        >>> printable("a   b")
        'a b'
    """
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def shorten(text: str, columns: int) -> str:
    """`printable` text that takes at most so many columns; an ellipsis marks a cut.

    Example:
        >>> shorten("a long name", 8)
        'a long …'
    """
    text = printable(text[: 4 * columns])
    while width(text) > columns:
        text = text.removesuffix("…")[:-1] + "…"
    return text


def pad(text: str, columns: int) -> str:
    """The text with spaces after it, up to so many columns."""
    return text + " " * (columns - width(text))


def wrap(text: str, first: str = "", rest: str = "", *, columns: int = COLUMNS) -> list[str]:
    """The lines of a text. Spaces between words are kept, except where a line ends.

    Words are broken only where one is longer than a line, never at a hyphen: `--row` and `z-loss`
    stay whole.

    Args:
        text: the text.
        first: the prefix of the first line.
        rest: the prefix of every other line.
        columns: the greatest width of a line.

    Returns:
        The lines; none for an empty text.

    Example:
        >>> wrap("the quick brown fox", "- ", "  ", columns=12)
        ['- the quick', '  brown fox']
    """
    lines: list[str] = []
    line, gap, prefix = first, "", True
    for chunk in re.findall(r"\s+|\S+", text):
        word = chunk
        if chunk.isspace():
            gap = "" if prefix else " " * len(chunk)
            continue
        if not prefix and width(line + gap + word) > columns:
            lines.append(line)
            line, gap = rest, ""
        while width(line + gap + word) > columns:
            fitting = _fitting(word, columns - width(line))
            lines.append(line + word[:fitting])
            line, word = rest, word[fitting:]
        line, gap, prefix = line + gap + word, "", False
    return lines if prefix else [*lines, line]


def _fitting(word: str, columns: int) -> int:
    """How many characters of a word fit into so many columns; at least one."""
    taken = 0
    for index, character in enumerate(word):
        taken += _columns(character)
        if taken > columns:
            return max(1, index)
    return len(word)


def table(rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> list[str]:
    """One line a row, with the columns two spaces apart.

    Args:
        rows: cells; every row has as many.
        right: the indices of columns that are aligned on the right.

    Example:
        >>> table([["class", "rows"], ["a", "7"]], right=[1])
        ['class  rows', 'a         7']
    """
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            " " * (columns - width(cell)) + cell if index in right else pad(cell, columns)
            for index, (cell, columns) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def align_decimals(numbers: Sequence[str]) -> list[str]:
    """Numbers of equal width with their decimal points below each other.

    Example:
        >>> align_decimals(["12.5", "3", "1e-07"])
        ['12.5  ', ' 3    ', ' 1e-07']
    """

    def digits(number: str) -> int:
        """The digits before the decimal point or the exponent."""
        return min(i for i in (number.find("."), number.find("e"), len(number)) if i >= 0)

    left = max(map(digits, numbers))
    moved = [" " * (left - digits(number)) + number for number in numbers]
    longest = max(map(len, moved))
    return [number.ljust(longest) for number in moved]


def bar(share: float) -> str:
    """A bar for a number from 0 to 1."""
    return _FULL * round(share * _BAR)


def signed_bar(share: float) -> str:
    """A bar for a number from -1 to 1: to the left of the axis where negative, else to the right.

    Example:
        >>> signed_bar(0.25)
        '            │███'
    """
    half = _BAR // 2
    blocks = _FULL * round(abs(share) * half)
    return f"{blocks if share < 0 else '':>{half}}{_AXIS}{blocks if share > 0 else ''}"
