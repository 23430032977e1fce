"""A page a rule, made from its docstring: `python -m softxent.doctor.pages docs/doctor`."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from softxent.doctor.registry import Rule, Subject, all_rules

__all__ = ["pages", "preamble", "write"]

_ASKED_BY: dict[Subject, tuple[str, str]] = {
    "arrays": ("check", "the arguments of a loss"),
    "means": ("check_mean", "a mean over batches"),
    "predictions": ("check_predictions", "a comparison of predictions with labels"),
    "log": ("audit_log", "a printed log; also `softxent doctor LOG`"),
    "model": ("examine", "a torch model on one batch"),
    "training": ("watch", "a training loop"),
}

_INTRODUCTION = """\
One page a rule, made from the rule's own docstring; the examples run as tests. How often each rule
finds its mistake, and how often a healthy set-up is disturbed, is measured in [rates.md](rates.md).

A finding has a level: an `error` makes results wrong, a `warning` probably does, a `note` is worth
knowing in a set-up that may be healthy. It says what it saw, in numbers, how sure it is and why,
the remedy in one line of code, and what it did not check.

`softxent doctor LOG` prints the findings about a training log (`-` is standard input) and ends as
linters do: with 0 where there is nothing worse than a warning, 1 where an error was found, 2 where
the log can't be read.
"""

_START = """\
import numpy as np
import softxent
from softxent import doctor

rng = np.random.default_rng(0)
logits, target = 3 * rng.standard_normal((64, 10)), rng.integers(0, 10, 64)
"""
_MODEL_START = """\
import torch
from torch import nn
from softxent import doctor

_ = torch.manual_seed(0)
target = torch.arange(32) % 4
inputs = torch.eye(4)[target].repeat(1, 2) + 0.1 * torch.randn(32, 8)
batch = inputs, target
"""
_LOG_START = "from softxent import doctor\n"


def preamble(rule: Rule) -> str:
    """What the examples of a rule take for granted."""
    return {"model": _MODEL_START, "training": _MODEL_START, "log": _LOG_START}.get(
        rule.subject, _START
    )


def pages() -> dict[str, str]:
    """The Markdown of every page by its file name, with an index."""
    made = {f"{rule.name}.md": "\n".join(_page(rule)) for rule in all_rules()}
    return made | {"README.md": "\n".join(_index())}


def _page(rule: Rule) -> Iterator[str]:
    function, subject = _ASKED_BY[rule.subject]
    yield f"# {rule.name}\n"
    yield f"{rule.title}\n"
    yield f"Asked by `doctor.{function}`: {subject}.\n"
    for heading in ("Symptom", "Cause", "Cure"):
        yield f"## {heading}\n"
        words = rule.sections[heading]
        yield f"{words[0].upper()}{words[1:]}\n"
    yield "## Example\n"
    yield f"```python\n{preamble(rule)}```\n"
    for heading in ("Failing", "Mended"):
        code = textwrap.dedent(rule.sections[heading]).strip()
        yield f"{heading}:\n\n```pycon\n{code}\n```\n"


def _index() -> Iterator[str]:
    yield "# What the doctor knows\n"
    yield _INTRODUCTION
    for subject, (function, words) in _ASKED_BY.items():
        yield f"## doctor.{function}: {words}\n"
        for rule in all_rules(subject):
            yield f"- [{rule.name}]({rule.name}.md): {rule.title}"
        yield ""


def write(folder: Path) -> None:
    """Write every page, and remove those of rules that are gone; rates.md is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for old in folder.glob("*.md"):
        if old.name not in made and old.name != "rates.md":
            old.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
