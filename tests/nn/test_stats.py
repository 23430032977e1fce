"""cross_entropy_with_stats: what it says of rows, beside what torch's operations say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import softxent
from softxent import _native
from softxent.errors import OptionError, TargetError
from softxent.nn import functional
from tests.support import oracle

NAN, INF = float("nan"), float("inf")


class Foreign(torch.Tensor):
    """A subclass: decomposed into torch operations, as on another device."""


@pytest.fixture(params=[*_native.levels(), "composed"])
def convert(request: pytest.FixtureRequest) -> Any:
    if request.param == "composed":
        yield lambda x: x.detach().as_subclass(Foreign).requires_grad_(x.requires_grad)
        return
    before = _native.current_level()
    assert _native.select_level(request.param)
    yield lambda x: x
    _native.select_level(before)


def batch(rows: int, classes: int, dtype: torch.dtype = torch.float64) -> Any:
    generator = torch.Generator().manual_seed(classes)
    logits = 3 * torch.randn(rows, classes, generator=generator, dtype=dtype)
    return logits, torch.randint(classes, (rows,), generator=generator)


@pytest.mark.parametrize("shape", [(5, 1), (7, 3), (40, 10), (3, 1025), (2, 5003), (3000, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_of_ordinary_rows(convert: Any, shape: tuple[int, int], dtype: torch.dtype) -> None:
    logits, target = batch(*shape, dtype)
    target[1] = -100
    k = min(3, shape[1])
    stats = functional.cross_entropy_with_stats(convert(logits), target, k=k)
    assert stats.loss.dtype == dtype
    kept = target != -100
    wide = logits.double()
    p = wide.softmax(1)
    few = 1e-12 if dtype == torch.float64 else 2e-6
    close: dict[str, Any] = {"rtol": few, "atol": few}
    want_lse = wide.logsumexp(1) * kept
    want_entropy = torch.special.entr(p).sum(1) * kept
    torch.testing.assert_close(stats.lse.double().as_subclass(torch.Tensor), want_lse, **close)
    torch.testing.assert_close(
        stats.entropy.double().as_subclass(torch.Tensor), want_entropy, **close
    )
    assert (stats.argmax == torch.where(kept, logits.argmax(1), -1)).all()
    _, order = softxent.top_k(logits, k)
    assert (stats.hits == ((order == target[:, None]).any(1) & kept)).all()
    loss = functional.cross_entropy(logits, target)
    torch.testing.assert_close(stats.loss.as_subclass(torch.Tensor), loss)


def test_entropy_of_confident_predictions_keeps_its_digits(convert: Any) -> None:
    """Of the target's class, and of another one."""
    logits = torch.tensor([[20.0, 0.0, -1.0], [300.0, 0.0, 1.0], [0.0, 0.0, 0.0]]).double()
    logits = torch.cat([logits, logits])
    target = torch.tensor([0, 0, 0, 1, 1, 1])
    stats = functional.cross_entropy_with_stats(convert(logits), target)
    for got, row in zip(stats.entropy.tolist(), logits.numpy(), strict=True):
        p = oracle.softmax(row)
        exact = -oracle.mp.fsum(x * oracle.mp.log(x) for x in p)
        assert abs(got - exact) <= 1e-14 * exact


def test_order_of_ties_and_broken_rows(convert: Any) -> None:
    """As top_k: the first among equals, and NaN before any number."""
    rows = torch.tensor(
        [
            [1.0, 2, 2, 2],
            [2, NAN, 5, NAN],
            [-INF, -INF, -INF, -INF],
            [1, INF, 2, INF],
            [1, -INF, 0, 3],
        ]
    )
    for target in range(4):
        for k in (1, 2, 3, 4):
            y = torch.full((5,), target)
            stats = functional.cross_entropy_with_stats(convert(rows), y, k=k, reduction="none")
            _, order = softxent.top_k(rows, k)
            assert stats.hits.tolist() == (order == target).any(1).tolist()
            assert stats.argmax.tolist() == [1, 1, 0, 1, 3]
            broken = [False, True, True, True, False]
            for values in (stats.loss, stats.lse, stats.entropy):
                assert values.isnan().tolist() == broken
    want = torch.special.entr(rows[4].softmax(0)).sum()
    torch.testing.assert_close(stats.entropy[4].as_subclass(torch.Tensor), want)


def test_order_across_the_blocks_of_a_long_row(convert: Any) -> None:
    """Equal logits and NaN in different blocks, with classes that lie apart."""
    rows = torch.zeros(3, 3000)
    rows[0, [1500, 2500]] = 2.0
    rows[1, [100, 2500]] = 2.0
    rows[2, [1500, 2500]] = NAN
    logits = convert(rows.T.contiguous()).T
    index = torch.full((3,), 2500)
    one_hot = torch.zeros(3000, 3).T
    one_hot[:, 2500] = 1
    for target in (index, one_hot):
        for k in (1, 2):
            stats = functional.cross_entropy_with_stats(logits, target, k=k, reduction="none")
            assert stats.argmax.tolist() == [1500, 100, 1500]
            assert stats.hits.tolist() == [k == 2] * 3


