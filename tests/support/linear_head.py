"""What the tests of the linear head share: inputs, and the same loss by torch with all logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS, WIDTH, CLASSES = 37, 12, 53
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# Half precision rounds logits and their gradient; sums over 53 classes and 37 rows let that grow.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-6, torch.bfloat16: 4e-2, torch.float16: 5e-3}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "smoothing": {"label_smoothing": 0.1},
    "z_loss": {"z_loss": 0.01},
    "softcap": {"softcap": 3.0},
    "temperature": {"temperature": 1.7},
    "ignored": {"ignore_index": 7},
    "all": {"label_smoothing": 0.2, "z_loss": 0.02, "softcap": 5.0, "temperature": 0.8},
}


@dataclass
class Inputs:
    features: Tensor
    classifier: Tensor
    bias: Tensor | None
    target: Tensor
    weight: Tensor | None

    def leaves(self) -> list[Tensor]:
        given = (self.features, self.classifier, self.bias)
        return [x for x in given if x is not None]

    def double(self) -> Inputs:
        """The same numbers, as leaves of float64."""

        def copy(x: Tensor | None) -> Tensor | None:
            if x is None or not x.is_floating_point():
                return x
            return x.detach().double().requires_grad_(x.requires_grad)

        given = (self.features, self.classifier, self.bias, self.target, self.weight)
        return Inputs(*(copy(x) for x in given))  # type: ignore[arg-type]


def inputs(
    dtype: torch.dtype = torch.float64,
    *,
    kind: str = "index",
    bias: bool = True,
    weight: bool = False,
    lead: tuple[int, ...] = (ROWS,),
    classes: int = CLASSES,
    ignored: int = -100,
    seed: int = 0,
) -> Inputs:
    g = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype).requires_grad_()

    target = torch.randint(classes, lead, generator=g)
    if target.numel() > 2:
        target.view(-1)[1:3] = ignored
    if kind == "probabilities":
        target = torch.rand(*lead, classes, generator=g, dtype=torch.float64).to(dtype)
    return Inputs(
        randn(*lead, WIDTH),
        randn(classes, WIDTH),
        randn(classes) if bias else None,
        target,
        torch.rand(classes, generator=g, dtype=torch.float64).to(dtype) + 0.5 if weight else None,
    )


def with_all_logits(
    given: Inputs,
    *,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """The loss from logits (N, C), by torch's own functions."""
    u = F.linear(given.features, given.classifier, given.bias) / temperature
    if softcap is not None:
        u = softcap * torch.tanh(u / softcap)
    is_index = not given.target.is_floating_point()
    classes = u.shape[-1]
    flat = u.reshape(-1, classes)
    target = given.target.reshape(-1) if is_index else given.target.reshape(-1, classes)
    extra: dict[str, Any] = {"ignore_index": ignore_index} if is_index else {}
    losses = F.cross_entropy(
        flat, target, given.weight, reduction="none", label_smoothing=label_smoothing, **extra
    )
    kept = target != ignore_index if is_index else torch.ones(len(flat), dtype=torch.bool)
    z_terms = torch.where(kept, z_loss * flat.logsumexp(-1) ** 2, 0.0)
    if reduction == "none":
        return (losses + z_terms).reshape(given.features.shape[:-1])
    if reduction == "sum":
        return (losses + z_terms).sum()
    denominator: Any = len(flat)
    if is_index:
        ones = torch.ones(classes, dtype=u.dtype)
        denominator = (ones if given.weight is None else given.weight)[target[kept]].sum()
    mean: Tensor = losses.sum() / denominator + z_terms.sum() / kept.sum()
    return mean


def gradients(value: Tensor, upstream: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(value, leaves, upstream.to(value.dtype)))


def assert_close(got: Tensor, want: Tensor, tolerance: float) -> None:
    """Close in units of the largest number: small ones are differences of large ones."""
    assert got.shape == want.shape
    scale = max(1e-30, float(want.detach().abs().max())) if want.numel() else 1.0
    torch.testing.assert_close(
        got.double() / scale, want.double() / scale, rtol=0, atol=tolerance, equal_nan=True
    )
