"""The doctor: names the classic mistakes that make losses silently wrong, with evidence.

check(logits, target)           the arguments of a loss, arrays or tensors
check_mean(x, means, counts)    what a reported mean was divided by
check_predictions(pred, y)      a comparison of predictions with labels
audit_log(text)                 numbers that somebody printed: can they be true?
examine(model, batch, loss)     a torch model on one batch; nothing of it is changed
watch(model, loss)              a training loop, a few steps of it
all_rules()                     every rule with its docs

Each returns a `Diagnosis`: findings with a rule's name, the evidence in numbers, how sure it is and
why, a remedy in one line of code, and what was not checked.

A rule is a function in `rules`, registered by name (registry.py) and documented by its docstring
(pages.py). What they look at is gathered before: arrays (cases.py, looks.py, columns.py), a log
(log.py, read by log_reading.py), a model tried on a batch (examination.py with batch.py, probing.py
and overfitting.py), a loop (watching.py, which sees it through calls.py). Which loss it is says
known_losses.py.
"""

import importlib
from typing import TYPE_CHECKING, Any

from softxent.doctor.audit import audit_log
from softxent.doctor.check import check, check_mean, check_predictions
from softxent.doctor.finding import Diagnosis, Evidence, Finding
from softxent.doctor.registry import Rule, all_rules
from softxent.errors import missing_extra

if TYPE_CHECKING:
    from softxent.doctor.examination import examine
    from softxent.doctor.watching import watch

__all__ = [
    "Diagnosis",
    "Evidence",
    "Finding",
    "Rule",
    "all_rules",
    "audit_log",
    "check",
    "check_mean",
    "check_predictions",
    "examine",
    "watch",
]


_NEED_TORCH = {"examine": "examination", "watch": "watching"}


def __getattr__(name: str) -> Any:
    """`examine` and `watch` need torch, which is loaded when one of them is first asked for."""
    if name not in _NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import torch  # noqa: F401
    except ImportError:
        raise missing_extra("torch", needed_by=name, extra="torch") from None
    module = importlib.import_module(f"{__name__}.{_NEED_TORCH[name]}")
    globals()[name] = getattr(module, name)
    return globals()[name]
