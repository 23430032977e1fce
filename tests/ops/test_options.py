"""One list of options: each repetition of a part of `LossOptions` is compared with it.

To add an option, add it to `LossOptions` and run this file and test_each_option.py: each failure
names a place that lacks the option. This file checks names, defaults and types, and
test_each_option.py checks what the functions compute.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

import softxent
from softxent import _native
from softxent.errors import OptionError
from softxent.ops.options import (
    DEFAULTS,
    DETAILS,
    NAMES,
    SCHEMA,
    LossKeywords,
    LossOptions,
    are_defaults_except,
    check_options,
    options_of,
)
from softxent.ops.spec import Loss, _kernel_options
from tests.support.options import OF_A_ROW, VALUES

SOURCES = Path(softxent.__file__).parent

# Functions that take some of the options on purpose.
SOME = {
    "nll_loss": {"weight", "ignore_index", "reduction"},
    "log_loss": {"weight", "reduction"},
    "linear_log_prob_and_entropy": {"ignore_index", "softcap", "temperature"},
}
# Binary losses have a weight per element instead of class weights.
BINARY = {"binary_cross_entropy", "binary_cross_entropy_with_logits", "BCELoss"}
BINARY |= {"BCEWithLogitsLoss"}
OTHER_DEFAULTS = {  # torch's own
    ("nn.functional.linear_cross_entropy", "ignore_index"): None,
    ("nn.LinearCrossEntropyLoss", "ignore_index"): None,
}

Z = np.array([[2.0, -1.0, 0.1]])
Y = np.array([2])
W = np.ones((3, 3))


def public_functions() -> dict[str, Callable[..., Any]]:
    """Every public function or module of losses, by the name that users write."""
    found = {name: getattr(softxent, name) for name in softxent.__all__}
    try:
        from softxent import nn
    except ImportError:
        return found
    functions = nn.functional.__all__
    found |= {f"nn.functional.{name}": getattr(nn.functional, name) for name in functions}
    return found | {f"nn.{name}": getattr(nn, name) for name in nn.__all__ if name.endswith("Loss")}


def takes_options(name: str, function: Any) -> bool:
    return (
        callable(function)
        and name.rpartition(".")[2] not in BINARY
        and bool(set(NAMES) & set(parameters(function)))
    )


def parameters(function: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


WITH_OPTIONS = {name: f for name, f in public_functions().items() if takes_options(name, f)}
WITH_OPTIONS = {name: f for name, f in WITH_OPTIONS.items() if name not in ("Mean", "Trace")}
WITH_ALL = {
    name: function
    for name, function in WITH_OPTIONS.items()
    if name.rpartition(".")[2] not in {*SOME, "NLLLoss"}
}


def test_the_losses_are_found() -> None:
    assert set(WITH_ALL) >= {
        "cross_entropy",
        "cross_entropy_with_grad",
        "explain",
        "linear_cross_entropy",
        "linear_cross_entropy_with_grad",
    }


@pytest.mark.parametrize("name", WITH_ALL)
def test_every_loss_takes_every_option(name: str) -> None:
    missing = [option for option in NAMES if option not in parameters(WITH_ALL[name])]
    assert not missing, f"{name} lacks {missing}"


@pytest.mark.parametrize("name", SOME)
def test_some_functions_take_some_options(name: str) -> None:
    for public, function in WITH_OPTIONS.items():
        if public.rpartition(".")[2] == name:
            assert set(parameters(function)) & set(NAMES) == SOME[name], public


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_defaults_and_order_are_the_records(name: str) -> None:
    given = parameters(WITH_OPTIONS[name])
    options = [option for option in given if option in NAMES]
    if "size_average" not in given and "options" not in given:  # torch has its own order
        assert options == [option for option in NAMES if option in options]
    for option in options:
        default = OTHER_DEFAULTS.get((name, option), getattr(DEFAULTS, option))
        assert given[option].default == default, f"{name}: {option}"


@pytest.mark.parametrize("name", WITH_ALL)
def test_every_option_is_documented(name: str) -> None:
    text = inspect.getdoc(WITH_ALL[name]) or ""
    missing = [option for option in NAMES if not re.search(rf"\b{option}\b", text)]
    assert not missing, f"{name} does not mention {missing}"


class Found(Exception):
    """Carries the options that reached the check."""


@pytest.mark.parametrize("name", WITH_ALL)
@pytest.mark.parametrize("option", NAMES)
def test_every_option_is_passed_on(name: str, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that takes an option and then forgets it would compute another loss."""

    def stop(*args: Any, options: LossOptions, **rest: Any) -> None:
        raise Found(options)

    monkeypatch.setattr(Loss, "of", stop)
    value = VALUES[option]
    with pytest.raises(Found) as found:
        call(name, {option: value})
    passed = getattr(found.value.args[0], option)
    if option == "weight" and name == "explain":
        return  # explain checks the weights itself; tests/explain covers them
    np.testing.assert_array_equal(passed, value)


