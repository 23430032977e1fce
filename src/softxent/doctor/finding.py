"""What the doctor says: a finding with its evidence, and the diagnosis that collects them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = ["LEVELS", "Confidence", "Diagnosis", "Evidence", "Finding", "Level", "Numbers"]

Level = Literal["note", "warning", "error"]
Confidence = Literal["certain", "likely", "possible"]
Numbers: TypeAlias = Mapping[str, Any]

LEVELS: tuple[Level, ...] = ("note", "warning", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a rule saw.

    Args:
        level: `error`, the result is wrong or will be; `warning`, it is likely to be; `note`, worth
            knowing in a set-up that may be healthy.
        text: the evidence in words, with its numbers. Lines that start with two spaces are kept as
            they are (tables); all else is wrapped.
        numbers: the same numbers for programs: plain numbers, strings and lists of them.
        confidence: how sure the rule is that the mistake is there.
        why: what makes it so sure, or what it could be instead.
        remedy: one line of code.
        not_checked: what the rule could not see and took for granted.
    """

    level: Level
    text: str
    numbers: Numbers
    confidence: Confidence
    why: str
    remedy: str
    not_checked: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One mistake, named, with its evidence and its remedy.

    Args:
        rule: the rule's name, `softmax-twice`; also the name of its page in the docs.
        title: the mistake in one sentence.
        level, evidence, numbers, confidence, why, remedy, not_checked: as `Evidence`, whose text is
            `evidence` here.
    """

    rule: str
    title: str
    level: Level
    evidence: str
    numbers: Numbers
    confidence: Confidence
    why: str
    remedy: str
    not_checked: str

    def __str__(self) -> str:
        return f"{self.level}: {self.title} [{self.rule}] Remedy: {self.remedy}"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings about one thing, the worst first.

    Args:
        subject: what was looked at, in words.
        findings: errors, then warnings, then notes.
        checked: the names of the rules that were asked.
        not_checked: what could not be looked at, and why: one sentence each.

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
        """A diagnosis with its findings in order: of each rule the first of the worst."""
        ordered = sorted(findings, key=lambda one: -LEVELS.index(one.level))
        worst: dict[str, Finding] = {}
        for finding in ordered:
            worst.setdefault(finding.rule, finding)
        return cls(
            subject, tuple(worst.values()), tuple(dict.fromkeys(checked)), tuple(not_checked)
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
    def worst(self) -> Level | None:
        """The level of the worst finding; None where there is none."""
        return self.findings[0].level if self.findings else None

    def above_notes(self) -> tuple[Finding, ...]:
        """The warnings and errors."""
        return tuple(finding for finding in self.findings if finding.level != "note")

    def __str__(self) -> str:
        from softxent.doctor.text import write_text

        return write_text(self)
