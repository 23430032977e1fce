"""tools/commits.py accepts imperative, scoped subjects and says what is wrong with others."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tools import commits


@pytest.mark.parametrize(
    "subject",
    [
        "doctor: select rules by name",
        "kernels: prefetch stores",
        "ops/tensors: pass options as one record",
        "README, docs: say which extras a command needs",
        "CI: embed the report",
        "tests: address review",
        "kernels: bring indices into range",
        'Revert "doctor: select rules by name"',
        "Merge branch 'main'",
        "fixup! doctor: select rules by name",
    ],
)
def test_good_subjects(subject: str) -> None:
    assert list(commits.problems(subject)) == []


@pytest.mark.parametrize(
    ("subject", "problem"),
    [
        ("The table of errors from the kernels", "no scope"),
        ("", "no scope"),
        ("kernels: a table of errors", "imperative"),
        ("kernels: prefetches stores", "imperative"),
        ("kernels: prefetched stores", "imperative"),
        ("kernels: prefetching stores", "imperative"),
        ("kernels: 128 rows instead of 64", "verb"),
        ("kernels: prefetch stores.", "full stop"),
        ("kernels: " + "x" * 64, "73 characters"),
    ],
)
def test_bad_subjects(subject: str, problem: str) -> None:
    assert any(problem in said for said in commits.problems(subject))


def test_72_characters_are_allowed() -> None:
    assert list(commits.problems("kernels: " + "x" * 63)) == []


def test_the_message_of_a_hook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = tmp_path / "COMMIT_EDITMSG"
    message.write_text("kernels: prefetch stores\n\nMeasured. Ended with a full stop.\n")
    assert commits.main(["--message", str(message)]) == 0
    message.write_text("Prefetching.\n")
    assert commits.main(["--message", str(message)]) == 1
    assert "'Prefetching.' has no scope" in capsys.readouterr().out


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two commits, of which the second has a subject that isn't good."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for command in (
        ["init", "-q"],
        ["commit", "-q", "--allow-empty", "-m", "Anything at all."],
        ["commit", "-q", "--allow-empty", "-m", "Anything at all."],
    ):
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True)
    first = subprocess.check_output(["git", "rev-parse", "HEAD~"], cwd=tmp_path, text=True)
    monkeypatch.setattr(commits, "ROOT", tmp_path)
    monkeypatch.setattr(commits, "SINCE", first.strip())
    return tmp_path


def test_only_the_commits_since_are_checked(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commits.main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len({line.partition(":")[0] for line in lines}) == 1
    assert "full stop" in lines[0]


def test_a_shallow_clone_is_skipped(
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clone = tmp_path / "clone"
    source = f"file://{repository}"
    subprocess.run(["git", "clone", "-q", "--depth", "1", source, str(clone)], check=True)
    monkeypatch.setattr(commits, "ROOT", clone)
    assert commits.main([]) == 0
    assert capsys.readouterr().out.startswith("commits: skipped: ")


def test_an_archive_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commits, "ROOT", tmp_path)
    assert commits.main([]) == 0
    assert capsys.readouterr().out.startswith("commits: skipped: ")
