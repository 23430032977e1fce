"""The peers of softmax and cross-entropy: what a user would call in each library.

Each peer returns a function without arguments that computes once. The losses are means.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import softxent
from benches.speed.inputs import Answer, Inputs, plain
from benches.speed.timing import Run

Peer = Callable[[Inputs], Run]


class Skipped(Exception):
    """A peer that can't compute these inputs, or isn't installed."""


def answer_of(task: str, result: Any) -> Answer:
    """What a run returned, as numbers."""
    if task == "softmax":
        return Answer(array=plain(result))
    if task == "loss":
        return Answer(loss=float(plain(result)))
    loss, gradient = result
    return Answer(float(plain(loss)), plain(gradient))


# --- softxent on arrays ---


def arrays(inputs: Inputs, *, reuse: bool) -> Run:
    x, y, axis = inputs.x, inputs.y, inputs.cell.axis
    out = inputs.out if reuse else None
    match inputs.cell.task:
        case "softmax":
            return partial(softxent.softmax, x, axis=axis, out=out)
        case "loss":
            return partial(softxent.cross_entropy, x, y, axis=axis)
    return partial(softxent.cross_entropy_with_grad, x, y, axis=axis, out=out)


# --- torch, and softxent.nn ---


def tensor(x: np.ndarray) -> Any:
    """A tensor over the same memory."""
    import torch

    if x.dtype.kind in "fi":
        return torch.from_numpy(x)
    return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)


def _torch_run(inputs: Inputs, loss: Any, softmax: Any) -> Run:
    import torch

    logits, target = tensor(inputs.x), tensor(inputs.y)
    if inputs.cell.task == "softmax":
        return torch.no_grad()(lambda: softmax(logits, inputs.cell.axis))
    if inputs.cell.task == "loss":
        return torch.no_grad()(lambda: loss(logits, target))
    logits.requires_grad_()

    def forward_and_backward() -> Any:
        value = loss(logits, target)
        value.backward()
        gradient, logits.grad = logits.grad, None  # freed with the result, as by zero_grad
        return value, gradient

    return forward_and_backward


def frontend(inputs: Inputs) -> Run:
    from softxent.nn import functional as F

    return _torch_run(inputs, F.cross_entropy, F.softmax)


def torch_eager(inputs: Inputs) -> Run:
    import torch.nn.functional as F

    return _torch_run(inputs, F.cross_entropy, F.softmax)


def torch_compiled(inputs: Inputs) -> Run:
    """Compiled anew for each shape, with static shapes."""
    import torch
    import torch.nn.functional as F

    torch._dynamo.reset()

    # A function of this call alone, because torch.compile remembers what it saw of one.
    def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, target)

    def softmax(logits: torch.Tensor, axis: int) -> torch.Tensor:
        return F.softmax(logits, axis)

    compiled: Any = torch.compile
    return _torch_run(inputs, compiled(loss, dynamic=False), compiled(softmax, dynamic=False))


# --- Others ---


def jax(inputs: Inputs) -> Run:
    """Compiled by XLA, with optax's loss."""
    import jax
    import optax
    from jax import numpy as jnp

    axis = inputs.cell.axis
    x, y = jnp.asarray(inputs.x), jnp.asarray(inputs.y.astype(np.int32))

    def loss(x: Any, y: Any) -> Any:
        each = optax.softmax_cross_entropy_with_integer_labels(x, y, axis=axis)
        return each.mean()

    if inputs.cell.task == "softmax":
        softmax = jax.jit(partial(jax.nn.softmax, axis=axis))
        return lambda: jax.block_until_ready(softmax(x))
    function = jax.jit(loss if inputs.cell.task == "loss" else jax.value_and_grad(loss))
    return lambda: jax.block_until_ready(function(x, y))


def scikit_learn(inputs: Inputs) -> Run:
    """The loss of its LogisticRegression and HistGradientBoostingClassifier."""
    from sklearn._loss import HalfMultinomialLoss

    x, task = inputs.x, inputs.cell.task
    if task == "softmax" or x.ndim != 2 or x.dtype.kind != "f":
        raise Skipped("computes losses of (N, C) float32 and float64 alone")
    loss = HalfMultinomialLoss(n_classes=inputs.classes)
    target, threads, rows = inputs.y.astype(x.dtype), softxent.get_num_threads(), inputs.rows
    if task == "loss":
        return lambda: loss(target, x, n_threads=threads)

    def loss_and_gradient() -> Any:
        each, gradient = loss.loss_gradient(target, x, n_threads=threads)
        gradient /= rows
        return each.mean(dtype=np.float64), gradient

    return loss_and_gradient


def scipy(inputs: Inputs) -> Run:
    from scipy import special

    x, y, axis = inputs.x, inputs.y, inputs.cell.axis
    if x.dtype.kind != "f":
        raise Skipped("has no bfloat16")
    if inputs.cell.task == "softmax":
        return partial(special.softmax, x, axis=axis)
    of_target = np.expand_dims(y, axis)

    def loss() -> Any:
        chosen = np.take_along_axis(x, of_target, axis)
        return (special.logsumexp(x, axis=axis, keepdims=True) - chosen).mean(dtype=np.float64)

    if inputs.cell.task == "loss":
        return loss

    def loss_and_gradient() -> Any:
        log_p = special.log_softmax(x, axis=axis)
        value = -np.take_along_axis(log_p, of_target, axis).mean(dtype=np.float64)
        gradient = np.exp(log_p, out=log_p)
        chosen = np.take_along_axis(gradient, of_target, axis)
        np.put_along_axis(gradient, of_target, chosen - 1, axis)
        gradient /= y.size
        return value, gradient

    return loss_and_gradient


PEERS: dict[str, Peer] = {
    "arrays, out": partial(arrays, reuse=True),
    "arrays": partial(arrays, reuse=False),
    "nn": frontend,
    "torch eager": torch_eager,
    "torch.compile": torch_compiled,
    "JAX": jax,
    "scikit-learn": scikit_learn,
    "SciPy": scipy,
}
OURS = ("arrays, out", "arrays", "nn")
