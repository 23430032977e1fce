"""Timing of alternating peers in one process, with medians and ratios, after a check of results."""

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
    """One task and the times of its peers; the first peer is softxent."""

    name: str
    bytes: int  # the least that has to be moved: one read and one write
    seconds: dict[str, float] = field(default_factory=dict)

    def row(self) -> str:
        ours, *others = self.seconds
        best = self.seconds[ours]
        text = f"{self.name:44s} {1e3 * best:9.3f} ms {self.bytes / best / 1e9:6.1f} GB/s"
        return text + "".join(f"  {p} x{self.seconds[p] / best:.2f}" for p in others)


def check(name: str, got: Any, want: Any, *, rtol: float = 1e-5, atol: float = 1e-7) -> None:
    """Raise if a result is wrong, so that it isn't timed."""
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol, atol, err_msg=name)


def interleave(
    name: str,
    moved: int,
    peers: dict[str, Callable[[], Any]],
    *,
    budget: float = 2.0,
    work: dict[str, float] | None = None,
) -> Case:
    """Return medians of alternating runs, so that a busy machine slows down all peers equally.

    Each peer first runs without timing in each round, because the peer before has left its own data
    in the caches and OpenMP threads that spin for a while. A peer in `work` does that multiple of
    the case's work, and its time is divided by it.
    """
    once = 0.0
    for run in peers.values():
        run()
        start = time.perf_counter()
        run()
        once += time.perf_counter() - start
    rounds = max(7, min(11, int(budget / once)))
    # Calls of microseconds are repeated in each round and timed one by one: the mean of a round
    # would include each interruption by the system.
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
    """Write the results from which the tables of the docs are generated."""
    about |= {"machine": platform.processor() or platform.machine(), "cpus": os.cpu_count()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, "cases": [asdict(c) for c in cases]}, indent=1) + "\n")
