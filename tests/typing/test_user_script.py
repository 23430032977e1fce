"""mypy and pyright accept a user's script, and report its mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import softxent

pytest.importorskip("torch")

SCRIPT = Path(__file__).with_name("user_script.py")
SOURCES = Path(softxent.__file__).parents[1]
INSTALLED = "site-packages" in SOURCES.parts  # then both checkers find it by themselves


def errors_of_mypy(script: Path) -> str:
    pytest.importorskip("mypy")
    environment = dict(os.environ) if INSTALLED else os.environ | {"MYPYPATH": str(SOURCES)}
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"]
    # A cache of its own: the project's has other settings.
    command += [f"--cache-dir={SCRIPT.parents[2] / '.mypy_cache' / 'user'}"]
    command += ["--follow-imports=silent", str(script)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=script.parent, env=environment, check=False
    )
    return done.stdout + done.stderr


def errors_of_pyright(script: Path) -> str:
    pytest.importorskip("pyright")
    folder = script.parent
    settings = {
        "include": [script.name],
        "extraPaths": [] if INSTALLED else [str(SOURCES)],
        "typeCheckingMode": "strict",
        "reportUnnecessaryTypeIgnoreComment": "error",
        "reportUnknownMemberType": "none",  # torch.ones and torch.tensor take untyped arguments
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--project", str(folder), "--outputjson"]
    command += ["--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1
    return "\n".join(
        f"{Path(found['file']).name}:{found['range']['start']['line'] + 1}: {found['message']}"
        for found in report["generalDiagnostics"]
        if found["severity"] == "error"
    )


CHECKERS = {"mypy": errors_of_mypy, "pyright": errors_of_pyright}


@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.slow
def test_a_users_script_has_the_types_that_it_asserts(checker: str, tmp_path: Path) -> None:
    script = tmp_path / SCRIPT.name
    script.write_bytes(SCRIPT.read_bytes())
    assert CHECKERS[checker](script) == ""


@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.slow
def test_a_wrong_type_is_reported(checker: str, tmp_path: Path) -> None:
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    at = lines.index("assert_type(softxent.softmax(t), Tensor)")
    lines[at] = "assert_type(softxent.softmax(t), Array)"
    wrong = tmp_path / "wrong.py"
    wrong.write_text("\n".join(lines), encoding="utf-8")
    assert f"wrong.py:{at + 1}: " in CHECKERS[checker](wrong)
