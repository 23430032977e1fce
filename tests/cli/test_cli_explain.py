"""`softxent explain`: typed logits, NumPy files, rows of a run, and errors."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

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
                    test_size=None,
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


def test_typed_logits_are_explained_as_by_the_library(capsys: pytest.CaptureFixture[str]) -> None:
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
def test_what_is_no_number_is_an_error(capsys: pytest.CaptureFixture[str], typed: str) -> None:
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
    assert f"target is {target}, but there are 3 classes: 0 to 2." in error
    assert "ignore_index" not in error


def test_every_option_reaches_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    options: Any = {"temperature": 2.0, "softcap": 3.0, "label_smoothing": 0.1, "z_loss": 0.01}
    typed = [part for name, v in options.items() for part in (f"--{name.replace('_', '-')}", v)]
    out = shown(capsys, 2, -1, 0.1, "--target", 1, "--weight", "1,2,4", *typed)
    assert out == str(softxent.explain([2, -1, 0.1], 1, [1, 2, 4], **options)) + "\n"


def test_a_target_of_class_probabilities(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, 2, -1, 0.1, "--target", "0.2,.3,5e-1")
    assert out == str(softxent.explain([2, -1, 0.1], [0.2, 0.3, 0.5])) + "\n"
    assert "pass one number per class" in refused(capsys, 2, -1, "--target", "0.2,x")
    assert "pass a class index" in refused(capsys, 2, -1, "--target", "cat")
    assert "pass one number per class" in refused(capsys, 2, -1, "--weight", "1;2")
    assert "weight has shape (3,)" in refused(capsys, 2, -1, "--weight", "1,2,3")


def test_the_dtype_of_typed_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, 20, 0, "--target", 0, "--dtype", "float32")
    assert out == str(softxent.explain(np.array([20, 0], np.float32), 0)) + "\n"
    assert "no digit of their difference remains" in " ".join(out.split())
    assert "100000 is too large for float16" in refused(capsys, 1e5, 0, "--dtype", "float16")
    assert "inf" in shown(capsys, "inf", 0, "--dtype", "float16")


def test_what_if(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, 2, -1, 0.1, "--target", 2, "--set", "2=3.5", "--set", "0=-1e1")
    trace = softxent.explain([2, -1, 0.1], 2)
    assert out == str(trace.what_if({2: 3.5, 0: -10})) + "\n"
    for wrong in ("2", "x=1", "2=", "=3", "2=y", "1.5=2"):
        assert f"--set is {wrong!r}" in refused(capsys, 2, -1, 0.1, "--set", wrong)
    assert "no logit 3 to set: there are 3, 0 to 2" in refused(capsys, 2, -1, 0.1, "--set", "3=1")


def test_options_outside_their_range(capsys: pytest.CaptureFixture[str]) -> None:
    assert "temperature is 0" in refused(capsys, 2, 1, "--temperature", 0)
    assert "label_smoothing is 7" in refused(capsys, 2, 1, "--label-smoothing", 7)


# JSON and pages.


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    trace = softxent.explain([2, -1, 0.1], 2)
    out = shown(capsys, 2, -1, 0.1, "--target", 2, "--json")
    assert json.loads(out) == json.loads(trace.to_json())
    out = shown(capsys, 2, -1, 0.1, "--target", 2, "--set", "0=0", "--json")
    assert json.loads(out) == json.loads(trace.what_if({0: 0}).to_json())


def test_a_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "loss.html"
    page.write_text("old")
    assert main(["explain", "2", "-1", "0.1", "--target", "2", "--html", str(page)]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"written to {page}\n")
    assert page.read_text(encoding="utf-8") == softxent.explain([2, -1, 0.1], 2).to_html()
    assert [path.name for path in tmp_path.iterdir()] == ["loss.html"]


def test_a_page_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "is a directory" in refused(capsys, 2, -1, "--html", tmp_path)
    error = refused(capsys, 2, -1, "--html", tmp_path / "none" / "loss.html")
    assert f"{tmp_path}/none/loss.html: No such file or directory" in error
    logits = tmp_path / "logits.npy"
    np.save(logits, [2.0, -1.0])
    before = logits.read_bytes()
    assert "is an input" in refused(capsys, logits, "--html", logits)
    assert logits.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["logits.npy"]


# NumPy files.


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Logits and targets of four rows, and of one."""
    np.save(tmp_path / "logits.npy", LOGITS)
    np.save(tmp_path / "targets.npy", np.array([0, 2, -100, 1]))
    np.save(tmp_path / "shares.npy", np.full((4, 3), 0.25))
    np.save(tmp_path / "one.npy", np.array([2, -1, 0.1]))
    return tmp_path