def call(name: str, options: dict[str, Any]) -> None:
    function, kind = WITH_ALL[name], name.rpartition(".")[2]
    logits: Any = Z
    classifier: Any = W
    target: Any = Y
    if name.startswith("nn."):
        torch = pytest.importorskip("torch")
        logits, classifier, target = map(torch.from_numpy, (Z, W, Y))
        if "weight" in options:
            options = {"weight": torch.from_numpy(options["weight"])}
    if kind == "LinearCrossEntropyLoss":
        function(3, 3, dtype=logits.dtype, **options)(logits, target)
    elif kind == "CrossEntropyLoss":
        function(**options)(logits, target)
    elif kind.startswith("linear"):
        function(logits, classifier, target, **options)
    else:
        function(logits, target, **options)


def test_keywords_of_overloads() -> None:
    ours, theirs = get_type_hints(LossOptions), get_type_hints(LossKeywords)
    keywords = [name for name in NAMES if name not in ("weight", "reduction")]
    assert list(theirs) == keywords, "LossKeywords in ops/options.py repeats LossOptions"
    for name in theirs:
        assert theirs[name] == ours[name], f"the type of {name} in LossKeywords in ops/options.py"


@pytest.mark.parametrize(
    "operator",
    [
        "cross_entropy",
        "cross_entropy_backward",
        "linear_cross_entropy",
        "linear_cross_entropy_backward",
    ],
)
def test_operators_end_with_the_options(operator: str) -> None:
    torch = pytest.importorskip("torch")
    import softxent.nn  # noqa: F401

    schema = getattr(torch.ops.softxent, operator).default._schema
    names = [argument.name for argument in schema.arguments]
    assert names[-len(NAMES) :] == list(NAMES)
    assert SCHEMA in str(schema)


def test_the_kernels_take_the_options() -> None:
    names = set(NAMES) - {"weight", "reduction"}
    assert set(_kernel_options(DEFAULTS)) == names
    signature = str(_native.cross_entropy.__doc__)
    missing = [name for name in names if f"{name}: " not in signature]
    assert not missing, (
        f"the kernels lack {missing}: add them to `CrossEntropyTask` in native/kernels.h "
        "and to the arguments in native/bind/cross_entropy.cc, and build"
    )


def test_modules_that_were_pickled_before_an_option_existed() -> None:
    torch = pytest.importorskip("torch")
    from softxent import nn

    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    old = pickle.loads(pickle.dumps(loss))
    for name in set(NAMES) - set(inspect.signature(torch.nn.CrossEntropyLoss).parameters):
        del old.__dict__[name]
    assert options_of(old) == DEFAULTS._replace(label_smoothing=0.1)
    logits, target = torch.from_numpy(Z), torch.from_numpy(Y)
    assert torch.equal(old(logits, target), loss(logits, target))


