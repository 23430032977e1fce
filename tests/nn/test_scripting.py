"""torch.jit.script: torch's own functions under patch(), softxent's modules and functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import softxent
from softxent import nn
from softxent.errors import OptionError
from softxent.nn import functional

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch.jit itself
    pytest.mark.slow,
]

Z = torch.tensor([[2.0, -1.0, 0.5], [20.0, 0.0, -1.0]])
Y = torch.tensor([1, 0])
Q = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
W = torch.tensor([1.0, 2.0, 0.5])


def loss_of(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(z, y, label_smoothing=0.1)


def all_of(z: torch.Tensor, y: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    nll = F.nll_loss(F.log_softmax(z, 1), y)
    return nll + F.binary_cross_entropy_with_logits(z, q) + F.binary_cross_entropy(z.softmax(1), q)


def test_functions_that_call_torchs_under_patch() -> None:
    want = loss_of(Z, Y), all_of(Z, Y, Q), F.softmax(Z, 1)
    with nn.patch():
        scripted = torch.jit.script(loss_of)(Z, Y), torch.jit.script(all_of)(Z, Y, Q)
        softmax = torch.jit.script(F.softmax)(Z, 1)
    for got, expected in zip((*scripted, softmax), want, strict=True):
        assert torch.equal(got, expected)  # torch's own bits


MODULES: dict[str, tuple[Callable[[Any], torch.nn.Module], tuple[torch.Tensor, ...]]] = {
    "CrossEntropyLoss": (lambda nn: nn.CrossEntropyLoss(W, label_smoothing=0.1), (Z, Y)),
    "NLLLoss": (lambda nn: nn.NLLLoss(W, ignore_index=1, reduction="sum"), (Z.log_softmax(1), Y)),
    "BCELoss": (lambda nn: nn.BCELoss(reduction="none"), (Z.softmax(1), Q)),
    "BCEWithLogitsLoss": (lambda nn: nn.BCEWithLogitsLoss(W, pos_weight=W), (Z, Q)),
    "Softmax": (lambda nn: nn.Softmax(dim=1), (Z,)),
    "LogSoftmax": (lambda nn: nn.LogSoftmax(dim=1), (Z,)),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str) -> None:
    """Torch's under patch(), and softxent's, compute what torch's do, and stay what they are."""
    make, arguments = MODULES[name]
    want = make(torch.nn)(*arguments)
    with nn.patch():
        assert torch.equal(torch.jit.script(make(torch.nn))(*arguments), want)
    model = torch.nn.Sequential(make(nn))
    assert torch.equal(torch.jit.script(model[0])(*arguments), want)
    if len(arguments) == 1:
        assert torch.equal(torch.jit.script(model)(*arguments), want)
    assert type(model[0]) is getattr(nn, name)


@pytest.mark.parametrize(
    "option",
    [
        {"axis": -1},
        {"z_loss": 0.1},
        {"softcap": 5.0},
        {"temperature": 2.0},
        {"inplace_backward": True},
    ],
)
def test_options_that_torch_lacks_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"^\[CrossEntropyLoss\] torch.jit.script compiles"):
        torch.jit.script(nn.CrossEntropyLoss(**option))


def test_a_linear_head_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^\[LinearCrossEntropyLoss\] torch.jit.script can't"):
        torch.jit.script(nn.LinearCrossEntropyLoss(2, 3))


def with_ours(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(functional.log_softmax(z, 1), y)


def with_softxent(z: torch.Tensor) -> torch.Tensor:
    return softxent.softmax(z)


def with_stats(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy_with_stats(z, y).loss


def test_functions() -> None:
    want = F.cross_entropy(F.log_softmax(Z, 1), Y)
    assert torch.equal(torch.jit.script(with_ours)(Z, Y), want)
    for function in (with_softxent, with_stats):
        with pytest.raises(RuntimeError, match=r"\[\w+\] it can't be compiled: use torch.compile"):
            torch.jit.script(function)