def test_one_row_from_a_file(capsys: pytest.CaptureFixture[str], files: Path) -> None:
    out = shown(capsys, files / "one.npy", "--target", 2)
    assert out == str(softxent.explain([2, -1, 0.1], 2)) + "\n"


def test_a_batch_from_files(capsys: pytest.CaptureFixture[str], files: Path) -> None:
    for name in ("targets.npy", "shares.npy"):
        out = shown(capsys, files / "logits.npy", "--target", files / name)
        trace = softxent.explain(LOGITS, np.load(files / name))
        assert out == trace.text() + "\n\nTo see a row step by step, add --row NUMBER.\n"


def test_a_row_of_files(capsys: pytest.CaptureFixture[str], files: Path) -> None:
    row = str(softxent.explain(LOGITS[1], 2)) + "\n"
    assert "In float32" in row
    for target in (files / "targets.npy", 2):
        assert shown(capsys, files / "logits.npy", "--row", 1, "--target", target) == row
    shares = shown(capsys, files / "logits.npy", "--row", 1, "--target", files / "shares.npy")
    assert shares == str(softxent.explain(LOGITS[1], [0.25] * 3)) + "\n"
    changed = shown(capsys, files / "logits.npy", "--row", 1, "--target", 2, "--set", "0=1")
    assert "The prediction remains class 0." in changed


def test_another_dtype_than_that_of_the_file(
    capsys: pytest.CaptureFixture[str], files: Path
) -> None:
    out = shown(capsys, files / "one.npy", "--target", 0, "--dtype", "float16")
    assert out == str(softxent.explain(np.array([2, -1, 0.1], np.float16), 0)) + "\n"