def test_ignored_rows(convert: Any) -> None:
    logits = torch.tensor([[NAN, 1.0], [0.0, 1.0]], requires_grad=True)
    given = convert(logits)
    stats = functional.cross_entropy_with_stats(given, torch.tensor([-100, 1]))
    assert stats.lse[0] == stats.entropy[0] == 0
    assert stats.argmax.tolist() == [-1, 1]
    assert stats.hits.tolist() == [False, True]
    (stats.loss + stats.lse.sum() + stats.entropy.sum()).backward()
    assert (given.grad[0] == 0).all()
    assert given.grad[1].isfinite().all()


def test_probabilities_hit_where_their_largest_does(convert: Any) -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    target = torch.tensor([[0.1, 0.4, 0.4], [0.0, 0.0, 1.0]])
    stats = functional.cross_entropy_with_stats(convert(logits), target)
    assert stats.hits.tolist() == [True, False]


@pytest.mark.parametrize("options", [{}, {"softcap": 3.0, "temperature": 0.7, "z_loss": 0.1}])
def test_derivatives(options: dict[str, Any]) -> None:
    logits, target = batch(3, 4)
    logits.requires_grad_()

    def numbers(z: torch.Tensor) -> Any:
        stats = functional.cross_entropy_with_stats(z, target, **options)
        return stats.loss, stats.lse, stats.entropy

    assert torch.autograd.gradcheck(numbers, logits)
    assert torch.autograd.gradgradcheck(numbers, logits)
    alone = functional.cross_entropy(logits, target, **options)
    loss = functional.cross_entropy_with_stats(logits, target, **options).loss
    grads = [torch.autograd.grad(value, logits)[0] for value in (alone, loss)]
    assert torch.equal(*grads)


def test_axes_and_layouts(convert: Any) -> None:
    """Slices of rows with any strides give the results of contiguous rows."""
    logits = torch.randn(5, 7, 3, 2, generator=torch.Generator().manual_seed(0))
    target = torch.randint(7, (5, 3, 2), generator=torch.Generator().manual_seed(1))
    every = functional.cross_entropy_with_stats(convert(logits), target, k=2, reduction="none")
    last = logits.movedim(1, -1)
    same = functional.cross_entropy_with_stats(
        convert(last), target, k=2, reduction="none", axis=-1
    )
    rows = functional.cross_entropy_with_stats(
        convert(last.reshape(-1, 7)), target.reshape(-1), k=2, reduction="none"
    )
    for a, b, c in zip(every, same, rows, strict=True):
        assert a.shape == target.shape
        assert torch.equal(a, b)
        assert torch.equal(a, c.view(target.shape))


def test_empty_batches(convert: Any) -> None:
    stats = functional.cross_entropy_with_stats(convert(torch.zeros(0, 3)), torch.zeros(0).long())
    assert stats.loss.isnan()
    assert stats.hits.shape == (0,)


def test_refusals(convert: Any) -> None:
    logits, target = convert(torch.zeros(2, 3)), torch.tensor([0, 3])
    with pytest.raises(TargetError, match=r"target\[1\] is 3"):
        functional.cross_entropy_with_stats(logits, target)
    with pytest.raises(OptionError, match="k is 4, but there are 3 classes"):
        functional.cross_entropy_with_stats(logits, target - 1, k=4)


@pytest.mark.parametrize("soft", [False, True])
def test_the_kernel_goes_through_many_slices(soft: bool) -> None:
    """More rows than fit one slice, with strided batches: the same as the rows in two halves."""
    logits, index = batch(3000, 300, torch.float32)
    one_hot = torch.nn.functional.one_hot(index, 300).float()
    target = one_hot if soft else index
    halves = [
        functional.cross_entropy_with_stats(logits[h], target[h], reduction="none")
        for h in (slice(0, 1500), slice(1500, None))
    ]
    flat = torch.stack([logits, logits], 2)[..., 1]
    nested = torch.zeros(60, 51, 300)[:, :50].copy_(logits.view(60, 50, 300))
    for wide in (flat, nested):
        given = target.view(*wide.shape[:-1], *target.shape[1:])
        stats = functional.cross_entropy_with_stats(wide, given, reduction="none", axis=-1)
        for whole, *parts in zip(stats, *halves, strict=True):
            assert np.array_equal(whole.flatten().numpy(), torch.cat(parts).numpy())
