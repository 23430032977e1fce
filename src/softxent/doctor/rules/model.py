"""Rules on a torch model that is tried on one batch."""

from __future__ import annotations

import math

from softxent.doctor.finding import Evidence, Level
from softxent.doctor.registry import rule
from softxent.doctor.trial import Trial

__all__: list[str] = []

_ACTIVATIONS: dict[str, dict[str, str]] = {
    "cross_entropy": {
        "Softmax": "the loss applies softmax itself",
        "Softmax2d": "the loss applies softmax itself",
        "Sigmoid": "softmax of numbers in [0, 1] is never sure",
        "Hardsigmoid": "softmax of numbers in [0, 1] is never sure",
        "Tanh": "softmax of numbers in [-1, 1] is never sure",
        "ReLU": "negative logits are cut to 0 and get no gradient",
        "ReLU6": "logits are cut to 0 and to 6 and get no gradient there",
    },
    "nll_loss": {
        "Softmax": "the loss takes log-probabilities: LogSoftmax",
        "Sigmoid": "the loss takes log-probabilities: LogSoftmax",
        "Linear": "the loss takes log-probabilities: LogSoftmax is missing",
    },
    "binary_cross_entropy": {
        "Linear": "the loss takes probabilities: Sigmoid is missing",
        "Softmax": "the loss takes a probability of one class of two",
        "LogSigmoid": "the loss takes the logarithm itself",
    },
    "binary_cross_entropy_with_logits": {
        "Sigmoid": "the loss applies sigmoid itself",
        "Softmax": "the loss applies sigmoid itself",
        "ReLU": "no probability below 1/2 can be predicted",
    },
}


@rule("model")
def activation_before_loss(case: Trial) -> Evidence | None:
    """The model's last layer doesn't fit the loss.

    Symptom: slow or no learning; a loss that stays above a floor or falls below 0.

    Cause: CrossEntropyLoss and BCEWithLogitsLoss apply softmax and sigmoid themselves; NLLLoss
    wants LogSoftmax before it, BCELoss Sigmoid.

    Cure: end the model with its last linear layer and use the loss that takes logits.

    Failing:
        >>> model = nn.Sequential(nn.Linear(8, 4), nn.Softmax(dim=1))
        >>> doctor.examine(model, batch, nn.CrossEntropyLoss()).rules
        ('softmax-twice', 'activation-before-loss')

    Mended:
        >>> model = nn.Sequential(nn.Linear(8, 4))
        >>> doctor.examine(model, batch, nn.CrossEntropyLoss()).rules
        ()
    """
    reason = _ACTIVATIONS.get(case.loss or "", {}).get(case.ending or "")
    if reason is None or case.loss is None:
        return None
    return Evidence(
        level="error" if case.ending not in ("Tanh", "ReLU", "ReLU6") else "warning",
        text=f"The last layer is {case.ending}, the loss {case.loss}: {reason}.",
        numbers={"ending": case.ending, "loss": case.loss},
        confidence="certain",
        why="the last layer's output is the model's output, bit for bit",
        remedy="model = model[:-1]  # with CrossEntropyLoss or BCEWithLogitsLoss"
        if case.ending != "Linear"
        else "loss = nn.CrossEntropyLoss()  # or BCEWithLogitsLoss",
        not_checked="what your loop does between the model and the loss.",
    )


