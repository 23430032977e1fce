"""The samples that torch tests its own functions and modules with, on softxent's."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from softxent import nn
from softxent.errors import SoftxentError
from softxent.nn import functional

pytest.importorskip("expecttest", reason="torch's own samples need it")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of torch's test machinery
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.testing._internal.common_modules import module_db

NAMES = {
    "softmax": functional.softmax,
    "log_softmax": functional.log_softmax,
    "nn.functional.cross_entropy": functional.cross_entropy,
    "nn.functional.nll_loss": functional.nll_loss,
    "nn.functional.binary_cross_entropy": functional.binary_cross_entropy,
    "nn.functional.binary_cross_entropy_with_logits": functional.binary_cross_entropy_with_logits,
}
HALF = (torch.float16, torch.bfloat16)
OPS: list[Any] = [
    pytest.param(
        op, dtype, id=f"{op.name}{'-' * bool(op.variant_test_name)}{op.variant_test_name}-{dtype}"
    )
    for op in op_db
    if op.name in NAMES
    for dtype in sorted(op.supported_dtypes("cpu"), key=str)
]
# test_linear.py compares the linear head with full logits: its loss is float32 for half types.
CONFORMING = {*nn.__all__} - {"LinearCrossEntropyLoss"}
MODULES: list[Any] = [
    pytest.param(info, dtype, id=f"{info.module_cls.__name__}-{dtype}")
    for info in module_db
    if info.module_cls.__name__ in CONFORMING
    for dtype in sorted(set(info.dtypes) | {torch.bfloat16}, key=str)
]


def test_there_are_samples_of_everything() -> None:
    assert {param.values[0].name for param in OPS} == {*NAMES}
    names = {param.values[0].module_cls.__name__ for param in MODULES}
    assert names == {name for name in CONFORMING if hasattr(torch.nn, name)} - {"functional"}


def kinds_of_samples(op: Any) -> list[Callable[..., Iterator[Any]]]:
    """Samples and reference inputs; where torch has no reference inputs, they are the samples."""
    return [op.sample_inputs, *([op.reference_inputs] if op.reference_inputs_func else [])]


@pytest.mark.filterwarnings("ignore:Casting complex values to real", "ignore:ComplexHalf")
@pytest.mark.parametrize(("op", "dtype"), OPS)
def test_functions(op: Any, dtype: torch.dtype) -> None:
    """Samples and reference inputs: value, dtype, and the gradient of everything that has one."""
    count = 0
    wants_grad = dtype.is_floating_point
    for kind in kinds_of_samples(op):
        for sample in kind("cpu", dtype, requires_grad=wants_grad):
            arguments = [sample.input, *sample.args]
            check(NAMES[op.name], op.op, op.op, arguments, sample.kwargs)
            count += 1
    assert count >= (12 if op.reference_inputs_func else 6)


def check(
    ours: Any, theirs: Any, in_float32: Any, arguments: list[Any], keywords: dict[str, Any]
) -> None:
    """Half precision is torch's float32 result, rounded; torch's own has fewer digits."""
    want_dtype = theirs(*arguments, **keywords).dtype
    wide = [widened(x) for x in arguments]
    wide_keywords = {k: widened(v) for k, v in keywords.items()}
    got, want = ours(*arguments, **keywords), in_float32(*wide, **wide_keywords)
    assert got.dtype == want_dtype
    same(got, want)
    if not want.requires_grad:
        return
    upstream = torch.rand_like(want)
    grads = torch.autograd.grad(
        got, leaves(arguments, keywords), upstream.to(got.dtype), allow_unused=True
    )
    wanted = torch.autograd.grad(want, leaves(wide, wide_keywords), upstream, allow_unused=True)
    for grad, wanted_grad in zip(grads, wanted, strict=True):
        if wanted_grad is None:
            assert grad is None or not grad.any()
        else:
            same(grad, wanted_grad)


def widened(x: Any) -> Any:
    if isinstance(x, torch.Tensor) and x.dtype in HALF:
        return x.detach().float().requires_grad_(x.requires_grad)
    return x


def detached(x: Any) -> Any:
    return x.detach() if isinstance(x, torch.Tensor) else x


def leaves(arguments: list[Any], keywords: dict[str, Any]) -> list[torch.Tensor]:
    every = [*arguments, *keywords.values()]
    return [x for x in every if isinstance(x, torch.Tensor) and x.requires_grad]


def same(got: torch.Tensor, want: torch.Tensor) -> None:
    if got.dtype in HALF and want.dtype not in HALF:
        few = 4 * torch.finfo(got.dtype).eps  # the upstream gradient was rounded too
        torch.testing.assert_close(got.float(), want.float(), rtol=few, atol=few, equal_nan=True)
    else:
        torch.testing.assert_close(got, want, equal_nan=True)


def module_samples(info: Any, dtype: torch.dtype) -> Iterator[Any]:
    for sample in info.module_inputs_func(info, "cpu", dtype, True, training=True):
        if sample.forward_input is not None:
            yield sample


@pytest.mark.parametrize(("info", "dtype"), MODULES)
def test_modules(info: Any, dtype: torch.dtype) -> None:
    ours = getattr(nn, info.module_cls.__name__)
    count = 0
    for sample in module_samples(info, dtype):
        made, forward = sample.constructor_input, sample.forward_input
        mine, theirs = (cls(*made.args, **made.kwargs) for cls in (ours, info.module_cls))
        wide = info.module_cls(
            *map(widened, made.args), **{k: widened(v) for k, v in made.kwargs.items()}
        )
        assert repr(mine) == repr(theirs)
        mine.load_state_dict(theirs.state_dict())
        assert mine(*forward.args, **forward.kwargs).dtype == theirs(*forward.args).dtype
        check(mine, theirs, wide, list(forward.args), forward.kwargs)
        if sample.reference_fn is not None and dtype not in HALF:
            got = mine(*forward.args, **forward.kwargs)
            want = sample.reference_fn(mine, *map(detached, forward.args), **forward.kwargs)
            torch.testing.assert_close(got, want, equal_nan=True)
        count += 1
    assert count >= 1


# Everything of torch that concerns these functions, by the name under which programs call it.
PATCHED_OPS: list[Any] = [
    pytest.param(op, dtype, id=f"{op.name}-{op.variant_test_name}-{dtype}")
    for op in op_db
    if re.search(
        r"soft(max|min|_margin)|logsumexp|cross_entropy|nll|kl_div|multilabel|multi_margin", op.name
    )
    for dtype in sorted(op.supported_dtypes("cpu"), key=str)
]
PATCHED_MODULES: list[Any] = [
    pytest.param(info, dtype, id=f"{info.module_cls.__name__}-{dtype}")
    for info in module_db
    if re.search(
        r"Softm|NLL|CrossEntropy|BCE|KLDiv|SoftMargin|MultiMargin", info.module_cls.__name__
    )
    for dtype in sorted(set(info.dtypes) | {torch.bfloat16}, key=str)
]


def as_programs_call_it(op: Any) -> Any:
    """An OpInfo's function; one of torch.nn.functional as it is at the time of the call."""
    name = op.name.rpartition(".")[2]
    theirs = getattr(torch.nn.functional, name, None)
    if theirs is None or not (op.name.startswith("nn.") or name.endswith("softmax")):
        return op.op
    return lambda *arguments, **keywords: getattr(torch.nn.functional, name)(*arguments, **keywords)


