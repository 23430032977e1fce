"""Colours of a terminal, and whether a stream shows them."""

from __future__ import annotations

import os
import sys
from typing import Literal, TextIO, TypeAlias

__all__ = ["Style", "is_dumb", "paint", "supports_colour"]

Style: TypeAlias = Literal[
    "title", "heading", "bar", "positive", "negative", "marker", "error", "warning", "note"
]

# SGR parameters: 1 is bold; 31 to 36 are red, green, yellow, blue, magenta and cyan.
_CODES: dict[Style, str] = {
    "title": "1;36",
    "heading": "1",
    "bar": "36",
    "positive": "33",
    "negative": "34",
    "marker": "32",
    "error": "1;31",
    "warning": "1;33",
    "note": "1;36",
}


def paint(text: str, style: Style | None, *, colour: bool = True) -> str:
    """A text in a style; unchanged without colour, without a style, or where it is blank."""
    if style is None or not colour or not text.strip():
        return text
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def supports_colour(stream: TextIO | None = None) -> bool:
    """Whether to write colours to a stream.

    The environment decides first, in the order that Python itself follows: NO_COLOR
    (no-color.org) forbids them, FORCE_COLOR (force-color.org) requests them, TERM=dumb forbids
    them. An empty variable counts as unset. Otherwise a terminal gets them, a pipe or a file
    doesn't.

    Args:
        stream: where the text goes; standard output where None.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return not is_dumb() and (sys.stdout if stream is None else stream).isatty()


def is_dumb() -> bool:
    """Whether the terminal is one that can neither show colours nor move its cursor."""
    return os.environ.get("TERM") == "dumb"
