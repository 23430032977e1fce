"""What the doctor reports: findings with their evidence, and the diagnosis that collects them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = ["SEVERITIES", "Confidence", "Diagnosis", "Evidence", "Finding", "Numbers", "Severity"]

Severity = Literal["note", "warning", "error"]
Confidence = Literal["certain", "likely", "possible"]
Numbers: TypeAlias = Mapping[str, Any]

SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")  # in ascending order


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a rule returns when it detects its mistake.

    Args:
        text: the evidence in words, with its numbers. Lines that start with two spaces are printed
            as they are (tables); all other text is wrapped.
        numbers: the same numbers for programs: plain numbers, strings and lists of them.
        confidence: how sure the rule is that the mistake is there.
        why: the reason for that confidence, or what else could explain the evidence.
        remedy: the fix, as one line of code.
        not_checked: what the rule could not see and assumed.
        severity: where this evidence is weaker than the rule's own severity, the lower severity;
            None for the rule's own.
    """

    text: str
    numbers: Numbers
    confidence: Confidence
    why: str
    remedy: str
    not_checked: str
    severity: Severity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One mistake, named, with its evidence and its fix.

    Args:
        rule: the rule's name, such as `softmax-twice`; also the name of its page in the docs.
        title: the mistake in one sentence.
        severity: `error`, the result is wrong or will be; `warning`, it is likely to be; `note`,
            worth knowing, although the set-up may be healthy.
        evidence, numbers, confidence, why, remedy, not_checked: as in `Evidence`, whose `text` is
            `evidence` here.
    """

    rule: str
    title: str
    severity: Severity
    evidence: str
    numbers: Numbers
    confidence: Confidence
    why: str
    remedy: str
    not_checked: str

    @property
    def level(self) -> Severity:
        """The severity, under its first name."""
        return self.severity

    def __str__(self) -> str:
        return f"{self.severity}: {self.title} [{self.rule}] Fix: {self.remedy}"


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

    def __str__(self) -> str:
        from softxent.doctor.text import write_text

        return write_text(self)