def outcome(call: Any, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    """The value and its gradients, or the error."""
    try:
        value = call(*arguments, **keywords)
    except Exception as error:
        return error
    inputs = leaves(arguments, keywords)
    if not isinstance(value, torch.Tensor) or not value.requires_grad or not inputs:
        return value, []
    upstream = torch.linspace(0.5, 1, value.numel()).reshape(value.shape).to(value.dtype)
    return value, torch.autograd.grad(value, inputs, upstream, allow_unused=True)


def check_patched(call: Any, arguments: list[Any], keywords: dict[str, Any]) -> None:
    """With the patch what torch alone does: a value like it, or an error of its class."""
    want = outcome(call, arguments, keywords)
    with nn.patch(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what only softxent refuses
        got = outcome(call, arguments, keywords)
    if isinstance(want, Exception):
        taken = "expected scalar type" in str(want) and not isinstance(got, Exception)
        assert taken or isinstance(got, type(want)), got  # more dtypes than torch's
        return
    assert not isinstance(got, Exception), got
    assert type(got[0]) is type(want[0])
    for a, b in zip((got[0], *got[1]), (want[0], *want[1]), strict=True):
        if a is None or b is None:
            assert a is None
        elif isinstance(b, torch.Tensor):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            few = 16 * torch.finfo(b.dtype).eps if b.dtype in HALF else None
            torch.testing.assert_close(a, b, rtol=few, atol=few, equal_nan=True)


@pytest.mark.filterwarnings("ignore")  # of torch's own functions
@pytest.mark.parametrize(("op", "dtype"), PATCHED_OPS)
def test_functions_under_patch(op: Any, dtype: torch.dtype) -> None:
    call = as_programs_call_it(op)
    for kind in kinds_of_samples(op):
        for sample in kind("cpu", dtype, requires_grad=dtype.is_floating_point):
            check_patched(call, [sample.input, *sample.args], sample.kwargs)
    if op.error_inputs_func is not None:
        for error in op.error_inputs("cpu"):
            sample = error.sample_input
            check_patched(call, [sample.input, *sample.args], sample.kwargs)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("info", "dtype"), PATCHED_MODULES)
def test_modules_under_patch(info: Any, dtype: torch.dtype) -> None:
    for sample in module_samples(info, dtype):
        made, forward = sample.constructor_input, sample.forward_input
        module = info.module_cls(*made.args, **made.kwargs).to(dtype)
        check_patched(module, list(forward.args), forward.kwargs)
    if info.module_error_inputs_func is None:
        return
    for sample in info.module_error_inputs_func(info, "cpu", dtype, False, training=True):
        made = sample.module_error_input.constructor_input
        forward = sample.module_error_input.forward_input
        try:
            module = info.module_cls(*made.args, **made.kwargs)
        except (RuntimeError, ValueError):  # an error of torch's constructor
            continue
        check_patched(module, list(forward.args), forward.kwargs)


# torch refuses class weights of another floating dtype, softxent takes them. It takes integers as
# class probabilities too, but only one-hot rows, and torch's samples aren't.
TAKEN = ("expected scalar type",)


@pytest.mark.parametrize(
    ("info", "dtype"), [p for p in MODULES if p.values[0].module_error_inputs_func]
)
def test_errors_of_modules(info: Any, dtype: torch.dtype) -> None:
    ours = getattr(nn, info.module_cls.__name__)
    for sample in info.module_error_inputs_func(info, "cpu", dtype, False, training=True):
        made = sample.module_error_input.constructor_input
        forward = sample.module_error_input.forward_input
        module = ours(*made.args, **made.kwargs)
        if sample.error_regex.startswith(TAKEN):
            module(*forward.args, **forward.kwargs)
        else:
            with pytest.raises(SoftxentError, match=r"^\[\w+\] "):
                module(*forward.args, **forward.kwargs)


def test_torch_has_no_error_inputs_of_these_functions() -> None:
    """When that changes, they belong here."""
    assert not any(param.values[0].error_inputs_func for param in OPS)
