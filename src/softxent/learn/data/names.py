"""How error messages show what stands in somebody's file: quoted, escaped and never too long."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

__all__ = ["did_you_mean", "listing", "quoted"]

_LONGEST = 40
_MOST = 8


def quoted(text: str) -> str:
    """One name or value; control characters are escaped, what is long is cut."""
    return repr(text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "...")


def listing(names: Sequence[str]) -> str:
    """Some names, and how many there are where that is not all of them."""
    shown = ", ".join(quoted(name) for name in names[:_MOST])
    return shown if len(names) <= _MOST else f"{shown}, ... ({len(names):,} in all)"


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """A question with the closest names and a space before it, or nothing."""
    plain = {other.strip().casefold(): other for other in reversed(names)}
    close = difflib.get_close_matches(name.strip().casefold(), plain, n=3)
    return f" Did you mean {' or '.join(quoted(plain[other]) for other in close)}?" if close else ""
