"""The list of all rules as text."""

from __future__ import annotations

from softxent.doctor.catalog import JUDGED_BY, all_rules

__all__ = ["write_rules"]

_INDENT = "  "


def write_rules() -> str:
    """All rules with their severities and titles, one per line, under the function that runs them.

    Titles are not wrapped, so that a search for a name finds the whole line.
    """
    longest = max(len(rule.name) for rule in all_rules())
    lines: list[str] = []
    for subject, (function, words) in JUDGED_BY.items():
        lines += ["", f"doctor.{function}: {words}"] if lines else [f"doctor.{function}: {words}"]
        lines += [
            f"{_INDENT}{rule.name:{longest}}  {rule.severity:7}  {rule.title}"
            for rule in all_rules(subject)
        ]
    return "\n".join(lines)
