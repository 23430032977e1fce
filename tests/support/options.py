"""The options of `LossOptions`, with one example value for each."""

from __future__ import annotations

from typing import Any

import numpy as np

from softxent.ops.options import NAMES

# The options that change the loss of a row; the others choose rows or how losses are added up.
OF_A_ROW = tuple(name for name in NAMES if name not in ("ignore_index", "reduction"))

# For three classes, and different from the default. tests/ops/test_each_option.py compares every
# function with the reference at each of these values.
VALUES: dict[str, Any] = {
    "weight": np.array([1.0, 2.0, 3.0]),
    "ignore_index": 1,
    "reduction": "sum",
    "label_smoothing": 0.1,
    "z_loss": 0.01,
    "softcap": 5.0,
    "temperature": 2.0,
}
