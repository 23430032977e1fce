"""Derivatives on the kernels: of any order, by any transform, for any subset of the inputs."""

from __future__ import annotations

import gc
import importlib
import weakref
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

import softxent
from softxent import _native, nn
from softxent.errors import OptionError, TargetError
from softxent.nn import functional
from softxent.ops.options import Reduction

# torch compiles some of its own forward-mode derivatives with it.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

WEIGHT = torch.tensor([1.0, 0.25, 2.0, 0.5]).double()
OPTIONS: list[dict[str, Any]] = [
    {},
    {"weight": WEIGHT},
    {"label_smoothing": 0.2},
    {"z_loss": 0.1},
    {"softcap": 3.0},
    {"temperature": 0.6},
    {"ignore_index": 2},
    {"weight": WEIGHT, "label_smoothing": 0.1, "z_loss": 0.05, "softcap": 4.0, "temperature": 1.5},
]
options = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "+".join(o) or "plain")
torchs = pytest.mark.parametrize(
    "options", [o for o in OPTIONS if not {*o} & {"z_loss", "softcap", "temperature"}]
)
reductions = pytest.mark.parametrize("reduction", ["none", "mean", "sum"])


def data(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


LOGITS = data(3, 4)
INDEX = torch.tensor([3, 2, 0])
PROBABILITIES = data(3, 4, seed=1).softmax(1)
TARGETS = {"index": INDEX, "probabilities": PROBABILITIES}
targets = pytest.mark.parametrize("target", TARGETS)


def leaf(x: torch.Tensor = LOGITS) -> torch.Tensor:
    return x.clone().requires_grad_()


def fits(target: str, options: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in options.items() if target == "index" or k != "ignore_index"}


@options
@targets
@reductions
def test_second_derivatives(options: dict[str, Any], target: str, reduction: Reduction) -> None:
    keywords = fits(target, options) | {"reduction": reduction}
    assert torch.autograd.gradgradcheck(
        lambda z: functional.cross_entropy(z, TARGETS[target], **keywords), leaf()
    )


@options
@targets
@pytest.mark.slow
def test_forward_mode(options: dict[str, Any], target: str) -> None:
    """Forward over backward too, and many gradients at once."""

    def loss(z: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(z, TARGETS[target], **fits(target, options))

    assert torch.autograd.gradcheck(
        loss,
        leaf(),
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )
    assert torch.autograd.gradgradcheck(loss, leaf(), check_fwd_over_rev=True)


@pytest.mark.parametrize("wanted", range(1, 8))
@reductions
def test_any_subset_wants_a_gradient(wanted: int, reduction: Reduction) -> None:
    """Logits, class probabilities and weight, where one depends on another as well."""
    given = [LOGITS, PROBABILITIES, WEIGHT]
    ours = [x.clone().requires_grad_(bool(wanted >> i & 1)) for i, x in enumerate(given)]
    theirs = [x.clone().requires_grad_(bool(wanted >> i & 1)) for i, x in enumerate(given)]
    results = []
    for function, (z, q, w) in ((functional.cross_entropy, ours), (F.cross_entropy, theirs)):
        q = q + 0.1 * z.softmax(1)
        loss = function(z, q, w, reduction=reduction, label_smoothing=0.1)
        results.append(loss)
        loss.backward(torch.arange(1.0, 1 + loss.numel()).double().view_as(loss))
    torch.testing.assert_close(*results)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad)


@reductions
def test_the_weights_gradient_of_class_indices(reduction: Reduction) -> None:
    """The mean's denominator depends on the weight. torch has no such derivative."""
    assert torch.autograd.gradcheck(
        lambda z, w: functional.cross_entropy(z, INDEX, w, reduction=reduction),
        (leaf(), leaf(WEIGHT)),
    )


# --- torch.func ---


@torchs
@targets
def test_transforms(options: dict[str, Any], target: str) -> None:
    keywords = fits(target, options)
    y = TARGETS[target]
    for transform in (torch.func.grad, torch.func.jacrev, torch.func.jacfwd, torch.func.hessian):
        got, want = (
            transform(lambda z, f=f: f(z, y, **keywords))(LOGITS)
            for f in (functional.cross_entropy, F.cross_entropy)
        )
        torch.testing.assert_close(got, want)
    got, want = (
        torch.func.vmap(lambda z, t, f=f: f(z, t, **keywords))(LOGITS, y)
        for f in (functional.cross_entropy, F.cross_entropy)
    )
    torch.testing.assert_close(got, want, equal_nan=True)  # an ignored sample is a mean of none


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_transforms_of_softmax(name: str) -> None:
    ours, theirs = getattr(functional, name), getattr(F, name)
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        got, want = (transform(lambda z, f=f: f(z, 1))(LOGITS) for f in (ours, theirs))
        torch.testing.assert_close(got, want)
    got, want = (torch.func.vmap(lambda z, f=f: f(z, 0))(LOGITS) for f in (ours, theirs))
    torch.testing.assert_close(got, want)
    assert torch.autograd.gradgradcheck(lambda z: ours(z, 1), leaf())


def test_second_derivatives_of_logsumexp() -> None:
    assert torch.autograd.gradgradcheck(lambda z: softxent.logsumexp(z, 1), leaf())


def test_derivatives_of_the_binary_loss() -> None:
    """Of logits, target and weights; 0 is where max(x, 0) has a kink, which the loss hasn't."""
    x = torch.tensor([0.0, 1.5, -30.0, 4.0]).double()
    y, w, v = (data(4, seed=s).sigmoid() for s in (1, 2, 3))

    def loss(x: torch.Tensor, y: torch.Tensor, w: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return functional.binary_cross_entropy_with_logits(x, y, w, pos_weight=v)

    given = tuple(map(leaf, (x, y, w, v)))
    assert torch.autograd.gradcheck(loss, given, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(loss, given)
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        got, want = (
            transform(lambda z, f=f: f(z, y, w, reduction="none"))(x)
            for f in (functional.binary_cross_entropy_with_logits,
                      F.binary_cross_entropy_with_logits)
        )  # fmt: skip
        torch.testing.assert_close(got, want)


def test_labels_are_checked_in_transforms() -> None:
    """The position is that of the sample in its batch."""
    bad = torch.tensor([0, 4, 1])
    with pytest.raises(TargetError, match=r"target\[1\] is 4, but there are 4 classes"):
        torch.func.vmap(functional.cross_entropy)(LOGITS, bad)
    with pytest.raises(TargetError, match=r"target\[1\] is 4"):
        torch.func.grad(lambda z: functional.cross_entropy(z, bad))(LOGITS)


# --- the same gradient, however it is made ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [2, 10, 17, 300])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_small_batches_have_the_same_bits(reduction: Reduction, classes: int, dtype: Any) -> None:
    """Their gradient is made in the forward pass; a second one and any factor in the backward."""
    rows = 2000 // classes
    z = data(rows, classes).to(dtype).requires_grad_()
    y = torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(0))
    y[1] = -100
    loss = functional.cross_entropy(z, y, reduction=reduction)
    first, second = (torch.autograd.grad(loss, z, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr()
    (four,) = torch.autograd.grad(loss, z, torch.tensor(4.0, dtype=dtype))
    assert torch.equal(four, 4 * first)
    large = torch.cat([z.detach(), data(6000, classes).to(dtype)]).requires_grad_()
    more = torch.cat([y, torch.full((6000,), -100)])
    (grad,) = torch.autograd.grad(functional.cross_entropy(large, more, reduction=reduction), large)
    assert torch.equal(grad[:rows], first)


DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [7, 3000])
@pytest.mark.parametrize("options", [{}, {"reduction": "sum", "label_smoothing": 0.1}])
def test_how_arrays_are_handed_over_changes_no_bits(
    options: dict[str, Any], rows: int, dtype: Any
) -> None:
    """Contiguous tensors by address, others as arrays; weights of 1 take the general path, too."""
    z = data(rows, 11).to(dtype)
    y = torch.randint(11, (rows,), generator=torch.Generator().manual_seed(1))
    y[::5] = -100
    apart = torch.stack([z, z], 2)[..., 0]
    results = []
    for logits, weight in ((z, None), (apart, None), (z, torch.ones(11))):
        x = logits.detach().requires_grad_()
        loss = functional.cross_entropy(x, y, weight, **options)
        (grad,) = torch.autograd.grad(loss, x, torch.tensor(1.5, dtype=loss.dtype))
        results.append((loss.detach(), grad))
        assert torch.equal(functional.cross_entropy(x.detach(), y, weight, **options), loss)
    for got in results[1:]:
        assert torch.equal(got[0], results[0][0])
        assert torch.equal(got[1], results[0][1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [7, 3000])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_how_binary_arrays_are_handed_over_changes_no_bits(
    reduction: Reduction, rows: int, dtype: Any
) -> None:
    x = data(rows, 3).to(dtype)
    y = torch.rand(rows, 3, generator=torch.Generator().manual_seed(2)).to(dtype)
    apart = torch.stack([y, y], 2)[..., 0]
    results = []
    for target, weight in ((y, None), (apart, None), (y, torch.ones(3))):
        z = x.detach().requires_grad_()
        loss = functional.binary_cross_entropy_with_logits(z, target, weight, reduction=reduction)
        first, again = (torch.autograd.grad(loss, z, retain_graph=True)[0] for _ in range(2))
        (half,) = torch.autograd.grad(loss, z, torch.tensor(0.5, dtype=loss.dtype))
        assert torch.equal(first, again)
        results.append((loss.detach(), first, half))
    for got in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(got, results[0], strict=True))


@reductions
def test_upstream_gradients_of_any_layout(reduction: Reduction) -> None:
    z = leaf(data(6, 4))
    y = torch.tensor([0, 1, 2, 3, -100, 1])
    value = functional.cross_entropy(z, y, reduction=reduction)
    want = F.cross_entropy(z, y, reduction=reduction)
    factor = (
        torch.arange(12.0).double()[::2] if reduction == "none" else torch.tensor(-2.5).double()
    )
    for upstream in (factor, torch.tensor(0.5).double().expand_as(value)):
        got = torch.autograd.grad(value, z, upstream, retain_graph=True)[0]
        torch.testing.assert_close(
            got, torch.autograd.grad(want, z, upstream, retain_graph=True)[0]
        )


def test_layouts_of_logits() -> None:
    """Expanded, transposed, strided and channels-last inputs."""
    base = data(8, 4)
    y = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    for view in (
        lambda x: x[:1].expand(8, 4),
        lambda x: x.T.contiguous().T,
        lambda x: torch.stack([x, x], 2)[..., 1],
        lambda x: x.flip(0),
    ):
        x, x2 = leaf(base), leaf(base)
        functional.cross_entropy(view(x), y).backward()
        F.cross_entropy(view(x2), y).backward()
        torch.testing.assert_close(x.grad, x2.grad)
    image = data(2, 4, 3, 5).to(memory_format=torch.channels_last).requires_grad_()
    labels = torch.zeros(2, 3, 5).long()
    (grad,) = torch.autograd.grad(functional.cross_entropy(image, labels), image)
    assert grad.stride() == image.stride()
    torch.testing.assert_close(grad, torch.autograd.grad(F.cross_entropy(image, labels), image)[0])


def test_a_lazy_sign_is_read() -> None:
    x = torch.complex(data(3, 4), data(3, 4, seed=5)).conj().imag
    assert x.is_neg()
    torch.testing.assert_close(functional.cross_entropy(x, INDEX), F.cross_entropy(x, INDEX))


def test_logits_may_change_before_the_first_backward_pass() -> None:
    """The gradient is there already; one that must be computed anew is never silently wrong."""
    z = leaf() * 1
    loss = functional.cross_entropy(z, INDEX)
    (want,) = torch.autograd.grad(loss, z, retain_graph=True)
    loss = functional.cross_entropy(z, INDEX)
    with torch.no_grad():
        z.mul_(2)
    (got,) = torch.autograd.grad(loss, z, retain_graph=True)
    assert torch.equal(got, want)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_saved_tensors_can_be_hooked() -> None:
    """The logits are kept by autograd, so that they can be moved elsewhere in the meantime."""
    packed = []

    def pack(x: torch.Tensor) -> torch.Tensor:
        packed.append(x.shape)
        return x.clone()

    z = leaf(data(3, 4, 500))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        loss = functional.cross_entropy(z, torch.zeros(3, 500).long())
    assert z.shape in packed
    loss.backward()
    assert z.grad is not None


@pytest.mark.slow
def test_nothing_is_kept_after_the_backward_pass() -> None:
    z = leaf(data(40, 4, 50)) * 1
    loss = functional.cross_entropy(z, torch.zeros(40, 50).long())
    alive = weakref.ref(z)
    loss.backward()
    del z, loss
    gc.collect()
    assert alive() is None


# --- the gradient of the forward pass ---

KERNELS = importlib.import_module("softxent.ops.tensors.kernels.cross_entropy")
LARGE = data(300, 1000)  # beyond every limit below which results are small
LABELS = torch.arange(300)
GENERAL = {"weight": torch.linspace(0.5, 2, 1000), "label_smoothing": 0.1, "z_loss": 0.01}
general = pytest.mark.parametrize("options", [{}, GENERAL], ids=["plain", "general"])


def loss_of(z: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
    return functional.cross_entropy(z, LABELS, **options)


@general
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_of_one_pass(options: dict[str, Any], dtype: Any) -> None:
    z = LARGE.to(dtype).requires_grad_()
    loss_of(z, options).backward()
    _, want = softxent.cross_entropy_with_grad(z.detach(), LABELS, **options)
    assert z.grad is not None
    assert torch.equal(z.grad, want)


@general
def test_backward_passes_accumulate(options: dict[str, Any]) -> None:
    """Autograd keeps the first gradient as z.grad and adds the others to it in place."""
    z = LARGE.float().requires_grad_()
    loss = loss_of(z, options)
    (want,) = torch.autograd.grad(loss, z, retain_graph=True)
    for passes in (1, 2, 3):
        loss.backward(retain_graph=True)
        assert z.grad is not None
        torch.testing.assert_close(z.grad, passes * want)
    z.grad = None
    loss.backward()
    assert z.grad is not None
    torch.testing.assert_close(z.grad, want)


@general
def test_accumulation_over_parts_of_a_batch(options: dict[str, Any]) -> None:
    z = LARGE.float().requires_grad_()
    for part in range(3):
        rows = slice(100 * part, 100 * part + 100)
        loss = functional.cross_entropy(z[rows], LABELS[rows], reduction="sum", **options)
        (loss / 300).backward()
    _, want = softxent.cross_entropy_with_grad(LARGE.float(), LABELS, reduction="sum", **options)
    assert z.grad is not None
    torch.testing.assert_close(z.grad, want / 300)


@general
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [16384.0, 1 / 3, 0.25, -3.0, 0.0])
def test_upstream_factors_lose_no_digits(options: dict[str, Any], dtype: Any, scale: float) -> None:
    """As a gradient scaler has them: float16 gradients of 1e-9 are below its smallest number.

    In half precision a gradient is rounded once, for any factor.
    """
    wide = (4 * LARGE).to(dtype)
    z = wide.requires_grad_()
    loss = loss_of(z, options)
    upstream = torch.tensor(scale, dtype=loss.dtype)
    loss.backward(upstream)
    x = wide.detach().double().requires_grad_()
    doubles = {k: v.double() if k == "weight" else v for k, v in options.items()}
    loss_of(x, doubles).backward(upstream.double())
    assert z.grad is not None
    assert x.grad is not None
    info = torch.finfo(dtype)
    few = 4 * info.eps if dtype is torch.float32 else 0.51 * info.eps
    torch.testing.assert_close(
        z.grad.double(), x.grad, rtol=few, atol=float(info.smallest_normal) * info.eps
    )


def test_an_infinite_upstream_factor_leaves_ignored_rows_alone() -> None:
    z = LARGE.float().requires_grad_()
    loss = functional.cross_entropy(z, LABELS.where(LABELS != 7, -100))
    loss.backward(torch.tensor(torch.inf))
    assert z.grad is not None
    assert not z.grad[7].any()
    assert not z.grad[0].isfinite().any()
    with nn.patch():
        loss = F.cross_entropy(z, LABELS.where(LABELS != 7, -100))
    (grad,) = torch.autograd.grad(loss, z, torch.tensor(torch.inf))
    assert not grad[7].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_gradients_are_in_kept_memory(dtype: Any) -> None:
    z = torch.cat([LARGE, LARGE]).to(dtype).requires_grad_()
    softxent.empty_cache()
    (grad,) = torch.autograd.grad(functional.cross_entropy(z, torch.cat([LABELS, LABELS])), z)
    assert _native.cached_memory() == 0
    del grad
    assert _native.cached_memory() >= z.nbytes
    softxent.empty_cache()


@general
def test_checkpoints_keep_no_gradient(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[torch.Size] = []
    real = KERNELS.empty_like

    def counted(x: torch.Tensor) -> torch.Tensor:
        made.append(x.shape)
        result: torch.Tensor = real(x)
        return result

    monkeypatch.setattr(KERNELS, "empty_like", counted)
    want = torch.autograd.grad(loss_of(z := LARGE.float().requires_grad_(), options), z)[0]
    assert made == [z.shape]
    for reentrant in (False, True):
        made.clear()
        z = LARGE.float().requires_grad_()
        loss = checkpoint(loss_of, z, options, use_reentrant=reentrant)
        assert not made
        loss.backward()
        assert z.grad is not None
        torch.testing.assert_close(z.grad, want)
    made.clear()
    z = LARGE.float().requires_grad_()
    with torch.autograd.graph.save_on_cpu():
        loss = loss_of(z, options)
    assert not made
    torch.testing.assert_close(torch.autograd.grad(loss, z)[0], want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 1 / 3, 64.0])
def test_the_gradient_of_the_binary_loss(dtype: Any, scale: float) -> None:
    """Of one pass, of a second backward pass, and after a checkpoint that keeps none."""
    z = LARGE.to(dtype).requires_grad_()
    y = LARGE.sigmoid().to(dtype)

    def loss_of_both(z: torch.Tensor) -> torch.Tensor:
        return functional.binary_cross_entropy_with_logits(z, y)

    x = LARGE.to(dtype).double().requires_grad_()
    upstream = torch.tensor(scale, dtype=dtype)
    (F.binary_cross_entropy_with_logits(x, y.double()) * upstream.double()).backward()
    assert x.grad is not None
    loss = loss_of_both(z)
    first, second = (torch.autograd.grad(loss, z, upstream, retain_graph=True)[0] for _ in "12")
    loss = checkpoint(loss_of_both, z, use_reentrant=False)
    (third,) = torch.autograd.grad(loss, z, upstream)
    few = 4 * torch.finfo(dtype).eps
    for grad in (first, second, third):
        torch.testing.assert_close(grad.double(), x.grad, rtol=few, atol=few * 1e-5)
    assert first.data_ptr() != second.data_ptr()


@general
def test_no_gradient_is_computed_without_need(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("memory for a gradient")

    monkeypatch.setattr(KERNELS, "empty_like", fail)
    with torch.no_grad():
        loss_of(LARGE.float().requires_grad_(), options)
    with torch.inference_mode():
        loss_of(LARGE.float(), options)
    loss_of(LARGE.float(), options)


# --- the gradient over the logits ---


def over(z: torch.Tensor, y: torch.Tensor = INDEX, **options: Any) -> torch.Tensor:
    return functional.cross_entropy(z, y, inplace_backward=True, **options)


@options
@targets
@reductions
def test_in_place(options: dict[str, Any], target: str, reduction: Reduction) -> None:
    keywords = fits(target, options) | {"reduction": reduction}
    x, want = leaf(), leaf()
    z = x * 1
    seen = []
    z.register_hook(lambda g: seen.append(g.data_ptr() == z.data_ptr()))
    over(z, TARGETS[target], **keywords).sum().backward()
    functional.cross_entropy(want * 1, TARGETS[target], **keywords).sum().backward()
    assert seen == [True]
    torch.testing.assert_close(x.grad, want.grad, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_place_of_strided_logits(dtype: Any) -> None:
    x = data(2, 4, 6).to(dtype).requires_grad_()
    want = x.detach().clone().requires_grad_()
    y = torch.zeros(2, 6).long()
    z = (x * 1).transpose(1, 2)  # (2, 6, 4), classes last
    over(z, y, axis=-1).backward()
    functional.cross_entropy(want, y).backward()
    torch.testing.assert_close(x.grad, want.grad)


def test_a_later_use_of_overwritten_logits_raises() -> None:
    x = leaf()
    z = x.exp()  # whose own backward pass needs z
    loss = over(z)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    z = leaf() * 1
    other = (z**2).sum()
    over(z).backward()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        other.backward()


def test_a_second_backward_pass_over_overwritten_logits_raises() -> None:
    z = leaf() * 1
    loss = over(z)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_graph_of_the_gradient_leaves_the_logits_alone() -> None:
    z = leaf() * 1
    before = z.detach().clone()
    (grad,) = torch.autograd.grad(over(z), z, create_graph=True)
    assert torch.equal(z, before)
    assert torch.autograd.grad(grad.square().sum(), z)[0].isfinite().all()


def test_a_target_that_shares_the_logits_memory_is_not_written_over() -> None:
    """What the gradient has yet to read stays; it comes in memory of its own."""
    x, want = (data(3, 4).abs().requires_grad_() for _ in range(2))
    z, other = x * 1, want * 1
    before = z.detach().clone()
    over(z, z.detach()).backward()
    functional.cross_entropy(other, other.detach().clone()).backward()
    torch.testing.assert_close(x.grad, want.grad, rtol=0, atol=0)
    assert torch.equal(z, before)


def test_what_cannot_be_written_over_is_refused() -> None:
    with pytest.raises(OptionError, match="parameter"):
        over(leaf())
    with pytest.raises(OptionError, match="expanded"):
        over((leaf() * 1)[:1].expand(3, 4))
    assert over(LOGITS).isfinite()  # no gradient is wanted, none is written
    assert torch.equal(LOGITS, data(3, 4))


# --- dtypes ---


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast(half: torch.dtype) -> None:
    layer = torch.nn.Linear(5, 4)
    x = torch.randn(3, 5)
    with torch.autocast("cpu", dtype=half):
        z = layer(x)
        loss, want = functional.cross_entropy(z, INDEX), F.cross_entropy(z, INDEX)
        assert z.dtype == half
        assert loss.dtype == want.dtype == torch.float32
        torch.testing.assert_close(loss, want)
        for name in ("softmax", "log_softmax"):
            assert getattr(functional, name)(z, 1).dtype == getattr(F, name)(z, 1).dtype
        q = torch.rand(3, 4)
        assert functional.binary_cross_entropy_with_logits(z, q).dtype == torch.float32
    grads = [torch.autograd.grad(v, layer.weight, retain_graph=True)[0] for v in (loss, want)]
    torch.testing.assert_close(*grads, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_targets_of_any_integer_dtype(dtype: torch.dtype) -> None:
    want = F.cross_entropy(LOGITS, INDEX)
    torch.testing.assert_close(functional.cross_entropy(LOGITS, INDEX.to(dtype)), want)
    bad = torch.tensor([3, 2, 100], dtype=dtype)
    for x in (LOGITS, leaf()):
        with pytest.raises(TargetError, match=r"target\[2\] is 100, but there are 4 classes"):
            functional.cross_entropy(x, bad)


def test_tokens_with_the_classes_last() -> None:
    logits, target = leaf(data(2, 5, 4)), torch.randint(4, (2, 5))
    got = functional.cross_entropy(logits, target, axis=-1)
    torch.testing.assert_close(got, F.cross_entropy(logits.flatten(0, 1), target.flatten()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_binary_targets_outside_are_named_in_every_dtype(dtype: torch.dtype) -> None:
    x = torch.zeros(3, requires_grad=True)
    y = torch.tensor([0, 1, 2]).to(dtype)
    with pytest.raises(TargetError, match=r"target\[2\] is 2"):
        functional.binary_cross_entropy_with_logits(x.to(torch.bfloat16), y)
    with pytest.raises(TargetError, match=r"target\[2\] is 2"):
        functional.binary_cross_entropy_with_logits(x, y)
