"""`softxent evaluate`: the results of the run again, those of other rows, and errors."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from softxent import record
from softxent.cli import main


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs")
    lines = [f"{i % 3 + i / 500},{(i * i) % 11},{'abc'[i % 3]}" for i in range(90)]
    (path / "flowers.csv").write_text("\n".join(["long,wide,kind", *lines]) + "\n")
    (path / "others.csv").write_text("kind,wide,long\na,1,0.1\nc,2,2.1\nc,3,2.2\n")
    train = ["train", str(path / "flowers.csv"), "--target", "kind", "--test-size", "0.3"]
    assert main([*train, "--seed", "4", "--out", str(path / "flowers")]) == 0
    assert main(["train", "digits", "--epochs", "2", "--out", str(path / "digits")]) == 0
    return path


def test_the_held_out_rows_give_the_numbers_of_the_run(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(runs / "digits"), "digits"]) == 0
    out = capsys.readouterr().out
    run = record.read_run(runs / "digits")
    loss, accuracy = run.test_loss.mean, run.test_accuracy.mean
    assert f"{loss.value:.4f} nats per row" in out
    assert f"accuracy  {accuracy.total:.0f}/360 (" in out
    table = [line.split() for line in out.split("\n\n")[1].splitlines()]
    assert table[0] == ["class", "precision", "recall", "rows"]
    assert [row[0] for row in table[1:]] == run.data.classes
    assert sum(int(row[3]) for row in table[1:]) == 360


def test_only_the_held_out_rows_of_the_training_file_count(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(runs / "flowers"), str(runs / "flowers.csv")]) == 0
    out = capsys.readouterr().out
    run = record.read_run(runs / "flowers")
    assert run.test_accuracy.weight == 27
    assert f"accuracy  {run.test_accuracy.mean.total:.0f}/27 (" in out
    assert "held out" in out


def test_another_file_counts_whole(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(runs / "flowers"), str(runs / "others.csv")]) == 0
    out = capsys.readouterr().out
    assert "held out" not in out
    assert "3/3 (100%)" in out
    # No row is b, and none was predicted as b.
    assert re.search(r"b +\u2013 +\u2013 +0", out)


@pytest.mark.parametrize(
    ("run", "data", "message"),
    [
        ("nowhere", "digits", "nowhere doesn't exist"),
        ("flowers.csv", "digits", "is a file, not a run directory"),
        (".", "digits", "holds no run.json"),
        ("flowers", "digits", "flowers.csv"),
        ("digits", "points", "8x8 pixels"),
        ("digits", "flowers.csv", "8x8 pixels"),
        ("digits", "nothing", "not a data source"),
        ("flowers", "gone.csv", "gone.csv"),
    ],
)
def test_mistakes(
    runs: Path,
    run: str,
    data: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(runs)
    assert main(["evaluate", run, data]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize("name", ["run.json", "weights.safetensors", "test.json", "epochs.json"])
def test_a_run_whose_file_was_cut_short(
    runs: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "cut"
    shutil.copytree(runs / "digits", run)
    content = (run / name).read_bytes()
    (run / name).write_bytes(content[: len(content) // 2])
    assert main(["evaluate", str(run), "digits"]) == 2
    err = capsys.readouterr().err
    assert name in err
    assert err.count("\n") == 1
