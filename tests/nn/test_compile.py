"""Compiled, exported and traced code: one graph, compiled once, the same results and checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import softxent
from softxent import nn
from softxent.errors import TargetError
from softxent.nn import functional
from softxent.ops.options import LossOptions

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside torch

Call = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
WEIGHT = torch.tensor([0.5, 1.0, 2.0, 0.1, 1.0])
CALLS: dict[str, Call] = {
    "cross_entropy": lambda z, y, q: functional.cross_entropy(z, y),
    "options": lambda z, y, q: softxent.cross_entropy(
        z, y, reduction="none", label_smoothing=0.1, z_loss=0.1, softcap=5.0, temperature=2.0
    ),
    "module in place": lambda z, y, q: nn.CrossEntropyLoss(inplace_backward=True)(z * 2, y),
    "probabilities": lambda z, y, q: functional.cross_entropy(z, q),
    "distillation": lambda z, y, q: functional.cross_entropy(z, (2 * z).softmax(1)),
    "stats": lambda z, y, q: functional.cross_entropy_with_stats(z, y, k=2).entropy.sum(),
    "nll_loss": lambda z, y, q: functional.nll_loss(functional.log_softmax(z, 1), y),
    "softmax": lambda z, y, q: functional.softmax(z, 1).square(),
    "logsumexp": lambda z, y, q: softxent.logsumexp(z, 1),
    "binary": lambda z, y, q: functional.binary_cross_entropy(z.sigmoid(), q),
    "binary logits": lambda z, y, q: functional.binary_cross_entropy_with_logits(z, q),
}
HEAD = torch.eye(5) + 0.1
WITH_CONSTANTS: dict[str, Call] = {
    "weights": lambda z, y, q: functional.cross_entropy(z, y, WEIGHT),
    "stats with weights": lambda z, y, q: functional.cross_entropy_with_stats(z, y, WEIGHT).loss,
    "nll_loss with weights": lambda z, y, q: functional.nll_loss(z.log_softmax(1), y, WEIGHT),
    "linear head": lambda z, y, q: softxent.linear_cross_entropy(z, HEAD, y, weight=WEIGHT),
    "linear stats": lambda z, y, q: (
        functional.linear_cross_entropy_with_stats(z, HEAD, y, weight=WEIGHT).entropy
    ),
    "linear log-probabilities": lambda z, y, q: functional.linear_log_prob_and_entropy(z, HEAD, y)[
        0
    ],
}
CHECKED = ["cross_entropy", "nll_loss"]


def batch(rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    z = torch.randn(rows, 5, generator=generator, requires_grad=True)
    y = torch.randint(5, (rows,), generator=generator)
    y[1] = -100
    return z, y, torch.rand(rows, 5, generator=generator)


def compiled(call: Call) -> tuple[Call, list[int]]:
    """Compiled by everything but the code generator, and an entry for each graph it came to."""
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        from torch._dynamo.backends.debugging import aot_eager

        if any(node.op == "call_function" for node in graph.graph.nodes):
            graphs.append(len(graph.graph.nodes))
        return aot_eager(graph, inputs)

    torch._dynamo.reset()
    return torch.compile(call, fullgraph=True, dynamic=True, backend=backend), graphs


@pytest.mark.parametrize("name", [*CALLS, *WITH_CONSTANTS])
@pytest.mark.slow
def test_one_graph_for_every_batch_size(name: str) -> None:
    call = (CALLS | WITH_CONSTANTS)[name]
    fast, graphs = compiled(call)
    compilations = []
    for rows in (6, 7, 33):
        z, y, q = batch(rows)
        got, want = fast(z, y, q), call(z, y, q)
        torch.testing.assert_close(got, want)
        upstream = torch.rand_like(want)
        grads = [torch.autograd.grad(v, z, upstream)[0] for v in (got, want)]
        torch.testing.assert_close(*grads)
        compilations.append(len(graphs))
    assert compilations[0] == compilations[-1]


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.slow
def test_compiled_code_keeps_the_check(name: str) -> None:
    z, y, q = batch(6)
    fast, _ = compiled(CALLS[name])
    fast(z, y, q)
    y[4] = 5
    with pytest.raises(TargetError, match=r"target\[4\] is 5, but there are 5 classes"):
        fast(z, y, q)


@pytest.mark.parametrize("name", ["binary", "binary logits", "probabilities"])
@pytest.mark.slow
def test_compiled_code_checks_probabilities(name: str) -> None:
    z, y, q = batch(6)
    fast, _ = compiled(CALLS[name])
    fast(z, y, q)
    with pytest.raises(TargetError, match=r"target\[0, 0\] is -"):
        fast(z, y, -1 - q)


TRANSFORMS: dict[str, Any] = {
    "grad": torch.func.grad,
    "jacrev": torch.func.jacrev,
    "hessian": torch.func.hessian,
    "vmap": torch.func.vmap,
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("loss", [functional.cross_entropy, softxent.cross_entropy])
@pytest.mark.slow
def test_transforms_inside_a_graph(name: str, loss: Any) -> None:
    def call(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return loss(z, y)  # type: ignore[no-any-return]

    z, y, _ = batch(6)
    z = z.detach()
    if name == "vmap":
        z, y = torch.stack([z, 2 * z]), torch.stack([y, y.flip(0)])
    transformed = TRANSFORMS[name](call)
    torch._dynamo.reset()
    fast: Any = torch.compile(transformed, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(fast(z, y), transformed(z, y))
    y[..., 4] = 5
    with pytest.raises(TargetError, match=r"4\] is 5, but there are 5 classes"):
        fast(z, y)


@pytest.mark.parametrize("name", ["probabilities", "binary logits"])
@pytest.mark.slow
def test_transforms_inside_a_graph_check_probabilities(name: str) -> None:
    z, y, q = batch(6)
    z = z.detach()
    transformed = torch.func.grad(CALLS[name])
    torch._dynamo.reset()
    fast = torch.compile(transformed, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(fast(z, y, q), transformed(z, y, q))
    with pytest.raises(TargetError, match=r"target\[0, 0\] is -"):
        fast(z, y, -1 - q)


@pytest.mark.slow
def test_patched_code_compiles() -> None:
    def call(z: torch.Tensor, y: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(z, y)

    z, y, q = batch(6)
    with nn.patch():
        fast, graphs = compiled(call)
        torch.testing.assert_close(fast(z, y, q), functional.cross_entropy(z, y))
        y[4] = 5
        with pytest.raises(TargetError):
            fast(z, y, q)
    assert graphs


@pytest.mark.slow
def test_inductor_agrees() -> None:
    """With the code generator too, in one small case: it calls a C++ compiler."""
    torch._dynamo.reset()
    z, y, q = batch(6)
    call = CALLS["cross_entropy"]
    fast = torch.compile(call, fullgraph=True)
    torch.testing.assert_close(fast(z, y, q), call(z, y, q))


class Loss(torch.nn.Module):
    def forward(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(functional.log_softmax(z, 1), y)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.slow
def test_export(strict: bool) -> None:
    z, y, _ = batch(6)
    rows = torch.export.Dim("rows")
    program = torch.export.export(
        Loss(), (z.detach(), y), dynamic_shapes=({0: rows}, {0: rows}), strict=strict
    )
    assert "softxent.cross_entropy" in str(program.graph)
    z, y, _ = batch(9)
    module = program.module()
    torch.testing.assert_close(module(z.detach(), y), Loss()(z, y).detach())
    with pytest.raises(TargetError):
        module(z.detach(), y + 101)


def test_make_fx_records_the_operator() -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    z, y, q = batch(6)
    graph = make_fx(CALLS["cross_entropy"])(z, y, q)
    assert "softxent.cross_entropy" in graph.code
    z, y, q = batch(6)
    torch.testing.assert_close(graph(z, y, q), CALLS["cross_entropy"](z, y, q))


@pytest.mark.parametrize("name", CALLS)
def test_fake_and_meta_tensors(name: str) -> None:
    """Shapes and dtypes alone."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    z, y, q = batch(6)
    want = CALLS[name](z, y, q)
    with FakeTensorMode() as mode:
        fake = CALLS[name](*(mode.from_tensor(x) for x in (z, y, q)))
        assert (fake.shape, fake.dtype) == (want.shape, want.dtype)
    meta = CALLS[name](*(x.to("meta") for x in (z, y, q)))
    assert (meta.shape, meta.dtype) == (want.shape, want.dtype)


