"""Healthy set-ups, examined in every way that the doctor offers."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import softxent
from benches.doctor.logs import healthy_logs
from benches.doctor.loops import healthy_loops
from benches.doctor.setups import (
    BATCH,
    STEPS,
    Data,
    Scored,
    architectures,
    blobs,
    real,
    train,
)
from softxent import doctor
from softxent.errors import DataError


def diagnoses_of(
    model: nn.Module, data: Data, rng: np.random.Generator
) -> Iterator[tuple[str, doctor.Diagnosis]]:
    """(how, diagnosis) for every way to examine a healthy set-up."""
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
    """Examine every healthy set-up, and count the findings."""
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
                    found = list(diagnoses_of(model, data, rng))
                    if steps:
                        found.append(("watch", watching.diagnosis))
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
                    pool.append(Scored(z, data.y[-400:].numpy(), steps))
                histories.append(lines)
    logs, unread = [], []
    for how, text, classes in healthy_logs(histories, pool):
        try:
            logs.append((how, doctor.audit_log(text, classes=classes)))
        except DataError:  # names that aren't those of a cross-entropy are not read
            unread.append(how)
    assert all("detection" in how for how in unread), unread
    loops = [
        (f"loop, {data.name}: {how}", diagnosis)
        for data in [*real(folder), *(blobs(c, c + base) for c in (3, 30, 300))]
        for how, diagnosis in healthy_loops(data, base)
    ]
    for how, diagnosis in [*other_kinds(base), *logs, *loops]:
        setups, diagnoses = setups + 1, diagnoses + 1
        bad_rules = [one.rule for one in diagnosis.above_notes()]
        disturbed += bool(bad_rules)
        for rule in bad_rules:
            alarms[f"{rule} ({how})"] += 1
        notes.update(diagnosis.rules)
    return {
        "setups": setups, "diagnoses": diagnoses, "disturbed": disturbed, "notes": notes,
        "logs": len(logs), "loops": len(loops), "histories": histories,
        "sources": [data.name for data in sources],
    }  # fmt: skip


class Tagger(nn.Module):
    """Tokens to one class for each position, in torch's (N, C, L)."""

    def __init__(self, body: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.words, self.body = nn.Embedding(40, width), body
        self.last = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.body(self.words(tokens))
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        logits: Tensor = self.last(hidden)
        return logits.permute(0, 2, 1)


def other_kinds(base: int) -> Iterator[tuple[str, doctor.Diagnosis]]:
    """Check healthy set-ups of other kinds: sequences, one logit, soft targets, frozen parts."""
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
