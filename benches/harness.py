"""Peers timed in turn in one process: check the answers, interleave, report medians and ratios."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

_WARM_UP = 0.15  # seconds


@dataclass
class Case:
    """One task done by several peers; the first is ours."""

    name: str
    bytes: int  # moved at the least: what must be read and written once
    seconds: dict[str, float] = field(default_factory=dict)

    def row(self) -> str:
        ours, *others = self.seconds
        best = self.seconds[ours]
        text = f"{self.name:44s} {1e3 * best:9.3f} ms {self.bytes / best / 1e9:6.1f} GB/s"
        return text + "".join(f"  {p} x{self.seconds[p] / best:.2f}" for p in others)


def check(name: str, got: Any, want: Any, *, rtol: float = 1e-5, atol: float = 1e-7) -> None:
    """A wrong answer isn't timed."""
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol, atol, err_msg=name)


def interleave(
    name: str,
    moved: int,
    peers: dict[str, Callable[[], Any]],
    *,
    budget: float = 2.0,
    work: dict[str, float] | None = None,
) -> Case:
    """Medians of runs that take turns, so that a busy machine slows all of them alike.

    A turn begins with runs that aren't timed: the peer before has left its own data in the caches,
    and threads of OpenMP that spin for a while where others would work. A peer named in `work` does
    so many times the case's work, and its time is divided by that.
    """
    once = 0.0
    for run in peers.values():
        run()
        start = time.perf_counter()
        run()
        once += time.perf_counter() - start
    rounds = max(7, min(11, int(budget / once)))
    # Of calls of microseconds there are many a turn, timed one by one: a mean would hold every
    # interruption by the system.
    repeat = max(1, int(2e-3 * len(peers) / once))
    times: dict[str, list[float]] = {peer: [] for peer in peers}
    for _ in range(rounds):
        for peer, run in peers.items():
            start = time.perf_counter()
            while time.perf_counter() - start < _WARM_UP:
                run()
            for _ in range(repeat):
                start = time.perf_counter()
                run()
                times[peer].append(time.perf_counter() - start)
    work = work or {}
    seconds = {peer: statistics.median(t) / work.get(peer, 1) for peer, t in times.items()}
    case = Case(name, moved, seconds)
    print(case.row(), flush=True)
    return case


def save(path: Path, cases: Sequence[Case], **about: Any) -> None:
    """Everything that the tables of the docs are made from."""
    about |= {"machine": platform.processor() or platform.machine(), "cpus": os.cpu_count()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, "cases": [asdict(c) for c in cases]}, indent=1) + "\n")
