"""Every rule's docstring is complete, and its wrong and fixed examples do what they say."""

from __future__ import annotations

import doctest
import re

import pytest

from softxent.doctor.catalog import all_rules
from softxent.doctor.pages import preamble
from softxent.doctor.registry import SECTIONS, Rule


def _run(rule: Rule, code: str, namespace: dict[str, object]) -> None:
    example = doctest.DocTestParser().get_doctest(code, namespace, rule.name, None, None)
    assert example.examples
    output: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(example, out=output.append, clear_globs=False)
    assert not runner.failures, "".join(output)
    namespace.update(example.globs)


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.name)
def test_examples(rule: Rule) -> None:
    if "import torch" in "".join(rule.sections.values()):
        pytest.importorskip("torch")
    namespace: dict[str, object] = {}
    exec(preamble(rule), namespace)
    _run(rule, rule.sections["Wrong"], namespace)
    _run(rule, rule.sections["Fixed"], namespace)


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.name)
def test_docstring_has_every_section(rule: Rule) -> None:
    assert rule.title.endswith(".")
    assert tuple(rule.sections) == SECTIONS, f"{rule.name}: its docstring needs these sections"
    assert rule.name in rule.sections["Wrong"], "the wrong example names the rule"
    source = rule.sections["Source"]
    assert re.fullmatch(r"https://[\w.-]+\.\w+/\S+", source), "a source is one link"
    assert "..." not in source, "a source names the page"


def test_rules_have_unique_names() -> None:
    names = [rule.name for rule in all_rules()]
    assert len(names) == len(set(names))
    assert {rule.name for rule in all_rules("log")} < set(names)
