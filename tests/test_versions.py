"""pyproject.toml, constraints.txt and constraints-lowest.txt name versions that agree."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

version = pytest.importorskip("packaging.version")
requirements = pytest.importorskip("packaging.requirements")
names = pytest.importorskip("packaging.utils")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]


def needed(lines: list[str]) -> dict[str, str]:
    """The names and the version ranges of some requirements, without the package's own extras."""
    parsed = [requirements.Requirement(line) for line in lines]
    return {
        names.canonicalize_name(one.name): str(one.specifier)
        for one in parsed
        if one.name != "softxent"
    }


def pins(name: str) -> dict[str, str]:
    """The versions that a file of constraints pins, by name."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("==") for line in lines if line and not line.startswith("#")]
    assert all(separator for _, separator, _ in pairs)
    return {names.canonicalize_name(name): pinned for name, _, pinned in pairs}


def test_the_lowest_versions_are_those_of_pyproject() -> None:
    """Apart from the tools of development, which `make lowest` doesn't run."""
    admitted = needed(
        [
            *PROJECT["build-system"]["requires"],
            *PROJECT["project"]["dependencies"],
            *(line for extra in ("torch", "learn", "test") for line in EXTRAS[extra]),
        ]
    )
    assert all(range_.startswith(">=") and "," not in range_ for range_ in admitted.values())
    floors = {name: version.Version(range_[2:]) for name, range_ in admitted.items()}
    assert {name: version.Version(pin) for name, pin in pins("constraints-lowest.txt").items()} == (
        floors
    )


def test_development_uses_versions_that_pyproject_admits() -> None:
    everything = needed(
        [
            *PROJECT["project"]["dependencies"],
            *(line for extra in EXTRAS.values() for line in extra),
        ]
    )
    pinned = pins("constraints.txt")
    for name, range_ in everything.items():
        assert name in pinned, f"{name} isn't pinned"
        assert pinned[name] in requirements.Requirement(f"x{range_}").specifier, name
