"""How often the doctor is right: false alarms on healthy set-ups, and mistakes found.

    python benches/doctor_rates.py [--data DIR] [--seed 0] [--write docs/doctor/rates.md]

A healthy set-up is a data set, an architecture and a state of training, looked at in every way that
the doctor offers; it must not be given anything above a note. A mistake is generated in some dozens
of instances from the same models; it counts as found where its own rule says so.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import json
import math
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import softxent
from softxent import doctor
from softxent.doctor.watching import Watch

INSTANCES = 40
STEPS = (0, 20, 300)  # untrained, unsure, trained
BATCH = 64


@dataclass(frozen=True)
class Data:
    name: str
    x: Tensor
    y: Tensor
    classes: int
    image: tuple[int, int] | None = None


@dataclass(frozen=True)
class Scored:
    """Scores of a model on held-out rows, for the generated mistakes."""

    logits: np.ndarray
    target: np.ndarray
    trained: bool

    @property
    def classes(self) -> int:
        return self.logits.shape[1]


# Data.


def blobs(classes: int, seed: int, features: int = 24) -> Data:
    rng = np.random.default_rng(seed)
    rows = max(2000, 6 * classes)
    centres = 1.6 * rng.standard_normal((classes, features))
    y = rng.integers(0, classes, rows)
    x = centres[y] + rng.standard_normal((rows, features))
    return scaled(f"blobs, {classes} classes", x, y, classes)


def scaled(name: str, x: np.ndarray, y: np.ndarray, classes: int, image: Any = None) -> Data:
    x = np.asarray(x, np.float32)
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-2)
    order = np.random.default_rng(0).permutation(len(x))
    return Data(name, torch.from_numpy(x[order]), torch.from_numpy(y[order]).long(), classes, image)


def real(folder: Path | None) -> Iterator[Data]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    yield scaled("digits", digits.data / 16, digits.target, 10, (8, 8))
    if folder is None:
        return
    if (folder / "letter").is_dir():
        text = np.genfromtxt(
            folder / "letter" / "letter-recognition.data", delimiter=",", dtype=str, max_rows=4000
        )
        y = np.array([ord(letter) - ord("A") for letter in text[:, 0]])
        yield scaled("letter", text[:, 1:].astype(float), y, 26)
    if (folder / "otto").is_dir():
        with gzip.open(folder / "otto" / "train.csv.gz", "rt") as file:
            rows = [line.strip().split(",") for line in file][1::15]
        x = np.log1p(np.array([row[1:-1] for row in rows], float))
        yield scaled("otto", x, np.array([int(row[-1][-1]) - 1 for row in rows]), 9)
    if (folder / "mnist").is_dir():
        with gzip.open(folder / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
            x = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)[:4000] / 255
        with gzip.open(folder / "mnist" / "t10k-labels-idx1-ubyte.gz") as file:
            y = np.frombuffer(file.read(), np.uint8, offset=8)[:4000]
        yield Data(
            "mnist", torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.copy()).long(), 10,
            (28, 28),
        )  # fmt: skip


# Architectures.


class Residual(nn.Module):
    """A residual block that starts at zero, and a last layer that does too."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.first, self.block = nn.Linear(features, 48), nn.Linear(48, 48)
        self.gain, self.last = nn.Parameter(torch.zeros(48)), nn.Linear(48, classes)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x).relu()
        return self.last(hidden + self.gain * self.block(hidden).relu())


def convolutional(height: int, width: int, classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, height, width)),
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * (height // 2) * (width // 2), classes),
    )  # fmt: skip


def architectures(data: Data) -> Iterator[tuple[str, nn.Module]]:
    n, c = data.x.shape[1], data.classes
    yield "linear", nn.Linear(n, c)
    yield "two layers", nn.Sequential(nn.Linear(n, 64), nn.ReLU(), nn.Linear(64, c))
    yield (
        "batch norm",
        nn.Sequential(nn.Linear(n, 64), nn.BatchNorm1d(64), nn.Tanh(), nn.Linear(64, c)),
    )
    yield (
        "dropout",
        nn.Sequential(
            nn.Linear(n, 64), nn.LayerNorm(64), nn.GELU(), nn.Dropout(0.3), nn.Linear(64, c)
        ),
    )
    yield "residual", Residual(n, c)
    if data.image is not None:
        yield "convolutional", convolutional(*data.image, c)


# Healthy set-ups.


