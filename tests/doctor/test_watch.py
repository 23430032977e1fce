"""`watch`: what it reports about a training loop, and that it changes nothing."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from softxent import doctor
from softxent.errors import OptionError
from softxent.nn import functional as softxent_functional
from tests.doctor.models import classifier


def _loop(model: nn.Module, loss: nn.Module, batch: tuple[Tensor, Tensor], steps: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(batch[0]), batch[1]).backward()
        optimizer.step()


def _sigmoid_twice(call: Callable[[Tensor, Tensor], object], steps: int) -> None:
    for _ in range(steps):
        call(torch.linspace(-9, 9, 64)[:, None].sigmoid(), torch.arange(64) % 2)


def test_watch_changes_no_bit(batch: tuple[Tensor, Tensor]) -> None:
    plain, watched, loss = classifier(), classifier(), nn.CrossEntropyLoss()
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


def test_watch_reports_mistakes_in_the_loop(batch: tuple[Tensor, Tensor]) -> None:
    loss = nn.CrossEntropyLoss()
    model = classifier(nn.Softmax(1))
    with doctor.watch(model, loss) as watching:
        _loop(model, loss, batch, 4)
        assert watching.diagnosis.rules[0] == "softmax-twice", "while it runs"

    nan = classifier()
    with doctor.watch(nan, loss) as watching:
        _loop(nan, loss, (batch[0] * torch.nan, batch[1]), 2)
    assert {"not-finite", "loss-not-finite"} <= set(watching.diagnosis.rules)


def test_watch_restores_the_loss_after_an_error(batch: tuple[Tensor, Tensor]) -> None:
    loss = nn.CrossEntropyLoss()
    with pytest.raises(ZeroDivisionError), doctor.watch(classifier(), loss):
        raise ZeroDivisionError
    assert "forward" not in vars(loss)


def test_watch_checks_few_steps(batch: tuple[Tensor, Tensor]) -> None:
    loss, model = nn.CrossEntropyLoss(), nn.Linear(8, 4)
    with doctor.watch(model, loss) as watching:
        _loop(model, loss, batch, 300)
    unchecked = watching.diagnosis.not_checked[-1]
    assert unchecked.startswith("all steps but ")
    assert int(unchecked.split()[3]) <= 9  # 1, 2, 4 ... 256 at most


@pytest.mark.parametrize(
    "loss",
    [
        nn.functional.binary_cross_entropy_with_logits,
        lambda z, y: nn.functional.binary_cross_entropy_with_logits(z[:, 0], y.float()),
    ],
    ids=["function", "lambda"],
)
def test_watch_observes_functions(loss: Any) -> None:
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


def test_watch_judges_no_size_of_a_loss_with_other_options(batch: tuple[Tensor, Tensor]) -> None:
    model = nn.Linear(8, 4)
    with doctor.watch(model, softxent_functional.cross_entropy) as watching:
        softxent_functional.cross_entropy(model(batch[0]) * torch.nan, batch[1], z_loss=5.0)
    diagnosis = watching.diagnosis
    assert {"not-finite", "loss-not-finite"} <= set(diagnosis.rules)
    assert not {"stuck-loss", "loss-floor", "zero-loss"} & set(diagnosis.checked)
    assert any("with z_loss it can't be" in part for part in diagnosis.not_checked)


def test_watch_reports_that_it_observed_no_call(batch: tuple[Tensor, Tensor]) -> None:
    model, cross_entropy = nn.Linear(8, 4), nn.functional.cross_entropy
    with doctor.watch(model, cross_entropy) as watching:
        cross_entropy(model(batch[0]), batch[1])  # a local name, not torch's attribute
    assert watching.diagnosis.subject == "no step"
    assert "no call of cross_entropy was observed" in watching.diagnosis.not_checked[0]
    assert not watching.diagnosis.findings


def test_watch_recognizes_a_loss_by_its_value(batch: tuple[Tensor, Tensor]) -> None:
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


@pytest.mark.slow
def test_watch_does_not_change_compiled_code(batch: tuple[Tensor, Tensor]) -> None:
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


def test_watch_observes_only_its_own_thread(batch: tuple[Tensor, Tensor]) -> None:
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


def test_watch_refuses_what_is_not_a_loss() -> None:
    with pytest.raises(OptionError, match=r"^\[watch\] loss is a float"):
        doctor.watch(classifier(), 0.5)  # type: ignore[arg-type]


def test_watch_reports_parameters_that_became_nan() -> None:
    model, loss = nn.Linear(4, 3), nn.CrossEntropyLoss()
    inputs, target = torch.eye(4), torch.tensor([0, 1, 2, 0])
    with doctor.watch(model, loss) as watching:
        for step in range(7):  # step 7 is not checked
            if step == 5:
                nn.init.constant_(model.weight, math.nan)
            loss(model(inputs), target)
    assert "parameters-not-finite" in watching.diagnosis.rules


def test_watch_checks_late_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 0.0
    monkeypatch.setattr("softxent.doctor.loops.watch.time.thread_time", lambda: seconds)
    loss = nn.CrossEntropyLoss()
    with doctor.watch(nn.Linear(4, 3), loss) as watching:
        for step in range(1500):
            seconds += 1
            loss((1 if step < 800 else math.nan) * torch.eye(4, 3), torch.tensor([0, 1, 2, 0]))
    assert "not-finite" in watching.diagnosis.rules


def test_watch_limits_its_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    milliseconds = 0.0

    def clock() -> float:  # each check reads it at its beginning and at its end
        nonlocal milliseconds
        milliseconds += 0.5
        return milliseconds / 1000

    monkeypatch.setattr("softxent.doctor.loops.watch.time.thread_time", clock)
    loss = nn.CrossEntropyLoss()
    with doctor.watch(nn.Linear(4, 3), loss) as watching:
        for _ in range(5000):
            milliseconds += 0.2
            loss(torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
    checked = int(watching.diagnosis.not_checked[-1].split()[3])
    assert checked > 2
    # The first check, and the one that exceeds the limit, are allowed on top.
    assert 0.5 * checked <= 0.002 * milliseconds + 1


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
    other.loss.ignore_index = 0  # the option of the copy counts, not that of the original
    assert not torch.equal(other(x, y), expected)
    assert "forward" not in vars(model.loss)


def test_watch_refuses_what_is_not_a_module() -> None:
    with pytest.raises(OptionError, match=r"\[watch\] model is a str"):
        doctor.watch("model", nn.CrossEntropyLoss())  # type: ignore[arg-type]
