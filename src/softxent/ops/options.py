"""The options of a cross-entropy, each written once.

`LossOptions` is the record that every public function fills from its keyword arguments and that
everything below passes on whole. A new option starts here. Tests compare the public signatures, the
schemas of the torch.library operators, the arguments of the kernels and the command line's help
with the record, and compare what each function computes with the reference. CONTRIBUTING.md
("Adding an option") lists the files that implement an option.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypedDict, cast, get_args, get_type_hints

from softxent.errors import OptionError

__all__ = [
    "DEFAULTS",
    "DETAILS",
    "IGNORE_INDEX",
    "NAMES",
    "SCHEMA",
    "LossKeywords",
    "LossOptions",
    "Option",
    "Reduction",
    "are_defaults_except",
    "check_options",
    "check_reduction",
    "integer",
    "number",
    "options_of",
    "positive",
    "with_weight",
]

Reduction = Literal["none", "mean", "sum"]
IGNORE_INDEX = -100


# Checks of single values, each with the name of the function and of the argument for the message.


def integer(op: str, name: str, value: Any) -> int:
    """The value as a Python integer; floats are refused."""
    try:
        return operator.index(value)
    except TypeError:
        raise OptionError(f"[{op}] {name} is {value!r}: pass an integer.") from None


def number(op: str, name: str, value: Any, high: float = math.inf) -> float:
    """The value as a finite float in [0, high]."""
    result = _float(op, name, value)
    if not 0 <= result <= high or result == math.inf:
        upper = "" if high == math.inf else f" and <= {high:g}"
        raise OptionError(f"[{op}] {name} is {result}: valid values are >= 0{upper}, finite.")
    return result


def positive(op: str, name: str, value: Any) -> float:
    """The value as a finite float > 0."""
    result = _float(op, name, value)
    if not 0 < result < math.inf:
        raise OptionError(f"[{op}] {name} is {result}: valid values are > 0, finite.")
    return result


def _float(op: str, name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise OptionError(f"[{op}] {name} is {value!r}: pass a number.") from None


def check_reduction(op: str, name: str, value: Any) -> Reduction:
    """One of the three reductions."""
    if value not in get_args(Reduction):
        raise OptionError(
            f"[{op}] {name} is {value!r}: valid are 'none' (one loss per row), 'mean', 'sum'."
        )
    return cast(Reduction, value)


def _ignore_index(op: str, name: str, value: Any) -> int | None:
    if value is None:
        return None
    index = integer(op, name, value)
    if not -(2**63) <= index < 2**63:
        raise OptionError(f"[{op}] {name} is {index}: pass an integer of 64 bits.")
    return index


def _softcap(op: str, name: str, value: Any) -> float | None:
    return None if value is None else positive(op, name, value)


def _fraction(op: str, name: str, value: Any) -> float:
    return number(op, name, value, 1)


def _unchecked(op: str, name: str, value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Option:
    """What the package knows about one option, beside its name, type and default.

    Attributes:
        schema: its type in the schema of a torch.library operator.
        help: one line, as the command line prints it.
        check: (op, name, value) -> the valid value, or an `OptionError`.
    """

    schema: str
    help: str
    check: Callable[[str, str, Any], Any]


class LossOptions(NamedTuple):
    """The options of a cross-entropy, with their defaults.

    A named tuple, since a record that is built with each call must cost less than a microsecond.

    Attributes:
        weight: (C,) class weights w, or None for ones. They are an array or a tensor, so they are
            checked where they are received (`checks.check_weight`), not here.
        ignore_index: rows with this class index add nothing; None to keep every row.
        reduction: "none" (one loss per row), "sum", or "mean".
        label_smoothing: e in [0, 1]; the target distribution becomes (1 - e) q + e / C.
        z_loss: factor of lse^2, which keeps the logits from drifting, >= 0.
        softcap: bound of |u|, > 0, or None for none.
        temperature: divides the logits, > 0.
    """

    weight: Annotated[
        Any,
        Option("Tensor?", "class weights, one per class", _unchecked),
    ] = None
    ignore_index: Annotated[
        int | None,
        Option("int?", "a class index whose rows are left out", _ignore_index),
    ] = IGNORE_INDEX
    reduction: Annotated[
        Reduction,
        Option("str", "'none' (one loss per row), 'mean' or 'sum'", check_reduction),
    ] = "mean"
    label_smoothing: Annotated[
        float,
        Option("float", "share of the target spread over all classes, 0 to 1", _fraction),
    ] = 0.0
    z_loss: Annotated[
        float,
        Option("float", "factor of logsumexp squared in the loss", number),
    ] = 0.0
    softcap: Annotated[
        float | None,
        Option("float?", "bound of the logits: softcap * tanh(z / softcap)", _softcap),
    ] = None
    temperature: Annotated[
        float,
        Option("float", "divides the logits", positive),
    ] = 1.0


DEFAULTS = LossOptions()
DETAILS: dict[str, Option] = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(LossOptions, include_extras=True).items()
}
SCHEMA = ", ".join(f"{DETAILS[name].schema} {name}" for name in LossOptions._fields)
NAMES = LossOptions._fields


# Functions instead of methods: torch.compile before torch 2.13 records no methods of a named tuple,
# and no slices of one.


def check_options(op: str, options: LossOptions) -> LossOptions:
    """The same options as valid Python numbers, or an `OptionError` that names one."""
    pairs = zip(NAMES, options, strict=True)
    return LossOptions(*[DETAILS[name].check(op, name, value) for name, value in pairs])


def options_of(module: Any, **others: Any) -> LossOptions:
    """The options that a module holds as attributes of the same names, but for `others`.

    A module that was pickled before an option existed gets that option's default.
    """
    values = []
    for name, default in zip(NAMES, DEFAULTS, strict=True):
        values.append(others[name] if name in others else getattr(module, name, default))
    return LossOptions(*values)


def with_weight(options: LossOptions, weight: Any) -> LossOptions:
    """The same options with other class weights."""
    values: list[Any] = [*options]
    return LossOptions(weight, *values[1:])


def are_defaults_except(options: LossOptions, *names: str) -> bool:
    """Whether every option that isn't named here has its default."""
    for name, value, default in zip(NAMES, options, DEFAULTS, strict=True):
        if name not in names and value != default:
            return False
    return True


class LossKeywords(TypedDict, total=False):
    """Keywords of typing overloads: every option but `weight` and `reduction`.

    `weight` is positional as well, and the type of a result depends on `reduction`.
    """

    ignore_index: int | None
    label_smoothing: float
    z_loss: float
    softcap: float | None
    temperature: float
