"""The rules: one function each, collected by a decorator, documented by its own docstring.

A rule looks at one subject (arrays, a log, a model's trial ...) and returns `Evidence` or None. Its
docstring is its page in the docs:

    One sentence that names the mistake.

    Symptom: what its author sees.

    Cause: what happens.

    Cure: what to do instead.

    Failing:
        >>> an example that the rule finds

    Mended:
        >>> the same, mended
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from softxent.doctor.finding import Evidence, Finding

__all__ = ["SECTIONS", "Rule", "Subject", "all_rules", "ask", "rule"]

Subject = Literal["arrays", "means", "predictions", "log", "model", "training"]
SECTIONS = ("Symptom", "Cause", "Cure", "Failing", "Mended")
_HEADING = re.compile(rf"^({'|'.join(SECTIONS)}):[ \n]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Rule:
    """One classic mistake: how it is found, and what its docstring says about it."""

    name: str
    subject: Subject
    function: Callable[[Any], Evidence | None]
    title: str
    sections: dict[str, str]

    def __call__(self, case: Any) -> Finding | None:
        """The finding about one case, if there is one."""
        evidence = self.function(case)
        if evidence is None:
            return None
        return Finding(
            rule=self.name,
            title=self.title,
            level=evidence.level,
            evidence=evidence.text,
            numbers=evidence.numbers,
            confidence=evidence.confidence,
            why=evidence.why,
            remedy=evidence.remedy,
            not_checked=evidence.not_checked,
        )


_RULES: dict[str, Rule] = {}


def rule(
    subject: Subject,
) -> Callable[[Callable[[Any], Evidence | None]], Callable[[Any], Evidence | None]]:
    """Register a function as the rule that bears its name."""

    def register(function: Callable[[Any], Evidence | None]) -> Callable[[Any], Evidence | None]:
        name = function.__name__.replace("_", "-")
        text = inspect.cleandoc(function.__doc__ or "")
        title, *parts = _HEADING.split(text)
        sections = {
            heading: inspect.cleandoc(body) if heading in ("Failing", "Mended") else body.strip()
            for heading, body in zip(parts[::2], parts[1::2], strict=True)
        }
        _RULES[name] = Rule(name, subject, function, " ".join(title.split()), sections)
        return function

    return register


def all_rules(subject: Subject | None = None) -> tuple[Rule, ...]:
    """All rules, or those on one subject, in the order in which they are asked."""
    import softxent.doctor.rules  # noqa: F401  the rules register themselves when they are loaded

    return tuple(one for one in _RULES.values() if subject in (None, one.subject))


def ask(subject: Subject, case: Any) -> tuple[list[Finding], list[str]]:
    """What the rules on one subject find in a case, and the names of those that were asked."""
    asked = all_rules(subject)
    answers = (one(case) for one in asked)
    return [finding for finding in answers if finding is not None], [one.name for one in asked]
