"""The rules on training logs, in the order in which they run.

losses       losses that were divided by the wrong number
accuracies   accuracies, and the percentages beside counts
loss_values  losses that are negative, not finite or exactly 0
loss_floor   the floor of a second softmax
loss_curve   whether the loss moves, and where it rises again
"""

from softxent.doctor.logs.rules import (  # isort: skip  (the order in which the rules run)
    losses,
    accuracies,
    loss_values,
    loss_floor,
    loss_curve,
)

__all__ = ["accuracies", "loss_curve", "loss_floor", "loss_values", "losses"]
