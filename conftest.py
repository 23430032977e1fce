"""What tests and docstring examples share: this file applies to `tests` and to `src/softxent`.

Where an optional package is missing, what needs it is skipped with its name as the reason.
"""

from __future__ import annotations

import doctest
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["pytester"]

# Set before torch is loaded: its threads would otherwise spin while they wait for each other, and
# take the processors from the tests beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# `--quick` runs so many cases of each parametrized test, spread over its parameters.
CASES = 3

# The core needs NumPy alone.
OPTIONAL = {"ml_dtypes", "msgspec", "pyarrow", "rich", "safetensors", "scipy", "sklearn", "torch"}
MISSING = {name for name in OPTIONAL if find_spec(name) is None}


def missing_package(error: BaseException | None) -> str | None:
    """The optional package whose absence caused an error, if that is the cause."""
    if isinstance(error, doctest.UnexpectedException):
        error = error.exc_info[1]
    while error is not None:
        name = (getattr(error, "name", None) or "").partition(".")[0]
        if isinstance(error, ImportError) and name in MISSING:
            return name
        error = error.__cause__ or error.__context__
    return None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skip a module that can't be imported without an optional package."""
    report = yield
    call: Any = getattr(report, "call", None)
    if report.failed and call is not None:
        name = missing_package(call.excinfo.value)
        if name is not None:
            report.outcome = "skipped"
            report.longrepr = (str(collector.path), 1, f"Skipped: needs {name}")
    return report


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --quick."""
    parser.addoption(
        "--quick",
        action="store_true",
        help=f"{CASES} cases of each parametrized test, and no test that is marked as slow",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --quick, deselect slow tests and most cases of parametrized ones."""
    if not config.getoption("--quick"):
        return
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("slow") is None:
            groups.setdefault(item.nodeid.partition("[")[0], []).append(item)
    kept = set()
    for cases in groups.values():
        last, count = len(cases) - 1, min(CASES, len(cases))
        kept |= {cases[last * k // max(count - 1, 1)] for k in range(count)}
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


@contextmanager
def _skip_where_missing() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        name = missing_package(error)
        if name is None:
            raise
        pytest.skip(f"needs {name}")


@pytest.fixture(autouse=True)
def _what_examples_start_from(request: pytest.FixtureRequest) -> None:
    """Set up the directory `runs/digits-1`, and the names that the page of a doctor's rule has."""
    item = request.node
    if not isinstance(item, pytest.DoctestItem) or item.dtest is None:
        return
    with _skip_where_missing():
        if "runs/digits-1" in "".join(example.source for example in item.dtest.examples):
            request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("example_runs"))
        if item.name.startswith("softxent.doctor."):
            exec(_start_of_page(item.name), item.dtest.globs)


@pytest.fixture(scope="session")
def example_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the run that examples read."""
    from softxent.cli import main

    folder = tmp_path_factory.mktemp("examples")
    run = folder / "runs" / "digits-1"
    assert main(["train", "digits", "--epochs", "2", "--out", str(run)]) == 0
    return folder


def _start_of_page(name: str) -> str:
    from softxent.doctor.catalog import all_rules
    from softxent.doctor.pages import preamble

    rule_name = name.rpartition(".")[2].replace("_", "-")
    return "".join(preamble(rule) for rule in all_rules() if rule.name == rule_name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Skip a test that finds out only while it runs that an optional package is missing."""
    with _skip_where_missing():
        yield
