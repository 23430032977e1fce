"""The watch on the kernels' instructions fails where it should, and only there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from benches import counts

ROOT = Path(__file__).parents[2]
NAMES = ("softmax, float32, 10", "loss, bfloat16, 1000")


@pytest.fixture(scope="module", autouse=True)
def level() -> None:
    """Once, not for each instruction set: nothing here runs a kernel of this process."""


def stored(**changed: int) -> dict[str, Any]:
    return {"compiler": "GCC 12.2.0", "counts": dict.fromkeys(NAMES, 100_000) | changed}


@pytest.mark.parametrize("count", [103_000, 97_000, 102_001, 97_999])
def test_a_count_that_left_the_bound_fails(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    found = stored()["counts"] | {NAMES[1]: count}
    assert counts.report(stored(), "GCC 12.2.0", found) == 1
    said = capsys.readouterr().out
    assert f"{NAMES[1]}: 100,000 -> {count:,} instructions" in said
    assert NAMES[0] not in said
    assert "1 of 2 counts" in said
    assert "make counts-update" in said


def test_a_count_within_the_bound_passes(capsys: pytest.CaptureFixture[str]) -> None:
    found = {NAMES[0]: 102_000, NAMES[1]: 98_000}
    assert counts.report(stored(), "GCC 12.2.0", found) == 0
    assert "2 counts are within 2%" in capsys.readouterr().out


def test_missing_and_new_counts_fail(capsys: pytest.CaptureFixture[str]) -> None:
    assert counts.report(stored(), "GCC 12.2.0", {NAMES[0]: 100_000}) == 1
    assert f"{NAMES[1]}: not counted" in capsys.readouterr().out
    assert counts.report(stored(), "GCC 12.2.0", stored()["counts"] | {"new": 1}) == 1
    assert "new: not in the table" in capsys.readouterr().out


def test_another_compiler_only_reports(capsys: pytest.CaptureFixture[str]) -> None:
    assert counts.report(stored(), "GCC 13.3.0", {NAMES[0]: 150_000, NAMES[1]: 100_000}) == 0
    said = capsys.readouterr().out
    assert "(+50.0%)" in said
    assert "from GCC 12.2.0 and these are from GCC 13.3.0" in said


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("g++ (Debian 12.2.0-14+deb12u1) 12.2.0", "GCC 12.2.0"),
        ("c++ (Ubuntu 13.3.0-6ubuntu2~24.04) 13.3.0", "GCC 13.3.0"),
        ("Debian clang version 16.0.6 (15~deb12u1)", "Clang 16.0.6"),
        ("Ubuntu clang version 18.1.3 (1ubuntu1)", "Clang 18.1.3"),
    ],
)
def test_versions_of_compilers(line: str, version: str) -> None:
    assert counts.compiler_version(line) == version


def test_the_table_covers_types_and_lengths() -> None:
    table = json.loads(counts.TABLE.read_text(encoding="utf-8"))
    cells = [tuple(name.split(", ")) for name in table["counts"]]
    assert {dtype for _, dtype, _ in cells} == {"float32", "bfloat16", "float64"}
    assert {classes for _, _, classes in cells} == {"10", "100", "1000", "32000"}
    operations = {operation for operation, _, _ in cells}
    assert {"softmax", "logsumexp", "loss", "loss and gradient"} <= operations
    assert len(cells) == 12 * len(operations)
    assert all(count > 64_000 for count in table["counts"].values())  # one for each number


def test_counts_of_dumps() -> None:
    dump = "desc: Trigger: Client Request: loss, float32, 10\n\nevents: Ir\nsummary: 123\n\n9 9\n"
    assert list(counts._count_of(dump)) == [("loss, float32, 10", 123)]
    assert list(counts._count_of("desc: Trigger: Program termination\nsummary: 123\n")) == []


def test_without_valgrind_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    monkeypatch.setattr("sys.argv", ["benches.counts"])
    assert counts.main() == 0
    assert "valgrind isn't installed: skipped" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["benches.counts", "--update"])
    assert counts.main() == 1
