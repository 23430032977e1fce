"""The hooks, the workflow of CI and `make check` run the same checks."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
if not (ROOT / ".ci").is_dir():
    pytest.skip("needs the repository: an sdist is without .ci", allow_module_level=True)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
HOOKS = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
WORKFLOW = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*(?: [a-z-]+)*):(?!=)", MAKEFILE, re.MULTILINE))
TARGETS = {target for line in TARGETS for target in line.split()}


def checks() -> set[str]:
    (found,) = re.findall(r"^CHECKS := (.*)$", MAKEFILE, re.MULTILINE)
    return set(found.split())


def test_each_check_is_a_target() -> None:
    assert checks() <= TARGETS


def test_the_hooks_run_each_check() -> None:
    """check-words reads the changed files alone; of check-commits the hook gets one message."""
    by_make = set(re.findall(r"entry: make (\S+)", HOOKS))
    by_script = {f"check-{name}" for name in re.findall(r"entry: \S+ tools/(\w+)\.py", HOOKS)}
    assert by_make | by_script == checks()


def test_the_hooks_use_the_tools_of_the_environment() -> None:
    languages = re.findall(r"language: (\w+)", HOOKS)
    assert set(languages) == {"system"}
    assert "rev:" not in HOOKS


def test_the_workflow_calls_the_script_of_ci() -> None:
    """Apart from steps that install packages of the system, each step does."""
    steps = [step.strip() for step in re.findall(r"run: (?:>\s+)?(.*)", WORKFLOW)]
    calls = [step for step in steps if not re.match(r"(sudo )?apt-get update && ", step)]
    assert calls
    assert all(call.startswith("bash .ci/run") for call in calls)
    targets = {call.removeprefix("bash .ci/run").strip() for call in calls}
    targets |= set(re.findall(r"target: (\S+)", WORKFLOW))
    assert {target for target in targets if target and "{{" not in target} <= TARGETS


def test_ci_runs_everything_by_default() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert "set -- check test\n" in script
    assert (ROOT / ".ci/run").stat().st_mode & stat.S_IXUSR
