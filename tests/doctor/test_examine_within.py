"""What a function of the user's gives to torch's losses is judged too."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from softxent import doctor

TORCHS = F.cross_entropy


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
def test_a_loss_around_torchs(loss: Callable[[Tensor, Tensor], Tensor], rules: set[str]) -> None:
    torch.manual_seed(0)
    model, inputs, target = nn.Linear(8, 5), torch.randn(64, 8), torch.randint(0, 5, (64,))
    told = doctor.examine(model, (inputs, target), loss)
    assert rules <= set(told.rules)
    assert rules or told.worst in (None, "note")
    assert F.cross_entropy is TORCHS
