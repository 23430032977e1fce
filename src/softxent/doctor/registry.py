"""The rules: one function each, registered by a decorator and documented by its docstring.

A rule gets one input (the arguments of a loss, a log, what was measured of a model ...) and returns
`Evidence`, or None if it detects nothing. Its name is the function's name with hyphens. Its
docstring is its page in docs/doctor:

    One sentence that names the mistake.

    Symptom: what the user sees.

    Cause: what happens.

    Fix: what to do instead.

    Source: where people made the mistake, or the documentation that defines the behaviour.

    Wrong:
        an example, after >>>, in which the rule detects the mistake

    Fixed:
        the same example with the mistake fixed

CONTRIBUTING.md says what a new rule must show and lists the steps to add one.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from softxent.doctor.finding import SEVERITIES, Evidence, Finding, Severity

__all__ = ["SECTIONS", "Rule", "Subject", "registered_rules", "rule"]

# What a rule judges. Each subject has a folder: arrays, means, predictions, logs, models, loops.
Subject = Literal["arrays", "means", "predictions", "log", "model", "training"]
SECTIONS = ("Symptom", "Cause", "Fix", "Source", "Wrong", "Fixed")
_EXAMPLES = ("Wrong", "Fixed")
_HEADING = re.compile(rf"^({'|'.join(SECTIONS)}):[ \n]", re.MULTILINE)

_Judge = Callable[[Any], Evidence | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """One classic mistake, and the function that detects it.

    Attributes:
        name: stable; what `select=`, `ignore=` and the documentation call it.
        subject: the kind of input that it judges.
        severity: the highest severity that its findings have.
        function: takes the input and returns `Evidence` or None.
        title: the mistake in one sentence.
        sections: the other parts of its docstring, by heading.
    """

    name: str
    subject: Subject
    severity: Severity
    function: _Judge
    title: str
    sections: dict[str, str]

    def __call__(self, case: Any) -> Finding | None:
        """The finding about one input; None if the rule detects nothing."""
        evidence = self.function(case)
        if evidence is None:
            return None
        severity = evidence.severity or self.severity
        assert SEVERITIES.index(severity) <= SEVERITIES.index(self.severity), self.name
        return Finding(
            rule=self.name,
            title=self.title,
            severity=severity,
            evidence=evidence.text,
            numbers=evidence.numbers,
            confidence=evidence.confidence,
            why=evidence.why,
            remedy=evidence.remedy,
            not_checked=evidence.not_checked,
        )


_RULES: dict[str, Rule] = {}


def rule(subject: Subject, *, severity: Severity) -> Callable[[_Judge], _Judge]:
    """Register a function as a rule.

    Args:
        subject: what the rule judges.
        severity: the highest severity that its findings have.
    """

    def register(function: _Judge) -> _Judge:
        name = function.__name__.replace("_", "-")
        assert name not in _RULES, f"two rules are called {name}"
        title, *parts = _HEADING.split(inspect.cleandoc(function.__doc__ or ""))
        sections = {
            heading: inspect.cleandoc(body) if heading in _EXAMPLES else body.strip()
            for heading, body in zip(parts[::2], parts[1::2], strict=True)
        }
        _RULES[name] = Rule(name, subject, severity, function, " ".join(title.split()), sections)
        return function

    return register


def registered_rules() -> tuple[Rule, ...]:
    """The rules of the modules that are loaded; `catalog.all_rules` loads all of them."""
    return tuple(_RULES.values())
