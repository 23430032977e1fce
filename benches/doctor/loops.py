"""Training loops around `doctor.watch`: healthy ones of many kinds, and ones with a mistake."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import lr_scheduler

from benches.doctor.setups import BATCH, Data, convolutional
from softxent import doctor
from softxent.doctor import Diagnosis

STEPS = 120


class Lion(torch.optim.Optimizer):
    """The sign of an averaged gradient, as Chen et al. 2023."""

    def __init__(self, parameters: Any, lr: float = 3e-4, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                    update = (0.9 * mean + 0.1 * p.grad).sign_()
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(update, alpha=-group["lr"])
                    mean.lerp_(p.grad, 0.01)


class Transformer(nn.Module):
    """Features as tokens, one layer of attention, the mean of the tokens to the classes."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.tokens = min(8, features)
        self.first = nn.Linear(-(-features // self.tokens), 32)
        self.place = nn.Parameter(0.1 * torch.randn(self.tokens, 32))
        self.layer = nn.TransformerEncoderLayer(32, 2, 64, batch_first=True, dropout=0.0)
        self.last = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        width = self.first.in_features * self.tokens
        tokens = functional.pad(x, (0, width - x.shape[1])).unflatten(1, (self.tokens, -1))
        logits: Tensor = self.last(self.layer(self.first(tokens) + self.place).mean(1))
        return logits


def perceptron(data: Data, *more: nn.Module) -> nn.Module:
    n = data.x.shape[1]
    return nn.Sequential(nn.Linear(n, 64), nn.ReLU(), nn.Linear(64, data.classes), *more)


def models(data: Data) -> list[Callable[[], nn.Module]]:
    made: list[Callable[[], nn.Module]] = [
        functools.partial(perceptron, data),
        lambda: Transformer(data.x.shape[1], data.classes),
    ]
    if data.image is not None:
        height, width = data.image
        made.append(lambda: convolutional(height, width, data.classes))
    return made


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.03, momentum=0.9, nesterov=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=2e-3),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=2e-3, weight_decay=0.05),
    "Lion": lambda p: Lion(p, lr=5e-4, weight_decay=0.1),
}


class Loop:
    """An ordinary loop with places where it can be changed.

    Args:
        data: the rows.
        model: what is trained.
        optimizer: built from the parameters.
        loss: of (scores, target).
        schedule: a scheduler of (optimizer), called after each step.
        scale: a factor between the loss and backward().
        clip: the norm that gradients are clipped to.
        rebuild, reset: whether the optimizer is built, and gradients are set to zero, in each step.
        accumulate: batches a step.
        rows: the row numbers of a step, of (step, number of rows).
        labels: of (labels, row numbers), what the loss gets.
        steps: calls of the loss.
    """

    def __init__(
        self,
        data: Data,
        model: nn.Module,
        optimizer: Callable[[Any], torch.optim.Optimizer],
        *,
        loss: Any = None,
        schedule: Callable[[torch.optim.Optimizer], Any] | None = None,
        scale: float = 1.0,
        clip: float | None = None,
        rebuild: bool = False,
        reset: bool = True,
        accumulate: int = 1,
        rows: Callable[[int, int], Tensor] | None = None,
        labels: Callable[[Tensor, Tensor], Tensor] | None = None,
        steps: int = STEPS,
    ) -> None:
        self.data, self.model, self.build = data, model, optimizer
        self.loss = nn.CrossEntropyLoss() if loss is None else loss
        self.schedule, self.scale, self.clip = schedule, scale, clip
        self.rebuild, self.reset, self.accumulate = rebuild, reset, accumulate
        self.rows = rows or (lambda step, n: torch.randint(0, n, (BATCH,)))
        self.labels = labels or (lambda y, rows: y[rows])
        self.steps = steps

    def run(self) -> Diagnosis:
        """Train while watching."""
        with doctor.watch(self.model, self.loss) as watching:
            self._train()
        return watching.diagnosis

    def _train(self) -> None:
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = self.build(parameters)
        scheduler = self.schedule(optimizer) if self.schedule else None
        for step in range(self.steps):
            rows = self.rows(step, len(self.data.x))
            if self.rebuild:
                optimizer = self.build(parameters)
            if self.reset and step % self.accumulate == 0:
                optimizer.zero_grad()
            value = self.loss(self.model(self.data.x[rows]), self.labels(self.data.y, rows))
            (value * self.scale / self.accumulate).backward()
            if (step + 1) % self.accumulate:
                continue
            if self.clip is not None:
                nn.utils.clip_grad_norm_(parameters, self.clip)
            optimizer.step()
            if scheduler is not None:
                scheduler.step()


