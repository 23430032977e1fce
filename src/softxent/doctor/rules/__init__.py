"""The rules, one function each; loading this package registers them all.

scores        what the scores are: probabilities where logits are wanted, and the like
targets       labels, class probabilities, shapes
means         denominators, class weights, comparisons
calibration   a fitted temperature
logs          numbers that somebody printed
model         a torch model on its first batch
"""

from softxent.doctor.rules import calibration, logs, means, model, scores, targets

__all__ = ["calibration", "logs", "means", "model", "scores", "targets"]
