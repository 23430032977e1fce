"""`softxent predict`: a CSV file that is complete or not there."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from softxent import record
from softxent.cli import main
from softxent.learn import load_model
from softxent.learn import predict as shares_of


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs")
    names = ["plain", "with, comma", 'with "quotes"']
    quoted = ["plain", '"with, comma"', '"with ""quotes"""']
    lines = [f"{i % 3 + i / 500},{(i * i) % 11},{quoted[i % 3]}" for i in range(90)]
    (path / "t.csv").write_text("\n".join(["long,wide,kind", *lines]) + "\n")
    (path / "new.csv").write_text("wide,more,long\n1,x,0.1\n2,y,2.1\n3,z,1.2\n")
    argv = ["train", str(path / "t.csv"), "--target", "kind", "--out", str(path / "run")]
    assert main(argv) == 0
    assert record.read_run(path / "run").data.classes == sorted(names)
    return path


@pytest.fixture(autouse=True)
def here(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("t.csv", "new.csv", "run"):
        (tmp_path / name).symlink_to(runs / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def hidden(path: Path) -> list[Path]:
    return list(path.glob(".*"))


def test_every_row_gets_its_class_and_its_probabilities(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "run", "new.csv", "-o", "out.csv"]) == 0
    assert capsys.readouterr().err == "3 rows written to out.csv\n"
    rows = rows_of(here / "out.csv")
    stored = record.read(here / "run")
    classes = stored.run.data.classes
    assert list(rows[0]) == ["row", "class", *(f"p({name})" for name in classes)]
    features = np.array([[0.1, 1], [2.1, 2], [1.2, 3]], dtype=np.float32)
    expected = shares_of(load_model(stored), features)
    for number, (row, shares) in enumerate(zip(rows, expected, strict=True)):
        found = [float(row[f"p({name})"]) for name in classes]
        assert row["row"] == str(number)
        assert found == shares.tolist()
        assert sum(found) == pytest.approx(1, abs=1e-15)
        assert row["class"] == classes[int(np.argmax(found))]
    assert hidden(here) == []


def test_the_training_file_is_predicted_completely_with_a_note(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "run", "t.csv", "-o", "out.csv"]) == 0
    assert len(rows_of(here / "out.csv")) == 90
    assert "was trained on" in capsys.readouterr().err


def test_a_file_is_replaced_and_a_link_stays_a_link(here: Path) -> None:
    (here / "real.csv").write_text("old")
    (here / "link.csv").symlink_to("real.csv")
    assert main(["predict", "run", "new.csv", "--output", "link.csv"]) == 0
    assert (here / "link.csv").is_symlink()
    assert len(rows_of(here / "real.csv")) == 3


def test_the_permissions_are_those_of_any_new_file(here: Path) -> None:
    assert main(["predict", "run", "new.csv", "-o", "out.csv"]) == 0
    (here / "plain").touch()
    assert (here / "out.csv").stat().st_mode == (here / "plain").stat().st_mode


def command(*argv: str) -> list[str]:
    code = "import sys; from softxent.cli import main; sys.exit(main())"
    return [sys.executable, "-c", code, *argv]


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="there is no /dev/stdout")
@pytest.mark.slow
def test_standard_output_is_written_directly(here: Path) -> None:
    log = here / "log.csv"
    log.write_text("before\n")
    with log.open("a") as stdout:
        done = subprocess.run(
            command("predict", "run", "new.csv", "-o", "/dev/stdout"),
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
    assert done.returncode == 0, done.stderr
    assert log.read_text().count("\n") == 5
    assert log.read_text().startswith("before\nrow,class,")
    assert Path("/dev/stdout").is_symlink()
    piped = subprocess.run(
        command("predict", "run", "new.csv", "-o", "/dev/stdout"), capture_output=True
    )
    assert piped.stdout.count(b"\n") == 4


def test_a_pipe_is_written_directly(here: Path) -> None:
    os.mkfifo(here / "pipe")
    with subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE) as reader:
        assert main(["predict", "run", "new.csv", "-o", "pipe"]) == 0
        out, _ = reader.communicate(timeout=20)
    assert out.count(b"\n") == 4
    assert (here / "pipe").is_fifo()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_device(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "run", "new.csv", "-o", "/dev/full"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "nothing was written" in err
    assert Path("/dev/full").is_char_device()


def test_a_disk_that_fills_up_leaves_the_old_file(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "out.csv").write_text("old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert main(["predict", "run", "new.csv", "-o", "out.csv"]) == 2
    assert "No space left" in capsys.readouterr().err
    assert (here / "out.csv").read_text() == "old"
    assert hidden(here) == []


def test_ctrl_c_leaves_the_old_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "out.csv").write_text("old")

    def interrupt(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    assert main(["predict", "run", "new.csv", "-o", "out.csv"]) == 130
    assert (here / "out.csv").read_text() == "old"
    assert hidden(here) == []


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("run new.csv -o .", "is a directory"),
        ("run new.csv -o new.csv", "is DATA itself"),
        ("run new.csv -o ./new.csv", "is DATA itself"),
        ("run new.csv -o nowhere/out.csv", "nowhere"),
        ("run points -o out.csv", "long"),
        ("run digits -o out.csv", "t.csv"),
        ("run gone.csv -o out.csv", "gone.csv"),
        ("gone new.csv -o out.csv", "gone doesn't exist"),
        ("run new.csv -o out.csv --data-dir .", "is for mnist"),
    ],
)
def test_mistakes(here: Path, argv: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(here.iterdir())
    content = (here / "new.csv").read_text()
    assert main(["predict", *argv.split()]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert (out, err.count("\n")) == ("", 1)
    assert sorted(here.iterdir()) == before
    assert (here / "new.csv").read_text() == content
