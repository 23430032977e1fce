"""The speed of softxent beside its peers and the limits of the machine: python -m benches.speed.

Each peer is measured with memory as it comes, and in another process with memory kept: glibc's
malloc then returns nothing to the system (or another allocator does what it does, where LD_PRELOAD
names one). In each process all peers alternate, after a comparison with the exact answer.

    python -m benches.speed                 some minutes; results and page in .bench/
    python -m benches.speed --full          1 to 512 MB of 10 to 128256 classes: hours
    python -m benches.speed --publish       results and pages in docs/; on a quiet machine
    python -m benches.speed --render        the pages of docs/ from the stored results
    python -m benches.speed --task "linear head" --dtype float32 --shape 2048x768x50257
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benches.speed import page
from benches.speed.grid import DTYPES, TASKS, Cell, default_grid, full_grid
from benches.speed.machine import Load, about

_KEPT = {"MALLOC_MMAP_THRESHOLD_": "4294967295", "MALLOC_TRIM_THRESHOLD_": "8589934592"}
_LOCAL = Path(".bench")


def environments() -> dict[str, dict[str, str]]:
    """The environment of the process for each kind of memory."""
    plain = {k: v for k, v in os.environ.items() if k not in _KEPT and k != "LD_PRELOAD"}
    preload = os.environ.get("LD_PRELOAD")
    return {
        page.KEPT: plain | _KEPT | ({"LD_PRELOAD": preload} if preload else {}),
        page.AS_IT_COMES: plain,
    }


def settings() -> dict[str, str]:
    """What keeps the memory, as the page shows it."""
    preload = os.environ.get("LD_PRELOAD")
    if preload:
        return {"allocator": Path(preload).name}
    return {"allocator": "glibc's malloc", **_KEPT}


def measure(cells: list[Cell], memory: str, seconds: float) -> list[dict[str, Any]]:
    """Measure the cells in a process of their own."""
    print(f"--- memory {memory} ---", flush=True)
    wanted = json.dumps({"cells": [asdict(cell) for cell in cells], "seconds": seconds})
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        command = [sys.executable, "-m", "benches.speed.child", str(results)]
        environment = environments()[memory]
        subprocess.run(command, input=wanted, text=True, check=True, env=environment)
        found: list[dict[str, Any]] = json.loads(results.read_text(encoding="utf-8"))
    return [{"memory": memory, **each} for each in found]


def chosen_cells(args: argparse.Namespace) -> list[Cell]:
    cells = full_grid() if args.full else default_grid()
    if args.shape:
        shapes = [tuple(map(int, shape.split("x"))) for shape in args.shape]
        tasks, dtypes = args.task or TASKS[:1], args.dtype or DTYPES[:1]
        return [Cell(task, dtype, shape) for task in tasks for dtype in dtypes for shape in shapes]
    return [
        cell
        for cell in cells
        if (not args.task or cell.task in args.task)
        and (not args.dtype or cell.dtype in args.dtype)
    ]


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benches.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--full", action="store_true", help="the whole grid")
    made.add_argument("--publish", action="store_true", help="write to docs/, not to .bench/")
    made.add_argument(
        "--render", action="store_true", help="write the pages again, measure nothing"
    )
    made.add_argument("--task", action="append", choices=TASKS, help="this task alone")
    made.add_argument("--dtype", action="append", choices=DTYPES, help="this dtype alone")
    made.add_argument(
        "--shape", action="append", metavar="ROWSxCLASSES", help="in place of the grid"
    )
    made.add_argument("--seconds", type=float, default=2.0, help="for each cell, at least 5 rounds")
    return made


def main() -> None:
    args = parser().parse_args()
    if args.render:
        page.publish(json.loads(page.STORED.read_text(encoding="utf-8")))
        return
    cells = chosen_cells(args)
    if not cells:
        sys.exit("[benches.speed] no cell is both of the task and of the dtype: leave one out.")
    record: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benches.speed", *sys.argv[1:]])
    }
    record |= about() | {"kept by": settings()}
    load = Load()
    record["cells"] = [
        result
        for memory in (page.KEPT, page.AS_IT_COMES)
        for result in measure(cells, memory, args.seconds)
    ]
    record["used by other programs"] = load.of_others()
    stored = json.dumps(record, indent=1) + "\n"
    if args.publish:
        page.STORED.write_text(stored, encoding="utf-8")
        page.publish(record)
        return
    _LOCAL.mkdir(exist_ok=True)
    (_LOCAL / "speed.json").write_text(stored, encoding="utf-8")
    (_LOCAL / "speed.md").write_text(page.render(record), encoding="utf-8")
    print(f"\n{page.headline(record)}\n\n{_LOCAL / 'speed.md'} has the tables.")


if __name__ == "__main__":
    main()
