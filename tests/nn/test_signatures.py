"""The signatures of softxent.nn. A change here is a change for every user."""

from __future__ import annotations

import inspect

import pytest

from softxent import nn

# What softxent adds to torch's signature of a cross-entropy.
ADDED = "z_loss: 'float' = 0.0, softcap: 'float | None' = None, temperature: 'float' = 1.0"
REDUCTION = "reduction: 'Reduction' = 'mean'"
SMOOTHING = "label_smoothing: 'float' = 0.0"
WEIGHT = "weight: 'Tensor | None' = None"
DEPRECATED = "reduce: 'bool | None' = None"
TORCHS_LOSS = (
    f"{WEIGHT}, size_average: 'bool | None' = None, ignore_index: 'int' = -100, {DEPRECATED}, "
    f"{REDUCTION}"
)
BINARY = (
    f"input: 'Tensor', target: 'Tensor', {WEIGHT}, size_average: 'bool | None' = None, "
    f"{DEPRECATED}, {REDUCTION}"
)
SOFTMAX = (
    "input: 'Tensor', dim: 'int | None' = None, _stacklevel: 'int' = 3, "
    "dtype: 'torch.dtype | None' = None"
)
CROSS_ENTROPY = (
    f"{TORCHS_LOSS}, {SMOOTHING}, *, axis: 'int | None' = None, {ADDED}, "
    "inplace_backward: 'bool' = False"
)
LINEAR = (
    f"ignore_index: 'int | None' = None, {SMOOTHING}, options: 'object' = None, {ADDED}, "
    "max_bytes: 'int' = 67108864, skip_below: 'float' = 0.0, "
    "logits_dtype: 'torch.dtype | None' = None"
)

FUNCTIONS = {
    "binary_cross_entropy": f"({BINARY}) -> 'Tensor'",
    "binary_cross_entropy_with_logits": (
        f"({BINARY}, pos_weight: 'Tensor | None' = None) -> 'Tensor'"
    ),
    "cross_entropy": f"(input: 'Tensor', target: 'Tensor', {CROSS_ENTROPY}) -> 'Tensor'",
    "cross_entropy_with_stats": (
        f"(input: 'Tensor', target: 'Tensor', {WEIGHT}, *, ignore_index: 'int' = -100, "
        f"{REDUCTION}, {SMOOTHING}, axis: 'int | None' = None, {ADDED}, k: 'int' = 1) "
        "-> 'LossStats'"
    ),
    "linear_cross_entropy": (
        "(input: 'Tensor', linear_weight: 'Tensor', target: 'Tensor', *, "
        f"linear_bias: 'Tensor | None' = None, {WEIGHT}, {REDUCTION}, {LINEAR}) -> 'Tensor'"
    ),
    "linear_cross_entropy_with_stats": (
        "(features: 'Tensor', classifier: 'Tensor', target: 'Tensor', "
        f"bias: 'Tensor | None' = None, {WEIGHT}, *, ignore_index: 'int' = -100, {REDUCTION}, "
        f"{SMOOTHING}, {ADDED}, max_bytes: 'int' = 67108864, "
        "logits_dtype: 'torch.dtype | None' = None, k: 'int' = 1) -> 'LossStats'"
    ),
    "linear_log_prob_and_entropy": (
        "(features: 'Tensor', classifier: 'Tensor', ids: 'Tensor', "
        "bias: 'Tensor | None' = None, *, ignore_index: 'int' = -100, "
        "softcap: 'float | None' = None, temperature: 'float' = 1.0, "
        "max_bytes: 'int' = 67108864, logits_dtype: 'torch.dtype | None' = None) "
        "-> 'tuple[Tensor, Tensor]'"
    ),
    "log_softmax": f"({SOFTMAX}) -> 'Tensor'",
    "nll_loss": f"(input: 'Tensor', target: 'Tensor', {TORCHS_LOSS}) -> 'Tensor'",
    "softmax": f"({SOFTMAX}) -> 'Tensor'",
}

MODULES = {
    "CrossEntropyLoss": f"({CROSS_ENTROPY}) -> 'None'",
    "LinearCrossEntropyLoss": (
        "(in_features: 'int', num_classes: 'int', *, out_features: 'tuple[int, ...]' = (), "
        "bias: 'bool' = False, device: 'torch.types.Device' = None, "
        f"dtype: 'torch.dtype | None' = None, {REDUCTION}, {WEIGHT}, {LINEAR}) -> 'None'"
    ),
}
INHERITED = ("BCELoss", "BCEWithLogitsLoss", "LogSoftmax", "NLLLoss", "Softmax")


def test_names() -> None:
    assert set(nn.functional.__all__) == set(FUNCTIONS)
    assert set(nn.__all__) == {*MODULES, *INHERITED, "LossStats", "functional", "patch"}
    assert nn.LossStats._fields == ("loss", "lse", "entropy", "argmax", "hits", "z_loss")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signature_of_a_function(name: str) -> None:
    assert str(inspect.signature(getattr(nn.functional, name))) == FUNCTIONS[name]


@pytest.mark.parametrize("name", MODULES)
def test_signature_of_a_module(name: str) -> None:
    assert str(inspect.signature(getattr(nn, name))) == MODULES[name]


@pytest.mark.parametrize("name", INHERITED)
def test_other_modules_have_torchs_signature(name: str) -> None:
    assert "__init__" not in vars(getattr(nn, name))
