"""The rules on the arguments of a loss, in the order in which they run.

temperature        a temperature that was fitted
activations        an activation between the model and the loss
wrong_input        logits, probabilities or log-probabilities where the loss takes another kind
degenerate_inputs  NaN, one class, one row, equal or extreme logits
weights            class weights and label smoothing
denominators       what the reported loss was divided by
labels             class indices
target_shapes      the shape and dtype of the target
soft_targets       class probabilities as the target, and swapped arguments
axes               the order of the columns, the class axis, the memory layout
"""

from softxent.doctor.arrays.rules import (  # isort: skip  (the order in which the rules run)
    temperature,
    activations,
    wrong_input,
    degenerate_inputs,
    weights,
    denominators,
    labels,
    target_shapes,
    soft_targets,
    axes,
)

__all__ = [
    "activations",
    "axes",
    "degenerate_inputs",
    "denominators",
    "labels",
    "soft_targets",
    "target_shapes",
    "temperature",
    "weights",
    "wrong_input",
]
