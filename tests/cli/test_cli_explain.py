"""`softxent explain`: typed logits, a row of a run, and what it says about mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import softxent
from softxent.cli import main

pytest.importorskip("msgspec", reason="the run's record needs the learn extra")

from softxent import record

CLASSES = ["setosa", "versi\x1b[31mcolor", "virginica"]
ROWS = [3, 17, 20, 42]
LOGITS = np.array([[4, 1, 0], [2, -1, 0.1], [0, 1, 5], [np.nan, 0, 0]], np.float32)
TARGET = [0, 2, 2, 1]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with four test rows."""
    path = tmp_path_factory.mktemp("runs") / "flowers"
    nothing = record.Sum(total=0.0, weight=0)
    with record.new_run(path) as new:
        new.add("epochs.json", [])
        new.add("test.json", record.TestRows(rows=ROWS, target=TARGET, logits=LOGITS.tolist()))
        (new.directory / "weights.safetensors").write_bytes(b"")
        new.finish(
            record.Run(
                command="softxent train flowers.csv",
                created="2026-01-01T00:00:00Z",
                seconds=1.0,
                seed=0,
                versions={},
                recipe={},
                data=record.Data(
                    name="flowers.csv",
                    kind="table",
                    description="",
                    files=[],
                    split="",
                    train_rows=6,
                    test_rows=4,
                    classes=CLASSES,
                    features=["a"],
                    image_shape=None,
                    target="kind",
                    dropped=[],
                ),
                model=record.Model(kind="", layers=[1, 3], parameters=6),
                test_loss=nothing,
                test_accuracy=nothing,
                notes=[],
                files=new.digests(),
            )
        )
    return path


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["explain", *map(str, arguments)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on standard error."""
    assert main(["explain", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("softxent explain: error: ")
    assert err.count("\n") == 1
    return err


# Typed logits.


def test_typed_logits_are_explained_as_the_library_does(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, 2, -1, 0.1, "--target", 2)
    assert out == str(softxent.explain([2, -1, 0.1], 2)) + "\n"
    assert "Why the loss is 2.0818" in out


def test_without_a_target_there_are_probabilities(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, 2, -1, 0.1) == str(softxent.explain([2, -1, 0.1])) + "\n"


@pytest.mark.parametrize(
    "typed",
    ["-1e-3", "-inf", "-.5", ".5", "1e4", "-1E+2", "-INF", "-nan", "nan", "inf", "-3.", "-7"],
)
def test_every_way_to_write_a_number(capsys: pytest.CaptureFixture[str], typed: str) -> None:
    out = shown(capsys, "1", typed, typed, "--target", 0)
    assert out == str(softxent.explain([1.0, float(typed), float(typed)], 0)) + "\n"
    assert shown(capsys, typed, "1") == str(softxent.explain([float(typed), 1.0])) + "\n"


def test_temperature_and_label_smoothing(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, 2, -1, "--target", 0, "--temperature", 2, "--label-smoothing", 0.1)
    assert out == str(softxent.explain([2, -1], 0, temperature=2, label_smoothing=0.1)) + "\n"


@pytest.mark.parametrize("typed", ["-1,5", "0,1", "abc", "1e", "--5", "", "2 3"])
def test_what_is_no_number_is_named(capsys: pytest.CaptureFixture[str], typed: str) -> None:
    if typed == "--5":  # an option that there isn't
        with pytest.raises(SystemExit) as caught:
            main(["explain", "2", typed])
        assert caught.value.code == 2
        return
    error = refused(capsys, 2, typed)
    assert repr(typed) in error
    assert "neither a number nor a run directory" in error


@pytest.mark.parametrize("target", [3, -1, 100])
def test_a_target_that_is_no_class(capsys: pytest.CaptureFixture[str], target: int) -> None:
    error = refused(capsys, 2, -1, 0.1, "--target", target)
    assert f"target is {target}, but there are 3 classes" in error


def test_options_outside_their_range(capsys: pytest.CaptureFixture[str]) -> None:
    assert "temperature is 0" in refused(capsys, 2, 1, "--temperature", 0)
    assert "label_smoothing is 7" in refused(capsys, 2, 1, "--label-smoothing", 7)


# A row of a run.


def test_rows_are_counted_in_the_test_set(
    capsys: pytest.CaptureFixture[str], run: Path
) -> None:
    out = shown(capsys, run, "--row", 1)
    assert f"Test row 1 of {run}: row 17 of flowers.csv" in out
    assert "true class  virginica\n" in out
    assert "predicted   setosa, probability 0.8338\n" in out
    assert out.endswith(str(softxent.explain(LOGITS[1], 2, classes=CLASSES)) + "\n")
    assert "The target is virginica." in out


def test_names_from_the_record_cannot_steer_the_terminal(
    capsys: pytest.CaptureFixture[str], run: Path
) -> None:
    assert "\x1b" not in shown(capsys, run, "--row", 3)


def test_a_row_with_nan_predicts_nothing(capsys: pytest.CaptureFixture[str], run: Path) -> None:
    out = shown(capsys, run, "--row", 3)
    assert "predicted   nothing" in out
    assert "A logit is NaN" in out


@pytest.mark.parametrize("row", [4, -1, 10**9])
def test_a_row_that_is_no_test_row(capsys: pytest.CaptureFixture[str], run: Path, row: int) -> None:
    assert f"no test row {row}: it has 4, 0 to 3." in refused(capsys, run, "--row", row)


def test_a_run_and_typed_logits_do_not_mix(capsys: pytest.CaptureFixture[str], run: Path) -> None:
    assert "add --row NUMBER" in refused(capsys, run)
    assert "single run directory" in refused(capsys, run, 2, "--row", 1)
    assert "single run directory" in refused(capsys, 2, -1, "--row", 1)
    for option in ("--target", "--temperature", "--label-smoothing"):
        assert f"{option} goes with typed logits" in refused(capsys, run, "--row", 1, option, 1)


def test_what_is_no_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "doesn't exist" in refused(capsys, tmp_path / "nope", "--row", 1)
    assert "run.json" in refused(capsys, tmp_path, "--row", 1)


# The process.


def test_a_run_is_explained_without_torch(run: Path) -> None:
    code = (
        "import sys; from softxent.cli import main; "
        f"code = main(['explain', {str(run)!r}, '--row', '1']); "
        "assert not {'torch', 'sklearn', 'matplotlib'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_terminal_without_the_bars_letters_gets_question_marks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from softxent.cli import main; main(['explain', '2', '1'])"],
        capture_output=True,
        check=False,
        env={"PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0, done.stderr
    assert b"0.7310585786300049  ????" in done.stdout
