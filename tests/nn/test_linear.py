"""linear_cross_entropy on tensors: torch's answer with all logits, in float64, is the oracle."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import softxent
from softxent import _native, nn
from softxent.errors import DTypeError, OptionError, ShapeError, TargetError
from softxent.nn.functional import linear_cross_entropy as frontend
from softxent.ops.linear import decompositions, engines, loop, problem, torch_matmuls
from softxent.ops.options import LossOptions, Reduction
from softxent.ops.tensors.kernels.buffers import empty
from tests.support.linear_head import (
    CLASSES,
    DTYPES,
    OPTIONS,
    ROWS,
    TOLERANCE,
    WIDTH,
    Inputs,
    assert_close,
    gradients,
    inputs,
    with_all_logits,
)

SMALL = 2**20  # the least memory that may be asked for


def ours(given: Inputs, **options: Any) -> Tensor:
    result: Tensor = softxent.linear_cross_entropy(
        given.features, given.classifier, given.target, given.bias, given.weight, **options
    )
    return result


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 10 rows and blocks of 16 classes, so that small inputs have several."""
    monkeypatch.setattr(loop.LinearHead, "_rows_at_once", lambda self: 10)
    monkeypatch.setattr(loop, "_BLOCK", 16)
    monkeypatch.setattr(loop.LinearHead, "_copied", lambda self, itemsize=None: 5)


# --- every option, dtype and reduction ---


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", ["index", "probabilities"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_loss_and_gradients(dtype: torch.dtype, kind: str, name: str, reduction: Reduction) -> None:
    if kind == "probabilities" and name == "ignored":
        pytest.skip("class probabilities have no ignored rows")
    for weight in (False, True):
        ignored = OPTIONS[name].get("ignore_index", -100)
        given = inputs(dtype, kind=kind, weight=weight, ignored=ignored)
        exact = given.double()
        options = {**OPTIONS[name], "reduction": reduction}
        got, want = ours(given, **options), with_all_logits(exact, **options)
        assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert_close(got, want, TOLERANCE[dtype])
        upstream = torch.rand(want.shape, generator=torch.Generator().manual_seed(1)) + 0.5
        got_grads = gradients(got, upstream, given.leaves())
        for g, w in zip(got_grads, gradients(want, upstream, exact.leaves()), strict=True):
            assert g.dtype == dtype
            assert_close(g, w, TOLERANCE[dtype])


@pytest.mark.parametrize("lead", [(), (1,), (5, 7), (2, 3, 4)])
@pytest.mark.parametrize("kind", ["index", "probabilities"])
def test_leading_dimensions(lead: tuple[int, ...], kind: str) -> None:
    given = inputs(kind=kind, lead=lead)
    exact = given.double()
    for reduction in ("none", "mean"):
        got = ours(given, reduction=reduction)
        want = with_all_logits(exact, reduction=reduction)
        assert_close(got, want, 1e-12)
        up = torch.ones_like(want)
        pairs = zip(gradients(got, up, given.leaves()), gradients(want, up, exact.leaves()))  # noqa: B905
        for g, w in pairs:
            assert_close(g, w, 1e-12)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.uint8, torch.uint16], ids=str)
