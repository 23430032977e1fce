"""Integers in the logits' shape that aren't one-hot are refused by every function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import softxent
from softxent import nn
from softxent.errors import TargetError
from softxent.nn import functional as F

LOGITS = torch.zeros(3, 3, dtype=torch.float64)
EYE = torch.eye(3, dtype=torch.float64)
TARGETS = {
    "labels": torch.tensor([[0, 1, 2], [2, 0, 1], [1, 1, 1]]),
    "a mask of 255": (torch.eye(3) * 255).to(torch.uint8),
    "no class": torch.zeros(3, 3, dtype=torch.int32),
    "booleans": torch.ones(3, 3, dtype=torch.bool),
}


class Foreign(torch.Tensor):
    """A subclass: decomposed into torch operations."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(z: Any, y: Any) -> Any:
        torch.compiler.reset()
        return torch.compile(function, backend="aot_eager", fullgraph=True)(z, y)

    return call


def patched(z: Any, y: Any) -> Any:
    with nn.patch():
        return torch.nn.CrossEntropyLoss()(z, y)


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "cross_entropy": softxent.cross_entropy,
    "with_grad": softxent.cross_entropy_with_grad,
    "torch's name": F.cross_entropy,
    "with_stats": F.cross_entropy_with_stats,
    "module": nn.CrossEntropyLoss(),
    "log_loss": lambda z, y: softxent.log_loss(softxent.softmax(z), y),
    "linear": lambda z, y: softxent.linear_cross_entropy(z, EYE, y),
    "linear, with_grad": lambda z, y: softxent.linear_cross_entropy_with_grad(z, EYE, y),
    "linear, torch's name": lambda z, y: F.linear_cross_entropy(z, EYE, y),
    "linear, with_stats": lambda z, y: F.linear_cross_entropy_with_stats(z, EYE, y),
    "linear module": nn.LinearCrossEntropyLoss(3, 3, dtype=torch.float64),
    "explain": softxent.explain,
    "arrays": lambda z, y: softxent.cross_entropy(z.numpy(), y.numpy()),
    "a subclass": lambda z, y: F.cross_entropy(z.as_subclass(Foreign), y),
    "compiled": compiled(F.cross_entropy),
    "compiled linear head": compiled(lambda z, y: softxent.linear_cross_entropy(z, EYE, y)),
    "vmap": lambda z, y: torch.func.vmap(softxent.cross_entropy)(z[None], y[None]),
    "patch": patched,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", TARGETS)
def test_integers_that_are_not_one_hot(call: str, kind: str) -> None:
    with pytest.raises(TargetError, match="integers in this shape are one-hot rows"):
        CALLS[call](LOGITS, TARGETS[kind])


@pytest.mark.parametrize("call", CALLS)
def test_one_hot_integers_are_taken(call: str) -> None:
    CALLS[call](LOGITS, torch.eye(3, dtype=torch.int64))
