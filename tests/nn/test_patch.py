"""patch(): torch's functions replaced, given back exactly, and shown on real clients."""

from __future__ import annotations

import itertools
import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from softxent import nn
from softxent.errors import ShapeError, SoftxentError, TargetError
from softxent.nn import functional, functions

NAMES = [name for name in functional.__all__ if hasattr(F, name)]
TORCHS = {name: getattr(F, name) for name in NAMES}
SURE = torch.tensor([[20.0, 0.0]])  # torch's loss is 0, softxent's 2.06e-9


def is_torchs() -> bool:
    return all(getattr(F, name) is TORCHS[name] for name in NAMES)


@pytest.fixture(autouse=True)
def given_back() -> Iterator[None]:
    assert is_torchs()
    yield
    assert is_torchs()


def sure_loss() -> float:
    return float(torch.nn.CrossEntropyLoss()(SURE, torch.tensor([0])))


def test_as_a_context() -> None:
    assert sure_loss() == 0
    with nn.patch():
        assert sure_loss() > 0
        assert not any(getattr(F, name) is TORCHS[name] for name in NAMES)
    assert sure_loss() == 0


def test_as_a_switch() -> None:
    switch = nn.patch()
    assert sure_loss() > 0
    switch.undo()
    assert is_torchs()
    switch.undo()
    assert is_torchs()


def test_after_an_exception() -> None:
    with pytest.raises(TargetError, match=r"target\[1\] is 2"), nn.patch():
        F.cross_entropy(torch.zeros(2, 2), torch.tensor([0, 2]))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_nested_in_any_order(order: tuple[int, ...]) -> None:
    switches = [nn.patch() for _ in range(3)]
    for i in order:
        assert sure_loss() > 0
        switches[i].undo()
    assert is_torchs()


def test_who_patches_later_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    switch = nn.patch()
    inner = F.cross_entropy
    monkeypatch.setattr(F, "cross_entropy", lambda *a, **k: 2 * inner(*a, **k))
    assert sure_loss() > 0
    switch.undo()
    assert F.cross_entropy is not TORCHS["cross_entropy"]
    assert sure_loss() == 0  # by torch's own function
    monkeypatch.undo()
    assert F.cross_entropy is inner  # what was there when the other came
    F.cross_entropy = TORCHS["cross_entropy"]


def test_every_function_is_ours() -> None:
    x, q = torch.randn(4, 3), torch.rand(4, 3)
    y = torch.tensor([0, 2, 1, 9])
    with nn.patch():
        for name in ("cross_entropy", "nll_loss"):
            with pytest.raises(TargetError):
                getattr(F, name)(x, y)
        with pytest.raises(TargetError):
            F.binary_cross_entropy(q, q + 1)
        name = "binary_cross_entropy_with_logits"  # torch computes it with any numbers
        with pytest.warns(UserWarning, match=r"^\[binary.*\] target.* torch computes it never"):
            loss = getattr(F, name)(q, q + 1)
        assert torch.equal(loss, TORCHS[name](q, q + 1))
        for name in ("softmax", "log_softmax"):
            assert torch.equal(getattr(F, name)(x, 1), getattr(functional, name)(x, 1))


def test_the_rest_goes_to_torch() -> None:
    """Integers, no dim, subclasses, torch.func, sparse tensors, lists where torch wants them."""

    class Subclass(torch.Tensor):
        pass

    with nn.patch():
        whole = torch.tensor([[1, 2]])
        assert F.softmax(whole, 1, dtype=torch.float32).dtype == torch.float32
        with pytest.raises(RuntimeError):  # NotImplementedError in newer versions
            F.softmax(whole, 1)
        with pytest.warns(UserWarning, match="Implicit dimension"):
            F.softmax(torch.zeros(2))
        loss = F.cross_entropy(SURE.as_subclass(Subclass), torch.tensor([0]))
        assert type(loss) is Subclass
        assert loss == 0
        losses = torch.func.vmap(F.cross_entropy)(SURE, torch.tensor([0]))
        assert losses == 0
        meta = F.cross_entropy(SURE.to("meta"), torch.tensor([0], device="meta"))
        assert meta.is_meta


