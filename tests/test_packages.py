"""What `make wheel` has built: the sdist and the wheel hold what they must, and nothing else."""

from __future__ import annotations

import os
import subprocess
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]
NOT_IN_THE_SDIST = {".gitignore", ".ci"}


@pytest.fixture(scope="module")
def dist() -> Path:
    """The folder that packages were built into, from this very tree."""
    if "SOFTXENT_DIST" not in os.environ:
        pytest.skip("SOFTXENT_DIST names no folder of built packages: `make wheel` runs this")
    return Path(os.environ["SOFTXENT_DIST"])


def tracked(folder: str) -> set[str]:
    """The files of the repository, relative to the folder."""
    command = ["git", "-C", str(ROOT / folder), "ls-files", "--cached", "--others"]
    listed = subprocess.check_output([*command, "--exclude-standard"], text=True).split("\n")
    return {name for name in listed if name and (ROOT / folder / name).exists()}


def wheel(dist: Path) -> zipfile.ZipFile:
    (path,) = dist.glob("softxent-*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_is_the_package_and_its_kernels(dist: Path) -> None:
    with wheel(dist) as archive:
        names = set(archive.namelist())
    package = {name for name in names if name.startswith("softxent/")}
    kernels = {name for name in package if name.startswith("softxent/_native.c")}
    assert len(kernels) == 1
    assert package - kernels == {f"softxent/{name}" for name in tracked("src/softxent")}
    about = {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in names - package}
    wanted = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    assert about == wanted


def test_the_wheel_needs_numpy_alone(dist: Path) -> None:
    with wheel(dist) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    needs = metadata.get_all("Requires-Dist", [])
    assert [need for need in needs if "extra ==" not in need] == ["numpy>=1.26"]
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_sdist_is_the_repository(dist: Path) -> None:
    (path,) = dist.glob("softxent-*.tar.gz")
    with tarfile.open(path) as archive:
        members = archive.getnames()
    names = {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in members}
    files = {name for name in tracked(".") if PurePosixPath(name).parts[0] not in NOT_IN_THE_SDIST}
    assert names == files | {"PKG-INFO"}