def test_one_hot_rows_of_whole_numbers(dtype: torch.dtype) -> None:
    given = inputs()
    kept = given.target.clamp(0)
    one_hot = F.one_hot(kept, CLASSES).to(dtype)
    want = softxent.linear_cross_entropy(given.features, given.classifier, kept)
    got = softxent.linear_cross_entropy(given.features, given.classifier, one_hot)
    assert_close(got, want, 1e-12)


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_layouts(reduction: Reduction) -> None:
    """Transposed, strided and expanded arguments are read where they lie."""
    given = inputs(lead=(5, 7))
    base = given.double()
    want = with_all_logits(base, reduction=reduction)
    features = torch.zeros(7, 5, 2 * WIDTH, dtype=torch.float64).transpose(0, 1)[..., ::2]
    features = features.copy_(given.features.detach()).detach().requires_grad_()
    classifier = given.classifier.detach().T.contiguous().T.requires_grad_()
    assert not features.is_contiguous()
    assert not classifier.is_contiguous()
    got = softxent.linear_cross_entropy(
        features, classifier, given.target.T.contiguous().T, given.bias, reduction=reduction
    )
    assert_close(got, want, 1e-12)
    up = torch.rand(want.shape, dtype=torch.float64)
    wanted = gradients(want, up, base.leaves())
    for g, w in zip(gradients(got, up, [features, classifier]), wanted, strict=False):
        assert_close(g, w, 1e-12)
    one = given.features.detach()[:1, :1].expand(5, 7, WIDTH)
    assert_close(
        softxent.linear_cross_entropy(one, classifier, given.target),
        softxent.linear_cross_entropy(one.clone(), classifier, given.target),
        1e-15,
    )


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("frozen", range(8))
def test_frozen_subsets(frozen: int, reduction: Reduction, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the requested gradients are computed."""
    made: list[str] = []
    for name in ("add_features", "add_classifier", "add_columns"):
        original = getattr(torch_matmuls.TorchMatmuls, name)

        def counted(*args: Any, name: str = name, original: Any = original) -> None:
            made.append(name)
            original(*args)

        monkeypatch.setattr(torch_matmuls.TorchMatmuls, name, counted)
    given = inputs()
    for i, x in enumerate(given.leaves()):
        x.requires_grad_(not frozen >> i & 1)
    exact = given.double()
    got, want = ours(given, reduction=reduction), with_all_logits(exact, reduction=reduction)
    wanted = [x for x in given.leaves() if x.requires_grad]
    assert got.requires_grad == bool(wanted)
    if wanted:
        up = torch.rand(want.shape)
        pairs = zip(
            gradients(got, up, wanted),
            gradients(want, up, [x for x in exact.leaves() if x.requires_grad]),
            strict=True,
        )
        for g, w in pairs:
            assert_close(g, w, 1e-12)
    products = zip(("add_features", "add_classifier", "add_columns"), given.leaves(), strict=True)
    assert set(made) == {name for name, x in products if x.requires_grad}


def test_no_gradient_is_made_without_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.LinearHead, "reduce_and_differentiate", None)
    given = inputs()
    with torch.no_grad():
        assert not ours(given).requires_grad
    with torch.inference_mode():
        assert_close(ours(given), with_all_logits(given), 1e-12)


# --- rows ---


def test_ignored_rows_cost_and_give_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = torch_matmuls.TorchMatmuls.logits

    def counted(self: Any, x: Tensor, w: Tensor, bias: Any, out: Tensor) -> None:
        seen.append(len(x) * len(w))
        original(self, x, w, bias, out)

    monkeypatch.setattr(torch_matmuls.TorchMatmuls, "logits", counted)
    given = inputs()
    given.target[::2] = -100
    with torch.no_grad():
        given.features[::2] = torch.nan
    value = ours(given)
    value.backward()
    kept = int((given.target != -100).sum())
    assert sum(seen) == kept * CLASSES
    assert value.isfinite()
    assert given.features.grad is not None
    assert (given.features.grad[::2] == 0).all()
    assert given.classifier.grad is not None
    assert given.classifier.grad.isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_no_kept_row(dtype: torch.dtype) -> None:
    given = inputs(dtype)
    given.target[:] = -100
    value = ours(given)
    assert value.isnan()
    value.backward()
    assert given.features.grad is not None
    assert (given.features.grad == 0).all()
    assert (ours(given, reduction="none") == 0).all()
    assert ours(given, reduction="sum") == 0


@pytest.mark.parametrize(("rows", "classes", "width"), [(0, 5, 3), (4, 1, 3), (4, 5, 0)])
def test_sizes_of_nothing_and_one(rows: int, classes: int, width: int) -> None:
    X = torch.randn(rows, width, dtype=torch.float64, requires_grad=True)
    W = torch.randn(classes, width, dtype=torch.float64, requires_grad=True)
    b = torch.randn(classes, dtype=torch.float64, requires_grad=True)
    y = torch.zeros(rows, dtype=torch.long)
    given = Inputs(X, W, b, y, None)
    exact = given.double()
    got, want = ours(given, reduction="sum"), with_all_logits(exact, reduction="sum")
    assert_close(got, want, 1e-12)
    up = torch.ones(())
    for g, w in zip(
        gradients(got, up, given.leaves()), gradients(want, up, exact.leaves()), strict=True
    ):
        assert_close(g, w, 1e-12)


def test_a_confident_prediction_keeps_its_digits() -> None:
    X = torch.tensor([[20.0]], requires_grad=True)
    value = softxent.linear_cross_entropy(X, torch.tensor([[1.0], [0.0]]), torch.tensor([0]))
    value.backward()
    assert X.grad is not None
    assert value.item() == pytest.approx(2.061153620314381e-09, rel=1e-6)
    assert X.grad.item() == pytest.approx(-2.0611536181902037e-09, rel=1e-6)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_broken_row_is_alone(bad: float) -> None:
    given = inputs(torch.float32)
    with torch.no_grad():
        given.features[4, 0] = bad
    losses = ours(given, reduction="none")
    assert losses[4].isnan()
    assert losses[[i for i in range(ROWS) if i != 4]].isfinite().all()


# --- chunks ---


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["plain", "all"])
def test_the_chunk_size_changes_rounding_only(
    dtype: torch.dtype, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = inputs(dtype, weight=True)
    value = ours(whole, **OPTIONS[name])
    value.backward()
    for rows, block in ((1, 16), (7, 20), (36, 53)):
        monkeypatch.setattr(loop.LinearHead, "_rows_at_once", lambda self, rows=rows: rows)
        monkeypatch.setattr(loop, "_BLOCK", block)
        monkeypatch.setattr(
            loop.LinearHead, "_copied", lambda self, itemsize=None, block=block: block
        )
        part = inputs(dtype, weight=True)
        again = ours(part, **OPTIONS[name])
        again.backward()
        # The rows' logits, and so the loss, are those of the same products, block by block.
        assert_close(again, value, 1e-6 if dtype != torch.float64 else 1e-14)
        for g, w in zip(part.leaves(), whole.leaves(), strict=True):
            assert g.grad is not None
            assert w.grad is not None
            assert_close(g.grad, w.grad, {1e-12: 1e-13}.get(TOLERANCE[dtype], TOLERANCE[dtype]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_the_same_call_gives_the_same_bits(dtype: torch.dtype, reduction: Reduction) -> None:
    results: list[Any] = []
    for _ in range(3):
        given = inputs(dtype, lead=(300,))
        value = ours(given, reduction=reduction, max_bytes=SMALL)
        value.backward(torch.ones_like(value))
        results.append([value.detach(), *(x.grad for x in given.leaves())])
    for again in results[1:]:
        for a, b in zip(results[0], again, strict=True):
            assert torch.equal(a, b)


def test_sums_over_chunks_are_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """512 equal rows, one at a time: sums in bfloat16 would stop growing at 256."""
    monkeypatch.setattr(loop.LinearHead, "_rows_at_once", lambda self: 1)
    X = torch.ones(512, 1, dtype=torch.bfloat16)
    W = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    y = torch.zeros(512, dtype=torch.long)
    softxent.linear_cross_entropy(X, W, y, reduction="sum").backward()
    assert W.grad is not None
    assert W.grad.flatten().tolist() == [-256.0, 256.0]


def test_float16_survives_a_mean_over_many_rows_and_a_loss_scale() -> None:
    """(p - t) / N is below float16's smallest number, and times 2^16 it isn't."""
    given = inputs(torch.float16, lead=(400,), classes=2000, bias=False)
    exact = given.double()
    scale = torch.tensor(2.0**12)
    for reduction in ("mean", "none"):
        up = scale if reduction == "mean" else torch.full((400,), float(scale) / 400)
        got = gradients(ours(given, reduction=reduction), up, given.leaves())
        want = gradients(with_all_logits(exact, reduction=reduction), up, exact.leaves())
        for g, w in zip(got, want, strict=True):
            assert_close(g, w, TOLERANCE[torch.float16])
            rare = w.abs() < w.abs().median()
            assert (g[rare] != 0).float().mean() > 0.9


# --- autograd ---


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_backward_twice(dtype: torch.dtype, reduction: Reduction) -> None:
    """The first backward hands its gradients over; the second makes them anew."""
    given = inputs(dtype)
    exact = given.double()
    got, want = ours(given, reduction=reduction), with_all_logits(exact, reduction=reduction)
    for factor in (1.0, 0.25):
        up = torch.full(want.shape, factor)
        first = torch.autograd.grad(got, given.leaves(), up.to(got.dtype), retain_graph=True)
        wanted = torch.autograd.grad(want, exact.leaves(), up.to(want.dtype), retain_graph=True)
        for g, w in zip(first, wanted, strict=True):
            assert_close(g, w, TOLERANCE[dtype])


def test_gradients_of_one_call_do_not_share_memory_with_another() -> None:
    given = inputs()
    value = ours(given)
    (first,) = torch.autograd.grad(value, [given.classifier], retain_graph=True)
    kept = first.clone()
    first.zero_()
    (second,) = torch.autograd.grad(value, [given.classifier])
    assert_close(second, kept, 1e-15)


def test_changed_arguments_are_noticed() -> None:
    given = inputs()
    W = given.classifier * 1
    value = softxent.linear_cross_entropy(given.features, W, given.target)
    W.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", ["index", "probabilities"])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_gradcheck_and_gradgradcheck(name: str, kind: str, reduction: Reduction) -> None:
    if kind == "probabilities" and name == "ignored":
        pytest.skip("class probabilities have no ignored rows")
    g = torch.Generator().manual_seed(0)
    X, W, b = (
        torch.randn(*shape, generator=g, dtype=torch.float64, requires_grad=True)
        for shape in ((4, 3), (9, 3), (9,))
    )
    y = torch.tensor([0, 7, 8, -100])
    if name == "ignored":
        y[3] = 1
    if kind == "probabilities":
        y = torch.rand(4, 9, generator=g, dtype=torch.float64)
    options = {**OPTIONS[name], "reduction": reduction}

    def f(X: Tensor, W: Tensor, b: Tensor) -> Any:
        return softxent.linear_cross_entropy(X, W, y, b, **options)

    assert torch.autograd.gradcheck(f, (X, W, b))
    assert torch.autograd.gradgradcheck(f, (X, W, b), fast_mode=True)


def test_gradients_of_target_and_weight() -> None:
    given = inputs(kind="probabilities", weight=True)
    exact = given.double()
    others = []
    for x in (given, exact):
        assert x.weight is not None
        others.append([x.target.requires_grad_(), x.weight.requires_grad_()])
    got, want = ours(given, label_smoothing=0.1), with_all_logits(exact, label_smoothing=0.1)
    up = torch.ones(())
    for g, w in zip(gradients(got, up, others[0]), gradients(want, up, others[1]), strict=True):
        assert_close(g, w, 1e-12)


# torch.func.jvp scripts its decompositions, and scripting warns.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_torch_func() -> None:
    given = inputs()
    X, W, b, y = given.features, given.classifier, given.bias, given.target

    def f(loss: Any) -> Any:
        return torch.func.grad(lambda W: loss(X.detach(), W, y, b))(W.detach())

    assert_close(f(softxent.linear_cross_entropy), f(reference), 1e-12)
    samples = torch.randn(3, ROWS, WIDTH, dtype=torch.float64)
    targets = torch.stack([y, y.flip(0), y])

    def per_sample(loss: Any) -> Any:
        def one(X: Tensor, y: Tensor) -> Any:
            return loss(X, W.detach(), y, b)

        return torch.vmap(torch.func.grad(one))(samples, targets)

    assert_close(per_sample(softxent.linear_cross_entropy), per_sample(reference), 1e-12)

    def directional(loss: Any) -> Any:
        return torch.func.jvp(
            lambda X: loss(X, W.detach(), y, b), (X.detach(),), (torch.ones_like(X),)
        )[1]

    assert_close(directional(softxent.linear_cross_entropy), directional(reference), 1e-12)
    small = X.detach()[:3, :4]

    def curvature(loss: Any) -> Any:
        return torch.func.hessian(lambda X: loss(X, W.detach()[:5, :4], y[:3] % 5, None))(small)

    assert_close(curvature(softxent.linear_cross_entropy), curvature(reference), 1e-11)


def reference(X: Tensor, W: Tensor, y: Tensor, b: Tensor | None) -> Tensor:
    return F.cross_entropy(F.linear(X, W, b), y)


def test_autocast_multiplies_in_half_precision() -> None:
    given = inputs(torch.float32)
    exact = given.double()
    with torch.autocast("cpu", torch.bfloat16):
        value = ours(given)
    value.backward()
    want = with_all_logits(exact)
    want.backward()
    assert value.dtype == torch.float32
    assert_close(value, want, TOLERANCE[torch.bfloat16])
    assert abs(float(value.detach() - want.detach())) > 1e-5
    for g, w in zip(given.leaves(), exact.leaves(), strict=True):
        assert g.grad is not None
        assert w.grad is not None
        assert g.grad.dtype == torch.float32
        assert_close(g.grad, w.grad, TOLERANCE[torch.bfloat16])


def test_chunks_of_torchs_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other devices get: logits of a chunk at a time, made again in backward."""
    given = inputs(lead=(3000,), classes=101, weight=True)
    exact = given.double()
    _, _, checked = problem.receive(
        "test", given.features, given.classifier, given.target, given.bias,
        LossOptions(weight=given.weight), SMALL, 0.0,
    )  # fmt: skip
    chunks: list[int] = []
    linear = F.linear

    def counted(x: Tensor, *rest: Any) -> Tensor:
        chunks.append(len(x))
        return linear(x, *rest)

    monkeypatch.setattr(F, "linear", counted)
    got = decompositions.in_chunks(
        checked, given.features, given.classifier, given.bias, given.target, given.weight
    )
    got.backward()
    assert max(chunks) < 3000
    assert sum(chunks) == 2 * 3000
    monkeypatch.undo()
    want = with_all_logits(exact)
    want.backward()
    assert_close(got, want, 1e-12)
    for g, w in zip(given.leaves(), exact.leaves(), strict=True):
        assert g.grad is not None
        assert w.grad is not None
        assert_close(g.grad, w.grad, 1e-12)


def test_meta_tensors_have_shapes() -> None:
    given = inputs()
    X, W = given.features.detach().to("meta"), given.classifier.detach().to("meta")
    y = given.target.to("meta")
    assert softxent.linear_cross_entropy(X, W, y).shape == ()
    assert softxent.linear_cross_entropy(X, W, y, reduction="none").shape == (ROWS,)


# --- torch.compile ---


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.slow
def test_compiled_and_eager_agree(dtype: torch.dtype, reduction: Reduction) -> None:
    torch._dynamo.reset()

    def f(X: Tensor, W: Tensor, b: Tensor | None, y: Tensor) -> Any:
        value = softxent.linear_cross_entropy(X, W, y, b, reduction=reduction, z_loss=0.01)
        return (value * 2).sum()

    compiled = torch.compile(f, fullgraph=True, backend="aot_eager", dynamic=True)
    for lead in ((ROWS,), (20,)):
        given, same = inputs(dtype, lead=lead), inputs(dtype, lead=lead)
        for x, run in ((given, compiled), (same, f)):
            value = run(x.features, x.classifier, x.bias, x.target)
            value.backward()
        for g, w in zip(given.leaves(), same.leaves(), strict=True):
            assert g.grad is not None
            assert w.grad is not None
            assert_close(g.grad, w.grad, TOLERANCE[dtype])


@pytest.mark.slow
def test_compiled_code_checks_labels() -> None:
    torch._dynamo.reset()

    def f(X: Tensor, W: Tensor, y: Tensor) -> Any:
        return softxent.linear_cross_entropy(X, W, y)

    compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
    given = inputs()
    given.target[5] = CLASSES
    with pytest.raises(TargetError, match=r"target\[5\] is 53"):
        compiled(given.features, given.classifier, given.target)


@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("wanted", [(True, True, True), (False, True, False)])
@pytest.mark.slow
def test_opcheck(reduction: Reduction, dtype: torch.dtype, wanted: tuple[bool, ...]) -> None:
    given = inputs(dtype)
    for x, is_wanted in zip(given.leaves(), wanted, strict=True):
        x.requires_grad_(is_wanted)
    options = LossOptions(given.weight, -100, reduction, 0.1, 0.01, 5.0, 0.9)
    arguments = (
        "linear_cross_entropy", given.features, given.classifier, given.target, given.bias,
        SMALL, 0.0, False, list(wanted), *options,
    )  # fmt: skip
    torch.library.opcheck(torch.ops.softxent.linear_cross_entropy.default, arguments)
    if reduction == "none":
        with torch.no_grad():
            _, rows, *_ = torch.ops.softxent.linear_cross_entropy(*arguments)
            upstream = torch.rand(ROWS, dtype=torch.float64)
            for x in given.leaves():
                x.requires_grad_(False)
            torch.library.opcheck(
                torch.ops.softxent.linear_cross_entropy_backward.default,
                (upstream, rows, *arguments),
            )


@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("skip", [0.0, 1e-3])
def test_a_target_overwritten_during_the_call(
    skip: float, reduction: Reduction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is copied before it is checked: what another thread writes then changes nothing."""
    given, same = inputs(classes=400), inputs(classes=400)
    up = torch.ones(ROWS if reduction == "none" else ())
    options: dict[str, Any] = {"reduction": reduction, "skip_below": skip}
    want = gradients(ours(same, **options), up, same.leaves())
    fill, memory = loop.LinearHead.fill, given.target.numpy()  # torch notices no write to it

    def overwrite(head: loop.LinearHead, chunk: loop.Chunk) -> None:
        fill(head, chunk)
        memory[...] = 2**30

    monkeypatch.setattr(loop.LinearHead, "fill", overwrite)
    got = gradients(ours(given, **options), up, given.leaves())
    assert (given.target == 2**30).all()
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("weight", [False, True], ids=["", "weight"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_with_grad_divides_as_the_loss(
    dtype: torch.dtype, weight: bool, reduction: Reduction
) -> None:
    given = inputs(dtype, weight=weight)
    value, grads = softxent.linear_cross_entropy_with_grad(
        given.features, given.classifier, given.target, given.bias, given.weight,
        reduction=reduction,
    )  # fmt: skip
    exact = given.double()
    want = with_all_logits(exact, reduction=reduction)
    assert_close(value, want, TOLERANCE[dtype])
    wanted = gradients(want, torch.ones_like(want), exact.leaves())
    for g, w in zip((grads.features, grads.classifier, grads.bias), wanted, strict=True):
        assert g is not None
        assert_close(g, w, TOLERANCE[dtype])


# --- skip_below ---


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_skipping_stays_within_its_bound(dtype: torch.dtype, reduction: Reduction) -> None:
    skip = 1e-3
    sharp = inputs(dtype, classes=400)
    with torch.no_grad():
        sharp.classifier.mul_(2)
    exact, unskipped = sharp.double(), sharp.double()
    up = torch.ones(ROWS if reduction == "none" else ())
    got = gradients(ours(sharp, reduction=reduction, skip_below=skip), up, sharp.leaves())
    want = gradients(with_all_logits(exact, reduction=reduction), up, exact.leaves())
    X, W, _ = exact.leaves()
    kept = exact.target != -100
    rows = X.detach().abs()[kept]
    over = rows.mean(0) if reduction == "mean" else rows.sum(0)
    scale = 1 / int(kept.sum()) if reduction == "mean" else 1.0
    rounding = {torch.float64: 1e-12, torch.bfloat16: TOLERANCE[torch.bfloat16]}[dtype]
    slack = [rounding * float(w.abs().max()) for w in want]
    assert ((got[0].double() - want[0]).abs() <= skip * scale * W.abs().sum(0) + slack[0]).all()
    assert ((got[1].double() - want[1]).abs() <= skip * over + slack[1]).all()
    assert_close(got[2], want[2], rounding)
    if dtype == torch.float64:  # and something was skipped
        full = gradients(ours(unskipped, reduction=reduction), up, unskipped.leaves())
        assert not torch.equal(got[1], full[1])


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("options", [{}, {"z_loss": 2.0}, {"label_smoothing": 0.3}], ids=str)
def test_skipping_looks_at_both_signs(options: dict[str, Any], sign: float) -> None:
    """With a z-loss and logits far below 0, or an upstream gradient below 0, G is negative."""
    given, exact = inputs(classes=400), inputs(classes=400)
    for x in (given, exact):
        assert x.bias is not None
        with torch.no_grad():
            x.bias.sub_(30)
    up = torch.full((ROWS,), sign, dtype=torch.float64)
    every: dict[str, Any] = {**options, "reduction": "none"}
    got = gradients(ours(given, skip_below=1e-4, **every), up, given.leaves())
    want = gradients(ours(exact, **every), up, exact.leaves())
    bound = 1e-4 * given.features.detach().abs()[given.target != -100].sum(0)
    assert ((got[1] - want[1]).abs() <= bound + 1e-12).all()


@pytest.mark.usefixtures("few_rows")
def test_skipping_nothing_is_exact() -> None:
    given, same = inputs(), inputs()
    ours(given, skip_below=1e-30).backward()
    ours(same).backward()
    for g, w in zip(given.leaves(), same.leaves(), strict=True):
        assert g.grad is not None
        assert w.grad is not None
        assert torch.equal(g.grad, w.grad)


# --- engines ---


@pytest.mark.parametrize("name", ["torch", "numpy", "onednn"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_engine_gives_the_same_gradients(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOFTXENT_PRODUCTS", name)
    given = inputs(dtype)
    exact = given.double()
    ours(given).backward()
    with_all_logits(exact).backward()
    for g, w in zip(given.leaves(), exact.leaves(), strict=True):
        assert g.grad is not None
        assert w.grad is not None
        assert_close(g.grad, w.grad, TOLERANCE[dtype])


def test_the_engine_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTXENT_PRODUCTS", "timed")
    monkeypatch.setattr(engines, "_SMALL", 0)
    monkeypatch.setattr(engines, "_chosen", {})
    measured: list[Any] = []
    original = engines._fastest

    def counted(*args: Any) -> str:
        measured.append(args)
        return original(*args)

    monkeypatch.setattr(engines, "_fastest", counted)
    for rows in (ROWS, ROWS, ROWS + 1):
        ours(inputs(torch.float32, lead=(rows,)))
    assert len(measured) == 1
    assert list(engines.chosen_engines()) == ["float32 64 16 64"]


def test_by_default_the_engine_is_chosen_without_a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOFTXENT_PRODUCTS", raising=False)
    monkeypatch.setattr(engines, "_SMALL", 0)
    monkeypatch.setattr(engines, "_chosen", {})
    monkeypatch.setattr(engines, "_fastest", None)  # a call would fail
    for maker, engine in (("GenuineIntel", "torch"), ("AuthenticAMD", "numpy")):
        monkeypatch.setattr(engines, "processor", lambda maker=maker: maker)
        monkeypatch.setattr(engines, "blas", lambda: "scipy-openblas")
        engines._chosen.clear()
        ours(inputs(torch.float32))
        assert list(engines.chosen_engines().values()) == [engine]


@pytest.mark.parametrize(
    ("processor", "blas", "dtype", "engine"),
    [
        ("AuthenticAMD", "scipy-openblas", "float32", "numpy"),
        ("AuthenticAMD", "mkl", "float32", "torch"),  # NumPy's own would be the same library
        ("AuthenticAMD", "scipy-openblas", "float64", "torch"),  # not measured
        ("GenuineIntel", "scipy-openblas", "float32", "torch"),
        ("aarch64", "accelerate", "float32", "torch"),
    ],
)
def test_the_rule_for_engines(processor: str, blas: str, dtype: str, engine: str) -> None:
    assert engines.rule(processor, blas, dtype) == engine


def test_the_engine_does_not_depend_on_earlier_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOFTXENT_PRODUCTS", raising=False)
    monkeypatch.setattr(engines, "_SMALL", 0)
    monkeypatch.setattr(engines, "processor", lambda: "AuthenticAMD")
    monkeypatch.setattr(engines, "blas", lambda: "scipy-openblas")
    x, w = torch.zeros(8, 4), torch.zeros(8, 4)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(max(before, softxent.get_num_threads()))
        assert engines.choose(x, w).name == "numpy"
        if softxent.get_num_threads() > 1:
            torch.set_num_threads(1)
            assert engines.choose(x, w).name == "torch"
    finally:
        torch.set_num_threads(before)


def test_the_processor_and_the_blas_have_names() -> None:
    assert engines.processor()
    assert engines.blas()


def test_an_unknown_engine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTXENT_PRODUCTS", "mkl")
    with pytest.raises(OptionError, match="SOFTXENT_PRODUCTS is 'mkl': valid are torch"):
        ours(inputs())


# --- memory ---

MEASURE = """
import sys, torch, softxent
def peak():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) / 1024
dtype, rows, classes = getattr(torch, sys.argv[1]), int(sys.argv[3]), int(sys.argv[4])
X = torch.randn(rows, 64).to(dtype).requires_grad_()
W = torch.ones(classes, 64).to(dtype).requires_grad_()
y = torch.randint(len(W), (rows,))
def step(X, W, y):
    loss = softxent.linear_cross_entropy(X, W, y, reduction=sys.argv[2])
    loss.backward(torch.ones_like(loss))  # the first one makes torch import SymPy: 33 MiB
step(X[:2], W[:2], y[:2] % 2)
X.grad = W.grad = None
with open("/proc/self/clear_refs", "w") as f:
    f.write("5")  # what was held before and is no more would hide as much of the peak
before = peak()
step(X, W, y)
sums = 0 if dtype == torch.float32 else W.numel() * 4
print(peak() - before - (X.grad.nbytes + W.grad.nbytes + sums) / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("reduction", "shape", "dtype"),
    [
        *(
            ("mean", ("256", "150000"), dtype)
            for dtype in ("float32", "float32 by onednn", "float32 by timed", "bfloat16")
        ),
        *(
            ("none", shape, dtype)
            for shape in (("256", "150000"), ("6000", "8192"))
            for dtype in ("float32", "bfloat16")
        ),
    ],
)
@pytest.mark.slow
def test_memory_is_bounded(reduction: Reduction, shape: tuple[str, str], dtype: str) -> None:
    """In a fresh process; the logits would take 73 to 188 MiB, and their gradient as much."""
    dtype, _, engine = dtype.partition(" by ")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, dtype, reduction, *shape],
        env=os.environ | {"SOFTXENT_PRODUCTS": engine},
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert float(done.stdout) < loop.MAX_BYTES / 2**20