REFUSED: dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]] = {
    "a label out of range": (TargetError, (torch.zeros(2, 3), torch.tensor([0, 3])), {}),
    "rows that don't fit": (ShapeError, (torch.zeros(2, 3), torch.tensor([0, 1, 2])), {}),
    "labels of floats": (SoftxentError, (torch.zeros(2, 3), torch.tensor([0.0, 1.0])), {}),
    "weights that don't fit": (
        ShapeError,
        (torch.zeros(2, 3), torch.tensor([0, 1]), torch.ones(2)),
        {},
    ),
    "an unknown reduction": (
        SoftxentError,
        (torch.zeros(2, 3), torch.tensor([0, 1])),
        {"reduction": "avg"},
    ),
    "smoothing above 1": (
        SoftxentError,
        (torch.zeros(2, 3), torch.tensor([0, 1])),
        {"label_smoothing": 2.0},
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_errors_are_torchs_as_well(name: str) -> None:
    """Of softxent's class and of torch's; always a RuntimeError; with softxent's message."""
    kind, arguments, keywords = REFUSED[name]
    with pytest.raises(Exception) as torchs:  # noqa: PT011  (any)
        F.cross_entropy(*arguments, **keywords)
    with nn.patch(), pytest.raises(kind, match=r"^\[cross_entropy\] ") as ours:
        F.cross_entropy(*arguments, **keywords)
    assert isinstance(ours.value, type(torchs.value))
    assert isinstance(ours.value, RuntimeError)
    again = pickle.loads(pickle.dumps(ours.value))  # as a worker process sends it
    assert isinstance(again, kind)
    assert str(again) == str(ours.value)


def test_what_torch_computes_is_computed() -> None:
    """With a warning; also where warnings are errors."""
    q = torch.tensor([[-1e-3, 1.001], [0.5, 0.5]])
    z = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    want = F.cross_entropy(z, q)
    with nn.patch():
        with pytest.warns(UserWarning, match=r"^\[cross_entropy\] target.* torch computes it"):
            assert torch.equal(F.cross_entropy(z, q), want)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert torch.equal(F.cross_entropy(z, q), want)


def leaf_and_copy(dtype: torch.dtype, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    z = (3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).to(dtype)
    return z.requires_grad_(), z.detach().double().requires_grad_()


CHANGED: dict[str, dict[str, Any]] = {
    "plain": {},
    "sum": {"reduction": "sum"},
    "none": {"reduction": "none"},
    "weights": {"weight": True},
    "smoothing": {"label_smoothing": 0.1},
    "soft targets": {"soft": True},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(6, 5), (40, 300), (4, 7, 3)])
@pytest.mark.parametrize("case", CHANGED)
def test_logits_may_change_before_the_backward_pass(
    case: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    leaf, copy = leaf_and_copy(dtype, shape)
    options = dict(CHANGED[case])
    if options.pop("soft", False):
        target = torch.rand(shape).to(dtype)
    else:
        target = torch.randint(shape[1], (shape[0], *shape[2:]))
    if options.pop("weight", False):
        options["weight"] = torch.rand(shape[1]).to(dtype)
    wide = {k: v.double() if k == "weight" else v for k, v in options.items()}
    soft = target.double() if target.is_floating_point() else target
    want = F.cross_entropy(copy, soft, **wide)
    (3 * want.sum()).backward()
    with nn.patch():
        logits = leaf * 1
        loss = F.cross_entropy(logits, target, **options)
        logits.zero_()
        (3 * loss.sum()).backward()
    assert leaf.grad is not None
    assert copy.grad is not None
    few = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(leaf.grad.double(), copy.grad, rtol=2 * few, atol=few)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_arguments_of_softmax_may_change(name: str) -> None:
    leaf, copy = leaf_and_copy(torch.float32, (40, 300))
    upstream = torch.rand(40, 300)
    getattr(F, name)(copy, 1).backward(upstream.double())
    with nn.patch():
        logits = leaf * 1
        result = getattr(F, name)(logits, 1)
        logits.zero_()
        result.backward(upstream)
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad.double(), copy.grad, rtol=1e-5, atol=1e-6)


def test_a_second_backward_pass() -> None:
    """From logits that haven't changed; and derivatives of the gradient."""
    leaf, copy = leaf_and_copy(torch.float32, (40, 300))
    y = torch.randint(300, (40,))
    want = torch.autograd.grad(F.cross_entropy(copy, y), copy, create_graph=True)[0]
    (second,) = torch.autograd.grad(want.square().sum(), copy)
    with nn.patch():
        loss = F.cross_entropy(leaf, y)
        first = torch.autograd.grad(loss, leaf, retain_graph=True)[0].clone()
        graph = torch.autograd.grad(loss, leaf, create_graph=True)[0]
        torch.testing.assert_close(first, graph)
        (got,) = torch.autograd.grad(graph.square().sum(), leaf)
    torch.testing.assert_close(first.double(), want, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(got.double(), second, rtol=1e-4, atol=1e-7)


@pytest.mark.skipif(not hasattr(F, "linear_cross_entropy"), reason="an older torch")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_linear_head(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(n, 8, generator=generator).to(dtype).requires_grad_() for n in (6, 5))
    y = torch.tensor([0, 4, 2, -100, 1, 3])
    want = F.linear_cross_entropy(x, w, y, label_smoothing=0.1)
    wanted = torch.autograd.grad(want, (x, w))
    calls = []
    ours = functional.linear_cross_entropy

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return ours(*arguments, **options)

    functional.linear_cross_entropy = counted
    try:
        with nn.patch():
            got = F.linear_cross_entropy(x, w, y, label_smoothing=0.1)
            image = torch.randn(5, 2, 8).to(dtype)  # a loss of several dimensions is torch's
            apart = F.linear_cross_entropy(x.detach(), image, torch.zeros(6, 2).long())
    finally:
        functional.linear_cross_entropy = ours
    assert calls == [1]
    assert apart.isfinite()
    assert got.dtype == want.dtype
    few = 8 * torch.finfo(dtype).eps
    for a, b in zip((got, *torch.autograd.grad(got, (x, w))), (want, *wanted), strict=True):
        torch.testing.assert_close(a, b, rtol=few, atol=few)


def test_keywords_and_positions_are_torchs() -> None:
    y, w = torch.tensor([0]), torch.ones(2)
    with nn.patch():
        a = F.cross_entropy(SURE, y, w, None, -100, None, "sum", 0.1)
        b = F.cross_entropy(
            input=SURE, target=y, weight=w, ignore_index=-100, reduction="sum", label_smoothing=0.1
        )
    assert torch.equal(a, b)


def train(model: torch.nn.Module, steps: int) -> list[float]:
    """A loop as everybody writes it."""
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(steps):
        x = torch.randn(32, 8, generator=generator)
        y = (x.abs().argmax(1) % 4).long()
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def small_model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))


def test_a_loop_trains_the_same() -> None:
    want = train(small_model(), 30)
    with nn.patch():
        got = train(small_model(), 30)
    np.testing.assert_allclose(got, want, rtol=2e-5)
    assert got[-1] < got[0]


@pytest.mark.slow
def test_gpt2_trains_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small one, randomly initialised: nothing is downloaded."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=2, n_head=2, n_embd=32, n_positions=16, vocab_size=211,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    tokens = torch.randint(211, (3, 16), generator=torch.Generator().manual_seed(1))
    labels = tokens.clone()
    labels[0, 10:] = -100

    def losses() -> list[float]:
        torch.manual_seed(0)
        model = transformers.GPT2LMHeadModel(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        result = []
        for _ in range(8):
            optimizer.zero_grad()
            loss = model(input_ids=tokens, labels=labels).loss
            loss.backward()
            optimizer.step()
            result.append(loss.item())
        return result

    want = losses()
    calls = []
    ours = functions.cross_entropy_with_options

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(1)
        return ours(*args, **options)

    monkeypatch.setattr(functions, "cross_entropy_with_options", counted)
    with nn.patch():
        got = losses()
    assert len(calls) == 8
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert got[-1] < got[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_skorch_trains_unchanged() -> None:
    """Its classifier applies torch.nn.CrossEntropyLoss, or ours when it is handed over."""
    skorch = pytest.importorskip("skorch")
    x = torch.randn(128, 8, generator=torch.Generator().manual_seed(0)).numpy()
    y = (np.abs(x).argmax(1) % 4).astype(np.int64)

    def history(criterion: Any) -> list[float]:
        torch.manual_seed(0)
        net = skorch.NeuralNetClassifier(
            small_model(), criterion=criterion, max_epochs=4, lr=0.5, train_split=None, verbose=0
        )
        losses: list[float] = net.fit(x, y).history[:, "train_loss"]
        return losses

    want = history(torch.nn.CrossEntropyLoss)
    np.testing.assert_allclose(history(nn.CrossEntropyLoss), want, rtol=1e-5)
    with nn.patch():
        np.testing.assert_allclose(history(torch.nn.CrossEntropyLoss), want, rtol=1e-5)
    assert want[-1] < want[0]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
def test_tensors_that_are_not_dense_stay_torchs() -> None:
    """softxent's own functions refuse them; torch's softmax takes them."""
    rows = [torch.randn(2, 3), torch.randn(1, 3)]
    nested = torch.nested.nested_tensor(rows)
    masked: Any = torch.masked.masked_tensor(torch.randn(2, 3), torch.ones(2, 3) > 0)
    want = [torch.nn.functional.softmax(row, -1) for row in rows]
    with nn.patch():
        got = torch.nn.functional.softmax(nested, -1).unbind()
        masked_result: Any = torch.nn.functional.softmax(masked, -1)
        assert masked_result.get_data().isfinite().all()
    for row, expected in zip(got, want, strict=True):
        torch.testing.assert_close(row, expected)
