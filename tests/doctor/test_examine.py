"""`examine`: what it reports about a model and its loss, and that it changes nothing."""

from __future__ import annotations

import copy
import functools
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import softxent
import softxent.nn
from softxent import doctor
from softxent.errors import OptionError, SoftxentError
from tests.doctor.models import classifier


def _flat(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    return (
        [t for v in value for t in _flat(v)]
        if not isinstance(value, int | float | str | bool | None)
        else []
    )


def _mean(loss: nn.Module, scores: Tensor, goal: Tensor) -> float:
    value = copy.deepcopy(loss).double()(
        scores, goal.double() if goal.is_floating_point() else goal
    )
    return float(value) / (len(goal) if getattr(loss, "reduction", "") == "sum" else 1)


TORCHS = F.cross_entropy

# Each changes the size of the loss by a lot.
OTHER_OPTIONS: list[dict[str, float]] = [{"z_loss": 5.0}, {"softcap": 0.05}, {"temperature": 0.02}]


@pytest.mark.parametrize("options", OTHER_OPTIONS, ids=lambda options: "".join(options))
def test_the_size_of_a_loss_with_other_options_is_not_judged(
    options: dict[str, Any], batch: tuple[Tensor, Tensor]
) -> None:
    (option,) = options
    losses = (
        softxent.nn.CrossEntropyLoss(**options),
        functools.partial(softxent.nn.functional.cross_entropy, **options),
    )
    for loss in losses:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 4))
        diagnosis = doctor.examine(model, batch, loss)
        assert diagnosis.rules == ()
        assert not {"start-loss", "cannot-overfit"} & set(diagnosis.checked)
        assert any(f"with {option} it can't be" in part for part in diagnosis.not_checked)
        model.append(nn.Softmax(dim=1))
        assert doctor.examine(model, batch, loss).rules == (
            "softmax-twice",
            "activation-before-loss",
        )


def test_the_class_axis_of_a_loss_is_used(batch: tuple[Tensor, Tensor]) -> None:
    inputs, target = batch[0].reshape(8, 4, 8), batch[1].reshape(8, 4)
    one_hot = nn.functional.one_hot(target, 5).float()
    loss = softxent.nn.CrossEntropyLoss(axis=-1)
    for labels in (target, one_hot):
        diagnosis = doctor.examine(nn.Linear(8, 5), (inputs, labels), loss)
        assert diagnosis.rules == ()
        assert {"start-loss", "cannot-overfit"} <= set(diagnosis.checked)
    model = nn.Sequential(nn.Linear(8, 5), nn.Softmax(dim=-1))
    assert doctor.examine(model, (inputs, target), loss).rules[0] == "softmax-twice"


def test_the_size_of_a_loss_with_default_options_is_judged(batch: tuple[Tensor, Tensor]) -> None:
    inputs, target = batch
    model = nn.Linear(8, 4)
    with torch.no_grad():
        model.weight.mul_(255)
    loss = softxent.nn.CrossEntropyLoss(temperature=1)
    assert "start-loss" in doctor.examine(model, (inputs, target), loss).rules


def test_a_learned_temperature_changes_the_loss(batch: tuple[Tensor, Tensor]) -> None:
    loss = nn.CrossEntropyLoss()
    loss.temperature = nn.Parameter(torch.ones(4))
    assert "start-loss" not in doctor.examine(nn.Linear(8, 4), batch, loss).checked


def test_examine_changes_nothing(batch: tuple[Tensor, Tensor]) -> None:
    model = classifier()
    optimizer = torch.optim.Adam(model.parameters())
    loss = nn.CrossEntropyLoss()
    loss(model(batch[0]), batch[1]).backward()
    optimizer.step()
    model.train()
    model[3].eval()
    before = copy.deepcopy(
        (model.state_dict(), optimizer.state_dict(), [p.grad for p in model.parameters()], batch)
    )
    modes = [module.training for module in model.modules()]
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002

    diagnosis = doctor.examine(model, batch, loss)

    assert diagnosis.above_notes() == ()
    after = (
        model.state_dict(),
        optimizer.state_dict(),
        [p.grad for p in model.parameters()],
        batch,
    )
    assert repr(before) == repr(after)
    for old, new in zip(_flat(before), _flat(after), strict=True):
        assert torch.equal(old, new)
    assert modes == [module.training for module in model.modules()]
    assert torch.equal(states[0], torch.get_rng_state())
    np.testing.assert_equal(states[1], np.random.get_state())  # noqa: NPY002
    assert states[2] == random.getstate()
    assert not any(module._forward_hooks for module in model.modules())
    assert not batch[0].requires_grad


