"""How a loss comes about: every number between the logits and the loss, then the same in words.

`explain` makes a `Trace` of numbers; `trace.text()` tells it from those numbers alone.
"""

from softxent.explain.trace import Trace, explain

__all__ = ["Trace", "explain"]
