"""The worked row of docs/kernels.md: every number recomputed, every function looked up."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from softxent import _native

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "kernels.md").read_text()
LOGITS, TARGET = (2.0, -1.0, 0.1), 2


def worked_row() -> list[str]:
    """The numbers of each step, as the page prints them."""
    exponentials = [math.exp(u) for u in LOGITS]
    top, others = exponentials[0], exponentials[1:]
    tail = sum(others)
    tail_sum = tail / top
    log = math.log1p(tail_sum)
    loss = log + (max(LOGITS) - LOGITS[TARGET])
    gradient = [e / sum(exponentials) - (j == TARGET) for j, e in enumerate(exponentials)]
    return [
        "2  -1  0.1",
        "max 2  min -1",
        "  ".join(f"{e:.6f}" for e in exponentials),
        f"{top:.6f}",
        f"{others[0]:.6f} + {others[1]:.6f} = {tail:.6f}",
        f"{tail:.6f} / {top:.6f} = {tail_sum:.6f}",
        f"log1p({tail_sum:.6f}) + (2 - 0.1) = {log:.6f} + 1.9 = {loss:.6f}",
        f"1 / {top + tail:.6f} = {1 / (top + tail):.6f}",
        "  ".join(f"{g:.6f}" for g in gradient),
    ]


def printed_steps() -> list[tuple[str, str, str]]:
    """Each step of the page: its numbers, the function, the file."""
    block = PAGE.split("<!-- worked row -->")[1].split("<!-- end of the worked row -->")[0]
    rows = re.split(r"\n(?=\d )", block.replace("\n  ", " \0"))[1:]
    steps = []
    for row in rows:
        found = re.fullmatch(r"\d [a-z ]+?  +(.*?)  +(\w+) +(native/\S+)\s*(?:```)?\s*", row, re.S)
        assert found, row
        steps.append((re.sub(r" *\0 *", " ", found[1]), found[2], found[3]))
    return steps


def test_the_numbers_of_the_worked_row() -> None:
    assert [numbers for numbers, _, _ in printed_steps()] == worked_row()


def test_the_functions_of_the_worked_row() -> None:
    for _, function, file in printed_steps():
        defined = rf"\b(?:class|struct) {function}\b|\b{function}\("
        assert re.search(defined, (ROOT / file).read_text()), f"{file} has no {function}"


def test_the_kernels_compute_the_worked_row() -> None:
    """Among further classes of probability 0, so that the row is one of many classes."""
    logits = np.full((1, 400), -np.inf)
    logits[0, :3] = LOGITS
    saved, grad = np.empty((1, 2)), np.empty_like(logits)
    index = np.array([TARGET])
    loss, _ = _native.cross_entropy(logits, index=index, saved=saved, grad=grad)
    assert f"{loss:.6f}" in worked_row()[6]
    assert saved[0, 0] == max(LOGITS)
    assert f"{saved[0, 1]:.6f}" in worked_row()[5]
    assert "  ".join(f"{g:.6f}" for g in grad[0, :3]) == worked_row()[8]


def test_every_file_of_the_kernels_is_on_the_page() -> None:
    table = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    for file in sorted((ROOT / "native").rglob("*.*")):
        assert file.stem in table, file