def test_examine_works_under_no_grad(batch: tuple[Tensor, Tensor]) -> None:
    with torch.no_grad():
        assert doctor.examine(classifier(), batch).above_notes() == ()
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("last", "loss", "rule"),
    [
        (nn.Softmax(1), nn.CrossEntropyLoss(), "softmax-twice"),
        (nn.Softmax(0), nn.CrossEntropyLoss(), "softmax-over-batch"),
        (nn.Softmax(1), nn.NLLLoss(), "probabilities-as-log-probabilities"),
        (nn.Identity(), nn.NLLLoss(), "logits-as-log-probabilities"),
        (nn.Sigmoid(), nn.CrossEntropyLoss(), "activation-before-loss"),
        (nn.ReLU(), nn.CrossEntropyLoss(), "activation-before-loss"),
    ],
)
def test_an_activation_before_the_loss(
    batch: tuple[Tensor, Tensor], last: nn.Module, loss: nn.Module, rule: str
) -> None:
    assert rule in doctor.examine(classifier(last), batch, loss).rules


def test_losses_that_are_functions(batch: tuple[Tensor, Tensor]) -> None:
    assert doctor.examine(classifier(), batch, nn.functional.cross_entropy).above_notes() == ()
    assert doctor.examine(classifier(nn.LogSoftmax(1)), batch, nn.functional.nll_loss).rules == ()

    def squared(scores: Tensor, target: Tensor) -> Tensor:
        return (scores.softmax(1) - torch.eye(4)[target]).square().sum(1).mean()

    diagnosis = doctor.examine(classifier(), batch, squared)
    assert diagnosis.rules == ()
    assert any("squared is not a known loss" in words for words in diagnosis.not_checked)


def test_a_loss_that_refuses_is_explained(batch: tuple[Tensor, Tensor]) -> None:
    diagnosis = doctor.examine(classifier(), (batch[0], batch[1][:, None]), nn.CrossEntropyLoss())
    assert diagnosis.rules[0] == "column-target"
    assert any("the loss fails on these arguments" in words for words in diagnosis.not_checked)


def test_inputs_in_tuples_lists_and_mappings(batch: tuple[Tensor, Tensor]) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.last = nn.Embedding(9, 8), nn.Linear(16, 4)

        def forward(self, ids: Tensor, values: Tensor) -> Tensor:
            hidden = torch.cat([self.words(ids).mean(1), values], dim=1)
            return self.last(hidden)  # type: ignore[no-any-return]

    ids = torch.arange(32)[:, None].repeat(1, 3) % 9
    for inputs in ({"ids": ids, "values": batch[0]}, (ids, batch[0]), [ids, batch[0]]):
        assert doctor.examine(Named(), (inputs, batch[1])).above_notes() == ()


