"""Where softxent.nn.functional differs from torch on purpose: the table of docs/torch.md.

Each test shows the behaviour of torch and of softxent, so that a change in torch is detected.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from softxent.errors import TargetError
from softxent.nn import functional

NAN, INF = float("nan"), float("inf")
TABLE = Path(__file__).parents[2] / "docs" / "torch.md"


def test_every_row_of_the_table_has_its_test() -> None:
    tests = re.findall(r"\| `(test_\w+)` \|", TABLE.read_text())
    here = {name for name in globals() if name.startswith("test_")}
    assert set(tests) == here - {"test_every_row_of_the_table_has_its_test"}
    assert len(tests) == len(set(tests))


def gradient(function: object, logits: torch.Tensor, *arguments: object) -> torch.Tensor:
    z = logits.clone().requires_grad_()
    (grad,) = torch.autograd.grad(function(z, *arguments), z)  # type: ignore[operator]
    return grad


def test_confident_predictions() -> None:
    logits, target = torch.tensor([[20.0, 0.0]]), torch.tensor([0])
    assert F.cross_entropy(logits, target) == 0
    torch.testing.assert_close(
        functional.cross_entropy(logits, target), torch.tensor(2.0611537e-9), rtol=1e-6, atol=0
    )
    assert gradient(F.cross_entropy, logits, target)[0, 0] == 0
    torch.testing.assert_close(
        gradient(functional.cross_entropy, logits, target),
        torch.tensor([[-2.0611537e-9, 2.0611537e-9]]),
        rtol=1e-6,
        atol=0,
    )


def test_confident_binary_predictions() -> None:
    logit, target = torch.tensor([-20.0]), torch.tensor([0.0])
    assert F.binary_cross_entropy_with_logits(logit, target) == 0
    torch.testing.assert_close(
        functional.binary_cross_entropy_with_logits(logit, target),
        torch.tensor(2.0611537e-9),
        rtol=1e-6,
        atol=0,
    )


def test_half_precision() -> None:
    """Rounded once, from float32."""
    logits = torch.randn(64, 1000, generator=torch.Generator().manual_seed(0)).bfloat16()
    target = torch.zeros(64, dtype=torch.int64)
    exact = F.cross_entropy(logits.double(), target)
    assert functional.cross_entropy(logits, target) == exact.bfloat16()
    losses = F.cross_entropy(logits.double(), target, reduction="none")
    ours = functional.cross_entropy(logits, target, reduction="none")
    theirs = F.cross_entropy(logits, target, reduction="none")
    assert (ours.double() - losses).abs().max() < (theirs.double() - losses).abs().max()


def test_ignored_rows_that_hold_nan() -> None:
    logits, target = torch.tensor([[NAN, 1.0], [0.0, 1.0]]), torch.tensor([-100, 1])
    assert gradient(F.cross_entropy, logits, target)[0].isnan().any()
    grad = gradient(functional.cross_entropy, logits, target)
    assert (grad[0] == 0).all()
    assert grad[1].isfinite().all()


def test_masked_classes_with_target_0() -> None:
    """0 log 0 is 0."""
    logits, target = torch.tensor([[0.0, -INF]]), torch.tensor([[1.0, 0.0]])
    assert F.cross_entropy(logits, target).isnan()
    assert functional.cross_entropy(logits, target) == 0
    weight, target = torch.tensor([1.0, 0.0]), torch.tensor([1])
    assert F.cross_entropy(logits, target, weight, reduction="sum").isnan()
    assert functional.cross_entropy(logits, target, weight, reduction="sum") == 0


def test_masked_classes_have_no_gradient() -> None:
    """An entropy with a probability of 0: there the derivative of p log p is infinite."""
    logits = torch.tensor([1.0, -INF, 2.0], requires_grad=True)
    others = torch.tensor([1.0, 2.0], requires_grad=True)
    upstream = torch.tensor([0.5, -INF, 0.7])
    assert torch.autograd.grad(F.softmax(logits, 0), logits, upstream)[0].isnan().all()
    (got,) = torch.autograd.grad(functional.softmax(logits, 0), logits, upstream)
    (want,) = torch.autograd.grad(functional.softmax(others, 0), others, upstream[[0, 2]])
    assert got[1] == 0
    torch.testing.assert_close(got[[0, 2]], want)


def test_bad_labels() -> None:
    logits, target = torch.zeros(3, 4), torch.tensor([0, 4, 7])
    with pytest.raises(IndexError, match=r"^Target 4 is out of bounds"):
        F.cross_entropy(logits, target)
    message = (
        r"\[cross_entropy\] target\[1\] is 4, but there are 4 classes: valid targets are 0 to 3"
    )
    with pytest.raises(IndexError, match=message):
        functional.cross_entropy(logits, target)


def test_probabilities_that_are_none() -> None:
    target = torch.tensor([[1.5, -0.5]])
    assert F.cross_entropy(torch.zeros(1, 2), target).isfinite()
    with pytest.raises(TargetError, match="class probabilities are finite and >= 0"):
        functional.cross_entropy(torch.zeros(1, 2), target)
    assert F.binary_cross_entropy_with_logits(torch.zeros(1), torch.tensor([3.0])).isfinite()
    with pytest.raises(TargetError, match=r"a binary target is in \[0, 1\]"):
        functional.binary_cross_entropy_with_logits(torch.zeros(1), torch.tensor([3.0]))


def test_more_dtypes_are_taken() -> None:
    logits, target = torch.randn(3, 4), torch.tensor([0, 1, 3])
    with pytest.raises(RuntimeError, match="Long"):
        F.cross_entropy(logits, target.int())
    assert torch.equal(
        functional.cross_entropy(logits, target.int()), functional.cross_entropy(logits, target)
    )
    hot = F.one_hot(target, 4)
    with pytest.raises(RuntimeError, match="floating point type for target"):
        F.cross_entropy(logits, hot)
    torch.testing.assert_close(
        functional.cross_entropy(logits, hot), F.cross_entropy(logits, target)
    )
    weight = torch.ones(4)
    with pytest.raises(RuntimeError, match="expected scalar type"):
        F.cross_entropy(logits.bfloat16(), target, weight)
    assert functional.cross_entropy(logits.bfloat16(), target, weight).isfinite()


def test_the_weight_has_a_gradient() -> None:
    weight = torch.ones(4, requires_grad=True)
    logits, target = torch.randn(3, 4), torch.tensor([0, 1, 3])
    with pytest.raises(RuntimeError):
        torch.autograd.grad(F.cross_entropy(logits, target, weight), weight)
    assert torch.autograd.grad(functional.cross_entropy(logits, target, weight), weight)[0].any()


def test_logits_that_change_before_the_backward_pass() -> None:
    """A backward pass that computes its gradient anew reads the logits; torch's has a copy."""
    target = torch.tensor([0, 1])
    for function, raises in ((F.cross_entropy, False), (functional.cross_entropy, True)):
        logits = torch.zeros(2, 2, requires_grad=True) * 1
        loss = function(logits, target)
        logits.add_(1)
        loss.backward(retain_graph=True)
        if raises:
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                loss.backward()
        else:
            loss.backward()
