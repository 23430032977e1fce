"""`softxent info`: versions, kernels, threads and extras."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest

import softxent
from softxent.cli import info, main


def facts(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {name: fact.strip() for name, fact in (line.split("  ", 1) for line in lines)}


def test_versions_kernels_and_threads(capsys: pytest.CaptureFixture[str]) -> None:
    said = facts(capsys)
    assert said["softxent"] == softxent.__version__
    assert said["python"].startswith(".".join(map(str, sys.version_info[:3])))
    assert said["numpy"] == np.__version__
    assert said["kernels"] == softxent.kernels()
    assert said["threads"] == str(softxent.get_num_threads())
    assert said["processor"].endswith(" usable")


def test_the_threads_are_those_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    before = softxent.get_num_threads()
    try:
        softxent.set_num_threads(before + 1)
        assert facts(capsys)["threads"] == str(before + 1)
    finally:
        softxent.set_num_threads(before)


def test_its_extras_are_those_of_the_package() -> None:
    assert set(info._EXTRAS) <= set(metadata.metadata("softxent").get_all("Provides-Extra") or [])
    needs = {need.package for need in info._needs("learn")}
    assert needs >= {need.package for need in info._needs("torch")} == {"torch"}
    assert needs >= {"safetensors", "scikit-learn", "msgspec"}


def pretend(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Let packages be installed in these versions, or not at all."""
    real = metadata.version

    def version(package: str) -> str:
        if package not in versions:
            return real(package)
        if versions[package] is None:
            raise metadata.PackageNotFoundError(package)
        return str(versions[package])

    monkeypatch.setattr(metadata, "version", version)


def test_a_complete_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, torch="2.13.0+cpu")
    said = facts(capsys)
    assert said["torch"] == "2.13.0+cpu"
    assert said["extra torch"] == "complete"


def test_a_missing_package_and_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, torch=None)
    said = facts(capsys)
    assert said["torch"] == "not installed"
    assert said["extra torch"] == 'torch is missing; to fix this: pip install "softxent[torch]"'
    assert "torch is missing" in said["extra learn"]
    assert said["extra learn"].endswith('pip install "softxent[learn]"')


def test_an_old_package(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, torch="1.13.1")
    (torch,) = info._needs("torch")
    assert facts(capsys)["extra torch"].startswith(f"torch is 1.13.1, {torch.lowest} is needed;")


@pytest.mark.parametrize(
    ("version", "release"),
    [("2.13.0+cpu", [2, 13, 0]), ("2.4", [2, 4]), ("15.0rc1", [15, 0]), ("", [])],
)
def test_versions_are_compared_as_numbers(version: str, release: list[int]) -> None:
    assert info._release(version) == release
    assert info._release("2.13") > info._release("2.4")


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from softxent.cli import main; main(['info']); "
        "assert not {'torch', 'sklearn', 'pyarrow', 'msgspec', 'rich'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