def test_what_cannot_be_examined(batch: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(OptionError, match=r"^\[examine\] the model fails on this batch"):
        doctor.examine(nn.Linear(3, 4), batch)

    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    with pytest.raises(OptionError, match="returns a tuple"):
        doctor.examine(Pair(), batch)
    model = nn.Linear(8, 4)
    model.extra = (i for i in range(3))  # type: ignore[assignment]
    with pytest.raises(OptionError, match="can't be copied"):
        doctor.examine(model, batch)


def test_frozen_and_zero_initialized_models_are_healthy(batch: tuple[Tensor, Tensor]) -> None:
    frozen = classifier()
    for p in frozen[0].parameters():
        p.requires_grad_(False)
    assert doctor.examine(frozen, batch).above_notes() == ()
    zero = classifier()
    last = zero[4]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    assert doctor.examine(zero, batch).above_notes() == ()


def test_equal_inputs_with_different_labels_are_not_reported() -> None:
    inputs, target = torch.zeros(32, 8), torch.arange(32) % 4
    diagnosis = doctor.examine(nn.Sequential(nn.Linear(8, 4)), (inputs, target))
    assert "cannot-overfit" not in diagnosis.rules
    assert any("overfitting" in words for words in diagnosis.not_checked)


def test_a_loss_without_a_graph(batch: tuple[Tensor, Tensor]) -> None:
    class Cut(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    found = doctor.examine(Cut(8, 4), batch).findings[0]
    assert (found.rule, found.level) == ("blocked-gradient", "error")


@pytest.mark.parametrize("batch", [1, (torch.eye(4),), (1, 2, 3), {"x": 1}, (torch.eye(4), 1)])
def test_examine_refuses_what_is_not_a_batch(batch: object) -> None:
    with pytest.raises(SoftxentError, match=r"^\[examine\] [^\n]*$"):
        doctor.examine(nn.Linear(4, 3), batch)  # type: ignore[arg-type]


def test_examine_takes_arrays_and_lists() -> None:
    inputs = np.eye(4, dtype=np.float32)
    assert doctor.examine(nn.Linear(4, 4), (inputs, np.arange(4))).worst in (None, "note")
    assert doctor.examine(nn.Linear(4, 4), (inputs.tolist(), [0, 1, 2, 3])).checked


def test_examine_copies_computed_weights() -> None:
    model = nn.Sequential(torch.nn.utils.spectral_norm(nn.Linear(4, 4)))
    model(torch.eye(4))
    assert doctor.examine(model, (torch.eye(4), torch.arange(4))).checked


def test_examine_judges_the_arguments_of_an_unknown_loss() -> None:
    inputs, target = torch.randn(32, 4), torch.arange(32) % 4
    model = nn.Sequential(nn.Linear(4, 4), nn.Softmax(dim=1))

    def focal(scores: Tensor, target: Tensor) -> Tensor:
        each = -scores.log_softmax(dim=1).gather(1, target[:, None])
        return ((1 - (-each).exp()) ** 2 * each).mean()

    found = doctor.examine(model, (inputs, target), focal)
    assert "softmax-twice" in found.rules
    assert found.worst == "warning"  # what the loss does with its argument is unknown


@pytest.mark.parametrize(
    ("last", "loss", "rules"),
    [
        (nn.Sigmoid(), lambda p, y: nn.functional.binary_cross_entropy(p, y[:, None]), set()),
        (nn.Sigmoid(), lambda p, y: nn.functional.binary_cross_entropy(p.squeeze(1), y), set()),
        (
            nn.Sigmoid(),
            lambda z, y: nn.functional.binary_cross_entropy_with_logits(z, y[:, None]),
            {"activation-before-loss"},
        ),
        (nn.Identity(), lambda z, y: (nn.Softplus()(z[:, 0]) - z[:, 0] * y).sum(), set()),
    ],
    ids=["column", "squeezed", "sigmoid twice", "by hand"],
)
def test_examine_recognizes_a_binary_loss_by_its_value(
    last: nn.Module, loss: Any, rules: set[str]
) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(64, 4)
    target = (inputs[:, 0] > 0).float()
    found = doctor.examine(nn.Sequential(nn.Linear(4, 1), last), (inputs, target), loss)
    assert {one.rule for one in found.above_notes()} == rules
    assert any("of binary_cross_entropy" in words for words in found.not_checked)
    assert not any("overfitting" in words for words in found.not_checked)


def test_examine_uses_the_options_of_a_partial(batch: tuple[Tensor, Tensor]) -> None:
    heavy = torch.tensor([100.0, 1, 1, 1])
    loss = functools.partial(nn.functional.cross_entropy, weight=heavy, label_smoothing=0.1)
    assert "weights-bend-smoothing" in doctor.examine(classifier(), batch, loss).rules


@pytest.mark.parametrize("after", [nn.Flatten(0), nn.Identity(), nn.Dropout(0.5)])
def test_the_last_layer_before_layers_that_change_no_values(after: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid(), after)
    target = (torch.arange(32) % 2).float()
    target = target if isinstance(after, nn.Flatten) else target[:, None]
    found = doctor.examine(model, (torch.randn(32, 4), target), nn.BCEWithLogitsLoss())
    assert "activation-before-loss" in found.rules


@pytest.mark.parametrize("balance", [0.5, 0.9])
@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(label_smoothing=0.2),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 30.0])),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 9.0]), label_smoothing=0.1, reduction="sum"),
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor(9.0)),
    ],
    ids=str,
)
@pytest.mark.slow
def test_weights_and_smoothing_shift_the_bounds_of_overfitting(
    loss: nn.Module, balance: float
) -> None:
    binary = isinstance(loss, nn.BCEWithLogitsLoss)
    target = (torch.arange(64) >= 64 * balance).long()
    inputs = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    model = nn.Linear(8, 1 if binary else 2)
    goal = target[:, None].float() if binary else target
    diagnosis = doctor.examine(model, (inputs, goal), loss)
    assert "cannot-overfit" not in diagnosis.rules
    model = nn.Linear(8, 1 if binary else 2)
    diagnosis = doctor.examine(model, (1e-9 * inputs, goal), loss)
    assert "cannot-overfit" in diagnosis.rules
    found = next(one for one in diagnosis if one.rule == "cannot-overfit")
    # The lowest loss of one constant logit for all rows, by trying many.
    best = math.inf
    for z in torch.linspace(-8, 8, 6401, dtype=torch.float64):
        scores = (
            z.expand(64, 1) if binary else torch.stack([torch.zeros(64).double(), z.expand(64)], 1)
        )
        value = _mean(loss, scores, goal)
        best = min(best, value)
    assert found.numbers["frequencies"] == pytest.approx(best, abs=1e-4)


