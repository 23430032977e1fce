"""The course of a number in bounded memory: every step at first, every n-th one later."""

from __future__ import annotations

from typing import Any

__all__ = ["Course"]

_KEPT = 512  # numbers; when so many are kept, every second one is dropped


class Course:
    """The course of a number, such as the loss, over the steps of a training.

    Attributes:
        next_step: the step from which on the next number is wanted.
    """

    def __init__(self) -> None:
        self.next_step = 1
        self._stride = 1
        self._kept: list[tuple[int, Any]] = []

    def add(self, step: int, value: Any) -> None:
        """Keep a number, or a tensor with one element, which is read at the end."""
        self._kept.append((step, value))
        if len(self._kept) == _KEPT:
            del self._kept[1::2]
            self._stride *= 2
        self.next_step = self._kept[-1][0] + self._stride

    def values(self) -> tuple[tuple[int, float], ...]:
        """(step, number) for each kept step."""
        return tuple((step, float(value)) for step, value in self._kept)