def test_are_defaults_except() -> None:
    assert are_defaults_except(DEFAULTS)
    for name in NAMES:
        changed = DEFAULTS._replace(**{name: VALUES[name]})
        assert are_defaults_except(changed, name)
        if name != "weight":  # arrays aren't compared with ==; callers name the weight
            assert not are_defaults_except(changed)


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("OPTIONS", "support.targets"),
        ("OPTIONS", "support.linear_head"),
        ("OPTIONS", "ops.test_edges"),
        ("OPTIONS", "ops.test_linear"),
        ("OPTIONS", "ops.test_torch"),
        ("OPTIONS", "nn.test_autograd"),
        ("PLAIN", "native.fuzz"),
    ],
)
def test_lists_in_other_tests_have_every_option(name: str, module: str) -> None:
    """By itself. Their values are chosen for their inputs, so they are not `VALUES`."""
    pytest.importorskip("torch")
    listed = getattr(importlib.import_module(f"tests.{module}"), name)
    entries = listed if isinstance(listed, list) else [*listed.values()]
    alone = {
        option
        for entry in entries
        if isinstance(entry, dict) and len(entry) == 1
        for option in entry
    }
    given = set(listed) if name == "PLAIN" else alone
    missing = [option for option in OF_A_ROW if option not in given and option != "weight"]
    assert not missing, f"{name} in tests/{module.replace('.', '/')}.py lacks {missing}"


def test_contributing_names_every_file_that_an_option_is_in() -> None:
    """By the example of z_loss: its identifiers in the package, its name in the kernels."""
    root = Path(__file__).parents[2]
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("## Adding an option\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(?:[\w./]*/)?(\w+\.(?:py|pyi|h|cc))`", section))
    files = [path for path in SOURCES.rglob("*.py*") if path.suffix in (".py", ".pyi")]
    with_option = {path.name for path in files if "z_loss" in _identifiers(path)}
    kernels = [path for path in (root / "native").rglob("*.*") if path.suffix in (".h", ".cc")]
    with_option |= {path.name for path in kernels if "z_loss" in path.read_text(encoding="utf-8")}
    tests = {path.name for path in (root / "tests").rglob("*.py")}
    assert sorted(with_option - named) == [], "add them to Adding an option in CONTRIBUTING.md"
    assert sorted(named - with_option - tests) == [], "there is no such file, or it has no option"


def _identifiers(path: Path) -> set[str]:
    """Names of arguments, keywords, attributes and variables."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    fields = ("arg", "attr", "id")
    return {str(getattr(node, field)) for node in nodes for field in fields if hasattr(node, field)}


def test_no_list_of_options_is_written_again() -> None:
    """No dictionary with option names as keys, no tuple or list of them, outside the record."""
    lists = []
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Dict | ast.Tuple | ast.List | ast.Set):
                continue
            keys: list[Any] = node.keys if isinstance(node, ast.Dict) else node.elts
            strings = {key.value for key in keys if isinstance(key, ast.Constant)}
            if len(strings & set(NAMES)) > 3:
                lists.append(f"{path.relative_to(SOURCES)}:{node.lineno}")
    assert lists == []


def test_defaults_are_valid() -> None:
    assert check_options("test", DEFAULTS) == DEFAULTS


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("ignore_index", 1.0, "ignore_index is 1.0: pass an integer"),
        ("ignore_index", 2**63, "pass an integer of 64 bits"),
        ("reduction", "avg", "reduction is 'avg': valid are 'none'"),
        ("label_smoothing", 1.5, "valid values are >= 0 and <= 1"),
        ("label_smoothing", "x", "label_smoothing is 'x': pass a number"),
        ("z_loss", -1.0, "z_loss is -1.0: valid values are >= 0"),
        ("z_loss", float("inf"), "z_loss is inf"),
        ("softcap", 0.0, "softcap is 0.0: valid values are > 0"),
        ("temperature", 0.0, "temperature is 0.0: valid values are > 0"),
        ("temperature", float("nan"), "temperature is nan"),
        ("temperature", -1.0, "temperature is -1.0: valid values are > 0"),
    ],
)
def test_values_out_of_range_are_refused(option: str, value: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        check_options("test", DEFAULTS._replace(**{option: value}))


def test_every_option_has_details() -> None:
    for name in NAMES:
        assert DETAILS[name].help
        assert DETAILS[name].schema
    assert get_args(get_type_hints(LossOptions)["reduction"]) == ("none", "mean", "sum")