def healthy_loops(data: Data, seed: int) -> Iterator[tuple[str, Diagnosis]]:
    """(description, diagnosis) of healthy trainings, each unusual in one way."""
    torch.manual_seed(seed)
    new = models(data)
    for name, build in OPTIMIZERS.items():
        for i, make in enumerate(new):
            yield f"{name}, model {i}", Loop(data, make(), build).run()
    n, c = data.x.shape[1], data.classes
    adam, sgd = OPTIMIZERS["Adam"], OPTIMIZERS["SGD"]
    schedules: dict[str, Callable[[Any], Any]] = {
        "warm-up of the whole loop": lambda o: lr_scheduler.LambdaLR(
            o, lambda step: (step + 1) / 10_000
        ),
        "warm-up": lambda o: lr_scheduler.LambdaLR(o, lambda step: min(1.0, (step + 1) / 60)),
        "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS),
        "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.01, total_steps=STEPS + 1),
        "linear": lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, STEPS),
        "steps": lambda o: lr_scheduler.MultiStepLR(o, [40, 80, 110]),
        "restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 30),
    }
    for name, schedule in schedules.items():
        yield name, Loop(data, new[0](), adam, schedule=schedule).run()
    smooth = nn.CrossEntropyLoss(label_smoothing=0.2)
    yield "label smoothing", Loop(data, new[0](), adam, loss=smooth).run()
    weight = torch.rand(c) + 0.1
    weighted = nn.CrossEntropyLoss(weight=weight)
    yield "class weights", Loop(data, new[0](), adam, loss=weighted).run()
    summed = nn.CrossEntropyLoss(reduction="sum")
    yield "summed", Loop(data, new[0](), adam, loss=summed).run()
    yield "accumulation", Loop(data, new[0](), adam, accumulate=8, steps=400).run()
    yield "loss scaling", Loop(data, new[0](), adam, scale=65536.0).run()
    yield "clipping", Loop(data, new[0](), sgd, clip=0.5).run()
    few = Data(data.name, data.x[:40], data.y[:40], c)
    yield "tiny data, all rows", Loop(few, new[0](), adam, rows=lambda _, n: torch.arange(n)).run()
    yield "tiny data", Loop(few, new[0](), adam, rows=lambda _, n: torch.randint(0, n, (8,))).run()
    one = Loop(data, new[0](), adam, rows=lambda _, n: torch.randint(0, n, (1,)), steps=300)
    yield "batches of one row", one.run()
    rare = torch.nonzero((data.y != 0) | (torch.rand(len(data.y)) < 0.02)).flatten()
    two = Data(data.name, data.x, (data.y == data.y[rare[0]]).long(), 2)
    yield "rare class", Loop(two, perceptron(two), adam).run()
    trained = new[0]()
    first = Loop(data, trained, adam, steps=600)
    first._train()
    yield "near its floor", Loop(data, trained, lambda p: torch.optim.Adam(p, lr=1e-4)).run()
    tuned = Loop(data, trained, lambda p: torch.optim.AdamW(p, lr=1e-6)).run()
    yield "fine-tuning with a small rate", tuned
    for p in list(trained.parameters())[:2]:
        p.requires_grad_(False)
    trained[-1] = nn.Linear(64, c)  # type: ignore[operator]
    yield "frozen layers", Loop(data, trained, adam).run()
    yield "distillation", distillation(data, new[0]())
    yield "policy gradient", policy(data, new[0]())
    yield "no mean", no_mean(data, new[0]())
    yield "evaluation only", evaluation(data, new[0]())
    yield "with evaluation", with_evaluation(data, new[0](), adam)
    yield "by hand", by_hand(data, new[0]())
    yield "binary", binary(data, adam)
    for which in (0, 1):
        yield f"adversarial, part {which}", adversarial(data, n, which)


