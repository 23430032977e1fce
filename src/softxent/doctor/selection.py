"""Which rules run: `select=` and `ignore=`, and running them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from softxent.doctor.catalog import JUDGED_BY, all_rules
from softxent.doctor.finding import Finding
from softxent.doctor.registry import Rule, Subject
from softxent.errors import OptionError

__all__ = ["RuleNames", "RuleSelection"]

# Names of rules; a string holds one name, or several with commas between them.
RuleNames: TypeAlias = str | Iterable[str]


@dataclass(frozen=True, slots=True)
class RuleSelection:
    """The rules that one call of the doctor runs, in their order."""

    rules: tuple[Rule, ...]

    @classmethod
    def of(
        cls,
        function: str,
        *subjects: Subject,
        select: RuleNames | None,
        ignore: RuleNames,
    ) -> RuleSelection:
        """The rules on some subjects: those in `select` (None for all) that aren't in `ignore`.

        Args:
            function: the public function, for errors.
            subjects: what the function judges.
            select, ignore: names of rules. Rules on other subjects are accepted, so that one list
                serves all functions.

        Raises:
            OptionError: a name is unknown, or no rule is left.
        """
        selected = None if select is None else _known_names(function, "select", select)
        ignored = _known_names(function, "ignore", ignore)
        available = tuple(one for subject in subjects for one in all_rules(subject))
        chosen = tuple(
            one
            for one in available
            if (selected is None or one.name in selected) and one.name not in ignored
        )
        if not chosen:
            others = sorted(
                f"{one.name} ({JUDGED_BY[one.subject][0]})"
                for one in all_rules()
                if one.name in (selected or ()) and one not in available
            )
            hint = f" Rules of other functions: {', '.join(others)}." if others else ""
            raise OptionError(
                f"[{function}] select and ignore leave no rule to run.{hint} "
                f"Select at least one of {function}'s {len(available)} rules, such as "
                f"{available[0].name!r}; `softxent doctor --rules` lists them."
            )
        return cls(chosen)

    def __contains__(self, name: str) -> bool:
        return any(one.name == name for one in self.rules)

    def has(self, subject: Subject) -> bool:
        """Whether any rule on that subject runs."""
        return any(one.subject == subject for one in self.rules)

    def without(self, names: Collection[str]) -> RuleSelection:
        """The same rules, except those with these names."""
        return RuleSelection(tuple(one for one in self.rules if one.name not in names))

    def judge(self, subject: Subject, case: Any) -> tuple[list[Finding], list[str]]:
        """What the rules on a subject find in one input, and the names of those that ran."""
        rules = [one for one in self.rules if one.subject == subject]
        answers = [one(case) for one in rules]
        return [finding for finding in answers if finding is not None], [one.name for one in rules]


def _known_names(function: str, option: str, names: RuleNames) -> frozenset[str]:
    given = names.split(",") if isinstance(names, str) else list(names)
    known = [one.name for one in all_rules()]
    wanted = [name.strip() for name in given if name.strip()]
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name.lower().replace("_", "-"), known)
            suggestion = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
            raise OptionError(
                f"[{function}] {option} names {name!r}, and there is no such rule. {suggestion}"
                "`softxent doctor --rules` lists all rules."
            )
    return frozenset(wanted)
