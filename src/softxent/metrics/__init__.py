"""How good predictions are: precision, recall, confusion, calibration, and confidence intervals.

`learn` and `report` take their numbers from here, so that each is defined once.
"""

from softxent.metrics.calibration import Bin, Calibration, measure_calibration
from softxent.metrics.classification import (
    ClassCounts,
    Confusion,
    Metrics,
    count_classes,
    measure,
)
from softxent.metrics.intervals import wilson_interval

__all__ = [
    "Bin",
    "Calibration",
    "ClassCounts",
    "Confusion",
    "Metrics",
    "count_classes",
    "measure",
    "measure_calibration",
    "wilson_interval",
]
