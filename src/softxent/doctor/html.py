"""Findings as the output of a notebook's cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from softxent.doctor.finding import Finding
from softxent.doctor.text import counts
from softxent.render.markup import Element, el
from softxent.render.page import fragment

__all__ = ["write_html"]


def write_html(
    subject: str, findings: Sequence[Finding], rules: int, not_checked: Sequence[str]
) -> str:
    """What `write_text` says, as HTML.

    Args:
        subject: what was judged.
        findings: the most severe first.
        rules: how many rules ran.
        not_checked: what could not be judged: one sentence each.
    """
    left_out = el("section", el("h2", "Not checked"), el("ul", (el("li", s) for s in not_checked)))
    return fragment(
        el("h1", f"{counts(findings, rules)}: {subject}"),
        map(_finding, findings),
        left_out if not_checked else None,
        kind="findings",
    )


def _finding(finding: Finding) -> Element:
    severity = finding.severity
    return el(
        "section",
        el(
            "h2",
            el("span", severity, class_=f"severity {severity}"),
            f" {finding.title} ",
            el("code", f"[{finding.rule}]"),
        ),
        _evidence(finding.evidence),
        el("p", f"{finding.confidence.capitalize()}: {finding.why}"),
        el("p", f"Not checked: {finding.not_checked}", class_="remark"),
        el("p", "Fix: ", el("code", finding.remedy), class_="formula"),
    )


def _evidence(text: str) -> Iterator[Element]:
    """Paragraphs; lines that start with two spaces stay as they are, below each other."""
    for fixed, lines in groupby(text.split("\n"), key=lambda line: line.startswith("  ")):
        if fixed:
            yield el("pre", "\n".join(line.removeprefix("  ") for line in lines))
        else:
            yield from (el("p", line) for line in lines if line.strip())
