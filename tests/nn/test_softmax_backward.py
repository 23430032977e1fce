"""The backward pass of softmax and log_softmax: by our kernels, for every derivative."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.autograd import forward_ad

import softxent
from softxent.nn import functional
from tests.support import oracle
from tests.support.bounds import SOFTMAX_GRADIENT_ULP
from tests.support.oracle import ulps

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside torch

NAMES = ["softmax", "log_softmax"]


def batch(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    z = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (3 * z).to(dtype).requires_grad_()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exactness(name: str, dtype: torch.dtype) -> None:
    """Of the public functions, on tensors: a confident prediction keeps its digits."""
    exact = getattr(oracle, f"{name}_gradient")
    for row in ([20.0, 0.0], [0.0] * 3, [-30.0, 2.0, 1.5, float("-inf")], [88.0, 0.0, -3.0]):
        z = torch.tensor([row], dtype=dtype, requires_grad=True)
        g = torch.linspace(1, 2, len(row), dtype=dtype)[None]
        for ours in (getattr(softxent, name), lambda z: getattr(functional, name)(z, 1)):
            (grad,) = torch.autograd.grad(ours(z), z, g)
            want = exact(row, g[0].numpy())
            assert ulps(grad[0].numpy(), want.values, want.terms) <= SOFTMAX_GRADIENT_ULP
    z = torch.tensor([20.0, 0.0], dtype=dtype, requires_grad=True)
    (grad,) = torch.autograd.grad(getattr(softxent, name)(z)[0], z)
    assert 2.05e-9 < grad[0] < 2.07e-9
    torch.testing.assert_close(grad[1], -grad[0])


@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_serves_graphs_of_gradients(name: str) -> None:
    """With create_graph the gradient has the same bits, and derivatives of its own."""
    z = batch(4, 300)
    g = batch(4, 300)
    ours = getattr(softxent, name)
    (plain,) = torch.autograd.grad(ours(z), z, g.detach())
    (graph,) = torch.autograd.grad(ours(z), z, g, create_graph=True)
    assert torch.equal(plain, graph)
    assert graph.grad_fn is not None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_derivatives_of_the_gradient(name: str, axis: int) -> None:
    def ours(z: torch.Tensor) -> Any:
        return getattr(softxent, name)(z, axis)

    z, g = batch(3, 4), batch(3, 4)
    assert torch.autograd.gradcheck(ours, z)
    assert torch.autograd.gradgradcheck(ours, z)
    (ours_grad,) = torch.autograd.grad(ours(z), z, g, create_graph=True)
    theirs = getattr(torch, name)(z, axis)
    (theirs_grad,) = torch.autograd.grad(theirs, z, g, create_graph=True)
    seconds = [torch.autograd.grad(x.square().sum(), (z, g)) for x in (ours_grad, theirs_grad)]
    torch.testing.assert_close(*seconds)


@pytest.mark.parametrize("name", NAMES)
def test_many_upstream_gradients_at_once(name: str) -> None:
    z = batch(3, 4)
    many = torch.randn(5, 3, 4, dtype=torch.float64)
    results = [
        torch.autograd.grad(f(z, 1), z, many, is_grads_batched=True)[0]
        for f in (getattr(softxent, name), getattr(torch, name))
    ]
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("transform", ["grad", "vjp", "jacrev", "jacfwd", "hessian", "jvp"])
def test_transforms(name: str, transform: str) -> None:
    z = batch(3, 4).detach()
    tangent = torch.ones_like(z)

    def apply(f: Any) -> Any:
        def total(z: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = f(z, 1).square().sum()
            return result

        match transform:
            case "vjp":
                return torch.func.vjp(lambda z: f(z, 1), z)[1](tangent)[0]
            case "jvp":
                return torch.func.jvp(lambda z: f(z, 1), (z,), (tangent,))[1]
            case "jacrev" | "jacfwd":
                return getattr(torch.func, transform)(lambda z: f(z, 1))(z)
            case _:
                return getattr(torch.func, transform)(total)(z)

    torch.testing.assert_close(apply(getattr(softxent, name)), apply(getattr(torch, name)))
    per_sample = torch.func.vmap(torch.func.grad(lambda z: getattr(softxent, name)(z)[0]))(z)
    theirs = torch.func.vmap(torch.func.grad(lambda z: getattr(torch, name)(z, -1)[0]))(z)
    torch.testing.assert_close(per_sample, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_forward_over_reverse(name: str) -> None:
    z = batch(3, 4)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(z, torch.ones_like(z))
        result = getattr(softxent, name)(dual, 1)
        want = getattr(torch, name)(dual, 1)
        torch.testing.assert_close(
            forward_ad.unpack_dual(result).tangent, forward_ad.unpack_dual(want).tangent
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    """As float64 from the same numbers, rounded once: torch's is off by more than the gradient."""
    z = batch(20, 300, dtype=dtype)
    g = torch.rand(20, 300).to(dtype)
    (got,) = torch.autograd.grad(getattr(softxent, name)(z), z, g)
    assert got.dtype == dtype
    wide = z.detach().double().requires_grad_()
    (want,) = torch.autograd.grad(getattr(torch, name)(wide, -1), wide, g.double())
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(got.double(), want, rtol=eps, atol=eps * float(want.abs().max()) / 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kernel", [True, False])
def test_masked_classes_have_no_gradient(dtype: torch.dtype, kernel: bool) -> None:
    """The entropy -sum p log p has the gradient of the other classes; torch's is NaN."""
    z = torch.tensor([[1.0, float("-inf"), 2.0, 0.5]], dtype=dtype, requires_grad=True)
    others = z.detach()[:, [0, 2, 3]].requires_grad_()
    p = softxent.softmax(z)
    q = softxent.softmax(others)
    upstream = -(p.detach().log() + 1)
    if kernel:
        (got,) = torch.autograd.grad(p, z, upstream)
    else:
        (got,) = torch.autograd.grad(p, z, upstream[None], is_grads_batched=True)
        got = got[0]
    (want,) = torch.autograd.grad(q, others, -(q.detach().log() + 1))
    assert got[0, 1] == 0
    torch.testing.assert_close(got[:, [0, 2, 3]], want)


@pytest.mark.parametrize("name", NAMES)
def test_logits_that_change_before_the_backward_pass(name: str) -> None:
    z = batch(3, 4)
    logits = 2 * z
    result = getattr(softxent, name)(logits)
    logits.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.sum().backward()


@pytest.mark.parametrize("name", NAMES)
def test_views_and_zero_sizes(name: str) -> None:
    for shape in ((0, 3), (3, 0), (1, 1), (2, 3, 4)):
        z = batch(*shape)
        getattr(softxent, name)(z.transpose(0, 1)).sum().backward()
        assert z.grad is not None
        assert z.grad.shape == shape