def train(
    model: nn.Module, data: Data, steps: int, loss: Any, lines: list[dict[str, float]], first: int
) -> None:
    """Adam on shuffled batches of all but the last fifth; a line of the log every 20 steps."""
    held_out = 4 * len(data.x) // 5
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(first)
    for step in range(first, first + steps):
        rows = torch.randint(0, held_out, (BATCH,), generator=generator)
        model.train()
        optimizer.zero_grad()
        value = loss(model(data.x[rows]), data.y[rows])
        value.backward()
        optimizer.step()
        if step % 20 == 0:
            lines.append(
                {"step": step, "train": float(value.detach())} | evaluate(model, data, loss)
            )


def evaluate(model: nn.Module, data: Data, loss: Any) -> dict[str, float]:
    """Held-out sums by batches, as loops have them."""
    held_out = 4 * len(data.x) // 5
    model.eval()
    with torch.no_grad():
        scores, y = model(data.x[held_out:]), data.y[held_out:]
        means = [
            float(loss(s, t)) for s, t in zip(scores.split(BATCH), y.split(BATCH), strict=True)
        ]
        sizes = [len(t) for t in y.split(BATCH)]
    return {
        "rows": len(y),
        "correct": int((scores.argmax(1) == y).sum()),
        "test": sum(m * n for m, n in zip(means, sizes, strict=True)) / len(y),
        "sum of means": sum(means),
        "batches": len(means),
    }


def text_of(lines: list[dict[str, float]], style: int, key: str = "test") -> str:
    """A log in one of the formats that people have."""
    out = ["epoch,train_loss,val_loss,val_acc"] if style == 3 else []
    for epoch, line in enumerate(lines, 1):
        n, k, test, train = int(line["rows"]), int(line["correct"]), line[key], line["train"]
        percent = 100 * k / n
        out.append(
            [
                f"Train Epoch: {epoch} [0/60000 (0%)]\tLoss: {train:.6f}\n"
                f"\nTest set: Average loss: {test:.4f}, Accuracy: {k}/{n} ({percent:.0f}%)\n",
                f"Epoch {epoch}/{len(lines)}\n25/25 [=====] - 1s 2ms/step - loss: {train:.4f} "
                f"- val_loss: {test:.4f} - val_accuracy: {k / n:.4f}",
                json.dumps({"epoch": epoch, "loss": train})
                + "\n"
                + json.dumps({"eval_loss": test, "eval_accuracy": k / n, "epoch": epoch}),
                f"{epoch},{train:.6f},{test:.6f},{k / n:.4f}",
                f"epoch {epoch}/{len(lines)}  train loss {train:.4f}  test loss {test:.4f}  "
                f"accuracy {k}/{n} ({percent:.2f}%)",
            ][style]
        )
    return "\n".join(out)


def looks(
    model: nn.Module, data: Data, rng: np.random.Generator
) -> Iterator[tuple[str, doctor.Diagnosis]]:
    """Every way to look at a healthy set-up."""
    held_out = 4 * len(data.x) // 5
    x, y = data.x[held_out:], data.y[held_out:]
    model.eval()
    with torch.no_grad():
        scores = model(x)
    z, t, c = scores.numpy(), y.numpy(), data.classes
    mean = float(softxent.cross_entropy(z, t))
    weight = 1 / np.maximum(np.bincount(t, minlength=c), 1)
    weight *= len(t) / weight[t].sum()
    ignored = np.where(rng.random(len(t)) < 0.2, -100, t)
    yield "check", doctor.check(z, t)
    yield "check tensors", doctor.check(scores, y, value=mean)
    yield "check half", doctor.check(scores.bfloat16(), y)
    yield "check weight", doctor.check(z, t, weight=weight)
    yield "check smoothing", doctor.check(z, t, label_smoothing=0.1)
    yield "check ignored", doctor.check(z, ignored)
    yield "check soft", doctor.check(z, 0.9 * np.eye(c)[t] + 0.1 / c)
    yield "check few", doctor.check(z[:3], t[:3])
    yield "check nll", doctor.check(softxent.log_softmax(z), t, loss="nll_loss")
    yield "check log_loss", doctor.check(softxent.softmax(z.astype(float)), t, loss="log_loss")
    yes = (t == 0).astype(np.float32)
    binary = "binary_cross_entropy_with_logits"
    yield "check binary", doctor.check(z[:, 0], yes, loss=binary)
    p = 1 / (1 + np.exp(-z[:, 0].astype(float)))
    yield "check binary p", doctor.check(p, yes, loss="binary_cross_entropy")
    tokens = np.stack([z[:40], z[40:80]], axis=1)
    pairs = np.stack([t[:40], t[40:80]], axis=1)
    yield "check sequence", doctor.check(tokens, pairs)
    moved = torch.from_numpy(tokens.transpose(0, 2, 1).copy())
    yield "check sequence, torch", doctor.check(moved, torch.from_numpy(pairs))
    losses = softxent.cross_entropy(z, t, reduction="none")
    parts = [losses[i : i + BATCH] for i in range(0, len(losses), BATCH)]
    means, counts = [float(part.mean()) for part in parts], [len(part) for part in parts]
    yield "check_mean", doctor.check_mean(f"{losses.mean():.6f}", means, counts)
    yield "check_predictions", doctor.check_predictions(z.argmax(1), t)
    batch = data.x[:BATCH], data.y[:BATCH]
    yield "examine", doctor.examine(model, batch, nn.CrossEntropyLoss())
    yield "examine smooth", doctor.examine(model, batch, nn.CrossEntropyLoss(label_smoothing=0.1))


