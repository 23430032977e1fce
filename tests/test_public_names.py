"""The public names of softxent and their signatures. A change here is a change for every user.

The signatures of softxent.nn are in tests/nn/test_signatures.py.
"""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

import softxent

LOSS_OPTIONS = (
    "axis: 'int' = -1, ignore_index: 'int | None' = -100, reduction: 'Reduction' = 'mean', "
    "label_smoothing: 'float' = 0.0, z_loss: 'float' = 0.0, softcap: 'float | None' = None, "
    "temperature: 'float' = 1.0"
)
HEAD_OPTIONS = LOSS_OPTIONS.removeprefix("axis: 'int' = -1, ")
HEAD = (
    "features: 'Any', classifier: 'Any', target: 'Any', bias: 'Any' = None, weight: 'Any' = None, "
    f"*, {HEAD_OPTIONS}, max_bytes: 'int' = 67108864, skip_below: 'float' = 0.0, "
    "logits_dtype: 'Any' = None"
)

SIGNATURES = {
    "Mean": "(total: 'float', weight: 'float') -> None",
    "binary_cross_entropy": (
        "(probs: 'Any', target: 'Any', weight: 'Any' = None, *, reduction: 'Reduction' = 'mean') "
        "-> 'Any'"
    ),
    "binary_cross_entropy_with_logits": (
        "(logits: 'Any', target: 'Any', weight: 'Any' = None, *, pos_weight: 'Any' = None, "
        "reduction: 'Reduction' = 'mean') -> 'Any'"
    ),
    "cross_entropy": (
        f"(logits: 'Any', target: 'Any', weight: 'Any' = None, *, {LOSS_OPTIONS}) -> 'Any'"
    ),
    "cross_entropy_with_grad": (
        f"(logits: 'Any', target: 'Any', weight: 'Any' = None, *, {LOSS_OPTIONS}, "
        "out: 'Any' = None) -> 'tuple[Any, Any]'"
    ),
    "empty_cache": "() -> 'None'",
    "explain": (
        "(logits: 'Any', target: 'Any' = None, weight: 'Any' = None, *, "
        "ignore_index: 'int | None' = -100, reduction: 'Reduction' = 'mean', "
        "label_smoothing: 'float' = 0.0, z_loss: 'float' = 0.0, softcap: 'float | None' = None, "
        "temperature: 'float' = 1.0, classes: 'Sequence[str] | None' = None) -> 'Trace'"
    ),
    "get_num_threads": "() -> 'int'",
    "kernels": "() -> 'str'",
    "linear_cross_entropy": f"({HEAD}) -> 'Any'",
    "linear_cross_entropy_with_grad": (
        f"({HEAD}, wanted: 'Collection[GradientName]' = ('features', 'classifier', 'bias')) "
        "-> 'tuple[Any, LinearGradients[Any]]'"
    ),
    "log_loss": (
        "(probs: 'Any', target: 'Any', weight: 'Any' = None, *, axis: 'int' = -1, "
        "reduction: 'Reduction' = 'mean') -> 'Any'"
    ),
    "log_softmax": "(x: 'Any', axis: 'Axes' = -1, *, out: 'Any' = None) -> 'Any'",
    "logsumexp": "(x: 'Any', axis: 'Axes' = -1, *, keepdims: 'bool' = False) -> 'Any'",
    "nll_loss": (
        "(log_probs: 'Any', target: 'Any', weight: 'Any' = None, *, axis: 'int' = -1, "
        "ignore_index: 'int | None' = -100, reduction: 'Reduction' = 'mean') -> 'Any'"
    ),
    "one_hot": "(target: 'Any', num_classes: 'int') -> 'Any'",
    "set_num_threads": "(count: 'int') -> 'None'",
    "softmax": "(x: 'Any', axis: 'Axes' = -1, *, out: 'Any' = None) -> 'Any'",
    "top_k": "(x: 'Any', k: 'int', axis: 'int' = -1) -> 'tuple[Any, Any]'",
}
NOT_CALLED = {"Trace"}  # explain makes it

ERRORS = {
    "DTypeError": (TypeError,),
    "DataError": (ValueError,),
    "MissingExtraError": (ImportError,),
    "OptionError": (ValueError,),
    "ProbabilityError": (ValueError,),
    "RunError": (ValueError,),
    "ShapeError": (ValueError,),
    "SoftxentError": (Exception,),
    "TargetError": (ValueError, IndexError),
    "TrainingError": (ArithmeticError,),
}


def test_names() -> None:
    assert sorted(softxent.__all__) == softxent.__all__
    assert set(softxent.__all__) == {*SIGNATURES, *NOT_CALLED}
    assert all(hasattr(softxent, name) for name in softxent.__all__)


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name: str) -> None:
    assert str(inspect.signature(getattr(softxent, name))) == SIGNATURES[name]


def test_nothing_else_is_there() -> None:
    """What isn't public is a module, or starts with an underscore."""
    others = {name for name in vars(softxent) if not name.startswith("_")} - {*softxent.__all__}
    assert all(isinstance(getattr(softxent, name), ModuleType) for name in others), others


def test_docstrings() -> None:
    for name in softxent.__all__:
        text = inspect.getdoc(getattr(softxent, name)) or ""
        assert text.splitlines()[0].endswith("."), name


def test_errors() -> None:
    from softxent import errors

    assert sorted(errors.__all__) == sorted(ERRORS)
    for name, bases in ERRORS.items():
        error = getattr(errors, name)
        assert issubclass(error, errors.SoftxentError)
        assert all(issubclass(error, base) for base in bases), name


def test_version() -> None:
    assert softxent.__version__.count(".") == 2
