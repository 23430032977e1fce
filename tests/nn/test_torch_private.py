"""torch's private names stand in one file, and the installed torch has all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import softxent
from softxent.ops.tensors import torch_private

SOURCES = Path(softxent.__file__).parent
HOME = Path(torch_private.__file__)
# A private attribute of torch or of one of its modules: torch._C, torch.autograd.forward_ad._level.
PRIVATE = re.compile(r"\b(?:torch|forward_ad)(?:\.[a-z][a-zA-Z0-9]*)*\._[a-zA-Z]|from torch\S*\._")


def private_names(text: str) -> list[str]:
    return PRIVATE.findall(text)


def test_the_installed_torch_has_every_private_name() -> None:
    assert torch_private.missing() == [], f"torch {torch.__version__} lacks these names"


def test_a_missing_name_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(torch_private.NAMES, "_C._no_such_name", "a test")
    assert torch_private.missing() == ["_C._no_such_name"]


def test_private_names_stand_in_one_file() -> None:
    others = {
        str(path.relative_to(SOURCES)): found
        for path in SOURCES.rglob("*.py")
        if path != HOME and (found := private_names(path.read_text(encoding="utf-8")))
    }
    assert others == {}


def test_a_private_name_is_found() -> None:
    assert private_names("x = torch._C._get_tracing_state()")
    assert private_names("torch.ops.mkldnn._linear_pointwise(a, b)")
    assert private_names("from torch._subclasses.fake_tensor import FakeTensor")
    assert not private_names("torch.compiler.is_compiling()")


def test_every_private_name_that_is_used_is_listed() -> None:
    text = HOME.read_text(encoding="utf-8")
    used = set(re.findall(r"\btorch\.((?:[a-zA-Z0-9]+\.)*_[a-zA-Z_.]*)", text))
    used.discard("__version__")
    assert used
    listed = set(torch_private.NAMES)
    unlisted = {name for name in used if not any(entry.startswith(name) for entry in listed)}
    assert unlisted == set()
