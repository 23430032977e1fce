"""The peers of the linear head, and its three matmuls by each engine, which are its limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import softxent
from benches.speed.grid import Cell
from benches.speed.losses import Skipped
from benches.speed.machine import flags
from benches.speed.timing import Run
from softxent.ops import reference
from softxent.ops.linear.engines import ENGINES, available

Result = tuple[Any, Any, Any]  # the loss, dX, dW
Peer = Callable[["Head"], Run]
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}  # of the largest number of each result
_ROWS = 256
_SMALL = 2**32  # multiplications of a matmul, for processors without matmuls in half precision


@dataclass(frozen=True)
class Head:
    """Features and classifier as tensors."""

    cell: Cell
    x: Tensor
    w: Tensor
    y: Tensor

    @classmethod
    def of(cls, cell: Cell) -> Head:
        rows, width, classes = cell.shape
        slow = cell.dtype == "bfloat16" and not flags() & {"avx512_bf16", "amx_bf16", "bf16"}
        if slow and rows * width * classes > _SMALL:
            raise Skipped("the processor has no matmul in bfloat16: torch would take minutes")
        generator = torch.Generator().manual_seed(0)
        dtype = getattr(torch, cell.dtype)
        x = torch.randn(rows, width, generator=generator).to(dtype)
        w = (0.02 * torch.randn(classes, width, generator=generator)).to(dtype)
        return cls(cell, x, w, torch.randint(classes, (rows,), generator=generator))

    def arrays(self) -> tuple[Any, Any, Any]:
        """The same as NumPy's; bfloat16 as that of ml_dtypes."""
        import ml_dtypes

        def array(t: Tensor) -> Any:
            if t.dtype == torch.bfloat16:
                return t.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
            return t.numpy()

        return array(self.x), array(self.w), self.y.numpy()


def _step(head: Head, loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Run:
    x, w = head.x.detach().requires_grad_(), head.w.detach().requires_grad_()

    def run() -> Result:
        value = loss(x, w, head.y)
        value.backward()
        result = value, x.grad, w.grad
        x.grad = w.grad = None
        return result

    return run


def tensors(head: Head) -> Run:
    return _step(head, softxent.linear_cross_entropy)


def per_row(head: Head) -> Run:
    """With a loss for each row, whose gradients come later: the logits are computed twice."""

    def loss(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
        each: Tensor = softxent.linear_cross_entropy(x, w, y, reduction="none")
        return each.mean()

    return _step(head, loss)


def arrays(head: Head) -> Run:
    x, w, y = head.arrays()

    def run() -> Result:
        value, grads = softxent.linear_cross_entropy_with_grad(x, w, y)
        return value, grads.features, grads.classifier

    return run


def torch_eager(head: Head) -> Run:
    return _step(head, lambda x, w, y: F.cross_entropy(F.linear(x, w), y))


def torch_chunked(head: Head) -> Run:
    """torch's own function that doesn't store all logits."""
    if not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        raise Skipped("needs torch 2.13")
    options = torch.nn.LinearCrossEntropyOptions()
    return _step(head, lambda x, w, y: F.linear_cross_entropy(x, w, y, options=options))


PEERS: dict[str, Peer] = {
    "tensors": tensors,
    "tensors, none": per_row,
    "arrays": arrays,
    "torch eager": torch_eager,
    "torch chunked": torch_chunked,
}
OURS = ("tensors", "tensors, none", "arrays")


def matmuls(head: Head) -> dict[str, Run]:
    """The three matmuls alone with all logits, by each engine.

    Half precision by torch, and in float32: what a processor may be faster at.
    """
    cell = head.cell
    runs = {}
    for name in available(head.x.dtype):
        runs[f"matmuls by {name}"] = _matmuls(ENGINES[name].write, head.x, head.w)
    if cell.dtype != "float32":
        x, w = head.x.float(), head.w.float()
        for name in available(torch.float32):
            runs[f"matmuls in float32 by {name}"] = _matmuls(ENGINES[name].write, x, w)
    return runs


def _matmuls(write: Callable[[Tensor, Tensor, Tensor], Any], x: Tensor, w: Tensor) -> Run:
    z, dx, dw = x.new_empty(len(x), len(w)), torch.empty_like(x), torch.empty_like(w)
    z.zero_()

    def run() -> None:
        write(x, w.T, z)
        write(z, w, dx)
        write(z.T, x, dw)

    return run


def exact_result(head: Head) -> Result:
    """By float64 matmuls and the formula in float64, some rows at a time."""
    w, rows = head.w.double(), len(head.x)
    loss, dx, dw = 0.0, [], torch.zeros_like(w)
    for x, y in zip(head.x.double().split(_ROWS), head.y.split(_ROWS), strict=True):
        losses, gradient, _ = reference.cross_entropy(torch.mm(x, w.T).numpy(), y.numpy())
        g = torch.from_numpy(gradient / rows)
        loss += losses.sum() / rows
        dx.append(torch.mm(g, w))
        dw.addmm_(g.T, x)
    return loss, torch.cat(dx), dw


def check(name: str, got: Result, exact: Result, cell: Cell) -> None:
    """Raise AssertionError where a result isn't the exact one."""
    for what, ours, wanted in zip(("loss", "dX", "dW"), got, exact, strict=True):
        a = _plain(ours)
        b = _plain(wanted)
        error, largest = float(np.abs(a - b).max()), float(np.abs(b).max())
        assert error <= TOLERANCE[cell.dtype] * largest, f"{name}, {cell}: {what} off by {error}"


def _plain(x: Any) -> Any:
    return x.detach().double().numpy() if isinstance(x, Tensor) else np.asarray(x, np.float64)
