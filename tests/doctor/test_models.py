"""`examine` and `watch`: what they see, and that they leave everything as it was."""

from __future__ import annotations

import copy
import functools
import math
import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from softxent import doctor
from softxent.errors import OptionError, SoftxentError


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(32) % 4
    noise = torch.randn(32, 8, generator=generator)
    return torch.eye(4)[target].repeat(1, 2) + 0.1 * noise, target


def _model(*more: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 4), *more
    )


def test_nothing_is_touched(batch: tuple[Tensor, Tensor]) -> None:
    model = _model()
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


def test_it_works_under_no_grad(batch: tuple[Tensor, Tensor]) -> None:
    with torch.no_grad():
        assert doctor.examine(_model(), batch).above_notes() == ()
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
def test_before_the_loss(
    batch: tuple[Tensor, Tensor], last: nn.Module, loss: nn.Module, rule: str
) -> None:
    assert rule in doctor.examine(_model(last), batch, loss).rules


def test_functions_and_other_losses(batch: tuple[Tensor, Tensor]) -> None:
    assert doctor.examine(_model(), batch, nn.functional.cross_entropy).above_notes() == ()
    assert doctor.examine(_model(nn.LogSoftmax(1)), batch, nn.functional.nll_loss).rules == ()

    def squared(scores: Tensor, target: Tensor) -> Tensor:
        return (scores.softmax(1) - torch.eye(4)[target]).square().sum(1).mean()

    diagnosis = doctor.examine(_model(), batch, squared)
    assert diagnosis.rules == ()
    assert any("squared is not a known loss" in words for words in diagnosis.not_checked)


def test_a_loss_that_refuses_is_explained(batch: tuple[Tensor, Tensor]) -> None:
    diagnosis = doctor.examine(_model(), (batch[0], batch[1][:, None]), nn.CrossEntropyLoss())
    assert diagnosis.rules[0] == "column-target"
    assert any("the loss fails on these arguments" in words for words in diagnosis.not_checked)


def test_other_inputs(batch: tuple[Tensor, Tensor]) -> None:
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


def test_frozen_and_zero_initialised_models_are_healthy(batch: tuple[Tensor, Tensor]) -> None:
    frozen = _model()
    for p in frozen[0].parameters():
        p.requires_grad_(False)
    assert doctor.examine(frozen, batch).above_notes() == ()
    zero = _model()
    last = zero[4]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    assert doctor.examine(zero, batch).above_notes() == ()


def test_labels_that_no_model_can_tell_apart_are_not_its_fault() -> None:
    inputs, target = torch.zeros(32, 8), torch.arange(32) % 4
    diagnosis = doctor.examine(nn.Sequential(nn.Linear(8, 4)), (inputs, target))
    assert "cannot-overfit" not in diagnosis.rules
    assert any("overfitting" in words for words in diagnosis.not_checked)


