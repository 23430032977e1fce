"""Write one page per rule from its docstring: `python -m softxent.doctor.pages docs/doctor`."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from softxent.doctor.catalog import JUDGED_BY, all_rules
from softxent.doctor.registry import SECTIONS, Rule

__all__ = ["pages", "preamble", "write"]

_INTRODUCTION = """\
There is one page per rule, made from the rule's docstring; the examples run as tests. How often
each rule detects its mistake, and how often a healthy set-up gets a finding, is measured in
[rates.md](rates.md).

A finding has a severity: an `error` makes results wrong, a `warning` probably does, a `note` is
worth knowing although the set-up may be healthy. A rule's own severity, below, is the highest that
its findings have. A finding shows its evidence in numbers, its confidence with the reason, the fix
in one line of code, and what was not checked.

`softxent doctor LOG` prints the findings about a training log (`-` is standard input), or about a
run of `softxent train`. Its exit code is that of linters: 0 if there is nothing worse than a
warning, 1 if an error was found, 2 if the log can't be read.

A notebook shows a diagnosis, and a `watch` with what it has found so far, as the last line of a
cell; no script runs and nothing is fetched.

Rules are selected by name: `doctor.check(logits, target, ignore=["weighted-mean"])`, likewise
`select=` and the other functions; `softxent doctor LOG --select impossible-loss,loss-floor` and
`--ignore`. `softxent doctor --rules` lists all rules.
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
    """The code that the examples of a rule start with."""
    return {"model": _MODEL_START, "training": _MODEL_START, "log": _LOG_START}.get(
        rule.subject, _START
    )


def pages() -> dict[str, str]:
    """The Markdown of every page by its file name, with an index."""
    made = {f"{rule.name}.md": "\n".join(_page(rule)) for rule in all_rules()}
    return made | {"README.md": "\n".join(_index())}


def _page(rule: Rule) -> Iterator[str]:
    missing = [heading for heading in SECTIONS if heading not in rule.sections]
    if missing:
        raise ValueError(f"the docstring of {rule.name} has no section {', '.join(missing)}")
    function, subject = JUDGED_BY[rule.subject]
    yield f"# {rule.name}\n"
    yield f"{rule.title}\n"
    yield f"Severity: {rule.severity}. Reported by `doctor.{function}`: {subject}.\n"
    for heading in ("Symptom", "Cause", "Fix"):
        words = rule.sections[heading]
        yield f"## {heading}\n"
        yield f"{words[0].upper()}{words[1:]}\n"
    yield f"Source: <{rule.sections['Source']}>\n"
    yield "## Example\n"
    yield f"```python\n{preamble(rule)}```\n"
    for heading in ("Wrong", "Fixed"):
        code = textwrap.dedent(rule.sections[heading]).strip()
        yield f"{heading}:\n\n```pycon\n{code}\n```\n"


def _index() -> Iterator[str]:
    yield "# What the doctor detects\n"
    yield _INTRODUCTION
    for subject, (function, words) in JUDGED_BY.items():
        yield f"## doctor.{function}: {words}\n"
        for rule in all_rules(subject):
            yield f"- [{rule.name}]({rule.name}.md) ({rule.severity}): {rule.title}"
        yield ""


def write(folder: Path) -> None:
    """Write every page, and remove those of rules that no longer exist; rates.md is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for old in folder.glob("*.md"):
        if old.name not in made and old.name != "rates.md":
            old.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
