"""Tensors that aren't ordinary: subclasses, DTensors, fake, nested, sparse and masked ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import softxent
from softxent.errors import DTypeError, TargetError
from softxent.nn import functional as F

Call = Callable[..., Any]
Z = torch.tensor([[0.5, -1.0, 2.0], [30.0, 0.0, 1.0], [-2.0, 0.1, 0.3], [1.0, 1.0, 1.0]])
Y = torch.tensor([0, 0, 1, -100])
Q = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.1, 0.1, 0.8], [0.0, 0.5, 0.5]])
W = torch.tensor([1.0, 2.0, 0.5])
HEAD = torch.tensor([[1.0, 0.2, -1.0], [0.1, 0.3, 0.0], [2.0, -1.0, 0.5], [0.0, 1.0, 1.0]])
CALLS: dict[str, Call] = {
    "softmax": lambda z, y, q, w, h: softxent.softmax(z),
    "softmax over the first axis": lambda z, y, q, w, h: F.softmax(z, 0),
    "log_softmax": lambda z, y, q, w, h: softxent.log_softmax(z),
    "logsumexp": lambda z, y, q, w, h: softxent.logsumexp(z, keepdims=True),
    "top_k": lambda z, y, q, w, h: softxent.top_k(z, 2)[0],
    "cross_entropy": lambda z, y, q, w, h: softxent.cross_entropy(z, y),
    "with options": lambda z, y, q, w, h: softxent.cross_entropy(
        z, y, weight=w, label_smoothing=0.1, z_loss=0.1, softcap=5.0, reduction="none"
    ),
    "probabilities": lambda z, y, q, w, h: F.cross_entropy(z, q, w),
    "with_grad": lambda z, y, q, w, h: softxent.cross_entropy_with_grad(z, y, weight=w)[1],
    "stats": lambda z, y, q, w, h: F.cross_entropy_with_stats(z, y, w).entropy,
    "nll_loss": lambda z, y, q, w, h: F.nll_loss(z, y, w),
    "softxent.nll_loss": lambda z, y, q, w, h: softxent.nll_loss(z, y, weight=w),
    "log_loss": lambda z, y, q, w, h: softxent.log_loss(q, q),
    "binary": lambda z, y, q, w, h: F.binary_cross_entropy(q, q),
    "softxent.binary": lambda z, y, q, w, h: softxent.binary_cross_entropy(q, q),
    "binary with logits": lambda z, y, q, w, h: F.binary_cross_entropy_with_logits(z, q, w),
    "linear": lambda z, y, q, w, h: F.linear_cross_entropy(z, h, y),
    "linear_with_grad": lambda z, y, q, w, h: (
        softxent.linear_cross_entropy_with_grad(z, h, y)[1].classifier
    ),
    "linear_stats": lambda z, y, q, w, h: F.linear_cross_entropy_with_stats(z, h, y).lse,
    "linear_log_prob": lambda z, y, q, w, h: F.linear_log_prob_and_entropy(z, h, y)[1],
}
INDICES = ["cross_entropy", "with_grad", "stats", "nll_loss", "softxent.nll_loss", "linear"]


def check(call: Call, wrap: Callable[[Any], Any], unwrap: Callable[[Any], Any]) -> None:
    """The same result as from ordinary tensors, of the same kind as the arguments."""
    want = call(Z, Y, Q, W, HEAD)
    got = call(*(wrap(x.clone()) for x in (Z, Y, Q, W, HEAD)))
    assert type(got) is type(wrap(Z))
    torch.testing.assert_close(unwrap(got), want)


@pytest.mark.parametrize("name", CALLS)
def test_wrapper_subclasses(name: str) -> None:
    two = pytest.importorskip("torch.testing._internal.two_tensor")
    wrap = two.TwoTensor
    check(CALLS[name], lambda x: wrap(x, x.clone()), lambda x: x.a)


def test_gradients_of_a_wrapper_subclass() -> None:
    two = pytest.importorskip("torch.testing._internal.two_tensor")
    z = two.TwoTensor(Z.clone(), Z.clone()).requires_grad_()
    y = two.TwoTensor(Y, Y.clone())
    softxent.cross_entropy(z, y).backward()
    torch.testing.assert_close(z.grad.a, softxent.cross_entropy_with_grad(Z, Y)[1])


class Subclass(torch.Tensor):
    """With torch's default `__torch_function__`."""


