"""A diagnosis, or the list of all rules, as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from softxent.render.terminal import paint
from softxent.render.text import wrap

if TYPE_CHECKING:
    from softxent.doctor.finding import Diagnosis, Finding

__all__ = ["write_rules", "write_text"]

_INDENT = "  "


def write_text(diagnosis: Diagnosis, *, colour: bool = False) -> str:
    """The whole diagnosis in at most 80 columns, without a line break at the end."""
    return "\n".join(_lines(diagnosis, colour))


def _lines(diagnosis: Diagnosis, colour: bool) -> Iterator[str]:
    yield from wrap(f"{_counts(diagnosis)}: {diagnosis.subject}")
    for finding in diagnosis.findings:
        yield ""
        yield from _finding(finding, colour)
    if diagnosis.not_checked:
        yield ""
        yield "Not checked:"
        for sentence in diagnosis.not_checked:
            yield from wrap(sentence, f"{_INDENT}- ", 2 * _INDENT)


def _counts(diagnosis: Diagnosis) -> str:
    if not diagnosis.findings:
        count = len(diagnosis.checked)
        return f"Nothing found by {count} rule{'s' if count != 1 else ''}"
    counts = [
        f"{number} {severity}{'s' if number != 1 else ''}"
        for severity in ("error", "warning", "note")
        if (number := sum(one.severity == severity for one in diagnosis.findings))
    ]
    return ", ".join(counts)


def _finding(finding: Finding, colour: bool) -> Iterator[str]:
    severity = finding.severity
    first, *rest = wrap(f"{severity}: {finding.title} [{finding.rule}]", "", _INDENT)
    yield paint(severity, severity, colour=colour) + first.removeprefix(severity)
    yield from rest
    for line in finding.evidence.split("\n"):
        if line.startswith("  "):
            yield _INDENT + line
        else:
            yield from _indented(line)
    yield from _indented(f"{finding.confidence.capitalize()}: {finding.why}")
    yield from _indented(f"Not checked: {finding.not_checked}")
    yield f"{_INDENT}Fix: {finding.remedy}"


def _indented(text: str) -> list[str]:
    return wrap(text, _INDENT, _INDENT)


def write_rules() -> str:
    """All rules with their severities and titles, one per line, under the function that runs them.

    Titles are not wrapped, so that a search for a name finds the whole line.
    """
    from softxent.doctor.catalog import JUDGED_BY, all_rules

    longest = max(len(rule.name) for rule in all_rules())
    lines: list[str] = []
    for subject, (function, words) in JUDGED_BY.items():
        lines += ["", f"doctor.{function}: {words}"] if lines else [f"doctor.{function}: {words}"]
        lines += [
            f"{_INDENT}{rule.name:{longest}}  {rule.severity:7}  {rule.title}"
            for rule in all_rules(subject)
        ]
    return "\n".join(lines)
