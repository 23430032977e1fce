"""What a type checker sees in a user's script; `test_user_script.py` runs mypy and pyright on it.

Lines with an ignore comment must be errors: both checkers report a comment that ignores nothing.
"""

from typing import Any, assert_type

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

import softxent
import softxent.nn.functional as F
from softxent import nn

Array = npt.NDArray[Any]
Scalar = np.floating[Any]

x = np.ones((2, 3), np.float32)
t = torch.ones(2, 3)
y = [0, 1]
labels = torch.tensor(y)

# An array gives an array, a tensor a tensor.
assert_type(softxent.softmax(x), Array)
assert_type(softxent.softmax([1.0, 2.0]), Array)
assert_type(softxent.softmax(t), Tensor)
assert_type(softxent.log_softmax(x, axis=0, out=x), Array)
assert_type(softxent.log_softmax(t, out=t), Tensor)
assert_type(softxent.logsumexp(x), Array | Scalar)
assert_type(softxent.logsumexp(t, keepdims=True), Tensor)
assert_type(softxent.softmax(x, axis=(0, 1)), Array)
assert_type(softxent.softmax(t, axis=None), Tensor)
assert_type(softxent.logsumexp(x, axis=None), Array | Scalar)
assert_type(softxent.logsumexp(x, axis=(0, 1), keepdims=True), Array)
assert_type(softxent.top_k(x, 1), tuple[Array, npt.NDArray[np.int64]])
assert_type(softxent.top_k(t, 1), tuple[Tensor, Tensor])
assert_type(softxent.one_hot(y, 3), npt.NDArray[np.int64])
assert_type(softxent.one_hot(labels, 3), Tensor)

# A reduced loss is a scalar, reduction="none" gives an array.
assert_type(softxent.cross_entropy(x, y), Scalar)
assert_type(softxent.cross_entropy(x, y, reduction="sum", z_loss=0.1), Scalar)
assert_type(softxent.cross_entropy(x, y, reduction="none", softcap=30.0), Array)
assert_type(softxent.cross_entropy(t, labels, label_smoothing=0.1), Tensor)
assert_type(softxent.cross_entropy_with_grad(x, y, out=x), tuple[Scalar, Array])
assert_type(softxent.cross_entropy_with_grad(t, labels, out=t), tuple[Tensor, Tensor])
assert_type(softxent.nll_loss(x, y), Scalar)
assert_type(softxent.nll_loss(t, labels), Tensor)
assert_type(softxent.log_loss(x, y, reduction="none"), Array)
assert_type(softxent.log_loss(t, labels), Tensor)
assert_type(softxent.binary_cross_entropy(x, x), Scalar)
assert_type(softxent.binary_cross_entropy(t, t), Tensor)
assert_type(softxent.binary_cross_entropy_with_logits(x, x, reduction="none"), Array)
assert_type(softxent.binary_cross_entropy_with_logits(t, t, pos_weight=t), Tensor)
assert_type(softxent.linear_cross_entropy(x, x, y), Scalar)
assert_type(softxent.linear_cross_entropy(t, t, labels, reduction="none"), Tensor)
assert_type(softxent.linear_cross_entropy(x, x, y, logits_dtype=np.float32), Scalar)
assert_type(softxent.linear_cross_entropy(t, t, labels, logits_dtype=torch.float32), Tensor)
assert_type(softxent.linear_cross_entropy_with_grad(x, x, y)[1].features, Array | None)
assert_type(softxent.linear_cross_entropy_with_grad(t, t, labels)[1].bias, Tensor | None)

assert_type(softxent.Mean(6.0, 64) + softxent.Mean(1.0, 16), softxent.Mean)
assert_type(softxent.explain([2.0, -1.0, 0.1], 2), softxent.Trace)
assert_type(softxent.doctor.check(x, np.array(y)), softxent.doctor.Diagnosis)
assert_type(softxent.get_num_threads(), int)
assert_type(softxent.kernels(), str)

# Text where a Literal is wanted, and arguments that don't fit together.
softxent.cross_entropy(x, y, reduction="avg")  # type: ignore[call-overload]
softxent.cross_entropy(t, labels, reduction="avg")  # type: ignore[call-overload]
softxent.cross_entropy_with_grad(x, y, reduction="avg")  # type: ignore[call-overload]
softxent.nll_loss(x, y, reduction="avg")  # type: ignore[call-overload]
softxent.log_loss(x, y, reduction="avg")  # type: ignore[call-overload]
softxent.binary_cross_entropy(x, x, reduction="avg")  # type: ignore[call-overload]
softxent.binary_cross_entropy_with_logits(x, x, reduction="avg")  # type: ignore[call-overload]
softxent.linear_cross_entropy(x, x, y, reduction="avg")  # type: ignore[call-overload]
softxent.linear_cross_entropy_with_grad(t, t, y, reduction="avg")  # type: ignore[call-overload]
softxent.explain(x, y, reduction="avg")  # type: ignore[arg-type]
softxent.doctor.check(x, y, reduction="avg")  # type: ignore[arg-type]
softxent.linear_cross_entropy_with_grad(x, x, y, wanted=["weights"])  # type: ignore[list-item]
softxent.cross_entropy(t, labels, smoothing=0.1)  # type: ignore[call-overload]
softxent.softmax(x, axis="last")  # type: ignore[arg-type]
F.cross_entropy(t, labels, reduction="avg")  # type: ignore[arg-type]
F.cross_entropy_with_stats(t, labels, reduction="avg")  # type: ignore[arg-type]
F.nll_loss(t, labels, reduction="avg")  # type: ignore[arg-type]
F.binary_cross_entropy(t, t, reduction="avg")  # type: ignore[arg-type]
F.linear_cross_entropy(t, t, labels, reduction="avg")  # type: ignore[arg-type]
nn.CrossEntropyLoss(reduction="avg")  # type: ignore[arg-type]
nn.LinearCrossEntropyLoss(3, 2, reduction="avg")  # type: ignore[arg-type]


class Classifier(nn.Module):
    """`nn` has torch's modules beside softxent's losses."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)
        self.criterion = nn.CrossEntropyLoss(z_loss=1e-4)

    def forward(self, features: Tensor) -> Tensor:
        """Logits."""
        return F.relu(self.layer(features))


assert_type(Classifier().layer, torch.nn.Linear)
assert_type(F.cross_entropy(t, labels, softcap=30.0), Tensor)
assert_type(F.cross_entropy_with_stats(t, labels).argmax, Tensor)
assert_type(F.cross_entropy_with_stats(t, labels, z_loss=0.1).z_loss, Tensor)
assert_type(F.linear_log_prob_and_entropy(t, t, labels), tuple[Tensor, Tensor])
assert_type(nn.CrossEntropyLoss()(t, labels), Any)  # torch's own modules say no more
assert_type(nn.functional.softmax(t, 1), Tensor)