def healthy(
    folder: Path | None, base: int, alarms: collections.Counter[str], pool: list[Scored]
) -> dict[str, Any]:
    """Look at every healthy set-up; count what was said."""
    notes: collections.Counter[str] = collections.Counter()
    disturbed, setups, diagnoses = 0, 0, 0
    rng = np.random.default_rng(base)
    sources = [*real(folder), *(blobs(c, c + base) for c in (2, 3, 5, 10, 30, 100, 300, 1000))]
    histories = []
    for data in sources:
        for seed in (base, base + 1):
            torch.manual_seed(seed)
            for name, model in architectures(data):
                lines: list[dict[str, float]] = []
                loss = nn.CrossEntropyLoss()
                done = 0
                for steps in STEPS:
                    with doctor.watch(model, loss) as watching:
                        train(model, data, steps - done, loss, lines, done)
                    done = steps
                    found = list(looks(model, data, rng))
                    if steps:
                        found.append(("watch", watching.diagnosis))
                    if lines:
                        style = len(histories) % 5
                        found.append(("audit_log", doctor.audit_log(text_of(lines, style))))
                        found.append(
                            ("audit_log, classes", doctor.audit_log(
                                text_of(lines, style), classes=data.classes))
                        )  # fmt: skip
                    setups += 1
                    diagnoses += len(found)
                    bad = [(how, one) for how, d in found for one in d.above_notes()]
                    disturbed += bool(bad)
                    for how, one in bad:
                        alarms[f"{one.rule} ({how}; {data.name}, {name}, {steps} steps)"] += 1
                    notes.update(one.rule for _, d in found for one in d)
                    model.eval()
                    with torch.no_grad():
                        z = model(data.x[-400:]).numpy()
                    pool.append(Scored(z, data.y[-400:].numpy(), steps == STEPS[-1]))
                histories.append(lines)
    for how, diagnosis in other_kinds(base):
        setups, diagnoses = setups + 1, diagnoses + 1
        bad_rules = [one.rule for one in diagnosis.above_notes()]
        disturbed += bool(bad_rules)
        for rule in bad_rules:
            alarms[f"{rule} ({how})"] += 1
        notes.update(diagnosis.rules)
    return {
        "setups": setups, "diagnoses": diagnoses, "disturbed": disturbed, "notes": notes,
        "sources": [data.name for data in sources], "histories": histories,
    }  # fmt: skip


