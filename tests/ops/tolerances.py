"""How far a result may be off, in units in the last place (ulp) of the exact result.

One bound holds for every function, dtype and case. What can't keep it stands below as an exception:
what computes ("arrays": the compiled kernels, "composed": torch's operations), why, and for each
function and named case what was measured, rounded up. Exceptions are lowered and removed; nothing
here is raised to make a test pass.

Functions are the public ones, or the "loss" and the "gradient" of class indices, or those with an
option or another target ("gradient, z_loss"). With an option the gradient is a difference that may
cancel (p close to t), and the unit is the last place of the larger term.
"""

from __future__ import annotations

import math
from typing import NamedTuple

ULP = 4.0


class Exceptions(NamedTuple):
    path: str
    dtype: str
    why: str
    bounds: dict[tuple[str, str], float]  # (function, case); the case "*" is every case
    unit: str = "result"  # or "terms": the last place of the larger of two terms that cancel


GROUPS = [
    Exceptions(
        "arrays",
        "float64",
        "z / temperature and the softcap are rounded to float64 before the maximum is taken off",
        {
            ("loss, temperature", "*"): 4500,
            ("gradient, temperature", "*"): 13000,
            ("loss, softcap", "*"): 16,
            ("gradient, softcap", "*"): 600,
            ("loss, everything", "*"): 17,
            ("gradient, everything", "*"): 130,
        },
    ),
    Exceptions(
        "arrays",
        "float64",
        "s + 2 z_loss lse is a rounded sum, and lse is 1e4",
        {("gradient, z_loss", "offset"): 12},
    ),
    Exceptions(
        "arrays",
        "float64",
        "the maximum and log1p(rest) cancel where the maximum is negative",
        {("logsumexp", "*"): 4},
        unit="terms",
    ),
    Exceptions(
        "composed",
        "float32",
        "torch.softmax adds up a million numbers in float32",
        {("softmax", "million"): 4000},
    ),
    Exceptions(
        "composed",
        "float64",
        "torch.softmax adds up a million numbers one by one",
        {("softmax", "million"): 2000},
    ),
    Exceptions(
        "composed",
        "float32",
        "u - maximum and exp are rounded to float32, and sums of a thousand classes are torch's",
        {
            ("softmax", "*"): 60,
            ("log_softmax", "*"): 8,
            ("log_softmax", "wide"): 40,
            ("loss", "*"): 8,
            ("loss", "wide"): 40,
            ("gradient", "*"): 60,
            ("gradient", "wide"): 700,
            ("loss, weight", "*"): 8,
            ("gradient, weight", "*"): 11,
            ("gradient, label_smoothing", "*"): 12,
            ("gradient, probabilities", "*"): 6,
            ("gradient, z_loss", "*"): 10,
        },
    ),
    Exceptions(
        "composed",
        "float64",
        "u - maximum is rounded to float64, and sums of a thousand classes are torch's",
        {
            ("softmax", "*"): 500,
            ("log_softmax", "*"): 70,
            ("log_softmax", "wide"): 470,
            ("loss", "*"): 70,
            ("loss", "wide"): 470,
            ("gradient", "*"): 500,
            ("gradient", "wide"): 1200,
            ("loss, weight", "*"): 40,
            ("gradient, weight", "*"): 40,
            ("gradient, label_smoothing", "*"): 10,
            ("gradient, probabilities", "*"): 12,
            ("gradient, z_loss", "*"): 40,
        },
    ),
    *(
        Exceptions(
            "composed",
            dtype,
            "the logits are rounded once more by temperature and softcap; where the cap is reached "
            "torch's derivative of tanh, 1 - tanh^2, has no digits left",
            {
                ("loss, temperature", "*"): 6000,
                ("gradient, temperature", "*"): 13000,
                ("loss, softcap", "*"): 40,
                ("gradient, softcap", "*"): 15,
                ("gradient, softcap", "sure"): math.inf,
                ("gradient, softcap", "surest"): math.inf,
                ("gradient, softcap", "offset"): math.inf,
                ("loss, everything", "*"): 25,
                ("gradient, everything", "*"): 25,
                ("gradient, everything", "sure"): math.inf,
                ("gradient, everything", "surest"): math.inf,
                ("gradient, everything", "offset"): math.inf,
            },
        )
        for dtype in ("float32", "float64")
    ),
    *(
        Exceptions(
            "composed",
            dtype,
            "the maximum and log1p(rest) cancel where the maximum is negative",
            {("logsumexp", "*"): 4},
            unit="terms",
        )
        for dtype in ("float32", "float64")
    ),
]

_EXCEPTIONS = {
    (group.path, function, group.dtype, case): (bound, group.unit)
    for group in GROUPS
    for (function, case), bound in group.bounds.items()
}


def bound(path: str, function: str, dtype: str, case: str) -> tuple[float, str]:
    """How many units a result may be off, and whose last place that is: `result` or `terms`."""
    unit = "terms" if function.startswith("gradient, ") else "result"
    for key in ((path, function, dtype, case), (path, function, dtype, "*")):
        if key in _EXCEPTIONS:
            return _EXCEPTIONS[key][0], max(unit, _EXCEPTIONS[key][1])  # "terms" > "result"
    return ULP, unit