@rule("model")
def start_loss(case: Trial) -> Evidence | None:
    """Before the first step the loss is far above ln C.

    Symptom: the first losses are in the tens or hundreds and fall fast; then nothing happens.

    Cause: inputs that were not scaled (0 to 255), weights that start too large, or labels that
    belong to other rows of a trained model.

    Cure: scale the inputs; start the last layer small. A model that knows nothing should say so:
    ln C.

    Failing:
        >>> inputs, target = batch
        >>> model = nn.Linear(8, 4)
        >>> doctor.examine(model, (255 * inputs, target), nn.CrossEntropyLoss()).rules
        ('start-loss', 'worse-than-guessing')

    Mended:
        >>> doctor.examine(model, (inputs, target), nn.CrossEntropyLoss()).rules
        ()
    """
    if case.start is None or case.loss is None or case.classes < 2:
        return None
    guess = math.log(case.classes)
    if not case.start > 3 * guess:
        return None
    level: Level = "warning" if case.start > 10 * guess else "note"
    return Evidence(
        level=level,
        text=f"The loss is {case.start:.4g}; a guess costs ln {case.classes} = {guess:.4g}.",
        numbers={"start": case.start, "guess": guess, "classes": case.classes},
        confidence="likely" if level == "warning" else "possible",
        why="a model that knows nothing should not be sure of anything",
        remedy="inputs = (inputs - inputs.mean()) / inputs.std()",
        not_checked="whether the model was trained on other labels.",
    )


@rule("model")
def dead_output(case: Trial) -> Evidence | None:
    """Different inputs give the same outputs, before and after training.

    Symptom: the loss stays at the entropy of the class frequencies; one class is always predicted.

    Cause: dead units (large negative biases, a rate that was too high once), inputs scaled to
    nothing, or a forward that doesn't use its input.

    Cure: look at the spread of each layer's output, `hidden.std(dim=0)`, from the input on.

    Failing:
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        >>> _ = nn.init.constant_(model[0].bias, -100.0)
        >>> 'dead-output' in doctor.examine(model, batch, nn.CrossEntropyLoss()).rules
        True

    Mended:
        >>> _ = nn.init.zeros_(model[0].bias)
        >>> doctor.examine(model, batch, nn.CrossEntropyLoss()).rules
        ()
    """
    if not case.constant or case.rows < 2:
        return None
    trained = case.fit is not None
    return Evidence(
        level="warning" if trained else "note",
        text=(
            f"All {case.rows} rows of the batch give the same outputs"
            + (", and still did after the training steps." if trained else ".")
        ),
        numbers={"rows": case.rows},
        confidence="likely" if trained else "possible",
        why="a last layer of zeros would have moved in the first step"
        if trained
        else "a last layer that starts at 0 does the same",
        remedy="print(hidden.std(dim=0))  # layer by layer",
        not_checked="which layer is dead.",
    )


@rule("model")
def cannot_overfit(case: Trial) -> Evidence | None:
    """One batch can't be overfitted.

    Symptom: the training loss doesn't fall below the entropy of the class frequencies.

    Cause: a gradient that doesn't arrive, dead units, labels and inputs that don't belong together
    in the model's eyes (shuffled between the two), a model too small for any of it, or a loss that
    asks for something else.

    Cure: first make a few rows fit; nothing else will work before.

    Failing:
        >>> class Cut(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 4)
        ...     def forward(self, x):
        ...         return self.last(0 * self.first(x))
        >>> 'cannot-overfit' in doctor.examine(Cut(), batch, nn.CrossEntropyLoss()).rules
        True

    Mended:
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 4))
        >>> doctor.examine(model, batch, nn.CrossEntropyLoss()).rules
        ()
    """
    fit = case.fit
    if fit is None or case.start is None:
        return None
    room = fit.frequencies - fit.floor
    if fit.lowest < fit.frequencies - 0.05 * room:
        return None
    rates = ", ".join(f"{rate:g}" for rate in fit.rates)
    small = fit.learnable < fit.labels
    return Evidence(
        level="note" if small else "warning",
        text=(
            f"On {fit.rows} rows the loss went from {case.start:.4g} to {fit.lowest:.4g} at best, "
            "in "
            f"{fit.steps} Adam steps with each of the rates {rates}. Predicting the class "
            f"frequencies alone gives {fit.frequencies:.4g}."
        ),
        numbers={
            "start": case.start,
            "lowest": fit.lowest,
            "frequencies": fit.frequencies,
            "floor": fit.floor,
            "rows": fit.rows,
            "steps": fit.steps,
            "labels": fit.labels,
            "learnable": fit.learnable,
        },
        confidence="possible" if small else "likely",
        why=f"{fit.learnable:,} parameters can't know {fit.labels:,} labels by heart, unless these "
        "follow a rule"
        if small
        else "most models learn so few rows by heart in so many steps",
        remedy="print([(n, p.grad.norm()) for n, p in model.named_parameters()])",
        not_checked="other optimisers, and more than these steps.",
    )


