"""Instances of every rule's mistake, generated from the models and logs of the healthy set-ups.

Every rule needs a mistake here: tests/doctor/test_rates.py names those that have none.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

import softxent
from benches.doctor.logs import broken_logs, counted, curve_of
from benches.doctor.loops import broken_loops
from benches.doctor.setups import (
    BATCH,
    INSTANCES,
    Data,
    Scored,
    Values,
    blobs,
    real,
    train,
)
from softxent import doctor
from softxent.doctor import Diagnosis
from softxent.errors import DataError

BINARY = "binary_cross_entropy_with_logits"

# The name of the rule, with the state of the model if it matters, and the doctor's answer.
Mistake: TypeAlias = tuple[str, Callable[[], Diagnosis]]


def sigmoid(z: Values) -> Values:
    return np.asarray(1 / (1 + np.exp(-z.astype(np.float64))))


def in_arrays(s: Scored, rng: np.random.Generator) -> Iterator[Mistake]:
    """(rule, how to make the mistake) in the arguments of a loss, from the logits of one model."""
    z, t, c, check = s.logits, s.target, s.classes, doctor.check
    n = len(t)
    positive = (t == t[0]).astype(np.float32)
    one_hot = np.eye(c)[t]
    p = softxent.softmax(z)
    some = rng.choice(n, n // 10, replace=False)
    torn = z.copy()
    torn[some[0], 0] = np.nan
    weight = np.where(rng.random(c) < 0.5, 1.0, 10.0)
    weight[:2] = 1, 10
    mean = float(softxent.cross_entropy(z, t))
    every = np.arange(n) % c if n >= 2 * c else None
    yield "softmax-twice", lambda: check(p, t)
    yield "log-softmax-twice", lambda: check(softxent.log_softmax(z), t)
    yield "softmax-over-batch", lambda: check(softxent.softmax(z, 0), t, loss="log_loss")
    yield "sigmoid-before-softmax", lambda: check(sigmoid(z), t)
    yield "clipped-scores", lambda: check(np.maximum(z, 0), t)
    yield "sigmoid-twice", lambda: check(sigmoid(z[:, t[0]]), positive, loss=BINARY)
    yield "logits-as-probabilities", lambda: check(z, t, loss="log_loss")
    yield (
        "log-probabilities-as-probabilities",
        lambda: check(softxent.log_softmax(z), t, loss="log_loss"),
    )
    yield "probabilities-as-log-probabilities", lambda: check(p, t, loss="nll_loss")
    yield "logits-as-log-probabilities", lambda: check(z, t, loss="nll_loss")
    if s.trained:
        confident = (z * 60 / z.std()).astype(np.float32)
        with np.errstate(divide="ignore"):
            naive = np.log(
                softxent.softmax(confident) + rng.choice([0, 1e-8], 1).astype(np.float32)
            )
        yield "log-of-softmax", lambda: check(naive, t, loss="nll_loss")
        if c == 10 and mean < 0.5 * math.log(c):
            square, labels = z.reshape(40, 10, 10), t.reshape(40, 10)
            yield (
                "ambiguous-axis",
                lambda: check(torch.from_numpy(square), torch.from_numpy(labels)),
            )
        if 2 < c <= 30 and mean < 0.5 * math.log(c):
            viewed = torch.from_numpy(z.reshape(50, 8, c)).view(50, c, 8)
            yield "view-for-permute", lambda: check(viewed, torch.from_numpy(t.reshape(50, 8)))
        yield "temperature-on-probabilities", lambda: check(p, t, temperature=0.3)
        yield "temperature-not-fitted", lambda: check(z, t, temperature=6.0)
    if s.steps and n >= 4 * c:
        state = "" if s.trained else f", after {s.steps} steps"
        order = rng.permutation(c)
        order = order if np.any(order != np.arange(c)) else order[::-1]
        yield f"column-order{state}", lambda: check(np.roll(z, 1, axis=1), t)
        yield f"column-order{state}", lambda: check(p[:, order], t, loss="log_loss")
    yield "not-finite", lambda: check(torn, t)
    masked = z.copy()
    masked[some, t[some]] = -np.inf
    yield "infinite-loss", lambda: check(masked, t)
    yield "one-class", lambda: check(z[:, :1], np.zeros(n, int))
    yield "one-row", lambda: check(z[:, 0], (t < c / 2).astype(np.float32))
    yield "constant-scores", lambda: check(np.tile(z[:1], (n, 1)), t)
    yield "worse-than-guessing", lambda: check(z * 400 / z.std(), rng.integers(0, c, n))
    if every is not None:
        yield "labels-from-one", lambda: check(z, every + 1)
        yield "absent-class", lambda: check(np.tile(z, (20, 1)), np.tile(every % (c - 1), 20))
    outside = t.copy()
    outside[some] = rng.choice([-1, 255 + c, c + 3])
    yield "labels-out-of-range", lambda: check(z, outside)
    yield "one-hot-integers", lambda: check(torch.from_numpy(z), torch.from_numpy(one_hot).long())
    yield "column-target", lambda: check(z, t[:, None])
    yield "float-indices", lambda: check(z, t.astype(np.float32))
    yield "narrow-indices", lambda: check(torch.from_numpy(z), torch.from_numpy(t).int())
    yield "all-ignored", lambda: check(z, np.full(n, -100))
    yield "ignored-class", lambda: check(z, t, ignore_index=int(t[3]))
    smooth = 0.9 * one_hot + 0.1 / c
    yield "swapped-arguments", lambda: check(one_hot, z)
    yield "swapped-arguments", lambda: check(t.astype(float), z)
    yield "swapped-arguments", lambda: check(one_hot, p, loss="log_loss")
    yield "swapped-arguments", lambda: check(smooth, p, loss="log_loss")
    yield (
        "swapped-arguments",
        lambda: check(positive, sigmoid(z[:, 0]), loss="binary_cross_entropy"),
    )
    yield "unfitting-shapes", lambda: check(z, t[:-1])
    yield "negative-target", lambda: check(z, one_hot - rng.choice([0.01, 0.1]))
    yield "unnormalised-target", lambda: check(z, one_hot * rng.choice([0.5, 2.0, 100.0]))
    if c > 2:
        yield "class-ids-in-binary-loss", lambda: check(z[:, 0], t.astype(float), loss=BINARY)
    yield "weighted-mean", lambda: check(z, np.arange(n) % 2, weight=weight)
    yield "weight-without-effect", lambda: check(z[:1], t[:1], weight=weight)
    yield "weights-against-one-hot", lambda: check(z, one_hot, weight=3 * weight)
    heavy = np.where(np.arange(c) == t[0], 100.0, 1.0)
    yield "weights-bend-smoothing", lambda: check(z, t, weight=heavy, label_smoothing=0.1)
    covered = z.copy()
    covered[:, (t[0] + 1) % c] = -np.inf
    yield "masked-smoothing", lambda: check(covered, np.full(n, t[0]), label_smoothing=0.1)
    wrong = rng.choice([1 / n, n, 1 / BATCH * BATCH / c, -1.0])
    yield "wrong-denominator", lambda: check(z, t, value=mean * wrong)
    losses = softxent.cross_entropy(z, t, reduction="none").astype(float)
    cut = np.sort(rng.choice(np.arange(1, n), 6, replace=False))
    parts = np.split(losses, cut)
    means, counts = [float(x.mean()) for x in parts], [len(x) for x in parts]
    reported = {
        "accumulated-means": float(np.mean(means)),
        "batch-means-over-rows": sum(means) / n,
        "undivided-sum": sum(means),
    }
    for rule, value in reported.items():
        yield rule, functools.partial(doctor.check_mean, value, means, counts)
    whole = np.split(losses, range(48, n, 48))  # of 400 rows the last batch has 16
    each, sizes = [float(x.mean()) for x in whole], [len(x) for x in whole]
    yield "mean-of-means", lambda: doctor.check_mean(float(np.mean(each)), each, sizes)
    guessed = z.copy()
    guessed[32:48] = rng.random((16, c))
    yield "guessed-probabilities", lambda: check(guessed, t)
    top = z.argmax(1)
    yield "broadcast-comparison", lambda: doctor.check_predictions(top[:, None], t)
    yield "more-correct-than-rows", lambda: doctor.check_predictions(top, t, correct=n + 1)


class Cut(nn.Module):
    """Two layers with a mistake between them."""

    def __init__(self, features: int, classes: int, mistake: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(features, 32), nn.Linear(32, classes)
        self.mistake = mistake

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.mistake(self.first(x).relu()))
        return logits


def in_models(data: Data, seed: int) -> Iterator[Mistake]:
    """(rule, how to make the mistake) in a new model or its training loop."""
    torch.manual_seed(seed)
    n, c = data.x.shape[1], data.classes
    start = seed * BATCH % (len(data.x) - BATCH)
    x, y = data.x[start : start + BATCH], data.y[start : start + BATCH]
    ce = nn.CrossEntropyLoss()

    def examine(
        model: nn.Module, inputs: Tensor = x, loss: Any = ce, target: Tensor = y
    ) -> Diagnosis:
        return doctor.examine(model, (inputs, target), loss)

    def layers(*more: nn.Module, out: int = c) -> nn.Module:
        return nn.Sequential(nn.Linear(n, 32), nn.ReLU(), nn.Linear(32, out), *more)

    rule = "activation-before-loss"
    yield rule, lambda: examine(layers(nn.Softmax(1)))
    yield rule, lambda: examine(layers(nn.Sigmoid()))
    yield rule, lambda: examine(layers(nn.Softmax(1)), loss=nn.NLLLoss())
    half = (y[:, None] < c / 2).float()
    yield rule, lambda: examine(layers(nn.Sigmoid(), out=1), x, nn.BCEWithLogitsLoss(), half)
    yield "start-loss", lambda: examine(nn.Linear(n, c), 300 * x)
    yield "dead-output", lambda: examine(Cut(n, c, lambda h: h * 0))
    yield "cannot-overfit", lambda: examine(Cut(n, c, lambda h: h * 0))
    yield "cannot-overfit", lambda: examine(layers(), 1e-9 * x)
    yield "blocked-gradient", lambda: examine(Cut(n, c, lambda h: h.detach()))
    yield "mixed-samples", lambda: examine(Cut(n, c, lambda h: h - h.mean(0)))
    yield "mixed-samples", lambda: examine(Cut(n, c, lambda h: h.softmax(0)))

    def wrong_optimizer() -> Diagnosis:
        model = nn.Linear(n, c)
        optimizer = torch.optim.SGD(nn.Linear(n, c).parameters(), lr=0.1)
        with doctor.watch(model, ce) as watching:
            for _ in range(10):
                ce(model(x), y).backward()
                optimizer.step()
        return watching.diagnosis

    def exploding_step() -> Diagnosis:
        model = nn.Linear(n, c)
        with doctor.watch(model, ce) as watching:
            for step in range(6):
                ce(model(x), y).backward()
                with torch.no_grad():
                    gradient = model.weight.grad
                    assert gradient is not None
                    model.weight -= (1e38 if step == 4 else 0.1) * gradient * 1e3
        return watching.diagnosis

    yield "never-updated", wrong_optimizer
    yield "parameters-not-finite", exploding_step


def in_trainings(data: Data, seed: int) -> Iterator[Mistake]:
    """(rule, how to make the mistake) in the log of a model that is trained wrongly."""
    torch.manual_seed(seed)
    n, c = data.x.shape[1], data.classes

    def log(model: nn.Module, steps: int, loss: Any) -> str:
        lines: list[dict[str, float]] = []
        first = f"step 0 loss {loss(model(data.x[:512]), data.y[:512]).item():.4f}\n"
        train(model, data, steps, loss, lines, 0)
        return first + counted(curve_of(lines))

    def double_softmax() -> Diagnosis:
        model = nn.Sequential(nn.Linear(n, 64), nn.ReLU(), nn.Linear(64, c), nn.Softmax(1))
        known = c if seed % 2 else None  # None: it has to be inferred from the first loss
        return doctor.audit_log(log(model, 600, nn.CrossEntropyLoss()), classes=known)

    def no_gradient() -> Diagnosis:
        model = nn.Sequential(nn.Linear(n, 32), nn.ReLU(), nn.Linear(32, c))
        loss = nn.CrossEntropyLoss()
        return doctor.audit_log(log(model, 400, lambda s, t: loss(0.01 * s.detach() + 0 * s, t)))

    def collapsed() -> Diagnosis:
        model = nn.Sequential(nn.Linear(n, 64), nn.ReLU(), nn.Linear(64, c), nn.Softmax(1))
        lines: list[dict[str, float]] = []
        train(model, data, 400, nn.CrossEntropyLoss(), lines, 0, rate=0.1)
        return doctor.audit_log(counted(curve_of(lines)), classes=c)

    def overfitted() -> Diagnosis:
        """Memorize few rows, of which a third has random labels."""
        rng = np.random.default_rng(seed)
        rows = torch.from_numpy(rng.choice(len(data.x), 200, replace=False))
        y = data.y[rows].clone()
        y[::3] = torch.from_numpy(rng.integers(0, c, len(y[::3])))
        few = Data(data.name, data.x[rows], y, c)
        model = nn.Sequential(nn.Linear(n, 256), nn.ReLU(), nn.Linear(256, c))
        lines: list[dict[str, float]] = []
        train(model, few, 600, nn.CrossEntropyLoss(), lines, 0)
        return doctor.audit_log(counted(curve_of(lines)), classes=c)

    yield "loss-floor", double_softmax
    yield "loss-floor", collapsed
    yield "overfitting", overfitted
    yield "stuck-loss", no_gradient


# What a diagnosis lists as not checked if nothing distinguishes the mistake from a healthy set-up.
_UNDECIDED = {
    "column-order": "the order of the columns",
    "swapped-arguments": "the order of the arguments",
}


@dataclass
class Count:
    """Instances of a mistake: how many were found, above a note, or listed as undecided."""

    instances: int = 0
    found: int = 0
    above: int = 0
    undecided: int = 0

    def add(self, rule: str, diagnosis: Diagnosis | None) -> bool:
        """Count one more; None stands for a log that couldn't be read."""
        self.instances += 1
        if diagnosis is None:
            return False
        found = rule in diagnosis.rules
        self.found += found
        self.above += rule in [one.rule for one in diagnosis.above_notes()]
        words = _UNDECIDED.get(rule)
        listed = " ".join(diagnosis.not_checked)
        self.undecided += not found and words is not None and words in listed
        return found


