"""Rules on a torch model on one batch."""

from __future__ import annotations

import math

from softxent.doctor.finding import Evidence, Severity
from softxent.doctor.models.measurements import ModelMeasurements
from softxent.doctor.registry import rule

__all__: list[str] = []

_ACTIVATIONS: dict[str, dict[str, str]] = {
    "cross_entropy": {
        "Softmax": "the loss applies softmax itself",
        "Softmax2d": "the loss applies softmax itself",
        "Sigmoid": "softmax of numbers in [0, 1] is never near 0 or 1",
        "Hardsigmoid": "softmax of numbers in [0, 1] is never near 0 or 1",
        "Tanh": "softmax of numbers in [-1, 1] is never near 0 or 1",
        "ReLU": "negative logits are clipped to 0 and get no gradient",
        "ReLU6": "logits are clipped to [0, 6] and get no gradient outside",
    },
    "nll_loss": {
        "Softmax": "the loss takes log-probabilities, from LogSoftmax",
        "Sigmoid": "the loss takes log-probabilities, from LogSoftmax",
        "Linear": "the loss takes log-probabilities: LogSoftmax is missing",
    },
    "binary_cross_entropy": {
        "Linear": "the loss takes probabilities: Sigmoid is missing",
        "Softmax": "the loss takes the probability of one class of two",
        "LogSigmoid": "the loss takes the logarithm itself",
    },
    "binary_cross_entropy_with_logits": {
        "Sigmoid": "the loss applies sigmoid itself",
        "Softmax": "the loss applies sigmoid itself",
        "ReLU": "no probability below 1/2 can be predicted",
    },
}


@rule("model", severity="error")
def activation_before_loss(case: ModelMeasurements) -> Evidence | None:
    """The last layer of the model doesn't match the loss.

    Symptom: slow or no learning; a loss that stays above a floor or falls below 0.

    Cause: CrossEntropyLoss and BCEWithLogitsLoss apply softmax and sigmoid themselves. NLLLoss
    needs LogSoftmax before it, BCELoss needs Sigmoid.

    Fix: end the model with its last linear layer and use the loss that takes logits.

    Source: https://github.com/pytorch/pytorch/issues/55902

    Wrong:
        >>> model = nn.Sequential(nn.Linear(8, 4), nn.Softmax(dim=1))
        >>> doctor.examine(model, batch, nn.CrossEntropyLoss()).rules
        ('softmax-twice', 'activation-before-loss')

    Fixed:
        >>> model = nn.Sequential(nn.Linear(8, 4))
        >>> doctor.examine(model, batch, nn.CrossEntropyLoss()).rules
        ()
    """
    reason = _ACTIVATIONS.get(case.loss or "", {}).get(case.last_layer or "")
    if reason is None or case.loss is None:
        return None
    return Evidence(
        severity="error" if case.last_layer not in ("Tanh", "ReLU", "ReLU6") else "warning",
        text=f"The last layer is {case.last_layer}, the loss {case.loss}: {reason}.",
        numbers={"ending": case.last_layer, "loss": case.loss},
        confidence="certain",
        why="the output of the last layer is bitwise the output of the model",
        remedy="model = model[:-1]  # with CrossEntropyLoss or BCEWithLogitsLoss"
        if case.last_layer != "Linear"
        else "loss = nn.CrossEntropyLoss()  # or BCEWithLogitsLoss",
        not_checked="what the training loop does between the model and the loss.",
    )


@rule("model", severity="warning")
def start_loss(case: ModelMeasurements) -> Evidence | None:
    """Before the first step the loss is far above ln C.

    Symptom: the first losses are in the tens or hundreds and fall fast, then the loss stays where
    it is.

    Cause: inputs that were not scaled (0 to 255), weights that are initialized too large, or, with
    a trained model, labels that belong to other rows.

    Fix: scale the inputs, and initialize the last layer with small weights. The loss of a model
    that has learned nothing should be ln C.

    Source: https://karpathy.github.io/2019/04/25/recipe/

    Wrong:
        >>> inputs, target = batch
        >>> model = nn.Linear(8, 4)
        >>> doctor.examine(model, (255 * inputs, target), nn.CrossEntropyLoss()).rules
        ('start-loss', 'worse-than-guessing')

    Fixed:
        >>> doctor.examine(model, (inputs, target), nn.CrossEntropyLoss()).rules
        ()
    """
    if case.initial_loss is None or case.loss is None or case.classes < 2:
        return None
    guess = math.log(case.classes)
    if not case.initial_loss > 3 * guess:
        return None
    severity: Severity = "warning" if case.initial_loss > 10 * guess else "note"
    return Evidence(
        severity=severity,
        text=(
            f"The loss is {case.initial_loss:.4g}; that of a uniform guess is ln {case.classes} = "
            f"{guess:.4g}."
        ),
        numbers={"start": case.initial_loss, "guess": guess, "classes": case.classes},
        confidence="likely" if severity == "warning" else "possible",
        why="a model that has learned nothing should not make confident predictions",
        remedy="inputs = (inputs - inputs.mean()) / inputs.std()",
        not_checked="whether the model was trained on other labels.",
    )


