"""lse, entropy, argmax and hits of a linear head's rows: torch's answer with all logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from softxent.errors import OptionError
from softxent.nn.functional import linear_cross_entropy_with_stats, linear_log_prob_and_entropy
from softxent.nn.stats import LossStats
from softxent.ops.linear import loop
from softxent.ops.linear import stats as linear_stats
from softxent.ops.options import Reduction
from tests.support.linear_head import (
    CLASSES,
    DTYPES,
    OPTIONS,
    ROWS,
    TOLERANCE,
    Inputs,
    assert_close,
    inputs,
    with_all_logits,
)


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.LinearHead, "_rows_at_once", lambda self: 10)
    monkeypatch.setattr(loop, "_BLOCK", 16)
    monkeypatch.setattr(loop.LinearHead, "_copied", lambda self, itemsize=None: 16)
    monkeypatch.setattr(linear_stats, "_IN_CACHE", 3 * CLASSES)


def ours(given: Inputs, k: int = 1, **options: Any) -> LossStats:
    return linear_cross_entropy_with_stats(
        given.features, given.classifier, given.target, given.bias, given.weight, k=k, **options
    )


def with_logits(given: Inputs, k: int, options: dict[str, Any]) -> tuple[Tensor, ...]:
    z = F.linear(given.features, given.classifier, given.bias)
    u = z / options.get("temperature", 1.0)
    if options.get("softcap") is not None:
        u = options["softcap"] * torch.tanh(u / options["softcap"])
    log_p = u.log_softmax(-1)
    kept = torch.ones(z.shape[:-1], dtype=torch.bool)
    y = given.target
    if given.target.is_floating_point():
        y = given.target.argmax(-1)
    else:
        kept = y != options.get("ignore_index", -100)
    hits = (z.topk(k).indices == y[..., None]).any(-1) & kept
    entropy = -(log_p.exp() * log_p).sum(-1)
    zero = torch.zeros_like(entropy)
    return (
        with_all_logits(given, **options),
        torch.where(kept, u.logsumexp(-1), zero),
        torch.where(kept, entropy, zero),
        torch.where(kept, z.argmax(-1), -1),
        hits,
    )


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("kind", ["index", "probabilities"])
def test_values_and_gradients(kind: str, name: str, reduction: Reduction) -> None:
    if kind == "probabilities" and name == "ignored":
        pytest.skip("class probabilities have no ignored rows")
    options = {**OPTIONS[name], "reduction": reduction}
    given = inputs(kind=kind, weight=True, ignored=options.get("ignore_index", -100))
    exact = given.double()
    got, want = ours(given, 3, **options), with_logits(exact, 3, options)
    for g, w in zip(got[:5], want, strict=True):
        assert_close(g.double(), w.double(), 1e-12)
    ups = [torch.rand(w.shape, dtype=torch.float64) - 0.5 for w in want[:3]]
    grads = torch.autograd.grad(got[:3], given.leaves(), ups)
    wanted = torch.autograd.grad(want[:3], exact.leaves(), ups)
    for g, w in zip(grads, wanted, strict=True):
        assert_close(g, w, 1e-11)


@pytest.mark.parametrize("only", range(3))
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_each_gradient_alone_in_every_dtype(dtype: torch.dtype, only: int) -> None:
    given = inputs(dtype)
    exact = given.double()
    got, want = ours(given), with_logits(exact, 1, {})
    assert got.loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert_close(got[only], want[only], TOLERANCE[dtype])
    up = torch.rand(want[only].shape)
    grads = torch.autograd.grad(got[only], given.leaves(), up.to(got[only].dtype))
    wanted = torch.autograd.grad(want[only], exact.leaves(), up.double())
    for g, w in zip(grads, wanted, strict=True):
        assert g.dtype == dtype
        assert_close(g, w, TOLERANCE[dtype])


def test_leading_dimensions() -> None:
    given = inputs(lead=(4, 5))
    for entry in ours(given)[1:5]:
        assert entry.shape == (4, 5)


def test_hits_among_equals_prefer_the_lower_class() -> None:
    X = torch.ones(4, 1, dtype=torch.float64)
    W = torch.tensor([[1.0], [2.0], [2.0], [0.0]], dtype=torch.float64)
    y = torch.tensor([1, 2, 0, 3])
    hits = [linear_cross_entropy_with_stats(X, W, y, k=k).hits.tolist() for k in (1, 2, 3)]
    assert hits == [
        [True, False, False, False],
        [True, True, False, False],
        [True, True, True, False],
    ]
    assert linear_cross_entropy_with_stats(X, W, y).argmax.tolist() == [1, 1, 1, 1]


def test_a_masked_class_and_a_broken_row() -> None:
    given = inputs(torch.float32)
    assert given.bias is not None
    with torch.no_grad():
        given.bias[7] = -torch.inf
        given.features[4, 0] = torch.nan
    given.target[given.target == 7] = 8
    got = ours(given, reduction="none")
    assert got.lse[4].isnan()
    assert got.entropy[4].isnan()
    others = torch.arange(ROWS) != 4
    assert got.lse[others].isfinite().all()
    assert got.entropy[others].isfinite().all()
    (got.entropy[others].sum() + got.lse[others].sum()).backward()
    assert given.features.grad is not None
    assert given.features.grad[others].isfinite().all()


def test_a_confident_prediction_has_little_entropy() -> None:
    X, W = torch.tensor([[20.0]]), torch.tensor([[1.0], [0.0]])
    stats = linear_cross_entropy_with_stats(X, W, torch.tensor([0]))
    assert stats.entropy.item() == pytest.approx(4.328435e-08, rel=1e-5)


def test_composed_and_looped_agree() -> None:
    """The gradients of class weights use the decomposition into torch operations."""
    given, other = inputs(weight=True), inputs(weight=True)
    assert other.weight is not None
    other.weight.requires_grad_()
    for a, b in zip(ours(given, 2), ours(other, 2), strict=True):
        assert_close(a.double(), b.double(), 1e-12)


def test_log_prob_and_entropy() -> None:
    given = inputs()
    ids, kept = given.target, given.target != -100
    log_prob, entropy = linear_log_prob_and_entropy(
        given.features, given.classifier, ids, given.bias, temperature=0.7
    )
    exact = given.double()
    z = F.linear(exact.features, exact.classifier, exact.bias) / 0.7
    log_p = z.log_softmax(-1)
    want = torch.where(kept, log_p.gather(-1, ids.clamp(0)[:, None])[:, 0], 0.0)
    want_entropy = torch.where(kept, -(log_p.exp() * log_p).sum(-1), 0.0)
    assert_close(log_prob, want, 1e-12)
    assert_close(entropy, want_entropy, 1e-12)
    (log_prob.sum() + 0.1 * entropy.sum()).backward()
    (want.sum() + 0.1 * want_entropy.sum()).backward()
    for g, w in zip(given.leaves(), exact.leaves(), strict=True):
        assert g.grad is not None
        assert w.grad is not None
        assert_close(g.grad, w.grad, 1e-11)


def test_mistakes_are_named() -> None:
    given = inputs()
    with pytest.raises(OptionError, match="k is 54, but there are 53 classes"):
        ours(given, 54)
    with pytest.raises(OptionError, match="ids are class indices"):
        linear_log_prob_and_entropy(given.features, given.classifier, given.target.double())


def test_gradgradcheck() -> None:
    g = torch.Generator().manual_seed(0)
    X, W, b = (
        torch.randn(*shape, generator=g, dtype=torch.float64, requires_grad=True)
        for shape in ((4, 3), (9, 3), (9,))
    )
    y = torch.tensor([0, 7, 8, -100])

    def f(X: Tensor, W: Tensor, b: Tensor) -> Any:
        return linear_cross_entropy_with_stats(X, W, y, b, softcap=4.0)[:3]

    assert torch.autograd.gradcheck(f, (X, W, b))
    assert torch.autograd.gradgradcheck(f, (X, W, b), fast_mode=True)
