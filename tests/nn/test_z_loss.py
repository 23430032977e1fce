"""z_loss of tensors: under autograd, decomposed, compiled, and as a number of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import softxent
from softxent import nn
from softxent.nn import functional as F
from softxent.ops.linear import decompositions, problem
from tests.support import oracle

Z_LOSS = 0.0625
WEIGHT = torch.tensor([0.25, 1.0, 3.0, 0.0, 7.5], dtype=torch.float64)
TARGET = torch.tensor([2, 4, -100, 3, 0, 1])


class Foreign(torch.Tensor):
    """A subclass: decomposed into torch operations."""


def logits() -> Any:
    generator = torch.Generator().manual_seed(0)
    return (2 * torch.randn(6, 5, generator=generator, dtype=torch.float64)).requires_grad_()


def expected(smoothing: float = 0.0) -> tuple[float, Any]:
    value, grads = oracle.mean(
        logits().detach().numpy(), TARGET.numpy(), WEIGHT.numpy(), ignore_index=-100,
        z_loss=Z_LOSS, label_smoothing=smoothing,
    )  # fmt: skip
    return float(value), torch.tensor(np.array(grads, float))


def check(loss: Any, z: Any, smoothing: float = 0.0) -> None:
    value, grads = expected(smoothing)
    assert loss.item() == pytest.approx(value, rel=1e-13)
    (grad,) = torch.autograd.grad(loss, z, create_graph=False)
    torch.testing.assert_close(grad.as_subclass(torch.Tensor), grads, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_autograd_compiled_and_decomposed(smoothing: float) -> None:
    def loss(z: Any) -> Any:
        return F.cross_entropy(z, TARGET, WEIGHT, z_loss=Z_LOSS, label_smoothing=smoothing)

    z = logits()
    check(loss(z), z, smoothing)
    check(
        nn.CrossEntropyLoss(WEIGHT, z_loss=Z_LOSS, label_smoothing=smoothing)(z, TARGET),
        z,
        smoothing,
    )
    foreign = logits().detach().as_subclass(Foreign).requires_grad_()
    check(loss(foreign), foreign, smoothing)
    check(torch.compile(loss, backend="aot_eager", fullgraph=True)(z), z, smoothing)
    assert torch.autograd.gradgradcheck(loss, z)


def test_the_weights_have_no_share_in_the_terms() -> None:
    """Weights of one target: the mean doesn't depend on them, and their gradient is 0."""
    weight = torch.full((5,), 3.0, dtype=torch.float64, requires_grad=True)
    loss = F.cross_entropy(logits().detach(), TARGET, weight, z_loss=100.0)
    (grad,) = torch.autograd.grad(loss, weight)
    plain = F.cross_entropy(logits().detach(), TARGET, weight)
    torch.testing.assert_close(grad, torch.autograd.grad(plain, weight)[0])


def test_modules_and_chunks_of_the_linear_head(monkeypatch: pytest.MonkeyPatch) -> None:
    z = logits()
    eye = torch.eye(5, dtype=torch.float64)
    module = nn.LinearCrossEntropyLoss(5, 5, dtype=z.dtype, weight=WEIGHT, z_loss=Z_LOSS)
    with torch.no_grad():
        module.linear.weight.copy_(eye)
    check(module(z, TARGET), z)
    options = softxent.ops.options.LossOptions(weight=WEIGHT, z_loss=Z_LOSS)
    target, weight, given = problem.receive("op", z, eye, TARGET, None, options, 2**20, 0.0)
    monkeypatch.setattr(type(given), "max_bytes", 300, raising=False)
    check(decompositions.in_chunks(given, z, eye, None, target, weight), z)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("kind", ["index", "probabilities"])
@pytest.mark.parametrize("foreign", [False, True], ids=["kernels", "decomposed"])
def test_the_part_of_z_loss_apart(foreign: bool, kind: str, reduction: Any) -> None:
    target = TARGET if kind == "index" else torch.rand(6, 5, dtype=torch.float64)
    z = logits().detach()
    z = (z.as_subclass(Foreign) if foreign else z).requires_grad_()
    eye = torch.eye(5, dtype=torch.float64)
    given = {"weight": WEIGHT, "reduction": reduction}
    for stats, without in (
        (
            F.cross_entropy_with_stats(z, target, z_loss=Z_LOSS, **given),
            F.cross_entropy(z, target, **given),
        ),
        (
            F.linear_cross_entropy_with_stats(z, eye, target, z_loss=Z_LOSS, **given),
            F.linear_cross_entropy(z, eye, target, **given),
        ),
    ):
        terms = Z_LOSS * stats.lse**2
        kept = 5 if kind == "index" else 6
        want = {"none": terms, "sum": terms.sum(), "mean": terms.sum() / kept}[reduction]
        assert stats.z_loss.dtype == stats.loss.dtype
        torch.testing.assert_close(stats.z_loss, want, rtol=1e-14, atol=0)
        torch.testing.assert_close(stats.loss - stats.z_loss, without, rtol=1e-12, atol=1e-14)
        of_both = [
            torch.autograd.grad(x.sum(), z, retain_graph=True)[0]
            for x in (stats.loss, stats.z_loss + without)
        ]
        torch.testing.assert_close(*of_both, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_without_z_loss_the_part_is_0(reduction: Any) -> None:
    z = torch.tensor([[torch.nan, 0.0], [1.0, 2.0]])
    stats = F.cross_entropy_with_stats(z, torch.tensor([0, 1]), reduction=reduction)
    assert stats.z_loss.shape == stats.loss.shape
    assert (stats.z_loss == 0).all()


def test_second_derivatives_of_the_statistics() -> None:
    """They decompose the loss of each row, whose z term has the factor of the mean."""
    eye = torch.eye(5, dtype=torch.float64)

    def loss(z: Any) -> Any:
        stats = F.linear_cross_entropy_with_stats(z, eye, TARGET, weight=WEIGHT, z_loss=Z_LOSS)
        return stats.loss

    z = logits()
    check(loss(z), z)
    _, grads = expected()
    (grad,) = torch.autograd.grad(loss(z), z, create_graph=True)
    torch.testing.assert_close(grad, grads, rtol=1e-12, atol=1e-15)
    assert torch.autograd.gradgradcheck(loss, z)
