"""The rules on a watched training loop, in the order in which they run.

parameters  not finite, never updated, or far from where they were
updates     the learning rate, weight decay, the size of a step, gradients and optimizers
batches     what the batches hold
progress    a model that learns nothing, where no rule above says why
"""

from softxent.doctor.loops.rules import (  # isort: skip  (the order in which the rules run)
    parameters,
    updates,
    batches,
    progress,
)

__all__ = ["NAMES_OF_STANDSTILL", "batches", "parameters", "progress", "updates"]

# They say why the loss stays where it is; beside them the log's rule stuck-loss says nothing new.
NAMES_OF_STANDSTILL = frozenset(
    {
        "diverged-training",
        "ended-learning-rate",
        "collapsed-weights",
        "tiny-updates",
        "kept-gradients",
        "rebuilt-optimizer",
        "one-class-batches",
        "no-progress",
        "never-updated",
    }
)