class Tagger(nn.Module):
    """Tokens to a class for each place, in torch's (N, C, L)."""

    def __init__(self, body: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.words, self.body = nn.Embedding(40, width), body
        self.last = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.body(self.words(tokens))
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        return self.last(hidden).permute(0, 2, 1)


def other_kinds(base: int) -> Iterator[tuple[str, doctor.Diagnosis]]:
    """Healthy set-ups of other kinds: sequences, one logit, soft targets, frozen parts."""
    for seed in range(base, base + 6):
        torch.manual_seed(seed)
        ce = nn.CrossEntropyLoss()
        tokens = torch.randint(0, 40, (48, 7))
        tags = tokens % 7
        padded = tags.masked_fill(torch.arange(7) >= torch.randint(2, 8, (48, 1)), -100)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        for name, body in (("gru", nn.GRU(16, 16, batch_first=True)), ("attention", layer)):
            model = Tagger(body, 16, 7)
            yield f"{name}, C == L", doctor.examine(model, (tokens, tags), ce)
            yield f"{name}, padded", doctor.examine(model, (tokens, padded), ce)
        x = torch.randn(64, 12)
        y = (x[:, :2].sum(1) > 0.3).long()
        yes = y[:, None].float()
        one = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 1))
        yield "one logit", doctor.examine(one, (x, yes), nn.BCEWithLogitsLoss())
        squashed = nn.Sequential(*one, nn.Sigmoid())
        yield "one probability", doctor.examine(squashed, (x, yes), nn.BCELoss())
        two = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 2))
        yield (
            "log-softmax",
            doctor.examine(nn.Sequential(*two, nn.LogSoftmax(1)), (x, y), nn.NLLLoss()),
        )
        soft = 0.8 * torch.eye(2)[y] + 0.1
        yield "soft targets", doctor.examine(two, (x, soft), ce)
        rare = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 4.0]))
        yield "weighted", doctor.examine(two, (x, y), rare)
        yield "summed", doctor.examine(two, (x, y), nn.CrossEntropyLoss(reduction="sum"))
        yield "four rows", doctor.examine(two, (x[:4], torch.tensor([0, 1, 0, 1])), ce)
        for p in two[0].parameters():
            p.requires_grad_(False)
        yield "frozen", doctor.examine(two, (x, y), ce)
        pixels = torch.randint(0, 3, (8, 6, 6))
        segment = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))
        image = torch.eye(3)[pixels].permute(0, 3, 1, 2) + 0.1 * torch.randn(8, 3, 6, 6)
        yield "segmentation", doctor.examine(segment, (image, pixels), ce)


# Mistakes.


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z.astype(np.float64)))


BINARY = "binary_cross_entropy_with_logits"


def in_arrays(s: Scored, rng: np.random.Generator) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(rule, how to make the mistake) on one model's scores."""
    z, t, c, check = s.logits, s.target, s.classes, doctor.check
    n = len(t)
    yes = (t == t[0]).astype(np.float32)
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
    yield "sigmoid-twice", lambda: check(sigmoid(z[:, t[0]]), yes, loss=BINARY)
    yield "logits-as-probabilities", lambda: check(z, t, loss="log_loss")
    yield (
        "log-probabilities-as-probabilities",
        lambda: check(softxent.log_softmax(z), t, loss="log_loss"),
    )
    yield "probabilities-as-log-probabilities", lambda: check(p, t, loss="nll_loss")
    yield "logits-as-log-probabilities", lambda: check(z, t, loss="nll_loss")
    if s.trained:
        sure = (z * 60 / z.std()).astype(np.float32)
        with np.errstate(divide="ignore"):
            naive = np.log(softxent.softmax(sure) + rng.choice([0, 1e-8], 1).astype(np.float32))
        yield "log-of-softmax", lambda: check(naive, t, loss="nll_loss")
        if mean < 0.5 * math.log(c) and n >= 20 * c:
            order = rng.permutation(c)
            yield "column-order", lambda: check(np.roll(z, 1, axis=1)[:, :], t)
            yield "column-order", lambda: check(p[:, order], t, loss="log_loss")
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
    yield "swapped-arguments", lambda: check(one_hot, z)
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
    told = {
        "mean-of-means": float(np.mean(means)),
        "batch-means-over-rows": sum(means) / n,
        "undivided-sum": sum(means),
    }
    for rule, value in told.items():
        yield rule, lambda value=value: doctor.check_mean(value, means, counts)
    top = z.argmax(1)
    yield "broadcast-comparison", lambda: doctor.check_predictions(top[:, None], t)
    yield "more-correct-than-rows", lambda: doctor.check_predictions(top, t, correct=n + 1)


