"""Rules on both sides of their thresholds, and a check that no rule goes without such a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softxent
from softxent.doctor import Diagnosis, audit_log, check, check_mean, check_predictions
from softxent.doctor.catalog import all_rules
from softxent.doctor.finding import Finding
from softxent.doctor.loops.measurements import BatchSample, LoopMeasurements, UpdateSample
from softxent.doctor.models.measurements import ModelMeasurements

LOGITS = np.random.default_rng(0).standard_normal((16, 5))
LOG_PROBS = softxent.log_softmax(LOGITS)
PROBS = np.array([[0.0, 1.0], [0.5, 0.5]])
MEANS, COUNTS = [2.0, 4.0], [64, 16]


def _with_zeros(count: int) -> np.ndarray:
    """40 positive logits of which some are 0."""
    logits = np.linspace(1, 4, 40)
    logits[:count] = 0
    return logits.reshape(8, 5)


def _loss_of(nats: float) -> np.ndarray:
    """16 rows of two logits; the loss of class 0 is about so many nats."""
    return np.tile([0.0, nats], (16, 1))


def _log_at_the_floor(loss: float) -> str:
    lines = ["loss 2.3026"] + [f"val loss {loss} val acc 0.9000"] * 3
    return "\n".join(lines)


def _log_of_rising_loss(end: float) -> str:
    held_out = [0.7, 0.5, 0.55, 0.57, end, end]
    return "\n".join(
        f"epoch {i} train loss {0.5**i:.4f} val loss {loss}" for i, loss in enumerate(held_out)
    )


Answer = Diagnosis | Finding | None


def _judge(name: str, measured: Any) -> Finding | None:
    (rule,) = [one for one in all_rules() if one.name == name]
    return rule(measured)


def _model(**measured: Any) -> ModelMeasurements:
    healthy: dict[str, Any] = {
        "loss": "cross_entropy",
        "classes": 4,
        "rows": 8,
        "initial_loss": 1.4,
        "last_layer": "Linear",
        "constant_output": False,
        "has_graph": True,
        "trainable": 2,
        "without_gradient": (),
        "zero_gradient": (),
        "input_blocked": False,
        "batch_dependence": 0.0,
        "overfit": None,
    }
    return ModelMeasurements(**{**healthy, **measured})


def _loop(steps: int) -> LoopMeasurements:
    return LoopMeasurements(steps=steps, parameters=("weight",), unchanged=("weight",))


def _training(**measured: Any) -> LoopMeasurements:
    """A loop of 60 steps on 10 classes; unless measured otherwise, it learns."""
    losses = measured.pop("losses", [2.3 - 0.03 * i for i in range(60)])
    rates = measured.pop("rates", [0.1] * 60)
    healthy: dict[str, Any] = {
        "steps": 60,
        "parameters": ("weight",),
        "unchanged": (),
        "losses": tuple(enumerate(losses, 1)),
        "rates": tuple(enumerate(rates, 1)),
        "classes": 10,
        "optimizer": "SGD",
        "optimizer_steps": 60,
        "movement": 0.1,
        "updates": tuple(_update(1e-3) for _ in range(4)),
    }
    return LoopMeasurements(**{**healthy, **measured})


def _update(size: float, kept: bool | None = None) -> UpdateSample:
    return UpdateSample(step=1, gradient=1.0, update=size, gradients_kept=kept)


def _batches(*classes: int, same: bool = False) -> tuple[BatchSample, ...]:
    """Batches of 8 rows, each with as many classes as its number says."""
    return tuple(
        BatchSample(
            step=i, rows=8, classes=n, first_class=i, same_as_first=same and i > 1, spread=1.0
        )
        for i, n in enumerate(classes, 1)
    )


def _ending(steps: int) -> list[float]:
    """Learning rates that are almost 0 in the last steps of 60."""
    return [0.1] * (60 - steps) + [1e-9] * steps


def _both(
    name: str, inside: Any, outside: Any
) -> tuple[Callable[[], Answer], Callable[[], Answer]]:
    return lambda: _judge(name, inside), lambda: _judge(name, outside)


# Each rule, an input that it just detects, and one that it just doesn't.
BOTH_SIDES: dict[str, tuple[Callable[[], Answer], Callable[[], Answer]]] = {
    "log-softmax-twice": (lambda: check(LOG_PROBS), lambda: check(LOG_PROBS - 0.002)),
    "clipped-scores": (lambda: check(_with_zeros(8)), lambda: check(_with_zeros(7))),
    "infinite-loss": (
        lambda: check(PROBS, [0, 1], loss="log_loss"),
        lambda: check(np.maximum(PROBS, 1e-300), [0, 1], loss="log_loss"),
    ),
    "constant-scores": (
        lambda: check(np.tile(LOGITS[0], (4, 1))),
        lambda: check(np.tile(LOGITS[0], (3, 1))),
    ),
    "worse-than-guessing": (  # 10 ln 2 is 6.931
        lambda: check(_loss_of(6.94), [0] * 16),
        lambda: check(_loss_of(6.92), [0] * 16),
    ),
    "undivided-sum": (
        lambda: check_mean("6.0", MEANS, COUNTS),
        lambda: check_mean("6.1", MEANS, COUNTS),
    ),
    "more-correct-than-rows": (
        lambda: check_predictions([1, 2], [1, 2], correct=3),
        lambda: check_predictions([1, 2], [1, 2], correct=2),
    ),
    "wrong-percentage": (
        lambda: audit_log("loss 0.2, accuracy 9504/10000 (95.1%)"),
        lambda: audit_log("loss 0.2, accuracy 9505/10000 (95.1%)"),
    ),
    "accuracy-above-one": (
        lambda: audit_log("loss 0.2, accuracy 5/4"),
        lambda: audit_log("loss 0.2, accuracy 4/4"),
    ),
    "negative-loss": (lambda: audit_log("loss -0.0002"), lambda: audit_log("loss -0.0001")),
    "hidden-nan": (
        lambda: audit_log("{'loss': 0.0, 'grad_norm': nan}"),
        lambda: audit_log("{'loss': 0.0, 'grad_norm': inf}"),
    ),
    "zero-loss": (
        lambda: audit_log("loss 0.0\nloss 0.0\nloss 0.0"),
        lambda: audit_log("loss 0.0\nloss 0.0"),
    ),
    "loss-floor": (  # 1.461 + 1 - 0.9, within 0.12
        lambda: audit_log(_log_at_the_floor(1.68)),
        lambda: audit_log(_log_at_the_floor(1.69)),
    ),
    "overfitting": (  # at the end 0.02 above 1.2 times the lowest loss
        lambda: audit_log(_log_of_rising_loss(0.625)),
        lambda: audit_log(_log_of_rising_loss(0.615)),
    ),
    "stuck-loss": (
        lambda: audit_log("\n".join(["loss 2.3026"] * 20)),
        lambda: audit_log("\n".join(["loss 2.3026"] * 19)),
    ),
    "dead-output": (
        lambda: _judge("dead-output", _model(constant_output=True, rows=2)),
        lambda: _judge("dead-output", _model(constant_output=True, rows=1)),
    ),
    "mixed-samples": (
        lambda: _judge("mixed-samples", _model(batch_dependence=1.0e-3)),
        lambda: _judge("mixed-samples", _model(batch_dependence=0.9e-3)),
    ),
    "diverged-training": _both(  # 1.5 times the loss of the beginning, and half a nat
        "diverged-training",
        _training(losses=[2.4] * 40 + [3.7] * 20),
        _training(losses=[2.4] * 40 + [3.5] * 20),
    ),
    "ended-learning-rate": _both(
        "ended-learning-rate",
        _training(losses=[2.3, *[1.5] * 59], rates=_ending(24)),
        _training(losses=[2.3, *[1.5] * 59], rates=_ending(23)),
    ),
    "collapsed-weights": _both(  # 0.7 ln 10 is 1.612
        "collapsed-weights",
        _training(losses=[2.3] * 20 + [1.62] * 40, shrinkage=0.49, weight_decay=5.0),
        _training(losses=[2.3] * 20 + [1.60] * 40, shrinkage=0.49, weight_decay=5.0),
    ),
    "tiny-updates": _both(
        "tiny-updates",
        _training(losses=[2.3] * 60, updates=tuple(_update(0.9e-4) for _ in range(4))),
        _training(losses=[2.3] * 60, updates=tuple(_update(1.1e-4) for _ in range(4))),
    ),
    "kept-gradients": _both(
        "kept-gradients",
        _training(updates=(_update(1e-3, True), _update(1e-3, True), _update(1e-3))),
        _training(updates=(_update(1e-3, True), _update(1e-3), _update(1e-3))),
    ),
    "rebuilt-optimizer": _both(
        "rebuilt-optimizer",
        _training(has_state=True, without_state=54),
        _training(has_state=True, without_state=53),
    ),
    "one-class-batches": _both(
        "one-class-batches",
        _training(batches=_batches(1, 1, 1, 1)),
        _training(batches=_batches(1, 1, 1, 2)),
    ),
    "same-batch": _both(
        "same-batch",
        _training(batches=_batches(5, 5, 5, 5, same=True)),
        _training(batches=_batches(5, 5, 5, same=True)),
    ),
    "no-progress": _both(  # 0.97 ln 10 is 2.2335
        "no-progress",
        _training(losses=[2.4] * 20 + [2.24] * 40),
        _training(losses=[2.4] * 20 + [2.23] * 40),
    ),
    "never-updated": (
        lambda: _judge("never-updated", _loop(8)),
        lambda: _judge("never-updated", _loop(7)),
    ),
}


def _reported(answer: Answer) -> tuple[str, ...]:
    if isinstance(answer, Finding):
        return (answer.rule,)
    return answer.rules if answer is not None else ()


@pytest.mark.parametrize("rule", BOTH_SIDES)
def test_both_sides_of_the_threshold(rule: str) -> None:
    inside, outside = BOTH_SIDES[rule]
    assert rule in _reported(inside())
    assert rule not in _reported(outside())


def test_every_rule_has_a_test_beyond_its_examples() -> None:
    """By its name, in a file other than the one that runs the docstrings' examples."""
    files = set(Path(__file__).parent.glob("test_*.py")) - {
        Path(__file__).with_name("test_examples.py")
    }
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    missing = [rule.name for rule in all_rules() if f'"{rule.name}"' not in text]
    assert not missing, f"add both sides of the threshold to {Path(__file__).name}: {missing}"