@pytest.mark.slow
def test_more_labels_than_parameters_is_a_note() -> None:
    torch.manual_seed(0)
    inputs, target = torch.randn(8, 3, 24, 24), torch.randint(4, (8, 24, 24))
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    diagnosis = doctor.examine(model, (inputs, target), nn.CrossEntropyLoss())
    assert [(one.rule, one.level) for one in diagnosis] == [("cannot-overfit", "note")]
    assert diagnosis.findings[0].numbers["labels"] == 8 * 24 * 24
    assert diagnosis.findings[0].numbers["learnable"] == sum(p.numel() for p in model.parameters())


def test_a_sum_over_positions_is_not_a_high_start() -> None:
    torch.manual_seed(0)
    model = nn.Conv1d(6, 4, 1)
    batch = torch.randn(8, 6, 50), torch.randint(4, (8, 50))
    diagnosis = doctor.examine(model, batch, nn.CrossEntropyLoss(reduction="sum"))
    assert "start-loss" not in diagnosis.rules


def over_probabilities(scores: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(scores.softmax(dim=1), target)


def with_more_on_top(scores: Tensor, target: Tensor) -> Tensor:
    loss: Tensor = nn.CrossEntropyLoss()(scores.softmax(dim=1), target)
    return 2 * loss + 0.1 * scores.square().mean()


def healthy(scores: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(scores, target) + 0.1 * scores.square().mean()


@pytest.mark.parametrize(
    ("loss", "rules"),
    [
        (over_probabilities, {"softmax-twice"}),
        (with_more_on_top, {"softmax-twice"}),
        (healthy, set()),
    ],
)
def test_a_loss_that_calls_one_of_torchs_losses(
    loss: Callable[[Tensor, Tensor], Tensor], rules: set[str]
) -> None:
    torch.manual_seed(0)
    model, inputs, target = nn.Linear(8, 5), torch.randn(64, 8), torch.randint(0, 5, (64,))
    told = doctor.examine(model, (inputs, target), loss)
    assert rules <= set(told.rules)
    assert rules or told.worst in (None, "note")
    assert F.cross_entropy is TORCHS