def mistakes(
    pool: list[Scored], histories: list[Any], folder: Path | None, base: int
) -> tuple[dict[str, Count], dict[str, Count]]:
    """Counts by rule, and those of the logs by format."""
    counts = {one.name: Count() for one in doctor.all_rules()}
    formats: dict[str, Count] = {}
    rng = np.random.default_rng(base + 1)

    def count(generated: Iterator[Mistake]) -> None:
        for name, make in generated:
            seen = counts.setdefault(name, Count())
            if seen.instances < INSTANCES:
                seen.add(name.split(",")[0], make())

    for i in rng.permutation(len(pool)):
        count(in_arrays(pool[i], rng))
    for k, i in enumerate(rng.permutation(len(histories))):
        for rule, written, text in broken_logs(histories[i], k, rng):
            try:
                diagnosis = doctor.audit_log(text)
            except DataError:
                diagnosis = None
            counts[rule].add(rule, diagnosis)
            formats.setdefault(written, Count()).add(rule, diagnosis)
    sources = [*real(folder), *(blobs(c, c + base) for c in (3, 5, 10, 30))]
    for seed in range(INSTANCES):
        data = sources[seed % len(sources)]
        count(in_models(data, base + seed))
        count(broken_loops(data, base + seed))
        if seed < 20:
            count(in_trainings(data, base + seed))
    return counts, formats
