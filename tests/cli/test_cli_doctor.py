"""`softxent doctor`: reading logs, selecting and listing rules, exit codes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from softxent import doctor
from softxent.cli import main

LOG = """\
Test set: Average loss: 0.0070, Accuracy: 8688/10000 (86%)
Test set: Average loss: 0.0017, Accuracy: 9696/10000 (96%)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "train.log"
    path.write_text(LOG)
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