def test_no_graph(batch: tuple[Tensor, Tensor]) -> None:
    class Cut(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    found = doctor.examine(Cut(8, 4), batch).findings[0]
    assert (found.rule, found.level) == ("blocked-gradient", "error")


def _loop(model: nn.Module, loss: nn.Module, batch: tuple[Tensor, Tensor], steps: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(batch[0]), batch[1]).backward()
        optimizer.step()


def test_watch_changes_no_bit(batch: tuple[Tensor, Tensor]) -> None:
    plain, watched, loss = _model(), _model(), nn.CrossEntropyLoss()
    torch.manual_seed(1)
    _loop(plain, loss, batch, 40)
    torch.manual_seed(1)
    with doctor.watch(watched, loss) as watching:
        _loop(watched, loss, batch, 40)
    for a, b in zip(plain.state_dict().values(), watched.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert watching.steps == 40
    assert watching.diagnosis.above_notes() == ()
    assert "forward" not in vars(loss)


def test_watch_names_what_happens_in_the_loop(batch: tuple[Tensor, Tensor]) -> None:
    loss = nn.CrossEntropyLoss()
    model = _model(nn.Softmax(1))
    with doctor.watch(model, loss) as watching:
        _loop(model, loss, batch, 4)
        assert watching.diagnosis.rules[0] == "softmax-twice", "while it runs"

    nan = _model()
    with doctor.watch(nan, loss) as watching:
        _loop(nan, loss, (batch[0] * torch.nan, batch[1]), 2)
    assert {"not-finite", "loss-not-finite"} <= set(watching.diagnosis.rules)


def test_watch_lets_go_after_an_error(batch: tuple[Tensor, Tensor]) -> None:
    loss = nn.CrossEntropyLoss()
    with pytest.raises(ZeroDivisionError), doctor.watch(_model(), loss):
        raise ZeroDivisionError
    assert "forward" not in vars(loss)


def test_watch_sees_few_steps(batch: tuple[Tensor, Tensor]) -> None:
    loss, model = nn.CrossEntropyLoss(), nn.Linear(8, 4)
    with doctor.watch(model, loss) as watching:
        _loop(model, loss, batch, 300)
    looked = watching.diagnosis.not_checked[-1]
    assert looked.startswith("all steps but ")
    assert int(looked.split()[3]) <= 9  # 1, 2, 4 ... 256 at most


def _sigmoid_twice(call: Callable[[Tensor, Tensor], object], steps: int) -> None:
    for _ in range(steps):
        call(torch.linspace(-9, 9, 64)[:, None].sigmoid(), torch.arange(64) % 2)


@pytest.mark.parametrize(
    "loss",
    [
        nn.functional.binary_cross_entropy_with_logits,
        lambda z, y: nn.functional.binary_cross_entropy_with_logits(z[:, 0], y.float()),
    ],
    ids=["function", "lambda"],
)
def test_watch_sees_functions(loss: Any) -> None:
    before = dict(vars(nn.functional))
    with doctor.watch(nn.Linear(8, 1), loss) as watching:
        if loss.__name__ == "<lambda>":
            _sigmoid_twice(loss, 3)
        else:
            _sigmoid_twice(
                lambda z, y: nn.functional.binary_cross_entropy_with_logits(z, y[:, None].float()),
                3,
            )
    assert watching.steps == 3
    assert "sigmoid-twice" in watching.diagnosis.rules
    assert dict(vars(nn.functional)) == before, "everything is put back"


def test_watch_takes_the_options_of_a_call(batch: tuple[Tensor, Tensor]) -> None:
    model, heavy = nn.Linear(8, 4), torch.tensor([100.0, 1, 1, 1])
    with doctor.watch(model, nn.functional.cross_entropy) as watching:
        nn.functional.cross_entropy(model(batch[0]), batch[1], heavy, label_smoothing=0.1)
    assert "weights-bend-smoothing" in watching.diagnosis.rules


def test_watch_says_where_it_saw_nothing(batch: tuple[Tensor, Tensor]) -> None:
    model, cross_entropy = nn.Linear(8, 4), nn.functional.cross_entropy
    with doctor.watch(model, cross_entropy) as watching:
        cross_entropy(model(batch[0]), batch[1])  # a name of its own, not torch's attribute
    assert watching.diagnosis.subject == "no step"
    assert "no call of cross_entropy was observed" in watching.diagnosis.not_checked[0]
    assert not watching.diagnosis.findings


def test_watch_recognises_a_module_of_ones_own(batch: tuple[Tensor, Tensor]) -> None:
    class Mine(nn.Module):
        def forward(self, scores: Tensor, target: Tensor) -> Tensor:
            return -scores.log_softmax(1).gather(1, target[:, None]).mean()

    model, loss = nn.Sequential(nn.Linear(8, 4), nn.Softmax(dim=1)), Mine()
    with doctor.watch(model, loss) as watching:
        _loop(model, loss, batch, 3)
    assert watching.diagnosis.rules[0] == "softmax-twice"
    said = watching.diagnosis.not_checked
    assert any("its value was the mean of cross_entropy" in words for words in said)
    assert "forward" not in vars(loss)


def test_watch_leaves_compiled_code_alone(batch: tuple[Tensor, Tensor]) -> None:
    loss, model, compiled = nn.CrossEntropyLoss(), nn.Linear(8, 4), []

    def backend(module: Any, example: Any) -> Any:
        compiled.append(module)
        return module

    step = torch.compile(lambda x, y: loss(model(x), y), backend=backend, fullgraph=True)
    with doctor.watch(model, loss) as watching:
        for _ in range(12):
            step(*batch)
    assert len(compiled) == 1
    assert watching.steps == 0


def test_watch_sees_its_own_thread_only(batch: tuple[Tensor, Tensor]) -> None:
    loss = nn.CrossEntropyLoss()
    with doctor.watch(nn.Linear(8, 4), loss) as watching:
        other = threading.Thread(target=_loop, args=(nn.Linear(8, 4), loss, batch, 3))
        other.start()
        other.join()
    assert watching.steps == 0


def test_watch_does_not_stop_the_loop() -> None:
    loss = nn.BCEWithLogitsLoss()
    with doctor.watch(nn.Linear(8, 1), loss) as watching:
        loss(torch.tensor(0.3), torch.tensor(1.0))
    assert any("is a single number" in words for words in watching.diagnosis.not_checked)


def test_watch_wants_a_loss() -> None:
    with pytest.raises(OptionError, match=r"^\[watch\] loss is a float"):
        doctor.watch(_model(), 0.5)  # type: ignore[arg-type]


def test_watch_sees_a_model_that_became_nan() -> None:
    model, loss = nn.Linear(4, 3), nn.CrossEntropyLoss()
    inputs, target = torch.eye(4), torch.tensor([0, 1, 2, 0])
    with doctor.watch(model, loss) as watching:
        for step in range(7):  # step 7 is none of those that are looked at
            if step == 5:
                nn.init.constant_(model.weight, math.nan)
            loss(model(inputs), target)
    assert "parameters-not-finite" in watching.diagnosis.rules


@pytest.mark.parametrize("batch", [1, (torch.eye(4),), (1, 2, 3), {"x": 1}, (torch.eye(4), 1)])
def test_examine_refuses_what_is_no_batch(batch: object) -> None:
    with pytest.raises(SoftxentError, match=r"^\[examine\] [^\n]*$"):
        doctor.examine(nn.Linear(4, 3), batch)  # type: ignore[arg-type]


def test_examine_takes_arrays_and_lists() -> None:
    inputs = np.eye(4, dtype=np.float32)
    assert doctor.examine(nn.Linear(4, 4), (inputs, np.arange(4))).worst in (None, "note")
    assert doctor.examine(nn.Linear(4, 4), (inputs.tolist(), [0, 1, 2, 3])).checked


def test_examine_copies_computed_weights() -> None:
    model = nn.Sequential(nn.utils.spectral_norm(nn.Linear(4, 4)))
    model(torch.eye(4))
    assert doctor.examine(model, (torch.eye(4), torch.arange(4))).checked


def test_examine_looks_at_the_scores_of_an_unknown_loss() -> None:
    inputs, target = torch.randn(32, 4), torch.arange(32) % 4
    model = nn.Sequential(nn.Linear(4, 4), nn.Softmax(dim=1))

    def focal(scores: Tensor, target: Tensor) -> Tensor:
        each = -scores.log_softmax(dim=1).gather(1, target[:, None])
        return ((1 - (-each).exp()) ** 2 * each).mean()

    found = doctor.examine(model, (inputs, target), focal)
    assert "softmax-twice" in found.rules
    assert found.worst == "warning"  # it isn't known what the loss does with its scores


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
def test_examine_recognises_a_binary_loss_by_its_value(
    last: nn.Module, loss: Any, rules: set[str]
) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(64, 4)
    target = (inputs[:, 0] > 0).float()
    found = doctor.examine(nn.Sequential(nn.Linear(4, 1), last), (inputs, target), loss)
    assert {one.rule for one in found.above_notes()} == rules
    assert any("of binary_cross_entropy" in words for words in found.not_checked)
    assert not any("overfitting" in words for words in found.not_checked)


def test_examine_knows_a_partial_by_its_options(batch: tuple[Tensor, Tensor]) -> None:
    heavy = torch.tensor([100.0, 1, 1, 1])
    loss = functools.partial(nn.functional.cross_entropy, weight=heavy, label_smoothing=0.1)
    assert "weights-bend-smoothing" in doctor.examine(_model(), batch, loss).rules


@pytest.mark.parametrize("after", [nn.Flatten(0), nn.Identity(), nn.Dropout(0.5)])
def test_layers_that_change_no_values_are_looked_past(after: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid(), after)
    target = (torch.arange(32) % 2).float()
    target = target if isinstance(after, nn.Flatten) else target[:, None]
    found = doctor.examine(model, (torch.randn(32, 4), target), nn.BCEWithLogitsLoss())
    assert "activation-before-loss" in found.rules


def test_watch_looks_at_late_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 0.0
    monkeypatch.setattr("softxent.doctor.loops.watch.time.thread_time", lambda: seconds)
    loss = nn.CrossEntropyLoss()
    with doctor.watch(nn.Linear(4, 3), loss) as watching:
        for step in range(1500):
            seconds += 1
            loss((1 if step < 800 else math.nan) * torch.eye(4, 3), torch.tensor([0, 1, 2, 0]))
    assert "not-finite" in watching.diagnosis.rules


def test_watch_keeps_to_its_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    milliseconds = 0.0

    def clock() -> float:  # from the beginning of a look to its end it is read once
        nonlocal milliseconds
        milliseconds += 0.5
        return milliseconds / 1000

    monkeypatch.setattr("softxent.doctor.loops.watch.time.thread_time", clock)
    loss = nn.CrossEntropyLoss()
    with doctor.watch(nn.Linear(4, 3), loss) as watching:
        for _ in range(5000):
            milliseconds += 0.2
            loss(torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
    looked = int(watching.diagnosis.not_checked[-1].split()[3])
    assert looked > 2
    assert 0.5 * looked <= 0.002 * milliseconds + 1  # the first, and the one that goes beyond


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
def test_weights_and_smoothing_move_what_can_be_reached(loss: nn.Module, balance: float) -> None:
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
    # The best that one score for all rows can do, found by trying.
    best = math.inf
    for z in torch.linspace(-8, 8, 6401, dtype=torch.float64):
        scores = (
            z.expand(64, 1) if binary else torch.stack([torch.zeros(64).double(), z.expand(64)], 1)
        )
        value = _mean(loss, scores, goal)
        best = min(best, value)
    assert found.numbers["frequencies"] == pytest.approx(best, abs=1e-4)


def _mean(loss: nn.Module, scores: Tensor, goal: Tensor) -> float:
    value = copy.deepcopy(loss).double()(
        scores, goal.double() if goal.is_floating_point() else goal
    )
    return float(value) / (len(goal) if getattr(loss, "reduction", "") == "sum" else 1)


def test_more_labels_than_parameters_are_worth_a_note() -> None:
    torch.manual_seed(0)
    inputs, target = torch.randn(8, 3, 24, 24), torch.randint(4, (8, 24, 24))
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    diagnosis = doctor.examine(model, (inputs, target), nn.CrossEntropyLoss())
    assert [(one.rule, one.level) for one in diagnosis] == [("cannot-overfit", "note")]
    assert diagnosis.findings[0].numbers["labels"] == 8 * 24 * 24
    assert diagnosis.findings[0].numbers["learnable"] == sum(p.numel() for p in model.parameters())


def test_a_sum_over_places_is_no_high_start() -> None:
    torch.manual_seed(0)
    model = nn.Conv1d(6, 4, 1)
    batch = torch.randn(8, 6, 50), torch.randint(4, (8, 50))
    diagnosis = doctor.examine(model, batch, nn.CrossEntropyLoss(reduction="sum"))
    assert "start-loss" not in diagnosis.rules


def test_a_watched_loss_can_be_saved_and_copied(tmp_path: Any) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.loss = nn.Linear(4, 3), nn.CrossEntropyLoss()

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.loss(self.last(x), y)  # type: ignore[no-any-return]

    model, x, y = Net(), torch.eye(4), torch.tensor([0, 1, 2, 0])
    with doctor.watch(model, model.loss) as watching:
        expected = model(x, y)
        torch.save(model.loss, tmp_path / "loss.pt")
        other = copy.deepcopy(model)
        assert torch.equal(other(x, y), expected)
        assert watching.steps == 1
    assert "softxent" not in (tmp_path / "loss.pt").read_bytes().decode("latin-1")
    other.loss.ignore_index = 0  # the copy's own is what counts
    assert not torch.equal(other(x, y), expected)
    assert "forward" not in vars(model.loss)


def test_watch_wants_a_module() -> None:
    with pytest.raises(OptionError, match=r"\[watch\] model is a str"):
        doctor.watch("model", nn.CrossEntropyLoss())  # type: ignore[arg-type]