@pytest.mark.parametrize(("spare", "kept"), [(0, 0), (2, 0), (3, 1), (4, 1), (16, 1)])
def test_a_logits_buffer_is_kept_for_a_result_of_its_size(spare: int, kept: int) -> None:
    softxent.empty_cache()
    matmuls = torch_matmuls.TorchMatmuls(torch.bfloat16)
    buffer = matmuls.logits_buffer(2, 2**20, spare * 2**20)  # 4 MiB
    address = buffer.data_ptr()
    del buffer
    assert (_native.cached_memory() > 0) == kept
    result = empty((spare * 2**20,), torch.uint8)
    assert (result.data_ptr() == address) == kept
    del result
    softxent.empty_cache()


# --- mistakes ---


def test_mistakes_are_named() -> None:
    given = inputs()
    X, W, y = given.features.detach(), given.classifier.detach(), given.target
    call = softxent.linear_cross_entropy
    with pytest.raises(ShapeError, match=r"\(53, 12\) needs 12\.|have 11 numbers per row"):
        call(X[:, :11], W, y)
    with pytest.raises(ShapeError, match=r"Is it transposed\? Pass classifier\.T"):
        call(X, W.T, y)
    with pytest.raises(ShapeError, match=r"bias has shape \(52,\)"):
        call(X, W, y, torch.zeros(52, dtype=torch.float64))
    with pytest.raises(ShapeError, match="one row per class"):
        call(X, W[0], y)
    with pytest.raises(DTypeError, match=r"classifier has dtype torch\.float32.*classifier.to"):
        call(X, W.float(), y)
    with pytest.raises(DTypeError, match="classifier is a ndarray"):
        call(X, W.numpy(), y)
    with pytest.raises(DTypeError, match=r"features has dtype torch\.int64"):
        call(X.long(), W, y)
    bad = y.clone()
    bad[3] = CLASSES
    with pytest.raises(TargetError, match=r"target\[3\] is 53, but there are 53 classes"):
        call(X, W, bad)
    with pytest.raises(OptionError, match="max_bytes is 1000: pass at least 1 MiB"):
        call(X, W, y, max_bytes=1000)
    with pytest.raises(OptionError, match="skip_below is -1"):
        call(X, W, y, skip_below=-1)
    with pytest.raises(ShapeError, match=r"linear_weight has shape \(5, 3, 12\)"):
        frontend(X, torch.zeros(5, 3, 12), y)
    with pytest.raises(OptionError, match=r"out_features is \(2,\)"):
        nn.LinearCrossEntropyLoss(3, 4, out_features=(2,))


