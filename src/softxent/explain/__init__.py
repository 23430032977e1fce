"""How a loss comes about: every number between the logits and the loss, then the same in words.

`explain` makes a `Trace` of numbers (trace.py). Its text is made from those numbers alone: one row
step by step (steps.py), a batch row by row (batch.py).
"""

from softxent.explain.trace import Trace, explain

__all__ = ["Trace", "explain"]
