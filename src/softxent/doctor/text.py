"""Findings as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from softxent.doctor.finding import SEVERITIES, Finding
from softxent.render.numbers import plural
from softxent.render.terminal import paint
from softxent.render.text import wrap

__all__ = ["counts", "write_text"]

_INDENT = "  "


def write_text(
    subject: str,
    findings: Sequence[Finding],
    rules: int,
    not_checked: Sequence[str],
    *,
    colour: bool = False,
) -> str:
    """The findings in at most 80 columns, without a line break at the end.

    Args:
        subject: what was judged.
        findings: the most severe first.
        rules: how many rules ran.
        not_checked: what could not be judged: one sentence each.
        colour: whether to paint the severities.
    """
    lines = wrap(f"{counts(findings, rules)}: {subject}")
    for finding in findings:
        lines += ["", *_finding(finding, colour)]
    if not_checked:
        lines += ["", "Not checked:"]
        for sentence in not_checked:
            lines += wrap(sentence, f"{_INDENT}- ", 2 * _INDENT)
    return "\n".join(lines)


def counts(findings: Sequence[Finding], rules: int) -> str:
    """How many findings of each severity there are."""
    if not findings:
        return f"Nothing found by {plural(rules, 'rule')}"
    amounts = {
        severity: sum(finding.severity == severity for finding in findings)
        for severity in reversed(SEVERITIES)
    }
    return ", ".join(plural(count, severity) for severity, count in amounts.items() if count)


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
