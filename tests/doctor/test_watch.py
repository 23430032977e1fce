"""`watch`: what it reports about a training loop, and that it changes nothing."""

from __future__ import annotations

import contextlib
import copy
import math
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import _global_optimizer_pre_hooks as hooks

from softxent import doctor
from softxent.doctor.loops.course import Course
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


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop", "LBFGS"])
def test_watch_changes_no_bit_of_any_optimizer(kind: str, batch: tuple[Tensor, Tensor]) -> None:
    """Parameters, gradients and the optimizer's state; and hooks are gone afterwards."""
    before = dict(hooks)
    results = []
    for watch in (False, True):
        model, loss = classifier(), nn.CrossEntropyLoss()
        options = {"momentum": 0.9} if kind == "SGD" else {}
        optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.01, **options)
        torch.manual_seed(1)
        with doctor.watch(model, loss) if watch else contextlib.nullcontext():
            _train(model, loss, optimizer, batch)
        gradients = [p.grad for p in model.parameters()]
        states = [x for one in optimizer.state.values() for x in one.values()]
        results.append([*model.state_dict().values(), *gradients, *states])
        assert dict(hooks) == before
        assert not any(p._backward_hooks for p in model.parameters())
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b) if isinstance(a, Tensor) else isinstance(a, list) or a == b


def _train(
    model: nn.Module,
    loss: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor],
) -> None:
    def closure() -> Tensor:
        optimizer.zero_grad()
        value: Tensor = loss(model(batch[0]), batch[1])
        value.backward()
        return value

    for _ in range(12):
        optimizer.step(closure)  # type: ignore[arg-type,unused-ignore]


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


def _steps(
    batch: tuple[Tensor, Tensor],
    *,
    steps: int = 60,
    rate: float = 0.1,
    scale: float = 1.0,
    clip: float | None = None,
    accumulate: int = 1,
    reset: bool = True,
    model: nn.Module | None = None,
    shuffle: bool = True,
) -> doctor.Diagnosis:
    """A loop over shuffled rows, changed in one place."""
    torch.manual_seed(0)
    if model is None:
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    loss, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=rate)
    with doctor.watch(model, loss) as watching:
        for step in range(steps):
            rows = torch.randperm(len(batch[1]))
            if reset and step % accumulate == 0:
                optimizer.zero_grad()
            labels = batch[1][rows] if shuffle else torch.randint(0, 4, rows.shape)
            (scale * loss(model(batch[0][rows]), labels) / accumulate).backward()
            if (step + 1) % accumulate == 0:
                if clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()
    return watching.diagnosis


def test_watch_names_what_makes_updates_tiny(batch: tuple[Tensor, Tensor]) -> None:
    for cause, options in {
        "scaled loss": {"scale": 1 / 60_000},
        "clipped gradient": {"clip": 1e-6},
        "learning rate": {"rate": 1e-6},
    }.items():
        (finding,) = _steps(batch, **options)  # type: ignore[arg-type]
        assert (finding.rule, finding.severity) == ("tiny-updates", "warning")
        assert finding.numbers["cause"] == cause
    scaled = _steps(batch, scale=1 / 60_000).findings[0]
    assert "= 1/60000 of that of the loss" in scaled.evidence


def test_watch_names_a_diverging_loop(batch: tuple[Tensor, Tensor]) -> None:
    (finding,) = _steps(batch, rate=300.0, steps=40)
    assert (finding.rule, finding.severity) == ("diverged-training", "error")
    assert finding.numbers["highest"] > 100
    assert "learning rate of SGD is up to 300" in finding.evidence


def test_watch_names_labels_that_fit_no_input(batch: tuple[Tensor, Tensor]) -> None:
    diagnosis = _steps(batch, shuffle=False, rate=0.05)
    assert diagnosis.rules == ("no-progress",)
    assert any("belong to their labels" in words for words in diagnosis.not_checked)


@pytest.mark.parametrize("clip", [None, 0.1])
def test_watch_names_gradients_that_are_not_reset(
    batch: tuple[Tensor, Tensor], clip: float | None
) -> None:
    assert "kept-gradients" in _steps(batch, reset=False, clip=clip).rules


def test_accumulated_clipped_and_scaled_gradients_are_healthy(
    batch: tuple[Tensor, Tensor],
) -> None:
    for options in ({"accumulate": 4}, {"clip": 0.5}, {"scale": 8.0, "clip": 1.0}):
        assert _steps(batch, steps=120, **options).rules == ()


def test_watch_says_what_it_did_not_observe(batch: tuple[Tensor, Tensor]) -> None:
    model, loss = nn.Linear(8, 4), nn.CrossEntropyLoss()
    with doctor.watch(model, loss) as watching:
        for _ in range(10):
            loss(model(batch[0]), batch[1]).backward()
    said = " ".join(watching.diagnosis.not_checked)
    assert "no step of a torch.optim.Optimizer" in said
    assert "that takes 50 steps or more" in said
    assert "whether they belong to their labels" in said


def test_watch_ignores_optimizers_of_other_models_and_threads(
    batch: tuple[Tensor, Tensor],
) -> None:
    model, loss, other = nn.Linear(8, 4), nn.CrossEntropyLoss(), nn.Linear(8, 4)
    foreign = torch.optim.Adam(other.parameters())
    with doctor.watch(model, loss) as watching:
        loss(other(batch[0]), batch[1]).backward()
        foreign.step()
        own = torch.optim.SGD(model.parameters(), lr=0.1)
        loss(model(batch[0]), batch[1]).backward()
        thread = threading.Thread(target=own.step)
        thread.start()
        thread.join()
        assert watching._optimizer_steps.count == 0
        own.step()
        assert watching._optimizer_steps.count == 1


def test_watch_is_not_stopped_by_sparse_gradients() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(20, 4, sparse=True), nn.Flatten(), nn.Linear(8, 4))
    loss, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.5)
    with doctor.watch(model, loss) as watching:
        for _ in range(60):
            words = torch.randint(0, 20, (32, 2))
            optimizer.zero_grad()
            loss(model(words), words[:, 0] % 4).backward()
            optimizer.step()
    assert watching.diagnosis.above_notes() == ()


def test_the_course_of_a_loss_takes_bounded_memory() -> None:
    course = Course()
    for step in range(1, 100_001):
        if step >= course.next_step:
            course.add(step, float(step))
    kept = course.values()
    assert len(kept) <= 512
    assert kept[0] == (1, 1.0)
    assert kept[-1][0] > 99_000
    gaps = {b[0] - a[0] for a, b in pairwise(kept)}
    assert len(gaps) == 1


def test_a_nan_between_the_checked_steps_is_found(batch: tuple[Tensor, Tensor]) -> None:
    model, loss = nn.Linear(8, 4), nn.CrossEntropyLoss()
    with doctor.watch(model, loss) as watching:
        for step in range(40):
            loss(model(batch[0]) * (math.nan if step == 18 else 1.0), batch[1])
    assert "loss-not-finite" in watching.diagnosis.rules


@pytest.mark.slow
def test_healthy_loops_have_no_finding_above_a_note() -> None:
    """Of many kinds; benches/doctor runs them on more data."""
    from benches.doctor.loops import healthy_loops
    from benches.doctor.setups import blobs

    found = {
        name: diagnosis.above_notes()
        for name, diagnosis in healthy_loops(blobs(3, 0), 1)
        if diagnosis.above_notes()
    }
    assert not found