def in_logs(
    lines: list[dict[str, float]], k: int, rng: np.random.Generator
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(rule, how to make the mistake) on one training's numbers."""
    audit = doctor.audit_log
    rows = lines[0]["rows"]
    small = [line | {"test": line["sum of means"] / rows} for line in lines]
    wrong = [line for line in small if line["correct"] < 0.97 * rows]
    if wrong:
        yield "impossible-loss", lambda: audit(text_of(wrong, k % 5))
    bare = "\n".join(
        f"epoch {i}  train loss {line['train']:.4f}  test loss {line['test']:.5f}"
        for i, line in enumerate(small, 1)
    )
    yield "small-held-out-loss", lambda: audit(bare)
    cut = "\n".join(
        f"test loss {line['test']:.4f} accuracy {int(line['correct'])}/{int(rows)} "
        f"({100 * int(line['correct']) // int(rows)}%)"
        for line in lines
    )
    if any(100 * line["correct"] / rows % 1 > 0.5 for line in lines):
        yield "cut-percentage", lambda: audit(cut)
    shifted = text_of([lines[-1]], 4).replace("(", "(1" if lines[-1]["correct"] else "(5")
    yield "wrong-percentage", lambda: audit(shifted)
    above = [line | {"correct": rows + rng.integers(1, 99)} for line in lines]
    yield "accuracy-above-one", lambda: audit(text_of(above, 4))
    negative = [line | {"test": -line["correct"] / rows} for line in lines]
    yield "negative-loss", lambda: audit(text_of(negative, k % 5))
    broken = [line | ({"test": math.nan} if i > 3 else {}) for i, line in enumerate(lines)]
    yield "loss-not-finite", lambda: audit(text_of(broken, k % 5))
    zero = [line | {"test": 0.0, "train": 0.0} for line in lines]
    yield "zero-loss", lambda: audit(text_of(zero, k % 5))


class Cut(nn.Module):
    """Layers with something wrong between them."""

    def __init__(self, features: int, classes: int, what: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.what = nn.Linear(features, 32), nn.Linear(32, classes), what

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.what(self.first(x).relu()))


def in_models(data: Data, seed: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(rule, how to make the mistake) with a fresh model."""
    torch.manual_seed(seed)
    n, c = data.x.shape[1], data.classes
    start = seed * BATCH % (len(data.x) - BATCH)
    x, y = data.x[start : start + BATCH], data.y[start : start + BATCH]
    ce = nn.CrossEntropyLoss()

    def examine(model: nn.Module, inputs: Tensor = x, loss: Any = ce, target: Tensor = y) -> Any:
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

    def forgotten() -> Any:
        model = nn.Linear(n, c)
        optimizer = torch.optim.SGD(nn.Linear(n, c).parameters(), lr=0.1)
        with doctor.watch(model, ce) as watching:
            for _ in range(10):
                ce(model(x), y).backward()
                optimizer.step()
        return watching.diagnosis

    yield "never-updated", forgotten


def in_trainings(data: Data, seed: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(rule, how to make the mistake) with a model that is trained wrongly, and logs it."""
    torch.manual_seed(seed)
    n, c = data.x.shape[1], data.classes

    def log(model: nn.Module, steps: int, loss: Any) -> str:
        lines: list[dict[str, float]] = []
        first = f"step 0 loss {loss(model(data.x[:512]), data.y[:512]).item():.4f}\n"
        train(model, data, steps, loss, lines, 0)
        return first + text_of(lines, 4)

    def twice() -> Any:
        model = nn.Sequential(nn.Linear(n, 64), nn.ReLU(), nn.Linear(64, c), nn.Softmax(1))
        known = c if seed % 2 else None  # else it has to be read off the first loss
        return doctor.audit_log(log(model, 600, nn.CrossEntropyLoss()), classes=known)

    def stuck() -> Any:
        model = nn.Sequential(nn.Linear(n, 32), nn.ReLU(), nn.Linear(32, c))
        loss = nn.CrossEntropyLoss()
        return doctor.audit_log(log(model, 400, lambda s, t: loss(0.01 * s.detach() + 0 * s, t)))

    yield "loss-floor", twice
    yield "stuck-loss", stuck


def mistakes(
    pool: list[Scored], histories: list[Any], folder: Path | None, base: int
) -> dict[str, list[int]]:
    """For each rule: instances, found, found above a note."""
    counts: dict[str, list[int]] = {one.name: [0, 0, 0] for one in doctor.all_rules()}
    rng = np.random.default_rng(base + 1)

    def count(generated: Iterator[tuple[str, Callable[[], Any]]]) -> None:
        for rule, make in generated:
            if counts[rule][0] >= INSTANCES:
                continue
            diagnosis = make()
            counts[rule][0] += 1
            counts[rule][1] += rule in diagnosis.rules
            counts[rule][2] += rule in [one.rule for one in diagnosis.above_notes()]

    for i in rng.permutation(len(pool)):
        count(in_arrays(pool[i], rng))
    for k, i in enumerate(rng.permutation(len(histories))):
        count(in_logs(histories[i], k, rng))
    sources = [*real(folder), *(blobs(c, c + base) for c in (3, 5, 10, 30))]
    for seed in range(INSTANCES):
        data = sources[seed % len(sources)]
        count(in_models(data, base + seed))
        if seed < 20:
            count(in_trainings(data, base + seed))
    return counts


class Timed(Watch):
    """A watch that knows how long it took: a part of a loop's time, measured within the same loop.

    The difference of two loops would be smaller than their own variation.
    """

    spent = 0.0

    def __enter__(self) -> Watch:
        began = time.perf_counter()
        super().__enter__()
        self.spent += time.perf_counter() - began
        return self

    def __exit__(self, *error: Any) -> None:
        began = time.perf_counter()
        super().__exit__(*error)
        self.spent += time.perf_counter() - began

    def _step(self, *args: Any) -> None:
        began = time.perf_counter()
        super()._step(*args)
        self.spent += time.perf_counter() - began


def overhead() -> tuple[float, float, float, float]:
    """What `watch` takes of a loop: its share (median, highest), and the loop's seconds."""
    torch.manual_seed(0)
    x, y = torch.randn(64, 784), torch.randint(0, 10, (64,))
    widths = (784, 520, 320, 240, 120, 10)
    layers = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths)]
    model = nn.Sequential(*layers[:-1], layers[-1][0])
    loss, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.01)
    shares, seconds = [], []
    for _ in range(10):
        began = time.perf_counter()
        with Timed(model, loss) as watching:
            for _ in range(500):
                optimizer.zero_grad()
                loss(model(x), y).backward()
                optimizer.step()
        seconds.append(time.perf_counter() - began)
        shares.append(watching.spent / seconds[-1])
    # The first loop loads and warms up what every process pays for once.
    return float(np.median(shares[1:])), max(shares[1:]), float(np.median(seconds)), shares[0]


