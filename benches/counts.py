"""Instructions of the kernels, compared with a stored table: python -m benches.counts.

A watch on speed without a clock. tests/native/counts.cc calls the main kernels, built for AVX2 from
the sources and with the flags of CMakeLists.txt, on 64,000 numbers in rows of several lengths;
valgrind counts. The counts are the same on every machine and in every run, but each compiler has
its own: the table names the one that it is from, and with another one they are only printed.

    python -m benches.counts            fails where a count is 2 % above or below the table
    python -m benches.counts --update   writes the table: after a change that is meant

CXX names the compiler (default: c++). Needs valgrind with its headers: Debian's package valgrind.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TABLE = Path(__file__).with_suffix(".json")
BOUND = 0.02
_LEVEL = ["-march=x86-64-v3", "-DSOFTXENT_LEVEL=baseline"]  # AVX2 is the only level of this build
_RELEASE = ["-std=gnu++17", "-O3", "-DNDEBUG", "-fPIC", "-fvisibility=hidden", "-pthread"]

Counts = dict[str, int]


def compiler_version(first_line: str) -> str:
    """Of what `c++ --version` prints first, such as "GCC 12.2.0" or "Clang 16.0.6"."""
    versions = re.findall(r"\d+\.\d+\.\d+", first_line)
    maker = "Clang" if "clang" in first_line else "GCC"
    return f"{maker} {versions[-1] if maker == 'GCC' else versions[0]}" if versions else first_line


def compare(table: Mapping[str, int], counts: Mapping[str, int]) -> list[str]:
    """The lines to print about counts that left the bound; none where all keep it."""
    lines = []
    for name in dict.fromkeys([*table, *counts]):
        before, after = table.get(name), counts.get(name)
        if before is None or after is None:
            lines.append(f"{name}: " + ("not in the table" if before is None else "not counted"))
        elif abs(after - before) > BOUND * before:
            lines.append(
                f"{name}: {before:,} -> {after:,} instructions ({after / before - 1:+.1%})"
            )
    return lines


def _sources() -> list[Path]:
    native = ROOT / "native"
    found = [*native.glob("operations/*.cc"), *native.glob("runtime/*.cc"), native / "dispatch.cc"]
    return [*sorted(found), ROOT / "tests" / "native" / "counts.cc"]


def _kernel_flags() -> list[str]:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    (flags,) = re.findall(r"set\(KERNEL_FLAGS (.*)\)", text)
    return shlex.split(flags)


def build(compiler: list[str], folder: Path) -> Path:
    """Compile the program."""

    def compile_one(source: Path) -> Path:
        result = folder / f"{source.parent.name}-{source.stem}.o"
        flags = [*_RELEASE, *_kernel_flags(), *_LEVEL, f"-I{ROOT / 'native'}"]
        subprocess.run([*compiler, *flags, "-c", str(source), "-o", str(result)], check=True)
        return result

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, _sources()))
    program = folder / "counts"
    subprocess.run([*compiler, "-pthread", *map(str, objects), "-o", str(program)], check=True)
    return program


def run(program: Path) -> Counts:
    """Run the program under valgrind."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}"]
        subprocess.run([*command, str(program)], check=True)
        dumps = sorted(out.parent.glob("out.*"), key=lambda dump: int(dump.suffix[1:]))
        return dict(count for dump in dumps for count in _count_of(dump.read_text("utf-8")))


def _count_of(dump: str) -> Iterator[tuple[str, int]]:
    """The name and the count of a dump that the program requested."""
    name = re.search(r"^desc: Trigger: Client Request: (.*)$", dump, re.MULTILINE)
    total = re.search(r"^summary: (\d+)$", dump, re.MULTILINE)
    if name and total:
        yield name[1], int(total[1])


def report(stored: Mapping[str, Any], version: str, counts: Counts) -> int:
    """Print what differs; returns the exit status."""
    different = compare(stored["counts"], counts)
    for line in different:
        print(line)
    if version != stored["compiler"]:
        print(
            f"{len(different)} of {len(counts)} counts differ by more than {BOUND:.0%}. The table "
            f"is from {stored['compiler']} and these are from {version}, so this fails nothing."
        )
        return 0
    if different:
        print(
            f"[benches.counts] {len(different)} of {len(counts)} counts left their bound of "
            f"{BOUND:.0%}: undo what costs instructions, or accept the change with "
            "`make counts-update` and give the reason in the commit."
        )
        return 1
    print(f"{len(counts)} counts are within {BOUND:.0%} of the table ({version}).")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update", action="store_true", help="write the table")
    update = parser.parse_args().update
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    for tool in ("valgrind", compiler[0]):
        if shutil.which(tool) is None:
            print(
                f"[benches.counts] {tool} isn't installed: skipped. On Debian: apt install {tool}"
            )
            return 1 if update else 0
    said = subprocess.run([*compiler, "--version"], check=True, capture_output=True, text=True)
    version = compiler_version(said.stdout.splitlines()[0])
    with tempfile.TemporaryDirectory() as folder:
        counts = run(build(compiler, Path(folder)))
    if update:
        stored = {"compiler": version, "counts": counts}
        TABLE.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
        return 0
    return report(json.loads(TABLE.read_text(encoding="utf-8")), version, counts)


if __name__ == "__main__":
    sys.exit(main())
