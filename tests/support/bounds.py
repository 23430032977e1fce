"""The largest error that each result may have, in units in the last place (ulp) of the exact value.

One bound, `ULP`, holds for every function, dtype and input of the compiled kernels. What doesn't
keep it is listed below as an exception, with the reason and what was measured, rounded up. A bound
is lowered when the code improves, and never raised to make a test pass.

Functions are the public ones, or the "loss" and the "gradient" of class indices, or those with an
option or another target ("gradient, z_loss"). Where a result is a difference of two terms that may
cancel, the ulp is that of the larger term.

With a softcap or a temperature, float64 logits are another matter: u = softcap tanh(z / (softcap
temperature)) is rounded to float64 before anything else, and no later step can undo that. `scaled`
states the bound that holds then; docs/exactness.md derives it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

ULP = 4.0
EXP = 1.0  # the kernels' exp(x), for x <= 0
LOG1P = {"float32": 0.5, "float64": 2.0}  # and log(1 + x)


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
        "of numbers of size 1, 2.5e-17 is left: 2^-88 of the maximum is all that is promised",
        {("logsumexp", "lse_near_zero"): 2.0**-33},
        unit="terms",
    ),
    Exceptions(
        "decomposition",
        "float32",
        "u - maximum and exp are rounded to float32, and sums of a thousand classes are torch's",
        {
            ("softmax", "*"): 60,
            ("softmax", "million"): 12,
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
        "decomposition",
        "float64",
        "u - maximum is rounded to float64, and sums of a thousand classes are torch's",
        {
            ("softmax", "*"): 500,
            ("softmax", "million"): 16,
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
            "decomposition",
            dtype,
            "the logits are rounded once more by temperature and softcap; where the cap is reached "
            "torch's derivative of tanh, 1 - tanh^2, has no digits left",
            {
                ("loss, temperature", "*"): 6000,
                ("gradient, temperature", "*"): 13000,
                ("loss, softcap", "*"): 40,
                ("gradient, softcap", "*"): 15,
                ("gradient, softcap", "confident"): math.inf,
                ("gradient, softcap", "most_confident"): math.inf,
                ("gradient, softcap", "offset"): math.inf,
                ("loss, everything", "*"): 25,
                ("gradient, everything", "*"): 25,
                ("gradient, everything", "confident"): math.inf,
                ("gradient, everything", "most_confident"): math.inf,
                ("gradient, everything", "offset"): math.inf,
            },
        )
        for dtype in ("float32", "float64")
    ),
    *(
        Exceptions(
            "decomposition",
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
    cancels = path == "decomposition" and function.startswith("gradient, ")
    unit = "terms" if cancels else "result"
    for key in ((path, function, dtype, case), (path, function, dtype, "*")):
        if key in _EXCEPTIONS:
            return _EXCEPTIONS[key][0], max(unit, _EXCEPTIONS[key][1])  # "terms" > "result"
    return ULP, unit


def scaled(row: Any, softcap: float | None, temperature: float) -> tuple[float, float]:
    """How many units loss and gradient of a row of float64 logits may be off under these options.

    A unit in the last place is at least 2^-53 of a result. Where the roundings of u_j come to
    k 2^-53 |u_j|, every log p_j is off by at most 2 k 2^-53 max |u|; and by so much, relatively,
    are p_j, 1 - p_j and the loss. To the gradient the roundings of du/dz are added.
    """
    size = np.abs(row[np.isfinite(row)]).max() / temperature
    if softcap is None:
        return ULP + 2 * size, ULP + 2 * size
    # z / temperature / softcap: 2; tanh: 5, by expm1 within 2 ulp; 2 + m, the quotient, the product
    drift = 2 * 10 * softcap * np.tanh(size / softcap)
    return ULP + drift, ULP + drift + 4 * size / softcap + 7
