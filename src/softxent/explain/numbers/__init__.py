"""The numbers of an explanation, from checked logits and a checked target: no words, no layout.

formula    every step from the logits to the loss and its gradient, in float64
computed   the same numbers as the library computes them in the dtype of the logits
plain      the same loss by three formulas that are right only in exact arithmetic
binary     two classes as binary cross-entropy
record     all of them in one record, `Numbers`
"""

from softxent.explain.numbers.binary import Binary
from softxent.explain.numbers.computed import Computed
from softxent.explain.numbers.plain import Plain
from softxent.explain.numbers.record import Numbers
from softxent.explain.numbers.rounding import EPSILON, LARGEST, rounded

__all__ = ["EPSILON", "LARGEST", "Binary", "Computed", "Numbers", "Plain", "rounded"]
