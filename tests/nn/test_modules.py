"""torch's names on softxent: the same signatures, the same results, classes on axis 1."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from softxent import nn
from softxent.errors import TargetError
from softxent.ops.options import Reduction

N, C, L = 4, 3, 5


def batch(kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(N, C, L, generator=generator, dtype=torch.float64, requires_grad=True)
    if kind == "index":
        return logits, torch.randint(C, (N, L), generator=generator)
    return logits, torch.rand(N, C, L, generator=generator, dtype=torch.float64)


def same(ours: torch.Tensor, theirs: torch.Tensor, logits: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    grads = [torch.autograd.grad(value.sum(), logits)[0] for value in (ours, theirs)]
    torch.testing.assert_close(*grads, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("kind", ["index", "probabilities"])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}])
def test_cross_entropy(reduction: Reduction, kind: str, options: dict[str, Any]) -> None:
    logits, target = batch(kind)
    weight = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    options = {**options, "reduction": reduction, "weight": weight}
    ours = nn.CrossEntropyLoss(**options)(logits, target)
    same(ours, torch.nn.CrossEntropyLoss(**options)(logits, target), logits)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_nll(reduction: Reduction) -> None:
    logits, target = batch("index")
    target[0, 0] = -100
    ours = nn.NLLLoss(reduction=reduction)(nn.LogSoftmax(dim=1)(logits), target)
    same(ours, F.nll_loss(F.log_softmax(logits, 1), target, reduction=reduction), logits)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_binary(reduction: Reduction) -> None:
    logits, target = batch("probabilities")
    weight, positive = torch.tensor([0.5, 1, 2, 1, 3.0]), torch.tensor(2.5)
    ours = nn.BCELoss(weight, reduction=reduction)(torch.sigmoid(logits), target)
    theirs = torch.nn.BCELoss(weight, reduction=reduction)(torch.sigmoid(logits), target)
    same(ours, theirs, logits)
    options: dict[str, Any] = {"weight": weight, "reduction": reduction, "pos_weight": positive}
    ours = nn.BCEWithLogitsLoss(**options)(logits, target)
    same(ours, torch.nn.BCEWithLogitsLoss(**options)(logits, target), logits)


def test_softmax() -> None:
    logits, _ = batch("index")
    same(nn.Softmax(dim=1)(logits), torch.softmax(logits, 1), logits)
    assert repr(nn.Softmax(dim=1)) == "Softmax(dim=1)"


def test_one_sample_has_its_classes_on_axis_0() -> None:
    logits = torch.randn(C)
    ours = nn.functional.cross_entropy(logits, torch.tensor(1))
    torch.testing.assert_close(ours, F.cross_entropy(logits, torch.tensor(1)))


def test_weights_move_and_are_saved_with_the_module() -> None:
    criterion = nn.CrossEntropyLoss(torch.ones(3)).double()
    assert criterion.weight is not None
    assert criterion.weight.dtype == torch.float64
    assert list(criterion.state_dict()) == ["weight"]


def test_a_bad_label_is_named() -> None:
    with pytest.raises(TargetError, match=r"target\[0, 2\] is 3, but there are 3 classes"):
        nn.CrossEntropyLoss()(torch.zeros(1, 3, 4), torch.tensor([[0, 1, 3, 2]]))


@pytest.mark.parametrize("name", [n for n in nn.functional.__all__ if hasattr(F, n)])
def test_signatures_begin_as_torchs(name: str) -> None:
    """The same arguments in the same order with the same defaults; what is ours has a name."""
    ours = list(inspect.signature(getattr(nn.functional, name)).parameters.values())
    theirs = list(inspect.signature(getattr(F, name)).parameters.values())
    for parameter, wanted in zip(ours, theirs, strict=False):
        assert (parameter.name, parameter.kind) == (wanted.name, wanted.kind)
        assert parameter.default == wanted.default
    assert len(ours) >= len(theirs)
    assert all(p.kind is p.KEYWORD_ONLY for p in ours[len(theirs) :])


@pytest.mark.parametrize("name", [n for n in nn.__all__ if hasattr(torch.nn, n)])
def test_modules_are_torchs(name: str) -> None:
    ours, theirs = getattr(nn, name), getattr(torch.nn, name)
    if not inspect.isclass(ours):
        return
    assert issubclass(ours, theirs)
    arguments = list(inspect.signature(ours).parameters)
    assert arguments[: len(inspect.signature(theirs).parameters)] == list(
        inspect.signature(theirs).parameters
    )