@pytest.mark.parametrize("wants_grad", [False, True])
@pytest.mark.slow
def test_operators_pass_torchs_own_check(wants_grad: bool) -> None:
    operators = torch.ops.softxent
    z, y, q = batch(6)
    z = z.detach().requires_grad_(wants_grad)
    check = torch.library.opcheck
    upstream = torch.rand(6, 5)
    for log in (False, True):
        for saves_result in (False, True):
            check(operators.softmax.default, (z, 1, log, saves_result))
            saved = operators.softmax(z.detach(), 0, log, False) if saves_result else z
            check(operators.softmax_backward.default, (upstream, saved, 0, log, saves_result))
    names = (
        operators.softmax,
        operators.logsumexp,
        operators.cross_entropy,
        operators.cross_entropy_backward,
        operators.checked_target,
    )
    check(names[1].default, (z, 1))
    for reduction in ("none", "mean", "sum"):
        for target, weight in ((y, WEIGHT), (q, None)):
            options = LossOptions(weight, -100, reduction, 0.1, 0.1, 3.0, 2.0)
            call = (target, "x", torch.float32, False, 1, *options)
            check(names[2].default, (z, *call))
            loss, saved = names[2](z.detach(), *call)
            check(names[3].default, (torch.ones_like(loss), saved, z.detach(), *call))
    check(names[4].default, (y, "x", "index", 1, 5, -100))
    check(names[4].default, (q.requires_grad_(wants_grad), "x", "probabilities", 1, 5, None))


@pytest.mark.slow
@pytest.mark.parametrize("other", ["target", "weight"])
def test_a_compiled_linear_head_differentiates_target_and_weights(other: str) -> None:
    z, _, q = batch(6)
    given = {"target": q, "weight": WEIGHT.clone()}
    leaf = given[other].requires_grad_()

    def loss() -> torch.Tensor:
        return softxent.linear_cross_entropy(z, HEAD, given["target"], weight=given["weight"])

    (want,) = torch.autograd.grad(loss(), leaf)
    torch._dynamo.reset()
    (got,) = torch.autograd.grad(torch.compile(loss, fullgraph=True, backend="eager")(), leaf)
    torch.testing.assert_close(got, want)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("target", ["index", "probabilities"])
def test_jit_trace_records_the_decomposition(target: str) -> None:
    z, y, q = batch(6)
    t = y if target == "index" else q
    traced = torch.jit.trace(functional.cross_entropy, (z.detach(), t), check_trace=False)
    other = -2 * z.detach()
    torch.testing.assert_close(traced(other, t), functional.cross_entropy(other, t))
