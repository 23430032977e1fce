"""The page of measured speed is what was measured, and wrong answers are never timed."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benches.speed import page, timing
from benches.speed.grid import TASKS, Cell, default_grid, full_grid

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def stored() -> Any:
    if not page.STORED.exists():
        pytest.skip("not measured yet: run `python -m benches.speed --publish` on a quiet machine")
    return json.loads(page.STORED.read_text(encoding="utf-8"))


def test_the_pages_show_the_stored_numbers(stored: Any) -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.render(stored)
    for path in page.QUOTING:
        assert f"\n\n{page.headline(stored)}\n\n" in path.read_text(encoding="utf-8"), path


def made_up(memory: str, shape: tuple[int, ...], **seconds: float) -> dict[str, Any]:
    times = {
        peer.replace("_", " "): {
            "median": t, "minimum": t, "user": t, "system": 0.0, "faults": 0.0, "calls": 5,
        }
        for peer, t in seconds.items()
    }  # fmt: skip
    cell = {"memory": memory, "task": "loss and gradient", "dtype": "float32", "axis": -1}
    return cell | {"shape": list(shape), "times": times, "absent": {}}


def test_first_lines_of_made_up_results() -> None:
    """The faster one of torch's counts, and NumPy's users are shown the fastest of all others."""
    ours = {"arrays, out": 0.5, "nn": 1.0}
    cells = [
        made_up("kept", (64, 10), **ours, torch_eager=3.0, SciPy=1.0),
        made_up("kept", (9, 1000), **ours, torch_eager=9.0, JAX=4.0),
        made_up("as it comes", (64, 10), **ours, torch_eager=7.0, SciPy=8.0),
        made_up("as it comes", (9, 1000), **ours, torch_eager=8.0, JAX=6.0),
    ]
    for cell, seconds in zip(cells, (2.5, 1.5, 9.0, 30.0), strict=True):
        cell["times"]["torch.compile"] = cell["times"]["nn"] | {"median": seconds}
    said = " ".join(page.headline({"cells": cells}).split())
    assert "are 1.50 to 2.50 times as fast" in said
    assert "keeps memory (median 2.00), and 7.00 to 8.00 times with memory as it comes" in said
    assert "2 shapes from (64, 10) to (9, 1000)" in said
    assert "is 2.00 to 3.00 and 12.0 to 14.0 times as fast as the fastest other library" in said


def factor(cell: Any) -> float:
    times = {peer: t["median"] for peer, t in cell["times"].items()}
    return float(min(times["torch eager"], times["torch.compile"]) / times["nn"])


def test_the_first_lines_say_both_factors_the_kept_one_first(stored: Any) -> None:
    first = " ".join(page.render(stored).split("\n\n")[2].split())
    assert first.startswith("Forward and backward")
    places = []
    for memory in ("kept", "as it comes"):
        found = [
            factor(cell)
            for cell in stored["cells"]
            if (cell["task"], cell["dtype"], cell["axis"]) == ("loss and gradient", "float32", -1)
            and cell["memory"] == memory
        ]
        said = f"median {page._digits(statistics.median(found))}"
        assert said in first
        places.append(first.index(said))
    assert places == sorted(places)


def test_the_page_says_how_it_was_measured(stored: Any) -> None:
    text = " ".join(page.PAGE.read_text(encoding="utf-8").split())
    for value in (stored["command"], stored["date"], stored["machine"]["processor"]):
        assert value in text
    for name, version in stored["versions"].items():
        assert f"{name} {version}" in text


def test_every_cell_was_measured_with_both_kinds_of_memory(stored: Any) -> None:
    by_memory: dict[str, list[Cell]] = {"kept": [], "as it comes": []}
    for found in stored["cells"]:
        cell = Cell(found["task"], found["dtype"], tuple(found["shape"]), found["axis"])
        by_memory[found["memory"]].append(cell)
        assert "skipped" in found or len(found["times"]) >= 5, cell
        for times in found["times"].values():
            assert 0 < times["minimum"] <= times["median"]
    assert by_memory["kept"] == by_memory["as it comes"]
    # A task in a dtype is measured in all its shapes or not at all; the headline needs the first.
    measured = {(cell.task, cell.dtype) for cell in by_memory["kept"]}
    assert (TASKS[0], "float32") in measured
    wanted = {cell for cell in default_grid() if (cell.task, cell.dtype) in measured}
    assert wanted <= set(by_memory["kept"])


def test_the_grid_reaches_from_small_to_large() -> None:
    full = full_grid()
    assert len(set(full)) == len(full)
    assert {cell.task for cell in full} == set(TASKS)
    losses = [cell for cell in default_grid() if cell.task == "loss and gradient"]
    assert losses[0].shape == (64, 10)
    assert (1024, 128256) in {cell.shape for cell in losses}
    for dtype in ("float32", "bfloat16"):
        sizes = [c.megabytes for c in full if c.dtype == dtype and c.task == "loss and gradient"]
        assert min(sizes) < 1
        assert max(sizes) > 480


def test_runs_alternate() -> None:
    order: list[str] = []

    def run(name: str) -> Callable[[], None]:
        return lambda: order.append(name)

    times = timing.alternate({"a": run("a"), "b": run("b")}, seconds=0.0)
    rounds = [order[0]]
    for name in order[1:]:
        if name != rounds[-1]:
            rounds.append(name)
    assert rounds == ["a", "b"] * (timing.FEWEST + 1)
    for found in times.values():
        assert found.calls >= timing.FEWEST
        assert found.minimum <= found.median


def test_wrong_answers_are_refused() -> None:
    pytest.importorskip("ml_dtypes")
    from benches.speed import inputs

    made = inputs.Inputs.of(Cell("loss and gradient", "float32", (4, 3, 5), 1))
    exact = inputs.exact_answer(made)
    assert exact.loss is not None
    assert exact.array is not None
    inputs.check("itself", exact, exact, made)
    with pytest.raises(AssertionError, match=r"a peer, .*\(4, 3, 5\) axis 1: loss"):
        inputs.check("a peer", replace(exact, loss=1.001 * exact.loss), exact, made)
    for value in (1.001 * exact.array[1, 2, 3], np.nan):
        wrong = exact.array.copy()
        wrong[1, 2, 3] = value
        with pytest.raises(AssertionError, match="off by"):
            inputs.check("a peer", replace(exact, array=wrong), exact, made)


@pytest.mark.slow
def test_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each task in each kind of memory, with every peer that is installed, on small arrays."""
    pytest.importorskip("torch")
    pytest.importorskip("ml_dtypes")
    from benches.speed import __main__ as command

    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that spin would disturb other tests
    cells = [
        Cell("loss and gradient", "float32", (6, 7)),
        Cell("loss and gradient", "bfloat16", (2, 5, 3), 1),
        Cell("loss", "bfloat16", (6, 7)),
        Cell("softmax", "float32", (6, 7)),
        Cell("linear head", "float32", (8, 4, 40)),
        Cell("linear head", "bfloat16", (8, 4, 40)),
    ]
    monkeypatch.setattr(command, "chosen_cells", lambda args: cells)
    monkeypatch.setattr("sys.argv", ["benches.speed", "--seconds", "0"])
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")  # compiling takes a minute
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    monkeypatch.chdir(tmp_path)
    command.main()
    record = json.loads((tmp_path / ".bench" / "speed.json").read_text(encoding="utf-8"))
    assert [c["memory"] for c in record["cells"]] == ["kept"] * 6 + ["as it comes"] * 6
    for cell in record["cells"]:
        ours = {"tensors", "arrays"} if cell["task"] == "linear head" else {"arrays", "nn"}
        assert ours | {"torch eager"} <= set(cell["times"])
    text = (tmp_path / ".bench" / "speed.md").read_text(encoding="utf-8")
    assert "| float32, ms |" in text
    assert "| (6, 7) |" in text


def test_memory_is_kept_by_settings_of_the_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from benches.speed.__main__ import environments, settings

    for name in ("LD_PRELOAD", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    plain = environments()
    assert set(plain["kept"]) - set(plain["as it comes"]) == {
        "MALLOC_MMAP_THRESHOLD_",
        "MALLOC_TRIM_THRESHOLD_",
    }
    assert settings()["allocator"] == "glibc's malloc"
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libjemalloc.so.2")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    assert environments()["kept"]["LD_PRELOAD"] == "/usr/lib/libjemalloc.so.2"
    assert environments()["as it comes"] == plain["as it comes"]
    assert settings() == {"allocator": "libjemalloc.so.2"}
