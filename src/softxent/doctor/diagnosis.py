"""What the doctor reports: the findings about one subject."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from softxent.doctor.finding import SEVERITIES, Finding, Severity
from softxent.doctor.html import write_html
from softxent.doctor.text import write_text

__all__ = ["Diagnosis"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings about one subject, the most severe first.

    Args:
        subject: what was judged, in words.
        findings: errors, then warnings, then notes.
        checked: the names of the rules that ran.
        not_checked: what could not be judged, and why: one sentence each.

    Example:
        >>> import numpy as np
        >>> from softxent import doctor
        >>> diagnosis = doctor.check(np.full((4, 3), 1 / 3), [0, 1, 2, 0])
        >>> diagnosis.rules
        ('softmax-twice', 'constant-scores')
        >>> diagnosis.worst
        'error'
    """

    subject: str
    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    not_checked: tuple[str, ...] = field(default=())

    @classmethod
    def of(
        cls,
        subject: str,
        findings: Iterable[Finding],
        checked: Sequence[str],
        not_checked: Sequence[str] = (),
    ) -> Diagnosis:
        """Order the findings by severity; keep the first of the most severe ones of each rule."""
        ordered = sorted(findings, key=lambda one: -SEVERITIES.index(one.severity))
        by_rule: dict[str, Finding] = {}
        for finding in ordered:
            by_rule.setdefault(finding.rule, finding)
        return cls(
            subject, tuple(by_rule.values()), tuple(dict.fromkeys(checked)), tuple(not_checked)
        )

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    @property
    def rules(self) -> tuple[str, ...]:
        """The names of the rules that found something."""
        return tuple(finding.rule for finding in self.findings)

    @property
    def worst(self) -> Severity | None:
        """The severity of the most severe finding; None if there is no finding."""
        return self.findings[0].severity if self.findings else None

    def above_notes(self) -> tuple[Finding, ...]:
        """The warnings and errors."""
        return tuple(finding for finding in self.findings if finding.severity != "note")

    def text(self, *, colour: bool = False) -> str:
        """The findings as text, at most 80 columns wide.

        Args:
            colour: whether to add a terminal's escape sequences for colours.
        """
        return write_text(
            self.subject, self.findings, len(self.checked), self.not_checked, colour=colour
        )

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return write_html(self.subject, self.findings, len(self.checked), self.not_checked)
