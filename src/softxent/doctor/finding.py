"""What the doctor finds: one mistake with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

__all__ = ["SEVERITIES", "Confidence", "Evidence", "Finding", "Numbers", "Severity"]

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
