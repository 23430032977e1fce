"""The rules on training logs, in the order in which they run.

losses      losses that were divided by the wrong number
accuracies  accuracies, and the percentages beside counts
loss_curve  the sign of the loss, its floor, and whether it moves
"""

from softxent.doctor.logs.rules import (  # isort: skip  (the order in which the rules run)
    losses,
    accuracies,
    loss_curve,
)

__all__ = ["accuracies", "loss_curve", "losses"]
