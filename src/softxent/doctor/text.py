"""A diagnosis as text for a terminal: at most 80 columns, in colour only where asked for."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from softxent.doctor.finding import Diagnosis, Finding

__all__ = ["write_text"]

_COLUMNS = 80
_INDENT = "  "
_COLOURS = {"error": "\x1b[1;31m", "warning": "\x1b[1;33m", "note": "\x1b[1;36m"}
_PLAIN = "\x1b[0m"


def write_text(diagnosis: Diagnosis, *, colour: bool = False) -> str:
    """The whole diagnosis, without a line break at the end."""
    return "\n".join(_lines(diagnosis, colour))


def _lines(diagnosis: Diagnosis, colour: bool) -> Iterator[str]:
    yield from _wrap(f"{_counts(diagnosis)}: {diagnosis.subject}", "")
    for finding in diagnosis.findings:
        yield ""
        yield from _finding(finding, colour)
    if diagnosis.not_checked:
        yield ""
        yield "Not looked at:"
        for sentence in diagnosis.not_checked:
            yield from _wrap(f"- {sentence}", _INDENT, hanging="  ")


def _counts(diagnosis: Diagnosis) -> str:
    if not diagnosis.findings:
        asked = len(diagnosis.checked)
        return f"Nothing found by {asked} rule{'s' if asked != 1 else ''}"
    counts = [
        f"{number} {level}{'s' if number != 1 else ''}"
        for level in _COLOURS
        if (number := sum(one.level == level for one in diagnosis.findings))
    ]
    return ", ".join(counts)


def _finding(finding: Finding, colour: bool) -> Iterator[str]:
    first, *rest = _wrap(f"{finding.level}: {finding.title} [{finding.rule}]", "", hanging=_INDENT)
    if colour:
        head, tail = first[: len(finding.level)], first[len(finding.level) :]
        first = f"{_COLOURS[finding.level]}{head}{_PLAIN}{tail}"
    yield first
    yield from rest
    for line in finding.evidence.split("\n"):
        if line.startswith("  "):
            yield _INDENT + line
        else:
            yield from _wrap(line, _INDENT)
    yield from _wrap(f"{finding.confidence.capitalize()}: {finding.why}", _INDENT)
    yield from _wrap(f"Not checked: {finding.not_checked}", _INDENT)
    yield f"{_INDENT}Remedy: {finding.remedy}"


def _wrap(text: str, indent: str, hanging: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        _COLUMNS,
        initial_indent=indent,
        subsequent_indent=indent + hanging,
        break_long_words=True,
        break_on_hyphens=False,
    ) or [""]
