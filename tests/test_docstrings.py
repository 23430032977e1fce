"""Every public function shows an example; pytest runs them (`--doctest-modules`)."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

import softxent

INTERNAL = {"cli", "render"}
PACKAGES = [
    "softxent",
    *(
        f"softxent.{module.name}"
        for module in pkgutil.iter_modules(softxent.__path__)
        if module.ispkg and module.name not in INTERNAL
    ),
    "softxent.nn.functional",
]


def public(package: str) -> Iterator[tuple[str, Any]]:
    """The functions of a package's `__all__`."""
    module = importlib.import_module(package)
    for name in module.__all__:
        if inspect.isfunction(getattr(module, name)):
            yield f"{package}.{name}", getattr(module, name)


def without_example(functions: Iterator[tuple[str, Any]]) -> list[str]:
    """The names of functions whose docstring has no example, or one that doesn't run."""
    found = []
    for name, function in functions:
        text = inspect.getdoc(function) or ""
        if ">>> " not in text or "+SKIP" in text:
            found.append(name)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_public_functions_show_an_example(package: str) -> None:
    assert without_example(public(package)) == []


def test_a_missing_example_is_reported() -> None:
    def documented() -> None:
        """One.

        >>> documented()
        """

    def bare() -> None:
        """Another."""

    def skipped() -> None:
        """A third.

        >>> skipped()  # doctest: +SKIP
        """

    functions = {"documented": documented, "bare": bare, "skipped": skipped}
    assert without_example(iter(functions.items())) == ["bare", "skipped"]


def test_wrong_examples_fail(pytester: pytest.Pytester, request: pytest.FixtureRequest) -> None:
    """The options of this project's pyproject.toml run the examples of a package."""
    options = request.config.getini("addopts")
    pytester.makepyfile(wrong='"""\n>>> 1 + 1\n3\n"""\n', right='"""\n>>> 1 + 1\n2\n"""\n')
    result = pytester.runpytest(*options, "wrong.py", "right.py")
    result.assert_outcomes(passed=1, failed=1)
