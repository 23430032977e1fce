"""`softxent train`: what it writes and prints, and that an error leaves nothing behind."""

from __future__ import annotations

import io
import json
import re
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import rich.console

from softxent import Mean, record
from softxent.cli import main
from softxent.learn import RECIPES
from softxent.record import Epoch, Sum


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def flowers(here: Path) -> Path:
    lines = [f"{i},{i % 3 + i / 500},{(i * i) % 11},{'abc'[i % 3]}" for i in range(90)]
    path = here / "flowers.csv"
    path.write_text("\n".join(["id,long,wide,kind", *lines]) + "\n")
    return path


def everything(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*"))


def fails(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The error of a command that fails and leaves nothing behind."""
    before = everything(Path.cwd())
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert err.startswith("softxent train: error: ")
    assert err.count("\n") == 1
    after = everything(Path.cwd())
    assert [name for name in after if name not in before] in ([], ["runs"])
    return err


def test_a_run_and_its_report(flowers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", "flowers.csv", "--target", "kind", "--drop", "id", "--epochs", "3"]
    assert main([*argv, "--seed", "5", "--test-size", "0.3"]) == 0
    out = capsys.readouterr().out.splitlines()
    stored = record.read(Path("runs/flowers-1"))
    run = stored.run
    assert out[0] == "flowers.csv: 63 training rows, 27 test rows, 3 classes"
    for number, line in enumerate(out[1:4], 1):
        assert re.fullmatch(
            rf"epoch {number}/3  train loss \d\.\d{{4}}  test loss \d\.\d{{4}}  "
            r"accuracy \d+/27 \(\d+(\.\d\d)?%\)  \d+\.\d s",
            line,
        )
    right = int(run.test_accuracy.mean.total)
    assert re.search(rf"accuracy\s+{right}/27 ", out[5])
    assert f"{run.test_loss.mean.value:.4f} nats per row" in out[4]
    assert "/ 27 rows)" in out[4]
    assert out[6].split() == ["run", "runs/flowers-1"]
    assert out[7].split() == ["report", "runs/flowers-1/report.html"]
    assert re.fullmatch(r"next +softxent explain runs/flowers-1 --row \d+", out[8])
    assert "<html" in Path("runs/flowers-1/report.html").read_text()
    assert run.command == (
        "softxent train flowers.csv --target kind --drop id --epochs 3 --seed 5 --test-size 0.3"
    )
    assert run.data.features == ["long", "wide"]
    assert (run.seed, run.recipe["epochs"], run.data.test_size) == (5, 3, 0.3)
    assert not list(Path("runs").glob(".*"))


def test_the_next_command_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "digits", "--epochs", "1", "--out", "a run"]) == 0
    command = capsys.readouterr().out.splitlines()[-1].split(maxsplit=1)[1]
    assert re.fullmatch(r"softxent explain 'a run' --row \d+", command)
    assert main(["explain", "a run", "--row", command.split()[-1]]) == 0


@pytest.mark.slow
def test_the_same_command_gives_the_same_weights() -> None:
    for name in ("one", "two"):
        assert main(["train", "points", "--epochs", "2", "--out", name]) == 0
    one, two = (Path(name, "weights.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_run_directories_are_numbered(flowers: Path) -> None:
    argv = ["train", str(flowers), "--target", "kind", "--epochs", "1"]
    Path("runs/.flowers-2-making").mkdir(parents=True)  # another training's
    for _ in range(2):
        assert main(argv) == 0
    assert record.read_run(Path("runs/flowers-1")).data.name == "flowers.csv"
    assert record.read_run(Path("runs/flowers-3")).data.name == "flowers.csv"


def test_a_name_with_special_characters_of_the_shell(flowers: Path) -> None:
    flowers = flowers.rename("a [1-9] b.csv")
    for _ in range(2):
        assert main(["train", str(flowers), "--target", "kind", "--epochs", "1"]) == 0
    run = record.read_run(Path("runs/a [1-9] b-2"))
    assert run.command == "softxent train 'a [1-9] b.csv' --target kind --epochs 1"


def test_a_recipe_by_name() -> None:
    assert main(["train", "digits", "--recipe", "note", "--epochs", "1", "--out", "run"]) == 0
    run = record.read_run(Path("run"))
    assert run.model.layers == [64, *RECIPES["note"].hidden, 10]
    assert run.recipe["optimizer"] == "sgd"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("digits --target x", "leave out target and drop"),
        ("digits --drop x", "leave out target and drop"),
        ("digits --data-dir .", r"is for mnist: leave it out for digits"),
        ("flowers.csv --target kind --data-dir .", r"is for mnist: leave it out for flowers.csv"),
        ("mnist --data-dir . --test-size 0.2", "leave out test_size"),
        ("mnist", "--data-dir"),
        ("mnist --data-dir .", "there is no train-images"),
        ("flowers.csv", "--target"),
        ("flowers.csv --target kinds", "kinds"),
        ("nothing.csv --target kind", "nothing.csv"),
        ("digit", "digits"),
        ("digits --recipe best", "use one of default, note"),
        ("digits --epochs 0", "epochs is 0"),
        ("digits --seed -1", "seed is -1"),
        ("digits --seed 4294967296", "seed is 4294967296"),
        ("digits --test-size 1", "test_size is 1.0"),
        ("digits --test-size nan", "test_size is nan"),
        ("digits --out flowers.csv", "flowers.csv exists already"),
        ("digits --out flowers.csv/run", "flowers.csv"),
        ("digits --out .", "exists already"),
    ],
)
def test_mistakes(
    flowers: Path, argv: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(message, fails(capsys, "train", *argv.split()))


def test_a_run_is_never_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "digits", "--epochs", "1", "--out", "run"]) == 0
    before = {file: file.read_bytes() for file in Path("run").iterdir()}
    capsys.readouterr()
    assert "run exists already" in fails(capsys, "train", "digits", "--out", "run")
    assert {file: file.read_bytes() for file in Path("run").iterdir()} == before


def test_ctrl_c_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("softxent.learn.training.evaluate", interrupt)
    assert main(["train", "digits", "--out", "run"]) == 130
    assert "nothing was written" in capsys.readouterr().err
    assert everything(Path.cwd()) == []


def test_a_report_that_fails_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("softxent.report.write", full)
    assert "No space left" in fails(capsys, "train", "digits", "--epochs", "1", "--out", "run")


def test_a_loss_that_is_not_finite(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = replace(RECIPES["note"], name="wild", learning_rate=1e30)
    monkeypatch.setitem(RECIPES, "wild", wild)
    message = fails(capsys, "train", "digits", "--recipe", "wild", "--out", "run")
    assert re.search(r"loss became (nan|inf) in epoch 1, batch \d+.*extreme values", message)


def command(*argv: str) -> list[str]:
    code = "import sys; from softxent.cli import main; sys.exit(main())"
    return [sys.executable, "-c", code, *argv]


@pytest.mark.slow
def test_a_full_disk_leaves_nothing(here: Path) -> None:
    limit = 200_000  # bytes a file: less than the weights take
    done = subprocess.run(
        command("train", "digits", "--epochs", "1", "--out", "run"),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 2
    assert re.fullmatch(r"softxent train: error: .*too large; nothing was written.*\n", done.stderr)
    assert everything(here) == []


@pytest.mark.slow
def test_a_real_ctrl_c(here: Path) -> None:
    argv = command("train", "digits", "--epochs", "100000", "--out", "run")
    with subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background makes them, and the child, ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as training:
        assert training.stdout is not None
        for _ in range(3):
            training.stdout.readline()
        training.send_signal(signal.SIGINT)
        try:
            _, err = training.communicate(timeout=60)
        finally:
            training.kill()
    assert training.returncode == 130
    assert err.count("\n") == 1
    assert everything(here) == []


def epoch(number: int, right: int, loss: float = 0.1234) -> Epoch:
    return Epoch(
        number=number,
        seconds=1.94,
        learning_rate=0.01,
        train_loss=Sum(total=loss * 100, weight=100),
        train_accuracy=Sum(total=50, weight=100),
        test_loss=Sum(total=1311, weight=10_000),
        test_accuracy=Sum(total=right, weight=10_000),
    )


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    from softxent.cli.display import Lines

    with Lines() as lines:
        lines.step(1, 90, Mean(1.0, 64))
        lines.epoch(epoch(3, 9611), 9)
        lines.epoch(epoch(10, 9696, loss=1e-9), 12)
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        "epoch 3/9  train loss 0.1234  test loss 0.1311  accuracy 9611/10000 (96.11%)  1.9 s"
    )
    assert second.startswith("epoch 10/12  train loss 1.0\u00d710⁻⁹  test loss 0.1311  ")


@pytest.mark.parametrize(
    ("right", "rows", "shown"),
    [
        (10_000, 10_000, "10000/10000 (100%)"),
        (99_999, 100_000, "99999/100000 (99.999%)"),
        (9_999_999, 10_000_000, "9999999/10000000 (99.99999%)"),
        (9696, 10_000, "9696/10000 (96.96%)"),
        (2, 3, "2/3 (66.67%)"),
        (1, 8, "1/8 (12.50%)"),
        (0, 7, "0/7 (0%)"),
        (1, 1_000_000, "1/1000000 (0.0001%)"),
    ],
)
def test_percentages_are_rounded_and_never_to_0_or_100(right: int, rows: int, shown: str) -> None:
    from softxent.cli.display import fraction_text

    assert fraction_text(Mean(right, rows)) == shown


def test_a_terminal_gets_a_bar_below_the_lines() -> None:
    from softxent.cli.display import Bar

    screen = io.StringIO()
    console = rich.console.Console(file=screen, force_terminal=True, width=100, color_system=None)
    with Bar(console) as bar:
        for done in range(1, 91):
            bar.step(done, 180, Mean(float(done), 64 * done))
            time.sleep(0.002)
        bar.epoch(epoch(1, 9611), 2)
        time.sleep(0.3)
    shown = screen.getvalue()
    assert "50%" in shown
    assert "train loss" in shown
    assert "left" in shown
    line = "epoch 1/2  train loss 0.1234  test loss 0.1311  accuracy 9611/10000 (96.11%)  1.9 s"
    assert line in shown
    assert "\x1b[?25h" in shown  # the cursor is back


def test_names_cannot_control_the_terminal(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{i % 2},{['fine', chr(27) + '[2J'][i % 2]}" for i in range(40)]
    (here / "t.csv").write_text("\n".join(["x,y", *lines]))
    assert main(["train", "t.csv", "--target", "y", "--epochs", "1", "--out", "run"]) == 0
    assert main(["evaluate", "run", "t.csv"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\ufffd[2J" in out


def test_an_encoding_that_lacks_a_character_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(screen, encoding="ascii"))
    assert main(["train", "digits", "--epochs", "1", "--out", "z\u00fcrich"]) == 0
    assert b"z?rich" in screen.getvalue()


def test_the_files_of_a_run() -> None:
    assert main(["train", "points", "--epochs", "1", "--out", "run"]) == 0
    head = json.loads(Path("run/run.json").read_text())
    assert {file["name"] for file in head["files"]} == {
        "epochs.json",
        "mistakes.json",
        "regions.json",
        "test.json",
        "weights.safetensors",
    }


def test_findings_of_the_doctor_are_printed_and_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"1,2,{'xyz'[i % 3]}\n" for i in range(60))
    Path("same.csv").write_text("a,b,y\n" + rows)
    assert main(["train", "same.csv", "--target", "y", "--epochs", "1", "--out", "run"]) == 0
    assert "doctor         note: Every row has the same scores." in capsys.readouterr().out
    stored = record.read(Path("run"))
    assert ["constant-scores" in note for note in stored.run.notes] == [True]
    assert "constant-scores" in Path("run/report.html").read_text()


@pytest.mark.slow
def test_the_doctor_finds_nothing_in_healthy_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", "--epochs", "2", "--out", "run"]) == 0
    assert "doctor" not in capsys.readouterr().out
    assert record.read(Path("run")).run.notes == []


@pytest.mark.slow
def test_a_closed_pipe_does_not_stop_the_training(tmp_path: Path) -> None:
    code = "import sys; from softxent.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "train", "digits", "--epochs", "2", "--out", "run"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait() == 0
    assert record.read(tmp_path / "run").run.data.name == "digits"


@pytest.mark.slow
def test_sigterm_leaves_nothing_behind(tmp_path: Path) -> None:
    code = "import sys; from softxent.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "train", "digits", "--epochs", "9999", "--out", "run"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("digits: ")
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
