"""The README's examples run and print what its comments say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import softxent

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=["numpy", "torch"])
def test_example_runs(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(block, {})
    assert capsys.readouterr().out


def test_numbers_in_the_comments() -> None:
    names: dict[str, object] = {}
    exec(BLOCKS[0], names)
    assert f"{names['loss']:.4f}" == re.search(r"# ([\d.]+), in nats", BLOCKS[0]).group(1)  # type: ignore[union-attr]
    assert f"{names['small']:.2e}" == re.search(r"# (\S+), where lse", BLOCKS[0]).group(1)  # type: ignore[union-attr]


def test_every_public_function_of_the_examples_exists() -> None:
    for name in set(re.findall(r"softxent\.(\w+)\(", README)):
        assert name in softxent.__all__