@rule("model", severity="warning")
def dead_output(case: ModelMeasurements) -> Evidence | None:
    """Different inputs give the same outputs, before and after training.

    Symptom: the loss stays at the entropy of the class frequencies; one class is always predicted.

    Cause: dead units (large negative biases, a learning rate that was too high in one step), inputs
    that were scaled to almost 0, or a forward method that doesn't use its input.

    Fix: print the standard deviation of each layer's output, `hidden.std(dim=0)`.

    Source: https://github.com/keras-team/keras/issues/7057

    Wrong:
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        >>> _ = nn.init.constant_(model[0].bias, -100.0)
        >>> 'dead-output' in doctor.examine(model, batch, nn.CrossEntropyLoss()).rules
        True

    Fixed:
        >>> _ = nn.init.zeros_(model[0].bias)
        >>> doctor.examine(model, batch, nn.CrossEntropyLoss()).rules
        ()
    """
    if not case.constant_output or case.rows < 2:
        return None
    trained = case.overfit is not None
    return Evidence(
        severity="warning" if trained else "note",
        text=(
            f"All {case.rows} rows of the batch give the same outputs"
            + (", also after the training steps." if trained else ".")
        ),
        numbers={"rows": case.rows},
        confidence="likely" if trained else "possible",
        why="a last layer of zeros would have changed in the first step"
        if trained
        else "a last layer that is initialized to 0 does the same",
        remedy="print(hidden.std(dim=0))  # layer by layer",
        not_checked="which layer is dead.",
    )


@rule("model", severity="warning")
def cannot_overfit(case: ModelMeasurements) -> Evidence | None:
    """One batch can't be overfitted.

    Symptom: the training loss doesn't fall below the entropy of the class frequencies.

    Cause: a gradient that doesn't arrive, dead units, inputs that don't determine the labels
    (because one of them was shuffled), a model that is too small, or a loss that rewards something
    else.

    Fix: make a few rows fit first. Training on more data can't work before that.

    Source: https://karpathy.github.io/2019/04/25/recipe/

    Wrong:
        >>> class Cut(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 4)
        ...     def forward(self, x):
        ...         return self.last(0 * self.first(x))
        >>> 'cannot-overfit' in doctor.examine(Cut(), batch, nn.CrossEntropyLoss()).rules
        True

    Fixed:
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 4))
        >>> doctor.examine(model, batch, nn.CrossEntropyLoss()).rules
        ()
    """
    fit = case.overfit
    if fit is None or case.initial_loss is None:
        return None
    room = fit.frequencies - fit.floor
    if fit.lowest < fit.frequencies - 0.05 * room:
        return None
    rates = ", ".join(f"{rate:g}" for rate in fit.rates)
    small = fit.learnable < fit.labels
    return Evidence(
        severity="note" if small else "warning",
        text=(
            f"On {fit.rows} rows the loss went from {case.initial_loss:.4g} to {fit.lowest:.4g} at "
            f"best, in {fit.steps} Adam steps with each of the learning rates {rates}. Predicting "
            f"the class frequencies gives {fit.frequencies:.4g}."
        ),
        numbers={
            "start": case.initial_loss,
            "lowest": fit.lowest,
            "frequencies": fit.frequencies,
            "floor": fit.floor,
            "rows": fit.rows,
            "steps": fit.steps,
            "labels": fit.labels,
            "learnable": fit.learnable,
        },
        confidence="possible" if small else "likely",
        why=f"{fit.learnable:,} parameters can't memorize {fit.labels:,} labels, unless the labels "
        "follow a rule"
        if small
        else "most models memorize so few rows in so many steps",
        remedy="print([(n, p.grad.norm()) for n, p in model.named_parameters()])",
        not_checked="other optimisers, and more than these steps.",
    )


