"""All rules. Importing this module registers them, in the order in which they run."""

from __future__ import annotations

from softxent.doctor.arrays import rules as _arrays
from softxent.doctor.logs import rules as _logs
from softxent.doctor.loops import rules as _loops
from softxent.doctor.means import rules as _means
from softxent.doctor.models import rules as _models
from softxent.doctor.predictions import rules as _predictions
from softxent.doctor.registry import Rule, Subject, registered_rules

__all__ = ["JUDGED_BY", "all_rules"]

# The public function that runs the rules on each subject, and what it judges.
JUDGED_BY: dict[Subject, tuple[str, str]] = {
    "arrays": ("check", "the arguments of a loss"),
    "means": ("check_mean", "a mean over batches"),
    "predictions": ("check_predictions", "a comparison of predictions with labels"),
    "log": ("audit_log", "a training log; also `softxent doctor LOG`"),
    "model": ("examine", "a torch model on one batch"),
    "training": ("watch", "a training loop"),
}

_MODULES = (_arrays, _means, _predictions, _logs, _models, _loops)


def all_rules(subject: Subject | None = None) -> tuple[Rule, ...]:
    """All rules, or those on one subject, in the order in which they run.

    Example:
        >>> [rule.name for rule in all_rules("predictions")]
        ['broadcast-comparison', 'more-correct-than-rows']
        >>> all_rules("predictions")[0].severity
        'error'
    """
    subjects = list(JUDGED_BY)
    ordered = sorted(registered_rules(), key=lambda rule: subjects.index(rule.subject))
    return tuple(rule for rule in ordered if subject in (None, rule.subject))
