"""Formatting names and values from files for error messages: quoted, escaped, of limited length."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

__all__ = ["did_you_mean", "listing", "quoted"]

_LONGEST = 40
_MOST = 8


def quoted(text: str) -> str:
    """Quote a name or value; control characters are escaped, long text is cut."""
    return repr(text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "...")


def listing(names: Sequence[str]) -> str:
    """List the first names, with the number of all if there are more."""
    shown = ", ".join(quoted(name) for name in names[:_MOST])
    return shown if len(names) <= _MOST else f"{shown}, ... ({len(names):,} in all)"


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """Return a question with the closest names and a space before it, or an empty string."""
    plain = {other.strip().casefold(): other for other in reversed(names)}
    close = difflib.get_close_matches(name.strip().casefold(), plain, n=3)
    return f" Did you mean {' or '.join(quoted(plain[other]) for other in close)}?" if close else ""
