"""Tensors: torch's own functions on ordinary inputs, autograd, and the arrays' gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import softxent
from softxent.errors import TargetError
from softxent.ops.options import Reduction

torch = pytest.importorskip("torch")
F = torch.nn.functional

N, C = 7, 5
REDUCTIONS = ("none", "sum", "mean")
LOGITS = torch.tensor(np.random.default_rng(1).normal(0, 2, (N, C)))
INDEX = torch.tensor([0, 4, 2, -100, 1, 3, 2])
PROBABILITIES = torch.tensor(np.random.default_rng(2).dirichlet(np.ones(C), N))
WEIGHT = torch.tensor([1.0, 0.25, 2.0, 0.0, 3.0]).double()
IMAGES = torch.tensor(np.random.default_rng(3).normal(0, 2, (2, C, 3, 4)))
LABELS = torch.tensor(np.random.default_rng(4).integers(0, C, (2, 3, 4)))
close = {"rtol": 1e-12, "atol": 1e-14}


def same(got: Any, want: Any) -> None:
    assert got.dtype == want.dtype
    torch.testing.assert_close(got, want, **close)


# --- torch's values ---


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("target", [INDEX, PROBABILITIES], ids=["index", "probabilities"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weight"])
def test_cross_entropy_is_torchs(
    reduction: Reduction, target: Any, smoothing: float, weight: Any
) -> None:
    """Value and gradient; above all what `mean` divides by."""
    options: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing}
    ours, theirs = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    got = softxent.cross_entropy(ours, target, weight, **options)
    want = F.cross_entropy(theirs, target, weight, **options)
    same(got, want)
    got.sum().backward()
    want.sum().backward()
    same(ours.grad, theirs.grad)
    arrays = softxent.cross_entropy_with_grad(
        LOGITS.numpy(), target.numpy(), None if weight is None else weight.numpy(), **options
    )
    np.testing.assert_allclose(arrays[0], want.detach(), rtol=1e-12)
    np.testing.assert_allclose(arrays[1], theirs.grad, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weight"])
@pytest.mark.parametrize("ignore_index", [-100, 2, 255])
def test_images_are_torchs(reduction: Reduction, weight: Any, ignore_index: int) -> None:
    options: dict[str, Any] = {"reduction": reduction, "ignore_index": ignore_index}
    same(
        softxent.cross_entropy(IMAGES, LABELS, weight, axis=1, **options),
        F.cross_entropy(IMAGES, LABELS, weight, **options),
    )
    arrays = softxent.cross_entropy(
        IMAGES.numpy(),
        LABELS.numpy(),
        None if weight is None else weight.numpy(),
        axis=1,
        **options,
    )
    np.testing.assert_allclose(
        arrays, F.cross_entropy(IMAGES, LABELS, weight, **options), rtol=1e-12
    )
    same(
        softxent.nll_loss(IMAGES.log_softmax(1), LABELS, weight, axis=1, **options),
        F.nll_loss(IMAGES.log_softmax(1), LABELS, weight, **options),
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_image_probabilities_are_torchs(reduction: Reduction) -> None:
    """Every pixel is a row."""
    probabilities = IMAGES.softmax(1).flip(1)
    got = softxent.cross_entropy(IMAGES, probabilities, axis=1, reduction=reduction)
    want = F.cross_entropy(IMAGES, probabilities, reduction=reduction)
    same(got, want)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_one_sample_is_torchs(reduction: Reduction) -> None:
    got = softxent.cross_entropy(LOGITS[0], torch.tensor(2), reduction=reduction)
    same(got, F.cross_entropy(LOGITS[0], torch.tensor(2), reduction=reduction))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weight"])
def test_binary_losses_are_torchs(reduction: Reduction, weight: Any) -> None:
    target = PROBABILITIES.round()
    for y in (target, PROBABILITIES):
        same(
            softxent.binary_cross_entropy(LOGITS.sigmoid(), y, weight, reduction=reduction),
            F.binary_cross_entropy(LOGITS.sigmoid(), y, weight, reduction=reduction),
        )
        for pos_weight in (None, WEIGHT + 1):
            got = softxent.binary_cross_entropy_with_logits(
                LOGITS, y, weight, pos_weight=pos_weight, reduction=reduction
            )
            want = F.binary_cross_entropy_with_logits(
                LOGITS, y, weight, pos_weight=pos_weight, reduction=reduction
            )
            same(got, want)
            numbers = [None if v is None else v.numpy() for v in (weight, pos_weight)]
            arrays = softxent.binary_cross_entropy_with_logits(
                LOGITS.numpy(), y.numpy(), numbers[0], pos_weight=numbers[1], reduction=reduction
            )
            np.testing.assert_allclose(arrays, want, rtol=1e-12)


def test_scores_are_torchs() -> None:
    for axis in (0, 1, -1):
        same(softxent.softmax(LOGITS, axis), LOGITS.softmax(axis))
        same(softxent.log_softmax(LOGITS, axis), LOGITS.log_softmax(axis))
        same(softxent.logsumexp(LOGITS, axis), LOGITS.logsumexp(axis))
        same(softxent.logsumexp(LOGITS, axis, keepdims=True), LOGITS.logsumexp(axis, keepdim=True))
        for got, want in zip(softxent.top_k(LOGITS, 3, axis), LOGITS.topk(3, axis), strict=True):
            same(got, want)
    same(softxent.one_hot(LABELS, C), F.one_hot(LABELS, C))


# --- autograd ---

OPTIONS: list[dict[str, Any]] = [
    {},
    {"label_smoothing": 0.2},
    {"z_loss": 0.1},
    {"softcap": 3.0},
    {"temperature": 0.6},
    {"weight": WEIGHT},
    {"ignore_index": 2},
    {
        "weight": WEIGHT,
        "label_smoothing": 0.1,
        "z_loss": 0.05,
        "softcap": 4.0,
        "temperature": 1.5,
    },
]
options = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "+".join(o) or "plain")


# Two rows: numerical derivatives take a forward pass an entry.
TARGETS = (torch.tensor([4, 2]), PROBABILITIES[:2])


def rows() -> Any:
    return LOGITS[:2].clone().requires_grad_()


@options
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradcheck(options: dict[str, Any], reduction: Reduction) -> None:
    for target in TARGETS:
        assert torch.autograd.gradcheck(
            lambda z, t=target: softxent.cross_entropy(z, t, reduction=reduction, **options),
            rows(),
        )


@options
def test_second_derivatives(options: dict[str, Any]) -> None:
    for target in TARGETS:
        assert torch.autograd.gradgradcheck(
            lambda z, t=target: softxent.cross_entropy(z, t, **options), rows()
        )


def test_gradcheck_of_targets_and_weights() -> None:
    """A distillation target and the class weights have gradients too."""
    index, probabilities = TARGETS
    probabilities, weight = probabilities.clone().requires_grad_(), (WEIGHT + 1).requires_grad_()
    z = LOGITS[:2]
    assert torch.autograd.gradcheck(
        lambda t, w: softxent.cross_entropy(z, t, w, label_smoothing=0.1), (probabilities, weight)
    )
    assert torch.autograd.gradcheck(lambda w: softxent.cross_entropy(z, index, w), weight)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradcheck_of_the_other_losses(reduction: Reduction) -> None:
    index, probabilities = TARGETS
    log_probs = LOGITS[:2].log_softmax(1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: softxent.nll_loss(z, index, WEIGHT, reduction=reduction), log_probs
    )
    # Probabilities have to add up to 1 however they are moved: they are made of logits.
    for target in TARGETS:
        assert torch.autograd.gradcheck(
            lambda z, t=target: softxent.log_loss(z.softmax(1), t, WEIGHT, reduction=reduction),
            rows(),
        )
    assert torch.autograd.gradcheck(
        lambda p: softxent.binary_cross_entropy(p, probabilities, WEIGHT, reduction=reduction),
        LOGITS[:2].sigmoid().requires_grad_(),
    )
    assert torch.autograd.gradcheck(
        lambda x: softxent.binary_cross_entropy_with_logits(
            x, probabilities, WEIGHT, pos_weight=WEIGHT, reduction=reduction
        ),
        rows(),
    )


@pytest.mark.parametrize("function", ["softmax", "log_softmax", "logsumexp"])
def test_gradcheck_of_scores(function: str) -> None:
    for axis in (0, 1):
        assert torch.autograd.gradcheck(lambda z, a=axis: getattr(softxent, function)(z, a), rows())


@options
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradients_are_the_arrays(options: dict[str, Any], reduction: Reduction) -> None:
    arrays = {k: v.numpy() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    for target in (INDEX, PROBABILITIES):
        if target is INDEX and "ignore_index" in options:
            target = INDEX.clamp(min=0)
        want_loss, want = softxent.cross_entropy_with_grad(
            LOGITS.numpy(), target.numpy(), reduction=reduction, **arrays
        )
        logits = LOGITS.clone().requires_grad_()
        softxent.cross_entropy(logits, target, reduction=reduction, **options).sum().backward()
        loss, grad = softxent.cross_entropy_with_grad(
            LOGITS, target, reduction=reduction, **options
        )
        np.testing.assert_allclose(loss, want_loss, rtol=1e-12)
        np.testing.assert_allclose(grad, want, rtol=1e-10, atol=1e-15)
        np.testing.assert_allclose(logits.grad, want, rtol=1e-10, atol=1e-15)


def test_an_upstream_gradient_scales_ours() -> None:
    logits = LOGITS.clone().requires_grad_()
    upstream = torch.arange(7.0).double()
    softxent.cross_entropy(logits, PROBABILITIES, reduction="none").backward(upstream)
    each = softxent.cross_entropy_with_grad(LOGITS, PROBABILITIES, reduction="none")[1]
    same(logits.grad, each * upstream[:, None])


def test_the_gradient_of_a_confident_prediction_through_autograd() -> None:
    for dtype in (torch.float32, torch.float64):
        logits = torch.tensor([[20.0, 0.0], [40.0, 0.0], [88.0, 0.0]], dtype=dtype)
        logits.requires_grad_()
        softxent.cross_entropy(logits, torch.tensor([0, 0, 0]), reduction="sum").backward()
        tail = torch.exp(-torch.tensor([20.0, 40.0, 88.0]).double())
        want = tail / (1 + tail)
        torch.testing.assert_close(
            logits.grad.double(), torch.stack([-want, want], 1), rtol=1e-6, atol=0
        )


def test_with_grad_leaves_no_graph() -> None:
    logits = LOGITS.clone().requires_grad_()
    loss, grad = softxent.cross_entropy_with_grad(logits, PROBABILITIES)
    assert not loss.requires_grad
    assert not grad.requires_grad
    assert logits.grad is None


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_modes_without_gradients(mode: Any) -> None:
    """The gradient is requested explicitly, so that it is returned in any mode."""
    want = softxent.cross_entropy_with_grad(LOGITS, PROBABILITIES)
    with mode():
        inside, probabilities = (
            LOGITS * 1,
            PROBABILITIES * 1,
        )  # inference tensors, in inference mode
        got = softxent.cross_entropy_with_grad(inside, probabilities)
        assert not softxent.cross_entropy(inside, probabilities).requires_grad
    for a, b in zip(got, want, strict=True):
        same(a.clone(), b)


def test_a_parameter_is_a_tensor() -> None:
    layer = torch.nn.Linear(4, 3)
    loss = softxent.cross_entropy(layer(torch.ones(2, 4)), torch.tensor([0, 2]))
    loss.backward()
    assert layer.weight.grad.abs().sum() > 0
    assert isinstance(softxent.softmax(layer.weight), torch.Tensor)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("weight_dtype", [torch.float32, torch.float64])
def test_half_precision_gradients_are_rounded_float32(half: Any, weight_dtype: Any) -> None:
    logits = LOGITS.to(half).requires_grad_()
    loss = softxent.cross_entropy(logits, INDEX, WEIGHT.to(weight_dtype))
    assert loss.dtype == torch.float32
    loss.backward()
    assert logits.grad.dtype == half
    wide = LOGITS.to(half).float()
    want = softxent.cross_entropy_with_grad(wide, INDEX, WEIGHT.float())[1]
    torch.testing.assert_close(logits.grad, want.to(half), rtol=0, atol=0)


def test_tensors_with_a_negative_bit() -> None:
    """The imaginary part of a conjugate is negated by a flag of the view, not in memory."""
    x = torch.randn(4, 3, dtype=torch.complex64).conj().imag
    assert x.is_neg()
    plain = x.clone()
    torch.testing.assert_close(softxent.softmax(x), softxent.softmax(plain))
    target = torch.tensor([0, 1, 2, 0])
    weight = x[0].abs().numpy()
    torch.testing.assert_close(
        softxent.cross_entropy(x, target, weight), softxent.cross_entropy(plain, target, weight)
    )
    with pytest.raises(TargetError, match="a binary target is in"):
        softxent.binary_cross_entropy_with_logits(plain, x)
    np.testing.assert_allclose(softxent.softmax(plain.numpy()), softxent.softmax(plain).numpy())
    assert softxent.cross_entropy(plain.numpy(), target.numpy(), x[0].abs()) > 0