def distillation(data: Data, student: nn.Module) -> Diagnosis:
    """Soft targets of a random teacher at a high temperature: the loss hardly falls."""
    teacher = perceptron(data)

    def soft(_: Tensor, rows: Tensor) -> Tensor:
        with torch.no_grad():
            target: Tensor = (teacher(data.x[rows]) / 4).softmax(1)
        return target

    return Loop(data, student, OPTIMIZERS["Adam"], labels=soft).run()


def policy(data: Data, model: nn.Module) -> Diagnosis:
    """REINFORCE on a bandit: a reward for the right class, a baseline, no falling loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def loss(scores: Tensor, actions: Tensor, advantage: Tensor) -> Tensor:
        each = nn.functional.cross_entropy(scores, actions, reduction="none")
        return (each * advantage).mean()

    with doctor.watch(model, loss) as watching:  # type: ignore[arg-type]
        for _ in range(STEPS):
            rows = torch.randint(0, len(data.x), (BATCH,))
            scores = model(data.x[rows])
            actions = torch.distributions.Categorical(logits=scores.detach()).sample()
            reward = (actions == data.y[rows]).float()
            optimizer.zero_grad()
            loss(scores, actions, reward - reward.mean()).backward()
            optimizer.step()
    return watching.diagnosis


def no_mean(data: Data, model: nn.Module) -> Diagnosis:
    """A loss per row, averaged by the loop."""
    loss = nn.CrossEntropyLoss(reduction="none")
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with doctor.watch(model, loss) as watching:
        for _ in range(STEPS):
            rows = torch.randint(0, len(data.x), (BATCH,))
            optimizer.zero_grad()
            loss(model(data.x[rows]), data.y[rows]).mean().backward()
            optimizer.step()
    return watching.diagnosis


def evaluation(data: Data, model: nn.Module) -> Diagnosis:
    """A loop that trains nothing."""
    loss = nn.CrossEntropyLoss()
    with doctor.watch(model, loss, ignore="never-updated") as watching, torch.no_grad():
        for start in range(0, 60 * 16, 16):
            loss(model(data.x[start : start + 16]), data.y[start : start + 16])
    return watching.diagnosis


def with_evaluation(
    data: Data, model: nn.Module, build: Callable[[Any], torch.optim.Optimizer]
) -> Diagnosis:
    """The same loss for training and for testing in between."""
    loss, optimizer = nn.CrossEntropyLoss(), build(model.parameters())
    with doctor.watch(model, loss) as watching:
        for step in range(STEPS):
            rows = torch.randint(0, len(data.x), (BATCH,))
            optimizer.zero_grad(set_to_none=False)
            loss(model(data.x[rows]), data.y[rows]).backward()
            optimizer.step()
            if step % 20 == 19:
                with torch.no_grad():
                    for start in range(0, 640, 64):
                        loss(model(data.x[start : start + 64]), data.y[start : start + 64])
    return watching.diagnosis


def by_hand(data: Data, model: nn.Module) -> Diagnosis:
    """Updates without an optimizer."""
    loss = nn.CrossEntropyLoss()
    with doctor.watch(model, loss) as watching:
        for _ in range(STEPS):
            rows = torch.randint(0, len(data.x), (BATCH,))
            model.zero_grad()
            loss(model(data.x[rows]), data.y[rows]).backward()
            with torch.no_grad():
                for p in model.parameters():
                    assert p.grad is not None
                    p.sub_(0.1 * p.grad)
    return watching.diagnosis


def binary(data: Data, build: Callable[[Any], torch.optim.Optimizer]) -> Diagnosis:
    """One logit for one class against the others."""
    model = nn.Sequential(nn.Linear(data.x.shape[1], 32), nn.ReLU(), nn.Linear(32, 1))

    def labels(y: Tensor, rows: Tensor) -> Tensor:
        return (y[rows, None] < data.classes / 2).float()

    return Loop(data, model, build, loss=nn.BCEWithLogitsLoss(), labels=labels).run()


def adversarial(data: Data, features: int, which: int) -> Diagnosis:
    """A small GAN: the loss of neither part has to fall."""
    maker = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, features))
    judge = nn.Sequential(nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, 1))
    loss = nn.BCEWithLogitsLoss()
    optimizers = [torch.optim.Adam(m.parameters(), lr=1e-3) for m in (maker, judge)]
    with doctor.watch((maker, judge)[which], loss) as watching:
        for _ in range(STEPS):
            real = data.x[torch.randint(0, len(data.x), (BATCH,))]
            fake = maker(torch.randn(BATCH, 8))
            ones, zeros = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)
            optimizers[1].zero_grad()
            (loss(judge(real), ones) + loss(judge(fake.detach()), zeros)).backward()
            optimizers[1].step()
            optimizers[0].zero_grad()
            loss(judge(fake), ones).backward()
            optimizers[0].step()
    return watching.diagnosis


class Divided(nn.Module):
    """A model whose scores are divided by a large number."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x) / 1000
        return logits


