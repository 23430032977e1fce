"""Every rule's docstring is complete, and its failing and mended examples do what they say."""

from __future__ import annotations

import doctest

import pytest

from softxent import doctor
from softxent.doctor.pages import preamble
from softxent.doctor.registry import SECTIONS, Rule, all_rules


def _run(rule: Rule, code: str, namespace: dict[str, object]) -> None:
    example = doctest.DocTestParser().get_doctest(code, namespace, rule.name, None, None)
    assert example.examples
    said: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(example, out=said.append, clear_globs=False)
    assert not runner.failures, "".join(said)
    namespace.update(example.globs)


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.name)
def test_examples(rule: Rule) -> None:
    if "import torch" in "".join(rule.sections.values()):
        pytest.importorskip("torch")
    namespace: dict[str, object] = {}
    exec(preamble(rule), namespace)
    _run(rule, rule.sections["Failing"], namespace)
    _run(rule, rule.sections["Mended"], namespace)


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.name)
def test_docstring_is_a_page(rule: Rule) -> None:
    assert tuple(rule.sections) == SECTIONS
    assert rule.title.endswith(".")
    assert rule.name in rule.sections["Failing"], "the failing example names the rule"


def test_rules_are_listed_by_name() -> None:
    assert callable(doctor.all_rules)
    names = [rule.name for rule in doctor.all_rules()]
    assert len(names) == len(set(names))
    assert {rule.name for rule in all_rules("log")} < set(names)
