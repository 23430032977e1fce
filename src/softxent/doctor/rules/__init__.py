"""The rules, one function each; loading this package registers them all, in the order of asking.

calibration       a fitted temperature
activations       scores that passed through an activation before the loss
kinds             logits, probabilities or log-probabilities where another kind is wanted
values            NaN, one class, one row, equal or absurd scores
weights           class weights, label smoothing
denominators      what a mean was divided by
comparisons       predictions with labels
labels            which numbers the class indices are
shapes            the target's shape and dtype
masses            class probabilities as a target
order             which number of the scores belongs to which class
log_denominators  printed losses that were divided by the wrong number
log_percentages   printed accuracies
log_courses       the course of a printed loss
model             a torch model on one batch
training          a watched training loop
"""

from softxent.doctor.rules import (  # isort: skip
    calibration,
    activations,
    kinds,
    values,
    weights,
    denominators,
    comparisons,
    labels,
    shapes,
    masses,
    order,
    log_denominators,
    log_percentages,
    log_courses,
    model,
    training,
)

__all__ = [
    "activations",
    "calibration",
    "comparisons",
    "denominators",
    "kinds",
    "labels",
    "log_courses",
    "log_denominators",
    "log_percentages",
    "masses",
    "model",
    "order",
    "shapes",
    "training",
    "values",
    "weights",
]
