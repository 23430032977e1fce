"""torch.compile(fullgraph=True) of every public function with each of its options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import softxent
from softxent import nn
from softxent.errors import TargetError
from softxent.nn import functional as F

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # inside torch
    pytest.mark.slow,
]

Call = Callable[[torch.Tensor], Any]
Y = torch.tensor([0, 2, 1, -100])
KEPT = Y.clamp(0)
Q = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.1, 0.1, 0.8], [0.0, 0.5, 0.5]])
W = torch.tensor([1.0, 2.0, 0.5])
HEAD = torch.tensor([[1.0, 0.2, -1.0], [0.1, 0.3, 0.0], [2.0, -1.0, 0.5], [0.0, 1.0, 1.0]])
BIAS = torch.tensor([0.1, 0.0, -0.2, 0.3])
LEAF = W.clone().requires_grad_()
W4 = torch.tensor([1.0, 2.0, 0.5, 0.1])
Q4 = torch.eye(4)
OPTIONS: dict[str, Any] = {
    "label_smoothing": 0.1,
    "z_loss": 0.1,
    "softcap": 5.0,
    "temperature": 2.0,
}
with_grad = softxent.cross_entropy_with_grad
linear_with_grad = softxent.linear_cross_entropy_with_grad
linear_stats = F.linear_cross_entropy_with_stats
log_prob = F.linear_log_prob_and_entropy
bce, bce_logits = F.binary_cross_entropy, F.binary_cross_entropy_with_logits
criterion = nn.LinearCrossEntropyLoss(3, 4, bias=True, weight=W4)

CALLS: dict[str, list[Call]] = {
    "softxent.softmax": [
        softxent.softmax,
        lambda z: softxent.softmax(z, 0),
        lambda z: softxent.softmax(z, (0, 1)),
        lambda z: softxent.softmax(z.detach(), out=torch.empty(4, 3)),
    ],
    "softxent.log_softmax": [softxent.log_softmax, lambda z: softxent.log_softmax(z, 0)],
    "softxent.logsumexp": [softxent.logsumexp, lambda z: softxent.logsumexp(z, 0, keepdims=True)],
    "softxent.top_k": [lambda z: softxent.top_k(z, 2), lambda z: softxent.top_k(z, 1, axis=0)],
    "softxent.one_hot": [lambda z: (z, softxent.one_hot(KEPT, 3))],
    "softxent.cross_entropy": [
        lambda z: softxent.cross_entropy(z, Y),
        lambda z: softxent.cross_entropy(z, Q, W),
        lambda z: softxent.cross_entropy(z, Y, W, reduction="none", **OPTIONS),
        lambda z: softxent.cross_entropy(z, Q, reduction="sum", **OPTIONS),
        lambda z: softxent.cross_entropy(z, KEPT, ignore_index=None),
        lambda z: softxent.cross_entropy(z, [0, 1, 2, -100], weight=[1.0, 2.0, 3.0]),
    ],
    "softxent.cross_entropy_with_grad": [
        lambda z: with_grad(z, Y),
        lambda z: with_grad(z, Y, W, **OPTIONS),
        lambda z: with_grad(z, Q, W, **OPTIONS),
        lambda z: with_grad(z, Y, W, reduction="none", **OPTIONS),
        lambda z: with_grad(z, KEPT, reduction="sum", ignore_index=2),
        lambda z: with_grad(z.detach(), Y, out=torch.empty(4, 3)),
    ],
    "softxent.nll_loss": [
        lambda z: softxent.nll_loss(z, KEPT),
        lambda z: softxent.nll_loss(z, Y, W, reduction="none"),
    ],
    "softxent.log_loss": [
        lambda z: softxent.log_loss(z.softmax(1), KEPT, W),
        lambda z: softxent.log_loss(z.softmax(1), Q, reduction="none"),
    ],
    "softxent.binary_cross_entropy": [
        lambda z: softxent.binary_cross_entropy(z.sigmoid(), Q),
        lambda z: softxent.binary_cross_entropy(z.sigmoid(), Q, W, reduction="none"),
    ],
    "softxent.binary_cross_entropy_with_logits": [
        lambda z: softxent.binary_cross_entropy_with_logits(z, Q),
        lambda z: softxent.binary_cross_entropy_with_logits(z, Q, W, pos_weight=W),
    ],
    "softxent.linear_cross_entropy": [
        lambda z: softxent.linear_cross_entropy(z, HEAD, Y),
        lambda z: softxent.linear_cross_entropy(z, HEAD, Y, BIAS, W4, **OPTIONS),
        lambda z: softxent.linear_cross_entropy(z, HEAD, Q4, BIAS, W4, reduction="none"),
    ],
    "softxent.linear_cross_entropy_with_grad": [
        lambda z: linear_with_grad(z, HEAD, Y),
        lambda z: linear_with_grad(z, HEAD, Y, BIAS, W4, reduction="none", **OPTIONS),
        lambda z: linear_with_grad(z, HEAD, Q4, BIAS, wanted=["bias"]),
        lambda z: linear_with_grad(z, HEAD, Y, skip_below=1e-3, max_bytes=2**20),
        lambda z: linear_with_grad(z.half(), HEAD.half(), Y, logits_dtype=torch.float32),
    ],
    "functional.softmax": [
        lambda z: F.softmax(z, 1),
        F.softmax,
        lambda z: F.softmax(z, 0, dtype=torch.float64),
    ],
    "functional.log_softmax": [
        lambda z: F.log_softmax(z, 1),
        F.log_softmax,
        lambda z: F.log_softmax(z, 0, dtype=torch.float64),
    ],
    "functional.cross_entropy": [
        lambda z: F.cross_entropy(z, Y),
        lambda z: F.cross_entropy(z, Q, W),
        lambda z: F.cross_entropy(z, Y, W, reduction="none", axis=-1, **OPTIONS),
        lambda z: F.cross_entropy(2 * z, Y, inplace_backward=True),
        lambda z: F.cross_entropy(z, Y, size_average=False),
        lambda z: F.cross_entropy(z, KEPT, reduce=False, ignore_index=1),
    ],
    "functional.cross_entropy_with_stats": [
        lambda z: F.cross_entropy_with_stats(z, Y, k=2),
        lambda z: F.cross_entropy_with_stats(z, Y, W, reduction="none", **OPTIONS),
        lambda z: F.cross_entropy_with_stats(z, Q, W),
    ],
    "functional.nll_loss": [
        lambda z: F.nll_loss(z, Y),
        lambda z: F.nll_loss(z, Y, W, reduction="none"),
        lambda z: F.nll_loss(z, Y, W, size_average=True),
    ],
    "functional.binary_cross_entropy": [
        lambda z: bce(z.sigmoid(), Q),
        lambda z: bce(z.sigmoid(), Q, W, reduction="none"),
    ],
    "functional.binary_cross_entropy_with_logits": [
        lambda z: bce_logits(z, Q),
        lambda z: bce_logits(z, Q, W, pos_weight=W, reduction="none"),
    ],
    "functional.linear_cross_entropy": [
        lambda z: F.linear_cross_entropy(z, HEAD, Y),
        lambda z: F.linear_cross_entropy(
            z, HEAD, KEPT, linear_bias=BIAS, weight=W4, reduction="none", ignore_index=2, **OPTIONS
        ),
        lambda z: F.linear_cross_entropy(z, HEAD, Q4, skip_below=1e-3),
    ],
    "functional.linear_cross_entropy_with_stats": [
        lambda z: linear_stats(z, HEAD, Y),
        lambda z: linear_stats(z, HEAD, Y, BIAS, W4, k=2, reduction="none", **OPTIONS),
    ],
    "functional.linear_log_prob_and_entropy": [
        lambda z: log_prob(z, HEAD, Y),
        lambda z: log_prob(z, HEAD, KEPT, BIAS, ignore_index=2, softcap=5.0, temperature=2.0),
    ],
    "nn.Softmax": [lambda z: nn.Softmax(1)(z), lambda z: nn.Softmax()(z)],
    "nn.LogSoftmax": [lambda z: nn.LogSoftmax(1)(z)],
    "nn.CrossEntropyLoss": [
        lambda z: nn.CrossEntropyLoss()(z, Y),
        lambda z: nn.CrossEntropyLoss(W, reduction="sum", axis=1, **OPTIONS)(z, Y),
    ],
    "nn.NLLLoss": [lambda z: nn.NLLLoss(W)(z, Y)],
    "nn.BCELoss": [lambda z: nn.BCELoss(W)(z.sigmoid(), Q)],
    "nn.BCEWithLogitsLoss": [lambda z: nn.BCEWithLogitsLoss(W, pos_weight=W)(z, Q)],
    "nn.LinearCrossEntropyLoss": [lambda z: criterion(z, Y)],
}


def test_every_public_function_is_here() -> None:
    no_tensors = {"Mean", "Trace", "explain", "kernels", "empty_cache"}
    settings = {"get_num_threads", "set_num_threads"}
    public = {f"softxent.{name}" for name in {*softxent.__all__} - no_tensors - settings}
    public |= {f"functional.{name}" for name in F.__all__}
    public |= {f"nn.{name}" for name in {*nn.__all__} - {"LossStats", "functional", "patch"}}
    assert {*CALLS} == public


def tensors_of(result: Any) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    return [x for part in result or () for x in tensors_of(part)]


@pytest.mark.filterwarnings("ignore:.*without dim", "ignore:size_average and reduce")
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_one_graph(name: str, dynamic: bool) -> None:
    """All calls in one graph, with the values and gradients of the calls one by one."""

    def everything(z: torch.Tensor) -> Any:
        return [call(z) for call in CALLS[name]]

    torch._dynamo.reset()
    fast: Any = torch.compile(everything, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    z = torch.tensor([[0.5, -1.0, 2.0], [3.0, 0.0, 1.0], [-2.0, 0.1, 0.3], [1.0, 1.0, 1.0]])
    z.requires_grad_()
    got, want = tensors_of(fast(z)), tensors_of(everything(z))
    torch.testing.assert_close(got, want)
    with_graph = [(a, b) for a, b in zip(got, want, strict=True) if b.requires_grad]
    assert all(a.requires_grad for a, _ in with_graph)
    if with_graph:
        grads = [
            torch.autograd.grad(torch.stack([pair[i].sum() for pair in with_graph]).sum(), z)
            for i in (0, 1)
        ]
        torch.testing.assert_close(*grads)


LABELS: dict[str, Callable[[torch.Tensor, torch.Tensor], Any]] = {
    "cross_entropy_with_grad": with_grad,
    "cross_entropy_with_stats": F.cross_entropy_with_stats,
    "linear_cross_entropy_with_grad": lambda z, y: linear_with_grad(z, HEAD[:3], y)[0],
    "linear_cross_entropy_with_stats": lambda z, y: linear_stats(z, HEAD[:3], y),
    "linear_log_prob_and_entropy": lambda z, y: log_prob(z, HEAD[:3], y),
    "linear_cross_entropy": lambda z, y: F.linear_cross_entropy(z, HEAD[:3], y, weight=LEAF),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_checked_whenever_the_graph_runs(name: str) -> None:
    torch._dynamo.reset()
    fast: Any = torch.compile(LABELS[name], fullgraph=True, backend="aot_eager")
    z = torch.tensor([[0.5, -1.0, 2.0], [3.0, 0.0, 1.0], [-2.0, 0.1, 0.3], [1.0, 1.0, 1.0]])
    fast(z, Y)
    with pytest.raises(
        TargetError, match=rf"^\[{name}\] target\[1\] is 3, but there are 3 classes"
    ):
        fast(z, torch.tensor([0, 3, 1, -100]))


PATCHED: dict[str, Call] = {
    "softmax": lambda z: torch.nn.functional.softmax(z, 1).square(),
    "log_softmax": lambda z: torch.nn.functional.log_softmax(z, 1).square(),
    "cross_entropy": lambda z: torch.nn.functional.cross_entropy(z, Y, W, label_smoothing=0.1),
    "nll_loss": lambda z: torch.nn.functional.nll_loss(z, Y, W),
    "binary": lambda z: torch.nn.functional.binary_cross_entropy(z.sigmoid(), Q, W),
    "binary with logits": lambda z: torch.nn.functional.binary_cross_entropy_with_logits(z, Q, W),
    "linear": lambda z: torch.nn.functional.linear_cross_entropy(z, HEAD, Y),
    "a module": lambda z: torch.nn.CrossEntropyLoss()(z, Y),
    "one that torch computes": lambda z: torch.nn.functional.softmax(z.int(), 1, dtype=z.dtype) + z,
}


@pytest.mark.parametrize("name", PATCHED)
def test_patched_functions(name: str) -> None:
    if name == "linear" and not hasattr(torch.nn.functional, "linear_cross_entropy"):
        pytest.skip("an older torch")
    call = PATCHED[name]
    z = torch.tensor([[0.5, -1.0, 2.0], [3.0, 0.0, 1.0], [-2.0, 0.1, 0.3], [1.0, 1.0, 1.0]])
    z.requires_grad_()
    want = call(z)
    torch._dynamo.reset()
    with nn.patch():
        fast: Any = torch.compile(call, fullgraph=True, backend="aot_eager")
        got = fast(z)
        torch.testing.assert_close(got, want)
        grads = [torch.autograd.grad(x.sum(), z) for x in (got, want)]
        torch.testing.assert_close(*grads)
    torch.testing.assert_close(fast(z), want)  # torch's again
