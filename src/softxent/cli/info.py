"""`softxent info`: versions, processor, kernels, and which extras are installed."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from softxent.render.text import table

__all__ = ["add_parser"]

_PACKAGES = ("numpy", "torch", "scikit-learn")
_EXTRAS = ("torch", "learn")


class _Requirement(NamedTuple):
    """A package that an extra needs, with the lowest version."""

    package: str
    lowest: str

    def problem(self) -> str:
        """What is wrong with the installed version; empty where nothing is."""
        installed = _version(self.package)
        if installed is None:
            return f"{self.package} is missing"
        if _release(installed) < _release(self.lowest):
            return f"{self.package} is {installed}, {self.lowest} is needed"
        return ""


def add_parser(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "info",
        help="show versions, kernels and extras",
        description="Show the versions, the processor with its kernels, and what is installed.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print one fact per line."""
    import softxent

    facts = {
        "softxent": softxent.__version__,
        "python": f"{platform.python_version()}, {platform.system()} {platform.machine()}",
        **{package: _version(package) or "not installed" for package in _PACKAGES},
        "processor": _processor(),
        "kernels": softxent.kernels(),
        "threads": str(softxent.get_num_threads()),
    }
    if _version("softxent"):  # a source tree that isn't installed has no metadata
        facts |= {f"extra {name}": _state(name) for name in _EXTRAS}
    print("\n".join(table(list(facts.items()))))
    return 0


def _version(package: str) -> str | None:
    """The version in the installed metadata, without importing the package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _release(version: str) -> list[int]:
    """The numbers at the start of a version: 2, 13, 0 for 2.13.0+cpu."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    return [int(number) for number in numbers[0].split(".")] if numbers else []


def _processor() -> str:
    """The processor's name where the system reports one, and the number of usable cores."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # Linux
        found = re.search(
            r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE
        )
        name = found[1] if found else name
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {usable} usable"


def _needs(extra: str) -> list[_Requirement]:
    """The requirements of an extra and of the extras in it, by the package's metadata."""
    needs = []
    for line in metadata.requires("softxent") or []:
        requirement, _, condition = line.partition(";")
        if not re.search(rf"""extra == ['"]{extra}['"]""", condition):
            continue
        if nested := re.match(r"softxent\[(.+)\]", requirement):
            needs += [need for name in nested[1].split(",") for need in _needs(name)]
        elif found := re.match(r"([\w.-]+)>=([\d.]+)", requirement):
            needs.append(_Requirement(found[1], found[2]))
    return needs


def _state(extra: str) -> str:
    problems = [problem for need in _needs(extra) if (problem := need.problem())]
    if not problems:
        return "complete"
    return f'{", ".join(problems)}; to fix this: pip install "softxent[{extra}]"'