# --- torch's names ---


def test_the_module_is_torchs() -> None:
    """The same arguments, and the same loss as torch's where torch has it."""
    given = inputs(torch.float32)
    criterion = nn.LinearCrossEntropyLoss(
        WIDTH, CLASSES, bias=True, label_smoothing=0.1, weight=torch.rand(CLASSES)
    )
    value = criterion(given.features, given.target)
    want = F.cross_entropy(
        criterion.linear(given.features), given.target, criterion.weight, label_smoothing=0.1
    )
    assert_close(value, want, 1e-6)
    theirs = getattr(torch.nn, "LinearCrossEntropyLoss", None)
    if theirs is not None:
        peer = theirs(WIDTH, CLASSES, bias=True, label_smoothing=0.1, weight=criterion.weight)
        peer.load_state_dict(copy.deepcopy(criterion.state_dict()))
        assert_close(value, peer(given.features, given.target), 1e-6)
        by_frontend = frontend(given.features, criterion.linear.weight, given.target)
        their_face = F.linear_cross_entropy(given.features, criterion.linear.weight, given.target)
        assert_close(by_frontend, their_face, 1e-6)


def test_with_grad_gives_what_autograd_gives() -> None:
    given = inputs(torch.float32)
    value = ours(given)
    value.backward()
    loss, grads = softxent.linear_cross_entropy_with_grad(
        given.features, given.classifier, given.target, given.bias
    )
    assert torch.equal(loss, value.detach())
    for g, x in zip(grads, given.leaves(), strict=True):
        assert g is not None
        assert x.grad is not None
        assert torch.equal(g, x.grad)
        assert not g.requires_grad
    _, some = softxent.linear_cross_entropy_with_grad(
        given.features, given.classifier, given.target, wanted=["classifier"]
    )
    assert some.features is None
    assert some.bias is None


def test_arrays_and_tensors_agree() -> None:
    given = inputs()
    X, W, b = (x.detach().numpy() for x in given.leaves())
    loss, grads = softxent.linear_cross_entropy_with_grad(X, W, given.target.numpy(), b)
    value = ours(given)
    value.backward()
    np.testing.assert_allclose(loss, value.item(), rtol=1e-13)
    for g, x in zip(grads, given.leaves(), strict=True):
        assert x.grad is not None
        np.testing.assert_allclose(g, x.grad.numpy(), rtol=1e-10, atol=1e-14)
