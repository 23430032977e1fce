"""The step about the prediction: how far each logit is from changing it."""

from __future__ import annotations

import numpy as np

from softxent.explain.numbers import Numbers
from softxent.explain.steps.document import Column, Step, Table
from softxent.explain.steps.row import RowLoss, class_label, shown_names
from softxent.render.numbers import with_sign
from softxent.render.text import align_decimals

__all__ = ["prediction_step"]

_NEAREST_CLASSES = 4


def prediction_step(numbers: Numbers, shown: list[int], loss: RowLoss | None) -> Step:
    """The predicted class, and by how much each logit alone would have to change to change it."""
    if len(shown) < len(numbers.classes):  # of many classes, the nearest ones and the target
        target = None if loss is None or loss.ignored else loss.target
        shown = [*shown[:_NEAREST_CLASSES], *(i for i in shown[_NEAREST_CLASSES:] if i == target)]
    margin, best = numbers.margin[0], int(numbers.logits[0].argmax())
    second = int(np.where(np.arange(len(margin)) == best, np.inf, margin).argmin())
    sentence = f"The prediction is {class_label(numbers, best)}, which has the highest logit"
    if margin[second] == 0:
        sentence += f", as does {class_label(numbers, second)}; the first of them is predicted"
    if loss is not None and loss.target is not None and not loss.ignored:
        sentence += "; it is correct" if loss.target == best else "; it is wrong"
    cells = align_decimals([with_sign(value) for value in margin[shown]])
    then = f"  then {class_label(numbers, second)} wins" if np.isfinite(margin[best]) else ""
    notes = [then if index == best else "" for index in shown]
    others = np.delete(margin, shown)
    if others.size:
        cells.append(f"{with_sign(others.min())} or more")
        notes.append("")
    columns = (Column(shown_names(numbers, shown), "name"), Column(cells), Column(notes, "note"))
    return Step(
        f"{sentence}. To change it, a single logit would have to change by more than:",
        [Table(columns)],
    )
