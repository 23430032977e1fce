"""The doctor names the classic mistakes that make losses silently wrong, and shows the evidence.

check(logits, target)           the arguments of a loss, arrays or tensors
check_mean(x, means, counts)    what a reported mean was divided by
check_predictions(pred, y)      a comparison of predictions with labels
audit_log(text)                 a training log: whether its numbers can be true
examine(model, batch, loss)     a torch model on one batch; the model is not changed
watch(model, loss)              a training loop while it runs
all_rules()                     every rule, with its severity and its documentation

Each function returns a `Diagnosis`: findings with the name and the severity of the rule, the
evidence in numbers, a confidence with its reason, a fix in one line of code, and what was not
checked. `select=` and `ignore=` choose the rules that run, by name.

Each input has a folder with its reader, its public function and its rules: arrays, means,
predictions, logs, models, loops. They share the records of a diagnosis (finding.py), the
registration of rules (registry.py, catalog.py), their selection (selection.py), the text for a
terminal (text.py) and the pages in docs/doctor (pages.py). losses/ recognizes torch's losses for
models and loops.
"""

import importlib
from typing import TYPE_CHECKING, Any

from softxent.doctor.arrays.check import check
from softxent.doctor.catalog import all_rules
from softxent.doctor.diagnosis import Diagnosis
from softxent.doctor.finding import Evidence, Finding
from softxent.doctor.logs.audit import audit_log
from softxent.doctor.means.check_mean import check_mean
from softxent.doctor.predictions.check_predictions import check_predictions
from softxent.doctor.registry import Rule
from softxent.errors import missing_extra

if TYPE_CHECKING:
    from softxent.doctor.loops.watch import watch
    from softxent.doctor.models.examine import examine

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

_NEED_TORCH = {"examine": "models.examine", "watch": "loops.watch"}


def __getattr__(name: str) -> Any:
    """Load `examine` and `watch`, which need torch, when one of them is first used."""
    if name not in _NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import torch  # noqa: F401
    except ImportError:
        raise missing_extra("torch", needed_by=name, extra="torch") from None
    module = importlib.import_module(f"{__name__}.{_NEED_TORCH[name]}")
    globals()[name] = getattr(module, name)
    return globals()[name]