@rule("model", severity="error")
def blocked_gradient(case: ModelMeasurements) -> Evidence | None:
    """Some parameters, or the input, get no gradient from the loss.

    Symptom: part of the model stays as it was initialized; the loss stalls at a high value.

    Cause: `.detach()`, `.data`, `torch.no_grad()`, argmax or a round trip through NumPy inside the
    forward pass; dead units.

    Fix: remove it from the forward pass. To freeze a layer on purpose use `requires_grad_(False)`.

    Source: https://github.com/guopengf/FL-MRCM/issues/10

    Wrong:
        >>> class Cut(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 4)
        ...     def forward(self, x):
        ...         return self.last(self.first(x).relu().detach())
        >>> doctor.examine(Cut(), batch, nn.CrossEntropyLoss()).rules
        ('blocked-gradient',)

    Fixed:
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
        >>> doctor.examine(model, batch, nn.CrossEntropyLoss()).rules
        ()
    """
    numbers = {"blocked": list(case.without_gradient), "silent": list(case.zero_gradient)}
    if not case.has_graph:
        if not case.trainable:
            return None
        return Evidence(
            text=f"The loss has no graph: none of {case.trainable} parameters gets a gradient.",
            numbers=numbers,
            confidence="certain",
            why="the loss doesn't require a gradient",
            remedy="scores = model(inputs)  # no detach, argmax, no_grad",
            not_checked="where the graph is cut.",
        )
    cut = (*case.without_gradient, *case.zero_gradient)
    if cut:
        shown = ", ".join(cut[:4]) + (f" and {len(cut) - 4} more" if len(cut) > 4 else "")
        kind = (
            "no gradient" if case.without_gradient else "a gradient of 0, before and after training"
        )
        return Evidence(
            severity="warning",
            text=f"{len(cut)} of {case.trainable} parameters were used and got {kind}: {shown}.",
            numbers=numbers,
            confidence="likely",
            why="their layers ran, and they are not frozen",
            remedy="hidden = self.first(x)  # no .detach() on the way",
            not_checked="whether they are used in another phase of training.",
        )
    if case.input_blocked:
        return Evidence(
            severity="note",
            text="No gradient reaches the inputs, although all parameters get one.",
            numbers=numbers,
            confidence="possible",
            why="features that are computed without a gradient on purpose look the same",
            remedy="x = x.float()  # no round, argmax or no_grad before the first layer",
            not_checked="what is done to the inputs before the first layer.",
        )
    return None


@rule("model", severity="warning")
def mixed_samples(case: ModelMeasurements) -> Evidence | None:
    """The outputs of a row depend on the other rows of the batch.

    Symptom: good training losses, and predictions that change with the other rows of the batch.

    Cause: `view` or `reshape` that mixes the batch axis with another one, softmax or normalization
    over axis 0, or attention over the batch (batch_first is missing).

    Fix: keep the batch axis first and don't reduce over it.

    Source: https://karpathy.github.io/2019/04/25/recipe/

    Wrong:
        >>> class Mix(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.last = nn.Linear(8, 4)
        ...     def forward(self, x):
        ...         return self.last(x - x.mean(dim=0))
        >>> doctor.examine(Mix(), batch, nn.CrossEntropyLoss()).rules
        ('mixed-samples',)

    Fixed:
        >>> doctor.examine(nn.Linear(8, 4), batch, nn.CrossEntropyLoss()).rules
        ()
    """
    if case.batch_dependence is None or case.batch_dependence < 1e-3:
        return None
    return Evidence(
        text=(
            "When every second row is replaced, the outputs of the other rows change by up to "
            f"{case.batch_dependence:.2%} of the largest output, in eval mode."
        ),
        numbers={"change": case.batch_dependence},
        confidence="likely",
        why="the prediction of a row should not depend on other rows; in eval mode it doesn't even "
        "with batch norm",
        remedy="x = x.permute(0, 2, 1)  # axis 0 stays the batch; batch_first=True",
        not_checked="whether the model is meant to compare rows.",
    )