@pytest.mark.parametrize("name", CALLS)
def test_subclasses(name: str) -> None:
    check(CALLS[name], lambda x: x.as_subclass(Subclass), lambda x: x.as_subclass(torch.Tensor))


@pytest.fixture(scope="module")
def mesh() -> Iterator[Any]:
    """Of this process alone."""
    distributed: Any = torch.distributed
    if not distributed.is_available():
        pytest.skip("torch was built without torch.distributed")
    from torch.distributed.device_mesh import init_device_mesh

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_dtensors(name: str, sharded: bool, mesh: Any) -> None:
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    def wrap(x: torch.Tensor) -> Any:
        rows = sharded and x is not W and len(x) == len(Z) and x.shape != HEAD.shape
        return distribute_tensor(x, mesh, [Shard(0) if rows else Replicate()])

    check(CALLS[name], wrap, lambda x: x.full_tensor())


@pytest.mark.parametrize("name", INDICES)
def test_labels_of_dtensors_are_checked(name: str, mesh: Any) -> None:
    from torch.distributed.tensor import Replicate, distribute_tensor

    arguments = [distribute_tensor(x, mesh, [Replicate()]) for x in (Z, Y + 4, Q, W, HEAD)]
    with pytest.raises(TargetError, match=r"target\[0\] is 4, but there are"):
        CALLS[name](*arguments)


FORWARD = [name for name in CALLS if "grad" not in name]


@pytest.mark.parametrize("name", FORWARD)
def test_fake_tensors(name: str) -> None:
    """Shapes alone, inside the mode and outside."""
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    want = CALLS[name](Z, Y, Q, W, HEAD)
    mode = FakeTensorMode()
    fake = [mode.from_tensor(x) for x in (Z, Y, Q, W, HEAD)]
    outside = CALLS[name](*fake)
    with mode:
        inside = CALLS[name](*fake)
    for got in (inside, outside):
        assert isinstance(got, FakeTensor)
        assert (got.shape, got.dtype) == (want.shape, want.dtype)


REFUSED: dict[str, tuple[Callable[[torch.Tensor], Any], str]] = {
    "sparse": (lambda x: x.to_sparse(), "is a tensor of layout"),
    "csr": (lambda x: x.reshape(len(x), -1).to_sparse_csr(), "is a tensor of layout"),
    "nested": (lambda x: torch.nested.nested_tensor([x[:2], x[2:]]), "is a nested tensor"),
    "jagged": (
        lambda x: torch.nested.nested_tensor([x[:2], x[2:]], layout=torch.jagged),
        "is a nested tensor",
    ),
    "masked": (lambda x: torch.masked.masked_tensor(x, x > 0), "is a masked tensor"),
}
MESSAGE_OF = {"linear": "features", "linear_with_grad": "features"}


@pytest.mark.filterwarnings("ignore:.*prototype", "ignore:Sparse CSR", "ignore:Sparse invariant")
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_by_name(name: str, kind: str) -> None:
    make, message = REFUSED[kind]
    with pytest.raises(DTypeError, match=rf"^\[\w+\] \w+ {message}"):
        CALLS[name](make(Z), Y, make(Q), W, HEAD)


@pytest.mark.filterwarnings("ignore:.*prototype")
@pytest.mark.parametrize("name", [*INDICES, "with options"])
def test_targets_are_refused_by_name(name: str) -> None:
    for make in (lambda y: torch.nested.nested_tensor([y[:2], y[2:]]), lambda y: y.to_sparse()):
        with pytest.raises(DTypeError, match=r"^\[\w+\] target is a (nested )?tensor"):
            CALLS[name](Z, make(Y), Q, W, HEAD)
