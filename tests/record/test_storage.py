"""A run directory is written whole or not at all, and nothing of it is believed unchecked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softxent import record
from softxent.errors import RunError
from softxent.record import NewRun, digest

LOGITS = np.array([[0.1, -2.5], [1e-30, 3.0e8], [0.3, 0.2]], np.float32)


def fill(new: NewRun, **changed: Any) -> None:
    """A whole run of three test rows, two classes."""
    new.add("epochs.json", [])
    test = {"rows": [3, 5, 8], "target": [0, 1, 1], "logits": LOGITS.tolist()}
    new.add("test.json", record.TestRows(**{**test, **changed.get("test", {})}))
    mistake = {
        "row": 8,
        "target": 1,
        "predicted": 0,
        "loss": 0.7,
        "probabilities": [0.5, 0.5],
        "image": [[0, 1], [2, 3]],
    }
    new.add("mistakes.json", [record.Mistake(**{**mistake, **changed.get("mistake", {})})])
    if "regions" in changed:
        regions = {
            "x": [0.0, 1.0],
            "y": [0.0, 1.0, 2.0],
            "predicted": [[0, 1]] * 3,
            "probability": [[0.5, 0.9]] * 3,
            "points": [(0.0, 0.0)] * 3,
            "target": [0, 1, 1],
        }
        new.add("regions.json", record.Regions(**{**regions, **changed["regions"]}))
    (new.directory / "weights.safetensors").write_bytes(b"weights")
    nothing = record.Sum(total=None, weight=3)
    data = record.Data(
        name="some.csv",
        kind="table",
        description="",
        files=[],
        split="",
        test_size=0.2,
        train_rows=6,
        test_rows=3,
        classes=["a", "b"],
        features=["x"],
        image_shape=None,
        target="y",
        dropped=[],
    )
    run = record.Run(
        command="softxent train some.csv",
        created="2026-01-01T00:00:00Z",
        seconds=1.0,
        seed=0,
        versions={},
        recipe={"hidden": [3]},
        data=data,
        model=record.Model(kind="mlp", layers=[1, 2], parameters=4),
        test_loss=nothing,
        test_accuracy=nothing,
        notes=[],
        files=new.digests(),
    )
    new.finish(run)


def written(path: Path, **changed: Any) -> Path:
    with record.new_run(path) as new:
        fill(new, **changed)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return written(tmp_path / "run")


# Writing.


def test_what_is_written_is_read(run: Path) -> None:
    stored = record.read(run)
    np.testing.assert_array_equal(stored.test_logits, LOGITS)
    assert stored.test_logits.dtype == np.float32
    assert stored.test_target.tolist() == [0, 1, 1]
    assert stored.run.data.classes == ["a", "b"]
    assert np.isnan(stored.run.test_loss.mean.value)
    assert stored.mistakes[0].image == [[0, 1], [2, 3]]
    assert stored.regions is None
    assert stored.weights_path.read_bytes() == b"weights"


def test_regions_are_read(tmp_path: Path) -> None:
    stored = record.read(written(tmp_path / "run", regions={}))
    assert stored.regions is not None
    assert stored.regions.y == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("error", [OSError(28, "full"), KeyboardInterrupt(), ZeroDivisionError()])
def test_after_an_error_nothing_is_left(tmp_path: Path, error: BaseException) -> None:
    def interrupted() -> None:
        with record.new_run(tmp_path / "runs" / "deep" / "run") as new:
            fill(new)
            raise error

    with pytest.raises(type(error)):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_an_error_names_the_run_not_the_hidden_directory(tmp_path: Path) -> None:
    def full() -> None:
        with record.new_run(tmp_path / "run") as new:
            (new.directory / "no" / "such" / "folder").write_text("")

    with pytest.raises(OSError, match="No such file") as caught:
        full()
    assert caught.value.filename == str(tmp_path / "run")


def test_parents_that_were_there_stay(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(ZeroDivisionError), record.new_run(tmp_path / "runs" / "run"):
        raise ZeroDivisionError
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_run_is_not_overwritten(run: Path) -> None:
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    with pytest.raises(RunError, match=r"exists already.*Name another --out"):
        written(run)
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before
    assert [entry.name for entry in run.parent.iterdir()] == ["run"]


def test_nothing_is_seen_before_it_is_whole(tmp_path: Path) -> None:
    with record.new_run(tmp_path / "run") as new:
        fill(new)
        assert not (tmp_path / "run").exists()
    assert (tmp_path / "run" / "run.json").exists()
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o755


# Reading.


def refused(path: Path) -> str:
    with pytest.raises(RunError) as caught:
        record.read(path)
    message = str(caught.value)
    assert message.startswith("[run] ")
    assert "\n" not in message
    assert str(path) in message
    return message


def test_what_is_no_run(tmp_path: Path, run: Path) -> None:
    assert "doesn't exist" in refused(tmp_path / "nowhere")
    assert "is a file" in refused(run / "run.json")
    (tmp_path / "empty").mkdir()
    assert "holds no run.json" in refused(tmp_path / "empty")


@pytest.mark.parametrize(
    "name", ["epochs.json", "test.json", "mistakes.json", "weights.safetensors"]
)
def test_each_file_is_checked(run: Path, name: str) -> None:
    file = run / name
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    assert f"has {len(content) - 1} bytes where {len(content)} were written" in refused(run)
    file.write_bytes(content[:-1] + b"!")
    assert "changed after the run was written" in refused(run)
    file.unlink()
    assert "is missing" in refused(run)


def changed(run: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    head = json.loads((run / "run.json").read_text())
    change(head)
    (run / "run.json").write_text(json.dumps(head))
    return run


@pytest.mark.parametrize("size", [0, 1, 100, 800])
def test_a_head_that_was_cut_short(run: Path, size: int) -> None:
    head = run / "run.json"
    head.write_bytes(head.read_bytes()[:size])
    assert "damaged or was not written by softxent" in refused(run)


def test_a_head_that_is_not_text(run: Path) -> None:
    (run / "run.json").write_bytes(b"\xff\xfe\x00garbage")
    assert "damaged or was not written by softxent" in refused(run)


def test_fields_of_a_wrong_type_are_named(run: Path) -> None:
    assert "$.seed" in refused(changed(run, lambda head: head.update(seed="zero")))


def test_a_field_that_is_not_known(run: Path) -> None:
    assert "surprise" in refused(changed(run, lambda head: head.update(surprise=1)))


def test_a_newer_format_asks_for_an_upgrade(run: Path) -> None:
    message = refused(changed(run, lambda head: head.update(version=99, surprise=1)))
    assert "format version 99" in message
    assert "Upgrade softxent" in message


@pytest.mark.parametrize("name", ["../run/test.json", "/etc/passwd", "a/b"])
def test_files_outside_the_run_are_not_touched(run: Path, name: str) -> None:
    message = refused(changed(run, lambda head: head["files"][0].update(name=name)))
    assert "names a file outside the run" in message


def test_a_file_that_is_not_listed(run: Path) -> None:
    assert "doesn't list" in refused(changed(run, lambda head: head.update(files=[])))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"test": {"target": [0, 1, 2]}}, "class index is outside 0 to 1"),
        ({"test": {"target": [0, 1, -1]}}, "class index is outside 0 to 1"),
        ({"test": {"target": [0, 1]}}, "different lengths"),
        ({"test": {"logits": [[1.0, 2.0]] * 2}}, "different lengths"),
        ({"test": {"logits": [[1.0]] * 3}}, "a row doesn't have 2 logits"),
        ({"mistake": {"predicted": 2}}, "class index is outside 0 to 1"),
        ({"mistake": {"row": 4}}, "names a row that isn't a test row"),
        ({"mistake": {"probabilities": [1.0]}}, "a row doesn't have 2 probabilities"),
        ({"mistake": {"image": [[1, 2], [3]]}}, "an image isn't rectangular"),
        ({"regions": {"predicted": [[0, 2]] * 3}}, "class index is outside 0 to 1"),
        ({"regions": {"predicted": [[0, 1]] * 2}}, "sizes don't fit"),
        ({"regions": {"probability": [[0.5]] * 3}}, "sizes don't fit"),
        ({"regions": {"points": []}}, "sizes don't fit"),
        ({"regions": {"target": [0, 1, 0]}}, "sizes don't fit"),
        ({"regions": {"y": [0.0, 2.0, 1.0]}}, "sizes don't fit"),
    ],
)
def test_numbers_that_do_not_fit_together(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    assert said in refused(written(tmp_path / "run", **changes))


def test_a_run_without_classes(run: Path) -> None:
    assert "lists no classes" in refused(changed(run, lambda head: head["data"].update(classes=[])))


def test_digest(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    found = digest(tmp_path / "abc")
    assert (found.name, found.bytes) == ("abc", 3)
    assert found.sha256.startswith("ba7816bf8f01cfea")