def page(
    result: dict[str, Any], counts: dict[str, list[int]], cost: tuple[float, float, float]
) -> str:
    alarms = result["alarms"]
    setups, disturbed = result["setups"], result["disturbed"]
    total = [sum(column) for column in zip(*counts.values(), strict=True)]
    notes = ", ".join(f"{k} ({n})" for k, n in result["notes"].most_common()) or "none"
    worst = min((found / n, name) for name, (n, found, _) in counts.items() if n)
    prose = textwrap.fill(
        f"{setups} set-ups, looked at {result['diagnoses']} times in some twenty ways: "
        f"**{disturbed} of {setups} had a finding above a note**. They are data sets "
        f"({'; '.join(result['sources'])}) with five or six architectures, untrained, after "
        f"{STEPS[1]} and after {STEPS[2]} steps, two seeds; and sequences, segmentation, one "
        f"logit, soft targets, class weights, frozen parts. Notes that were given: {notes}.",
        100,
    )
    out = [
        "# How often the doctor is right",
        "",
        "Made by `python benches/doctor_rates.py --write docs/doctor/rates.md`, seed "
        f"{result['seed']}.",
        "",
        "## Healthy set-ups",
        "",
        prose,
        "",
        *(f"- {name}: {number}" for name, number in alarms.most_common()),
        *([""] if alarms else []),
        "## Mistakes",
        "",
        f"{total[1]} of {total[0]} generated instances were found by their own rule "
        f"({total[1] / total[0]:.1%});",
        f"the rule that finds the smallest share, {worst[1]}, finds {worst[0]:.0%}.",
        "",
        "| rule | instances | found | as warning or error |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| [{name}]({name}.md) | {n} | {found} ({found / n:.0%}) | {above} |"
            for name, (n, found, above) in counts.items()
            if n
        ),
        "",
        *(f"- {name}: no instance was generated" for name, (n, _, _) in counts.items() if not n),
        "## What watching costs",
        "",
        f"Of a loop of 500 steps ({cost[2]:.2g} s; five layers, batches of 64) `doctor.watch` took "
        f"{cost[0]:.2%} in the median",
        f"of nine loops and at most {cost[1]:.2%}, with its beginning, its looks and its end; in a "
        f"first loop, which",
        f"warms up, {cost[3]:.2%}.",
        "",
    ]
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder with mnist, otto, letter")
    parser.add_argument("--seed", type=int, default=0, help="other data, weights and mistakes")
    parser.add_argument("--write", type=Path, help="where to write the page")
    args = parser.parse_args()
    torch.set_num_threads(1)
    pool: list[Scored] = []
    alarms: collections.Counter[str] = collections.Counter()
    result = healthy(args.data, args.seed, alarms, pool)
    result |= {"alarms": alarms, "seed": args.seed}
    counts = mistakes(pool, result["histories"], args.data, args.seed)
    text = page(result, counts, overhead())
    print(text)
    if args.write is not None:
        args.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
