"""One process that measures cells with the allocator that it was started with.

    python -m benches.speed.child FILE < CELLS

CELLS and FILE are JSON: a list of cells with the seconds for each, and the results.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benches.speed import limits, losses
from benches.speed.grid import Cell
from benches.speed.inputs import Inputs, check, exact_answer
from benches.speed.losses import OURS, Skipped, answer_of
from benches.speed.timing import Run, Times, alternate

Absent = dict[str, str]  # why a peer wasn't measured


def prepare(
    peers: Mapping[str, Callable[[Any], Run]], ours: tuple[str, ...], given: Any, absent: Absent
) -> dict[str, Run]:
    """The runs of the peers that there are; softxent's own may not be absent."""
    runs = {}
    for name, peer in peers.items():
        try:
            runs[name] = peer(given)
            if name not in ours:
                runs[name]()  # torch.compile and JAX compile here
        except (Skipped, ImportError) as error:
            if name in ours:
                raise
            absent[name] = str(error)
            runs.pop(name, None)
        except Exception as error:  # a missing compiler, for example
            if name in ours:
                raise
            absent[name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            runs.pop(name, None)
    return runs


def measure_loss(cell: Cell, seconds: float, absent: Absent) -> dict[str, Times]:
    inputs = Inputs.of(cell)
    peers = dict(losses.PEERS)
    if cell.task == "loss":
        del peers["arrays, out"]  # there is no array for a result
    runs = prepare(peers, OURS, inputs, absent)
    exact = exact_answer(inputs)
    for name, run in runs.items():
        check(name, answer_of(cell.task, run()), exact, inputs)
    del exact
    gc.collect()
    return alternate(runs | limits.limits(inputs.x), seconds=seconds)


def measure_head(cell: Cell, seconds: float, absent: Absent) -> dict[str, Times]:
    from benches.speed import heads

    head = heads.Head.of(cell)
    runs = prepare(heads.PEERS, heads.OURS, head, absent)
    exact = heads.exact_result(head)
    for name, run in runs.items():
        heads.check(name, run(), exact, cell)
    del exact
    gc.collect()
    return alternate(runs | heads.matmuls(head), seconds=seconds)


def measure(cell: Cell, seconds: float) -> dict[str, Any]:
    """A cell's times by peer, and why others are absent."""
    absent: Absent = {}
    measure_task = measure_head if cell.task == "linear head" else measure_loss
    try:
        times = measure_task(cell, seconds, absent)
    except Skipped as reason:
        return {**asdict(cell), "skipped": str(reason), "times": {}, "absent": {}}
    print(f"{cell}", flush=True)
    for name, time in times.items():
        print(
            f"    {name:32s} {1e3 * time.median:10.3f} ms, minimum {1e3 * time.minimum:10.3f}, "
            f"processor {1e3 * time.user:10.3f} + {1e3 * time.system:9.3f}",
            flush=True,
        )
    return {
        **asdict(cell), "times": {name: asdict(t) for name, t in times.items()}, "absent": absent
    }  # fmt: skip


def main() -> None:
    """Measure the cells of standard input."""
    wanted = json.load(sys.stdin)
    results = []
    for given in wanted["cells"]:
        cell = Cell(**given | {"shape": tuple(given["shape"])})
        results.append(measure(cell, wanted["seconds"]))
    Path(sys.argv[1]).write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
