"""Rules on the labels of the sampled batches."""

from __future__ import annotations

from softxent.doctor.finding import Evidence
from softxent.doctor.loops.measurements import LoopMeasurements
from softxent.doctor.loops.signs import batches_of_one_class
from softxent.doctor.registry import rule

__all__: list[str] = []


@rule("training", severity="warning")
def one_class_batches(case: LoopMeasurements) -> Evidence | None:
    """Each batch holds rows of a single class.

    Symptom: the loss falls within a class and jumps at the next one; the model predicts the class
    of the last batches.

    Cause: rows that are sorted by class and a loader that doesn't shuffle them.

    Fix: `DataLoader(dataset, batch_size=64, shuffle=True)`.

    Source: https://github.com/Deci-AI/super-gradients/issues/416

    Wrong:
        >>> model, loss = nn.Linear(8, 4), nn.CrossEntropyLoss()
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with doctor.watch(model, loss) as watching:
        ...     for step in range(20):
        ...         optimizer.zero_grad()
        ...         loss(model(batch[0]), torch.full((len(batch[1]),), step // 3 % 4)).backward()
        ...         optimizer.step()
        >>> 'one-class-batches' in watching.diagnosis.rules
        True

    Fixed:
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(20):
        ...         optimizer.zero_grad()
        ...         loss(model(batch[0]), batch[1].roll(_)).backward()
        ...         optimizer.step()
        >>> 'one-class-batches' in watching.diagnosis.rules
        False
    """
    batches = batches_of_one_class(case)
    if not batches:
        return None
    kinds = [one.first_class for one in batches]
    single = sum(one.classes == 1 for one in batches)
    shown = ", ".join(map(str, kinds[:12])) + (" ..." if len(kinds) > 12 else "")
    text = f"Of {len(batches)} sampled batches, {single} have rows of a single class"
    text += "" if single == len(batches) else ", the others of two"
    return Evidence(
        text=f"{text}. Their first rows have the classes {shown}.",
        numbers={"steps": [one.step for one in batches], "classes": kinds},
        confidence="certain",
        why="mixed batches of four rows or more have one class only by a rare chance",
        remedy="loader = DataLoader(dataset, batch_size=64, shuffle=True)",
        not_checked="the batches between them.",
    )


@rule("training", severity="note")
def same_batch(case: LoopMeasurements) -> Evidence | None:
    """Each step has the same labels: one batch is trained on again and again.

    Symptom: the training loss falls to 0, and the model has learned nothing else.

    Cause: `batch = next(iter(loader))` inside the loop, or before it. It is right for a test
    whether one batch can be memorized, and where each step takes all rows of a small data set.

    Fix: `for batch in loader:`.

    Source: https://github.com/ZhaoJ9014/face.evoLVe/pull/39

    Wrong:
        >>> model, loss = nn.Linear(8, 4), nn.CrossEntropyLoss()
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(20):
        ...         optimizer.zero_grad()
        ...         loss(model(batch[0]), batch[1]).backward()
        ...         optimizer.step()
        >>> watching.diagnosis.rules
        ('same-batch',)

    Fixed:
        >>> with doctor.watch(model, loss) as watching:
        ...     for _ in range(20):
        ...         optimizer.zero_grad()
        ...         loss(model(batch[0]), batch[1].roll(_)).backward()
        ...         optimizer.step()
        >>> watching.diagnosis.rules
        ()
    """
    batches = [one for one in case.batches if one.rows >= 4]
    if len(batches) < 4 or not case.optimizer_steps:
        return None
    if not all(one.same_as_first for one in batches[1:]):
        return None
    if all(one.classes == 1 for one in batches):
        return None  # equal labels in every batch, such as those of a rare class
    return Evidence(
        text=f"The {batches[0].rows} labels of each of {len(batches)} sampled batches are the same "
        f"ones in the same order, up to step {batches[-1].step}.",
        numbers={"steps": [one.step for one in batches], "rows": batches[0].rows},
        confidence="possible",
        why="where one batch holds all rows, that is right",
        remedy="for inputs, target in loader: ...  # not next(iter(loader))",
        not_checked="the inputs, and how many rows the data have.",
    )