@rule("model")
def blocked_gradient(case: Trial) -> Evidence | None:
    """A gradient doesn't arrive: some parameters, or the input, are cut off from the loss.

    Symptom: part of the model stays as it was initialised; the loss stalls high.

    Cause: `.detach()`, `.data`, `torch.no_grad()`, argmax or a round trip through NumPy inside the
    forward pass; dead units.

    Cure: take it out of the forward pass; freeze on purpose with `requires_grad_(False)`.

    Failing:
        >>> class Cut(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 4)
        ...     def forward(self, x):
        ...         return self.last(self.first(x).relu().detach())
        >>> doctor.examine(Cut(), batch, nn.CrossEntropyLoss()).rules
        ('blocked-gradient',)

    Mended:
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        >>> doctor.examine(model, batch, nn.CrossEntropyLoss()).rules
        ()
    """
    numbers = {"blocked": list(case.blocked), "silent": list(case.silent)}
    if not case.differentiable:
        if not case.parameters:
            return None
        return Evidence(
            level="error",
            text=f"The loss has no graph: none of {case.parameters} parameters gets a gradient.",
            numbers=numbers,
            confidence="certain",
            why="the loss doesn't require a gradient",
            remedy="scores = model(inputs)  # no detach, argmax, no_grad",
            not_checked="where the graph is cut.",
        )
    cut = (*case.blocked, *case.silent)
    if cut:
        shown = ", ".join(cut[:4]) + (f" and {len(cut) - 4} more" if len(cut) > 4 else "")
        kind = "no gradient" if case.blocked else "a gradient of 0, before and after training,"
        return Evidence(
            level="warning",
            text=f"{len(cut)} of {case.parameters} parameters ran and got {kind}: {shown}.",
            numbers=numbers,
            confidence="likely",
            why="their layers were called, and they are not frozen",
            remedy="hidden = self.first(x)  # no .detach() on the way",
            not_checked="whether they are used in another phase of training.",
        )
    if case.input_blocked:
        return Evidence(
            level="note",
            text="No gradient reaches the inputs, though all parameters get theirs.",
            numbers=numbers,
            confidence="possible",
            why="features that are computed without a gradient on purpose look the same",
            remedy="x = x.float()  # no round, argmax or no_grad before the first layer",
            not_checked="what is done to the inputs first.",
        )
    return None


@rule("model")
def mixed_samples(case: Trial) -> Evidence | None:
    """The outputs of a row depend on the other rows of the batch.

    Symptom: good training losses, and predictions that change with the batch; a leak.

    Cause: `view` or `reshape` that mixes the batch axis with another, softmax or normalisation over
    axis 0, attention over the batch (batch_first forgotten).

    Cure: keep the batch axis first and let no operation reduce over it.

    Failing:
        >>> class Mix(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.last = nn.Linear(8, 4)
        ...     def forward(self, x):
        ...         return self.last(x - x.mean(dim=0))
        >>> doctor.examine(Mix(), batch, nn.CrossEntropyLoss()).rules
        ('mixed-samples',)

    Mended:
        >>> doctor.examine(nn.Linear(8, 4), batch, nn.CrossEntropyLoss()).rules
        ()
    """
    if case.mixing is None or case.mixing < 1e-3:
        return None
    return Evidence(
        level="warning",
        text=(
            "With every second row kept and the others replaced, outputs of the kept rows change "
            "by "
            f"up to {case.mixing:.2%} of the largest output, in eval mode."
        ),
        numbers={"change": case.mixing},
        confidence="likely",
        why=(
            "a row's prediction should not depend on its neighbours; batch norm doesn't in eval "
            "mode"
        ),
        remedy="x = x.permute(0, 2, 1)  # axis 0 stays the batch; batch_first=True",
        not_checked="whether the model is meant to compare rows.",
    )
