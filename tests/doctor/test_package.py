"""The package as a whole: what it loads, its text, and that its pages are up to date."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from softxent import doctor
from softxent.doctor.arrays import rules
from softxent.doctor.catalog import all_rules
from softxent.doctor.finding import SEVERITIES
from softxent.doctor.pages import pages, write

DOCS = Path(__file__).parents[2] / "docs" / "doctor"
MODULES = (
    "arrays.check",
    "catalog",
    "diagnosis",
    "formulas",
    "logs.audit",
    "loops.watch",
    "means.check_mean",
    "models.examine",
    "predictions.check_predictions",
    "printed_number",
)


def test_torch_is_not_loaded() -> None:
    code = (
        "import sys, softxent.doctor as d; d.audit_log('loss 1'); d.check([[1., 2.]], [0]);"
        "print('torch' in sys.modules, 'softxent.learn' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.split() == ["False", "False"]


@pytest.mark.slow
def test_lazy_names_are_functions_in_either_order() -> None:
    pytest.importorskip("torch")
    for first, second in (("watch", "examine"), ("examine", "watch")):
        code = f"from softxent import doctor as d; print(callable(d.{first}), callable(d.{second}))"
        out = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        )
        assert out.stdout.split() == ["True", "True"]
    with pytest.raises(AttributeError, match="no attribute 'treat'"):
        doctor.treat  # noqa: B018


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str) -> None:
    module = importlib.import_module(f"softxent.doctor.{name}")
    outcome = doctest.testmod(module, extraglobs={"np": np})
    assert outcome.attempted
    assert not outcome.failed


def test_every_file_of_rules_is_in_the_catalog() -> None:
    folder = Path(doctor.__file__).parent
    files = {
        path.relative_to(folder).with_suffix("").as_posix().replace("/", ".")
        for path in folder.rglob("*.py")
        if "\n@rule(" in path.read_text(encoding="utf-8")
    }
    loaded = {one.function.__module__.removeprefix("softxent.doctor.") for one in all_rules()}
    assert not files - loaded, f"import these files in rules/__init__.py: {files - loaded}"


def test_the_table_of_files_of_rules_is_complete() -> None:
    described = re.findall(r"^(\w+)  +\S", rules.__doc__ or "", re.M)
    imported = [name for name in vars(rules) if not name.startswith("_")]
    assert described == imported, "the docstring of arrays/rules/__init__.py lists them in order"
    assert sorted(imported) == rules.__all__
    files = {path.stem for path in Path(rules.__file__).parent.glob("*.py")} - {"__init__"}
    assert set(imported) == files


def test_pages_are_up_to_date() -> None:
    made = pages()
    written = {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")}
    old = [name for name, text in made.items() if written.get(name) != text]
    assert not old, f"run python -m softxent.doctor.pages docs/doctor: {old}"
    assert {path.name for path in DOCS.glob("*.md")} <= {*pages(), "rates.md"}


def test_writing_pages_removes_pages_of_old_rules(tmp_path: Path) -> None:
    for name in ("gone.md", "rates.md"):
        (tmp_path / name).write_text("old")
    write(tmp_path)
    assert not (tmp_path / "gone.md").exists()
    assert (tmp_path / "rates.md").read_text() == "old"
    assert (tmp_path / "softmax-twice.md").read_text().startswith("# softmax-twice\n")


def test_every_finding_is_complete() -> None:
    for finding in doctor.check(np.full((4, 3), 1 / 3), [1, 2, 3, 1], value=1.0):
        assert finding.severity in SEVERITIES
        assert finding.confidence in ("certain", "likely", "possible")
        for words in (finding.title, finding.evidence, finding.why, finding.not_checked):
            assert words
        assert "\n" not in finding.remedy
        assert finding.numbers


def test_colour_only_on_request() -> None:
    diagnosis = doctor.check(np.full((4, 3), 1 / 3), [0, 1, 2, 0])
    plain, coloured = diagnosis.text(), diagnosis.text(colour=True)
    assert "\x1b" not in plain
    assert "\x1b[1;31merror\x1b[0m" in coloured
    assert max(map(len, plain.split("\n"))) <= 80
