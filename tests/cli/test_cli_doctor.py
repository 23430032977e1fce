"""`softxent doctor`: reading logs, selecting and listing rules, exit codes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from softxent import doctor
from softxent.cli import main
from softxent.doctor.logs.audit import audit_run
from softxent.doctor.logs.log import Split
from softxent.ops import Mean

LOG = """\
Test set: Average loss: 0.0070, Accuracy: 8688/10000 (86%)
Test set: Average loss: 0.0017, Accuracy: 9696/10000 (96%)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "train.log"
    path.write_text(LOG)
    return path


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs."""
    path = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", "digits", "--epochs", "2", "--out", str(path)]) == 0
    return path


def _words(capsys: pytest.CaptureFixture[str]) -> str:
    """The printed text without its line breaks."""
    return " ".join(capsys.readouterr().out.split())


def test_exit_code_and_batch_size(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(log)]) == 1
    assert "10000/157 = 63.7" in _words(capsys)
    assert main(["doctor", str(log), "--batch-size", "100"]) == 1
    assert "10000/100 = 100.0" in _words(capsys)

    log.write_text("epoch 1 train loss 0.51 test loss 0.48 accuracy 870/1000 (87%)\n")
    assert main(["doctor", str(log)]) == 0
    assert "Nothing found" in _words(capsys)

    log.write_text("epoch 1 train loss 0.51 test loss 0.48 accuracy 879/1000 (87%)\n")
    assert main(["doctor", str(log)]) == 0, "a warning is not a failure"
    assert "truncated" in _words(capsys)


def test_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(LOG.encode() + b"\xff")))
    assert main(["doctor", "-"]) == 1
    assert "standard input" in _words(capsys)


def test_unreadable_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(tmp_path / "missing.log")]) == 2
    (tmp_path / "empty.log").write_text("")
    assert main(["doctor", str(tmp_path / "empty.log")]) == 2
    errors = capsys.readouterr().err.strip().split("\n")
    assert len(errors) == 2
    assert "holds no loss" in errors[1]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings_that_shells_write(
    encoding: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes("Über Test set: Average loss: 0.0017, Accuracy: 9696/10000\n".encode(encoding))
    assert main(["doctor", str(log)]) == 1
    assert "[impossible-loss]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "shown", "code"),
    [
        (["--select", "cut-percentage"], {"cut-percentage"}, 0),
        (["--ignore", "impossible-loss"], {"cut-percentage"}, 0),
        (["--ignore", "cut-percentage"], {"impossible-loss"}, 1),
        (["--select", "cut-percentage,impossible-loss"], {"cut-percentage", "impossible-loss"}, 1),
        (
            ["--select", "cut-percentage", "--select", "impossible-loss"],
            {"cut-percentage", "impossible-loss"},
            1,
        ),
        (
            ["--select", "cut-percentage,impossible-loss", "--ignore", "impossible-loss"],
            {"cut-percentage"},
            0,
        ),
    ],
)
def test_select_and_ignore(
    log: Path,
    options: list[str],
    shown: set[str],
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor", str(log), *options]) == code
    printed = capsys.readouterr().out
    assert {name for name in ("cut-percentage", "impossible-loss") if f"[{name}]" in printed} == (
        shown
    )


@pytest.mark.parametrize("option", ["--select", "--ignore"])
def test_an_unknown_rule(log: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(log), option, "imposible-loss"]) == 2
    error = capsys.readouterr().err
    assert "Did you mean 'impossible-loss'? `softxent doctor --rules` lists all rules." in error
    assert error.count("\n") == 1


def test_rules_are_listed_without_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--rules"])
    assert end.value.code == 0
    lines = capsys.readouterr().out.split("\n")
    for rule in doctor.all_rules():
        (line,) = [one for one in lines if one.split()[:1] == [rule.name]]
        assert line.split()[1] == rule.severity
        assert line.endswith(rule.title)
    assert "doctor.audit_log: a training log; also `softxent doctor LOG`" in lines


def test_a_run(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(digits)]) == 0
    said = _words(capsys)
    assert "360 test rows" in said
    assert "number of classes" not in said, "a run knows it"
    assert main(["doctor", str(digits), "--select", "overfitting"]) == 0
    assert "Nothing found by 1 rule" in _words(capsys)


def test_the_lines_of_a_training_are_fully_read(tmp_path: Path) -> None:
    """`softxent train` prints them; they say the number of classes."""
    text = (
        "wide.csv: 240 training rows, 60 test rows, 2 classes\n"
        "epoch 1/3  train loss 0.7391  test loss 0.8664  accuracy 25/60 (41.67%)  0.4 s\n"
        "epoch 2/3  train loss 0.0121  test loss 2.6600  accuracy 25/60 (41.67%)  0.2 s\n"
        "epoch 3/3  train loss 0.0047  test loss 4.5420  accuracy 27/60 (45.00%)  0.2 s\n"
        "test loss      4.5420 nats per row (272.52 nats / 60 rows)\n"
        "test accuracy  27/60 (45.00%)\n"
    )
    diagnosis = doctor.audit_log(text)
    assert diagnosis.subject.endswith("7 losses and 4 accuracies")
    (finding,) = diagnosis
    assert (finding.rule, finding.severity) == ("overfitting", "warning")
    assert finding.numbers["classes"] == 2
    assert diagnosis.not_checked == ()


@pytest.mark.parametrize("option", ["--classes", "--batch-size"])
def test_a_run_has_its_own_options(
    digits: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", str(digits), option, "3"]) == 2
    assert f"[doctor] {option} goes with a log" in capsys.readouterr().err


def test_a_directory_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(tmp_path)]) == 2
    assert "run.json" in capsys.readouterr().err


def test_a_recorded_mistake_is_found() -> None:
    means = [Mean(60 * loss, 60) for loss in (0.74, 0.87, 0.01, 2.66, 0.004, 4.54)]
    accuracy = Mean(27, 60)
    epochs: list[tuple[int, Split, Mean, Mean]] = [
        (1 + i // 2, "test" if i % 2 else "train", loss, accuracy) for i, loss in enumerate(means)
    ]
    diagnosis = audit_run(
        epochs, classes=2, logits=[[0.6, 0.4]] * 60, target=[0] * 60, test_loss=9.0, name="run"
    )
    assert set(diagnosis.rules) >= {"overfitting", "softmax-twice", "wrong-denominator"}
