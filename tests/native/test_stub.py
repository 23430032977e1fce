"""_native.pyi says what the compiled module is: names, arguments, kinds, defaults, types."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import softxent
from softxent import _native

STUB = ast.parse((Path(softxent.__file__).parent / "_native.pyi").read_text())
STUBBED = {node.name: node for node in STUB.body if isinstance(node, ast.FunctionDef)}
ALIASES = {
    node.targets[0].id: ast.unparse(node.value)
    for node in STUB.body
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
}
COMPILED = {
    name: value for name, value in vars(_native).items() if hasattr(value, "__nb_signature__")
}


@pytest.fixture(autouse=True)
def level() -> None:
    """Nothing here depends on the instruction set: the tests run once."""


def compiled_signature(name: str) -> ast.FunctionDef:
    """What nanobind says of the function, with arrays named by their dtype alone."""
    ((text, _, defaults),) = COMPILED[name].__nb_signature__
    text = re.sub(r"\\(\d+)", lambda number: repr(defaults[int(number[1])]), text)
    text = re.sub(r"(?:numpy\.)?ndarray\[(?:dtype=(\w+))?[^]]*\]", r"array_\1", text)
    text = text.replace("collections.abc.Sequence", "list")
    (node,) = ast.parse(f"{text}: ...").body
    assert isinstance(node, ast.FunctionDef)
    return node


def type_of(annotation: ast.expr | None) -> str:
    """The annotation of the stub in the same form."""
    assert annotation is not None
    text = ast.unparse(annotation)
    for alias, meaning in ALIASES.items():
        text = re.sub(rf"\b{alias}\b", meaning, text)
    return re.sub(r"npt\.NDArray\[(?:Any|np\.(\w+?)_?)\]", r"array_\1", text)


def arguments(node: ast.FunctionDef) -> list[tuple[str, str, str, str]]:
    """Name, kind, type and default of each; the names of positional-only ones mean nothing."""
    given = node.args
    positional = [*given.posonlyargs, *given.args]
    missing = [None] * (len(positional) - len(given.defaults))
    found = []
    for argument, default in zip(positional, [*missing, *given.defaults], strict=True):
        named = argument not in given.posonlyargs
        kind = "positional or keyword" if named else "positional"
        found.append((argument.arg if named else "", kind, argument.annotation, default))
    for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        found.append((argument.arg, "keyword", argument.annotation, default))
    return [
        (name, kind, type_of(annotation), "" if default is None else ast.unparse(default))
        for name, kind, annotation, default in found
    ]


def test_the_stub_names_every_function() -> None:
    assert sorted(STUBBED) == sorted(COMPILED)


@pytest.mark.parametrize("name", sorted(COMPILED))
def test_the_stub_has_the_signature(name: str) -> None:
    compiled, stubbed = compiled_signature(name), STUBBED[name]
    assert arguments(stubbed) == arguments(compiled)
    assert type_of(stubbed.returns) == type_of(compiled.returns)