def broken_loops(data: Data, seed: int) -> Iterator[tuple[str, Callable[[], Diagnosis]]]:
    """(rule, how to make the mistake): one loop for each, the model and the optimizer vary."""
    torch.manual_seed(seed)
    kinds = models(data)
    make = kinds[seed % len(kinds)]
    name = list(OPTIMIZERS)[seed % len(OPTIMIZERS)]
    build = OPTIMIZERS[name]

    def loop(
        *, optimizer: Any = build, model: nn.Module | None = None, **options: Any
    ) -> Diagnosis:
        return Loop(data, make() if model is None else model, optimizer, **options).run()

    def sgd(rate: float, **options: Any) -> Callable[[Any], torch.optim.Optimizer]:
        return lambda p: torch.optim.SGD(p, lr=rate, **options)

    high = [30.0, 100.0][seed % 2]
    yield "diverged-training", lambda: loop(optimizer=sgd(high), model=perceptron(data))

    def noisy(y: Tensor, rows: Tensor) -> Tensor:
        other = torch.randint(0, data.classes, rows.shape)
        return torch.where(torch.rand(rows.shape) < 0.3, other, y[rows])

    yield (
        "diverged-training",
        lambda: loop(optimizer=lambda p: torch.optim.Adam(p, lr=100.0), labels=noisy),
    )
    gamma = [0.8, 0.5][seed % 2]
    yield (
        "ended-learning-rate",
        lambda: loop(optimizer=sgd(0.02), schedule=lambda o: lr_scheduler.ExponentialLR(o, gamma)),
    )
    yield "ended-learning-rate", lambda: loop(schedule=lambda o: lr_scheduler.StepLR(o, 3))
    yield (
        "collapsed-weights",
        lambda: loop(optimizer=sgd(0.1, weight_decay=5.0), model=perceptron(data)),
    )
    causes: list[dict[str, Any]] = [
        {"scale": 1 / len(data.x)}, {"clip": 1e-6}, {"optimizer": sgd(1e-6)}
    ]  # fmt: skip
    tiny: dict[str, Any] = {"optimizer": sgd(0.02), "model": perceptron(data)}
    tiny |= causes[seed % 3]
    yield "tiny-updates", lambda: loop(**tiny)
    yield "kept-gradients", lambda: loop(reset=False)
    yield "kept-gradients", lambda: loop(reset=False, clip=1.0)
    stateful = OPTIMIZERS["SGD" if name == "Lion" else name]
    stateful = OPTIMIZERS["Adam"] if name in ("SGD", "Lion") else stateful
    yield "rebuilt-optimizer", lambda: loop(optimizer=stateful, rebuild=True)
    order = torch.argsort(data.y, stable=True)
    every = [data.y == k for k in range(data.classes)]
    groups = [torch.nonzero(one).flatten() for one in every if int(one.sum()) >= 16]
    if seed % 2 and data.classes <= 10:
        stride = max(BATCH, len(order) // STEPS)
        yield (
            "one-class-batches",
            lambda: loop(rows=lambda step, n: order[(step * stride) % (n - BATCH) :][:BATCH]),
        )
    else:
        yield (
            "one-class-batches",
            lambda: loop(rows=lambda step, _: groups[step // 2 % len(groups)][:BATCH]),
        )
    same = torch.randint(0, len(data.x), (BATCH,))
    yield "same-batch", lambda: loop(rows=lambda *_: same)
    shuffled = torch.randint(0, data.classes, (len(data.y),))

    def other_labels(y: Tensor, rows: Tensor) -> Tensor:
        return torch.randint(0, data.classes, rows.shape) if seed % 2 else shuffled[rows]

    yield "no-progress", lambda: loop(optimizer=sgd(0.05), labels=other_labels)
    yield "no-progress", lambda: loop(optimizer=sgd(0.1), model=Divided(perceptron(data)))