def test_a_file_named_like_a_number_is_a_number(
    capsys: pytest.CaptureFixture[str], files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    (files / "2").write_bytes((files / "one.npy").read_bytes())
    assert shown(capsys, "2") == str(softxent.explain([2.0])) + "\n"


def test_rows_and_targets_of_wrong_shapes(capsys: pytest.CaptureFixture[str], files: Path) -> None:
    logits = files / "logits.npy"
    assert "has no row 4: it has 4, 0 to 3" in refused(capsys, logits, "--row", 4)
    assert "has no row -1" in refused(capsys, logits, "--row", -1)
    assert "choose one with --row" in refused(capsys, logits, "--target", 1)
    assert "choose one with --row" in refused(capsys, logits, "--set", "1=2")
    assert "has shape (3,)" in refused(capsys, files / "one.npy", "--row", 0)
    np.save(files / "two.npy", np.array([0, 1]))
    two = files / "two.npy"
    assert "but" in refused(capsys, logits, "--row", 1, "--target", two)
    assert "[explain] target has shape (2,)" in refused(capsys, logits, "--target", two)
    assert "pass a NumPy file of logits alone" in refused(capsys, logits, 3)
    np.save(files / "cube.npy", np.zeros((2, 2, 2)))
    assert "logits has shape (2, 2, 2)" in refused(capsys, files / "cube.npy")
    assert "has shape (2, 2, 2)" in refused(capsys, files / "cube.npy", "--row", 0)
    np.save(files / "none.npy", np.zeros((0, 3)))
    assert "0 rows of 3 logits" in shown(capsys, files / "none.npy")
    assert "it has 0, none" in refused(capsys, files / "none.npy", "--row", 0)


class Bomb:
    """An object whose unpickling creates a directory."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("unpickled",)


def test_files_that_are_no_logits(
    capsys: pytest.CaptureFixture[str], files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    whole = (files / "logits.npy").read_bytes()
    (files / "cut.npy").write_bytes(whole[: len(whole) - 5])
    (files / "head.npy").write_bytes(whole[:20])
    (files / "empty.npy").write_bytes(b"")
    (files / "words.txt").write_text("2 -1 0.1")
    (files / "zip.npz").write_bytes(b"PK\x03\x04nothing")
    (files / "huge.npy").write_bytes(whole.replace(b"(4, 3), }   ", b"(9999999,) }"))
    (files / "broken.npy").write_bytes(whole.replace(b"(4, 3)", b"(4, 3("))
    np.save(files / "objects.npy", np.array([Bomb(), 1], object), allow_pickle=True)
    for name in ("cut", "head", "empty", "objects", "huge", "broken"):
        assert "isn't a NumPy file of plain numbers" in refused(capsys, f"{name}.npy"), name
    assert not (files / "unpickled").exists()
    assert "isn't a NumPy file" in refused(capsys, "words.txt")
    assert "isn't a NumPy file" in refused(capsys, 2, 1, "--target", "words.txt")
    np.savez(files / "two.npz", a=1, b=2)
    for name in ("two.npz", "zip.npz"):
        assert "is an archive" in refused(capsys, name)
    np.save(files / "strings.npy", np.array(["2", "1"]))
    assert "holds <U1, not real numbers" in refused(capsys, "strings.npy")
    assert "No such file" in refused(capsys, "nope.npy")


# A row of a run.


def test_rows_are_counted_in_the_test_set(capsys: pytest.CaptureFixture[str], run: Path) -> None:
    out = shown(capsys, run, "--row", 1)
    assert f"Test row 1 of {run}: row 17 of flowers.csv" in out
    assert "true class  virginica\n" in out
    assert "predicted   setosa, probability 0.8338\n" in out
    assert out.endswith(str(softxent.explain(LOGITS[1], 2, classes=CLASSES)) + "\n")
    assert "The target is virginica." in out


def test_a_row_of_a_run_as_json_as_a_page_and_changed(
    capsys: pytest.CaptureFixture[str], run: Path, tmp_path: Path
) -> None:
    trace = softxent.explain(LOGITS[1], 2, classes=CLASSES)
    assert json.loads(shown(capsys, run, "--row", 1, "--json")) == json.loads(trace.to_json())
    assert main(["explain", str(run), "--row", "1", "--html", str(tmp_path / "x.html")]) == 0
    capsys.readouterr()
    page = (tmp_path / "x.html").read_text()
    assert "row 17 of flowers.csv" in page
    assert "\x1b" not in page
    changed = shown(capsys, run, "--row", 1, "--set", "2=9")
    assert "The prediction changes from setosa to virginica." in changed


def test_names_from_the_record_cannot_control_the_terminal(
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
    for option in (
        *("--target", "--weight", "--temperature", "--softcap"),
        *("--label-smoothing", "--z-loss"),
    ):
        assert f"{option} goes with typed logits" in refused(capsys, run, "--row", 1, option, 1)


def test_what_is_no_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "doesn't exist" in refused(capsys, tmp_path / "nope", "--row", 1)
    assert "run.json" in refused(capsys, tmp_path, "--row", 1)


# The process.

# An environment with nothing but the path to the packages, where it isn't the default.
PACKAGES = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}


@pytest.mark.slow
def test_a_run_is_explained_without_torch(run: Path) -> None:
    code = (
        "import sys; from softxent.cli import main; "
        f"code = main(['explain', {str(run)!r}, '--row', '1']); "
        "assert not {'torch', 'sklearn', 'matplotlib'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_terminal_that_lacks_a_character_gets_question_marks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from softxent.cli import main; main(['explain', '2', '1'])"],
        capture_output=True,
        check=False,
        env={**PACKAGES, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0, done.stderr
    assert re.search(rb"0\.73105857863000\d+ +\?{18}\n", done.stdout)


def at_a_terminal(**env: str) -> bytes:
    """What the command writes to a terminal."""
    mine, theirs = pty.openpty()
    code = "from softxent.cli import main; main(['explain', '2', '1', '--target', '0'])"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=theirs,
        env={**PACKAGES, "PYTHONIOENCODING": "utf-8", "TERM": "xterm", **env},
    ) as process:
        os.close(theirs)
        written = b""
        while True:
            try:
                part = os.read(mine, 65536)
            except OSError:  # the other end has closed
                break
            if not part:
                break
            written += part
        assert process.wait() == 0
    os.close(mine)
    return written


@pytest.mark.slow
def test_colours_at_a_terminal() -> None:
    coloured = at_a_terminal()
    assert b"\x1b[1;36mWhy the loss is 0.31326\x1b[0m" in coloured
    assert b"\x1b" not in at_a_terminal(NO_COLOR="1")
    assert b"\x1b" not in at_a_terminal(TERM="dumb")
    assert b"\x1b" in at_a_terminal(NO_COLOR="")
    assert b"\x1b" in at_a_terminal(TERM="dumb", FORCE_COLOR="1")


def test_a_number_beyond_float64_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "1e400", "2", "--target", "0"]) == 2
    assert "1e400 is too large for float64" in capsys.readouterr().err
    assert main(["explain", "inf", "2", "--target", "0"]) == 0


def test_an_ignored_row_of_a_file_has_loss_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "a.npy", np.eye(3))
    np.save(tmp_path / "t.npy", np.array([0, 1, -100]))
    files = [str(tmp_path / "a.npy"), "--target", str(tmp_path / "t.npy")]
    assert main(["explain", *files, "--row", "2"]) == 0
    assert capsys.readouterr().out.startswith("Why the loss is 0\n")
