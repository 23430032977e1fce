"""The examples in the documentation run, and print what they say."""

from __future__ import annotations

import doctest
import importlib
from types import ModuleType
from typing import Any

import pytest

# module: the public functions in it that have to show an example
MODULES = {
    "softxent.ops.api.softmax": {"softmax", "log_softmax", "logsumexp", "top_k", "one_hot"},
    "softxent.ops.api.cross_entropy": {"cross_entropy", "cross_entropy_with_grad"},
    "softxent.ops.api.losses": {
        "nll_loss",
        "log_loss",
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
    },
    "softxent.ops.linear.api": {"linear_cross_entropy", "linear_cross_entropy_with_grad"},
    "softxent.ops.mean": {"Mean"},
    "softxent.ops.arrays.runtime": {"kernels"},
    "softxent.nn.functions": {
        "softmax",
        "log_softmax",
        "cross_entropy",
        "cross_entropy_with_stats",
        "nll_loss",
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
    },
    "softxent.nn.patching": {"patch"},
}


def examples(module: ModuleType) -> list[Any]:
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    if name.startswith("softxent.nn"):
        pytest.importorskip("torch")
    module = importlib.import_module(name)
    shown = {test.name.removeprefix(name + ".") for test in examples(module)}
    assert shown >= MODULES[name]
    runner = doctest.DocTestRunner(verbose=False)
    for test in examples(module):
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def test_a_wrong_example_would_fail() -> None:
    module = ModuleType("wrong")
    module.__doc__ = ">>> 1 + 1\n3\n"
    runner = doctest.DocTestRunner(verbose=False)
    for test in examples(module):
        runner.run(test, out=lambda text: None)
    assert runner.failures == 1
