"""What rules on a watched training loop look for; several rules share each sign."""

from __future__ import annotations

import statistics

from softxent.doctor.loops.measurements import BatchSample, LoopMeasurements, UpdateSample

__all__ = [
    "FEW_SAMPLES",
    "STEPS_OF_A_LOOP",
    "TINY",
    "batches_of_one_class",
    "cause_of_tiny_updates",
    "decided_updates",
    "diverges",
    "ended_rate",
    "has_collapsed",
    "has_small_scores",
    "keeps_gradients",
    "rebuilds_optimizer",
    "tiny_update",
]


FEW_SAMPLES = 2
STEPS_OF_A_LOOP = 8  # fewer are a trial, not a training
TINY = 1e-4  # of the parameters' size; usual are 1e-3 and more, in careful fine-tuning 1e-4


def diverges(case: LoopMeasurements) -> float | None:
    """How many times the loss of its beginning the last or the highest loss is, if that is far."""
    if len(case.finite) < STEPS_OF_A_LOOP or case.adversarial or not case.optimizer_steps:
        return None
    if case.warming_up and case.rates[-1][1] > 50 * case.rates[0][1]:
        return None  # a search for the highest learning rate, which ends like that
    if keeps_gradients(case):
        return None  # it knows why
    broken = len(case.finite) < len(case.losses)  # loss-not-finite says when
    if case.guess is None:  # an unknown loss may grow for a reason, but not like that
        far = case.last > 100 * abs(case.first) + 100
        return case.last / abs(case.first) if far and case.first else None
    reference = max(case.first, case.guess)
    if case.last > 1.5 * reference and case.last > reference + 0.5:
        return case.last / reference
    highest = max(case.finite)
    if highest > 30 * reference and (broken or case.last > 0.9 * case.guess):
        return highest / reference
    if highest > 2 * reference and case.stands and case.shrinkage > 2:
        return highest / reference  # the parameters jumped, and units died
    return None


def ended_rate(case: LoopMeasurements) -> tuple[int, float, float] | None:
    """(step, highest, last) if the learning rate was almost 0 for much of the training."""
    if len(case.rates) < 20 or len(case.finite) < 20 or diverges(case) is not None:
        return None
    rates = [rate for _, rate in case.rates]
    highest = max(rates)
    if highest <= 0:
        return None
    # Schedules that end at 1% exist; where almost nothing was learned, that is too little.
    learned = case.last / max(case.first, case.guess or 0.0)
    if learned < 0.3:
        return None
    limit = (1e-2 if learned > 0.85 else 1e-3) * highest
    ended = len(rates)
    while ended and rates[ended - 1] <= limit:
        ended -= 1
    if len(rates) - ended < 0.4 * len(rates):
        return None
    return case.rates[ended][0], highest, rates[-1]


def has_collapsed(case: LoopMeasurements) -> bool:
    """Whether weight decay shrank the parameters and the loss is that of small ones."""
    if case.guess is None or case.weight_decay <= 0 or case.steps < STEPS_OF_A_LOOP:
        return False
    if not case.finite or diverges(case) is not None or case.adversarial:
        return False
    return case.shrinkage < 0.5 and case.last > 0.7 * case.guess


def tiny_update(case: LoopMeasurements) -> float | None:
    """The typical update if it is too small for a model that is no better than a guess."""
    if not (case.stands or case.stays) or diverges(case) is not None:
        return None
    if ended_rate(case) is not None:
        return None
    typical = case.typical_update
    if typical is None or typical >= TINY or has_collapsed(case):
        return None
    if has_small_scores(case) and not cause_of_tiny_updates(case)[0]:
        return None  # no-progress reports it: small scores are why the gradient is small
    return typical


def has_small_scores(case: LoopMeasurements) -> bool:
    """Whether the scores of a row are almost the same in the last sampled step."""
    return bool(case.batches) and case.batches[-1].spread < 0.1


def cause_of_tiny_updates(case: LoopMeasurements) -> tuple[str, str, str]:
    """(cause, evidence in words, remedy); the cause is empty if it isn't known."""
    scale = _scale(case)
    gradients = [one.gradient for one in case.updates]
    if scale is not None and scale < 0.01:
        return (
            "scaled loss",
            f"The gradient that reaches the scores is {scale:.3g} = 1/{1 / scale:.0f} of that of "
            "the loss, so the loss was divided by about that number after it was computed.",
            "loss.backward()  # a mean is already divided by the number of rows",
        )
    clipped = min(gradients) > 0 and max(gradients) < 1.01 * min(gradients)
    if len(gradients) > FEW_SAMPLES and clipped and gradients[0] < 0.1:
        return (
            "clipped gradient",
            f"The gradient has the same norm in each sampled step, {gradients[0]:.3g}: it is "
            "clipped to that.",
            "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
        )
    rate = case.rates[-1][1] if case.rates else None
    usual = 1e-3 if case.optimizer.startswith("SGD") else 1e-5
    shown = (
        f"The learning rate is {rate:.3g}" if rate is not None else "The learning rate is unknown"
    )
    name = f" ({case.optimizer})" if case.optimizer else ""
    return (
        "learning rate" if rate is not None and rate < usual else "",
        f"{shown}{name}, the norm of the gradient {statistics.median(gradients):.3g}.",
        "optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)",
    )


def _scale(case: LoopMeasurements) -> float | None:
    """The median factor between the gradient of the scores and that of the loss."""
    scales = [one.scale for one in case.batches if one.scale is not None]
    return statistics.median(scales) if len(scales) >= FEW_SAMPLES else None


def decided_updates(case: LoopMeasurements) -> list[UpdateSample]:
    """The sampled steps of which it is known whether gradients were kept."""
    return [one for one in case.updates if one.gradients_kept is not None]


def keeps_gradients(case: LoopMeasurements) -> bool:
    """Whether every step that was compared used the gradients of the steps before it again."""
    decided = decided_updates(case)
    return len(decided) >= FEW_SAMPLES and all(one.gradients_kept for one in decided)


def rebuilds_optimizer(case: LoopMeasurements) -> bool:
    """Whether nearly every step of an optimizer that has a state began without one."""
    enough = case.optimizer_steps >= STEPS_OF_A_LOOP
    return enough and case.has_state and case.without_state >= 0.9 * case.optimizer_steps


def batches_of_one_class(case: LoopMeasurements) -> list[BatchSample]:
    """The sampled batches, if most have one class and they aren't all of the same.

    Of sorted rows a batch may hold the end of one class and the beginning of the next. With few
    classes or rows, two classes in a batch say nothing.
    """
    batches = [one for one in case.batches if one.classes is not None and one.rows >= 4]
    if len(batches) < 4 or case.adversarial:
        return []
    single = [one for one in batches if one.classes == 1]
    kinds = {one.first_class for one in single}
    if len(single) == len(batches):
        return batches if len(kinds) > 1 else []
    sorted_rows = (
        (case.classes or 0) >= 5
        and len(single) >= 0.5 * len(batches)
        and len(kinds) >= 2
        and all(one.classes in (1, 2) and one.rows >= 16 for one in batches)
    )
    return batches if sorted_rows else []
