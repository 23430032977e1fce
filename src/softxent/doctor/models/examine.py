"""`examine`: run a torch model on one batch, without changing it.

Everything happens on copies, and the random states of torch, NumPy and Python are restored. The
model, its buffers, its gradients and the caller's random numbers have the same bits afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from softxent.doctor.arrays.check import judge_arguments
from softxent.doctor.arrays.loss_arguments import LossArguments
from softxent.doctor.diagnosis import Diagnosis
from softxent.doctor.finding import Finding
from softxent.doctor.losses.known_losses import (
    KnownLoss,
    Loss,
    known_loss,
    loss_by_value,
    name_of,
    options_of,
    with_mean,
)
from softxent.doctor.losses.loss_calls import LossCalls
from softxent.doctor.models.batch import clone, first_line, split_batch
from softxent.doctor.models.measurements import ModelMeasurements
from softxent.doctor.models.overfitting import overfit
from softxent.doctor.models.probes import (
    batch_dependence_of,
    copy_of,
    gradients_of,
    in_training,
    is_constant,
    outputs_of,
    unchanged_random_states,
)
from softxent.doctor.selection import RuleNames, RuleSelection
from softxent.errors import SoftxentError

__all__ = ["examine"]

# The rules on arrays that say something about the arguments of a loss whose formula is unknown.
_RULES_FOR_UNKNOWN_LOSSES = {
    "softmax-twice",
    "sigmoid-before-softmax",
    "clipped-scores",
    "not-finite",
}


def examine(
    model: nn.Module,
    batch: tuple[Any, Any],
    loss: Loss | None = None,
    *,
    select: RuleNames | None = None,
    ignore: RuleNames = (),
) -> Diagnosis:
    """Run a model and its loss on one batch, best before the first training step.

    This checks the arguments of the loss (all rules of `check`), the last layer, the initial loss
    against ln C, whether rows influence each other, whether gradients arrive, and whether one batch
    can be overfitted: a model that can't memorize 64 rows can't learn anything.

    Args:
        model: takes the inputs and returns the tensor that the loss gets. Axis 0 is the batch.
        batch: (inputs, target); inputs are a tensor, or a tuple, list or mapping of tensors, which
            are passed as positional or keyword arguments.
        loss: as in training: a module or a function of (scores, target); None is cross_entropy.
        select: names of the rules to run, as a list or with commas between them; None for all. If
            no rule on models is selected, no gradient is computed and nothing is trained.
        ignore: names of rules that don't run.

    Returns:
        A `Diagnosis`. The model, its gradients, its buffers and all random states are unchanged.

    Raises:
        OptionError: the model can't be copied, it fails on the batch, or a name is no rule's.

    Cost: two copies of the model, and at most 180 steps on 64 rows or about ten seconds.

    Example:
        >>> import torch
        >>> inputs, target = torch.eye(4).repeat(8, 1), torch.arange(32) % 4
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Softmax(dim=1))
        >>> examine(model, (inputs, target), torch.nn.CrossEntropyLoss()).worst
        'error'

    See Also:
        check: the arguments of a loss alone. watch: a training loop while it runs.
    """
    rules = RuleSelection.of("examine", "arrays", "model", select=select, ignore=ignore)
    if loss is None:
        loss = nn.functional.cross_entropy
    inputs, target = split_batch(batch)
    with unchanged_random_states(model), torch.enable_grad():
        examination = _Examination(model, clone(inputs), target.detach().clone(), loss, rules)
        return examination.run()


@dataclass
class _Examination:
    """One call of `examine`: its arguments, and what it has found so far."""

    model: nn.Module
    inputs: Any
    target: Tensor
    loss: Loss
    rules: RuleSelection
    findings: list[Finding] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)

    def run(self) -> Diagnosis:
        """The diagnosis of the arguments of the loss, then of the model."""
        in_eval = copy_of(self.model).eval()
        outputs, last_layer = outputs_of(in_eval, self.inputs)
        value, inner = self._loss_value(outputs)
        known = known_loss(self.loss) or loss_by_value(value, outputs, self.target)
        if self.rules.has("arrays"):
            self._judge_arguments(outputs, known, inner)
        if self.rules.has("model"):
            measured = self._measure(in_eval, outputs, last_layer, known, value is not None)
            rules = known.rules_for(self.rules) if known is not None else self.rules
            findings, checked = rules.judge("model", measured)
            self.findings += findings
            self.checked += checked
        subject = (
            f"{type(self.model).__name__} on {len(self.target)} rows with {name_of(self.loss)}"
        )
        return Diagnosis.of(subject, self.findings, self.checked, self.not_checked)

    def _loss_value(self, outputs: Tensor) -> tuple[Tensor | None, Diagnosis | None]:
        """The value of the loss, None if it refuses its arguments.

        And the diagnosis of the arguments that the loss itself passes to one of torch's losses.
        """
        inner: list[Diagnosis] = []

        def on_call(loss: Loss, args: tuple[Any, ...], kwargs: Mapping[str, Any], _: Any) -> None:
            calls.next_reported = calls.count + 1
            given = options_of(loss, args, kwargs)
            known, scores, labels = known_loss(loss, given), given.get("input"), given.get("target")
            if known and isinstance(scores, Tensor) and isinstance(labels, Tensor):
                with contextlib.suppress(SoftxentError):
                    inner.append(known.check(scores, labels, self.rules))

        calls = LossCalls(lambda *_: None, on_call)  # not torch's own: observes the calls inside
        calls.start()
        try:
            with torch.no_grad():
                value = self.loss(outputs, self.target)
        except Exception as error:
            self.not_checked.append(
                f"training: the loss fails on these arguments ({first_line(error)})."
            )
            return None, None
        finally:
            calls.stop()
        if not isinstance(value, Tensor):
            self.not_checked.append(
                f"training: the loss returns a {type(value).__name__}, not a tensor."
            )
            return None, None
        return value, inner[0] if len(inner) == calls.count == 1 else None

    def _judge_arguments(
        self, outputs: Tensor, known: KnownLoss | None, inner: Diagnosis | None
    ) -> None:
        """Judge the arguments of the loss, or of the one loss of torch that it calls."""
        name = name_of(self.loss)
        if known is not None:
            diagnosis = known.check(outputs, self.target, self.rules)
            if known.unjudged_size:
                self.not_checked.append(known.unjudged_size)
            if known.by_value:
                self.not_checked.append(
                    f"the code of {name}: on this batch its value is the {known.reduction} of "
                    f"{known.name}, and it was judged as that."
                )
        elif inner is not None:
            diagnosis = inner
            self.not_checked.append(
                f"the code of {name}: only the arguments that it passes to one of torch's losses "
                "were judged."
            )
        else:
            self._judge_as_cross_entropy(outputs)
            self.not_checked.append(
                f"the arguments of the loss: {name} is not a known loss; its first argument was "
                "judged as that of cross_entropy."
            )
            return
        self.findings += diagnosis.findings
        self.checked += diagnosis.checked

    def _judge_as_cross_entropy(self, outputs: Tensor) -> None:
        """Judge the outputs as logits: an unknown loss may contain a cross_entropy.

        Errors become warnings, because that is not certain.
        """
        target = self.target
        if outputs.ndim < 2 or target.is_floating_point() or target.ndim != outputs.ndim - 1:
            return
        rules = RuleSelection(
            tuple(one for one in self.rules.rules if one.name in _RULES_FOR_UNKNOWN_LOSSES)
        )
        arguments = LossArguments.of(outputs, target, loss="cross_entropy", axis=1)
        diagnosis = judge_arguments(arguments, rules)
        self.findings += [
            one
            if one.severity == "note"
            else replace(one, severity="warning", confidence="possible")
            for one in diagnosis
        ]
        self.checked += diagnosis.checked

    def _measure(
        self,
        in_eval: nn.Module,
        outputs: Tensor,
        last_layer: str | None,
        known: KnownLoss | None,
        computable: bool,
    ) -> ModelMeasurements:
        """Run the model forward, backward and through a short training, on copies."""
        name = known.name if known is not None else None
        classes = _classes(outputs, known)
        reduction = known.reduction if known else getattr(self.loss, "reduction", "mean")
        loss = with_mean(self.loss, reduction)
        initial_loss = None
        if computable:
            with torch.no_grad():
                initial_loss = float(loss(outputs, self.target))
        dependence = batch_dependence_of(in_eval, self.inputs, outputs, self.not_checked)
        gradients = gradients_of(in_training(copy_of(self.model)), self.inputs, self.target, loss)
        constant, zero, attempt = is_constant(outputs), gradients.zero, None
        if computable and gradients.has_graph:
            attempt, still_constant, still_zero = overfit(
                self.model, self.inputs, self.target, loss, known, classes, self.not_checked
            )
            constant = constant and still_constant
            zero = tuple(one for one in zero if one in still_zero)
        return ModelMeasurements(
            loss=name,
            classes=classes,
            rows=len(self.target),
            initial_loss=initial_loss,
            last_layer=last_layer,
            constant_output=constant,
            has_graph=gradients.has_graph,
            trainable=sum(p.requires_grad for p in self.model.parameters()),
            without_gradient=gradients.missing,
            zero_gradient=zero,
            input_blocked=gradients.input_blocked,
            batch_dependence=dependence,
            overfit=attempt,
        )


def _classes(outputs: Tensor, known: KnownLoss | None) -> int:
    if known is None:
        return outputs.shape[min(1, outputs.ndim - 1)]
    return 2 if known.binary else outputs.shape[known.class_axis(outputs)]
