"""How a loss comes about: every number between the logits and the loss, then the same in words.

`explain` (explanation.py) makes a `Trace` (trace.py) of numbers (numbers.py, typed.py, binary.py),
and `Trace.what_if` a second one beside it (change.py). What is told is made from those numbers
alone, as a story (story.py): one row step by step (steps.py, precision.py), or a batch row by row
(batch.py). A story becomes text (text.py) or a page (page.py).
"""

from softxent.explain.change import WhatIf
from softxent.explain.explanation import explain
from softxent.explain.trace import Trace

__all__ = ["Trace", "WhatIf", "explain"]
