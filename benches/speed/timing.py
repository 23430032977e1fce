"""Alternating runs: elapsed and processor time, and page faults, of peers that disturb each other
as little as possible.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Run = Callable[[], Any]

FEWEST, MOST = 5, 11  # rounds
_WARM_UP = 0.05  # seconds; waiting threads of OpenBLAS sleep after 30 ms, those of OpenMP earlier
_SLOW = 0.5  # seconds; such a call neither finds its data in a cache nor notices a waiting thread
_GROUP = 2e-3  # seconds


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds a call: median and minimum; processor time of all threads, and page faults: means."""

    median: float
    minimum: float
    user: float
    system: float
    faults: float
    calls: int


def alternate(runs: Mapping[str, Run], *, seconds: float = 2.0) -> dict[str, Times]:
    """Time the runs in rounds, so that a busy machine slows down all of them equally.

    Before its turn in a round each one runs without a clock: the one before has left its own data
    in the caches, and threads that spin for a while. Calls of microseconds are repeated and timed
    one by one: the mean of a group would include each interruption by the system.
    """
    once: dict[str, float] = {}
    for name, run in runs.items():
        run()
        begin = time.perf_counter()
        run()
        once[name] = time.perf_counter() - begin
    rounds = max(FEWEST, min(MOST, int(seconds / sum(once.values()))))
    elapsed: dict[str, list[float]] = {name: [] for name in runs}
    used = {name: [0.0, 0.0, 0.0] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            begin = time.perf_counter()
            while once[name] < _SLOW and time.perf_counter() - begin < _WARM_UP:
                run()
            before = resource.getrusage(resource.RUSAGE_SELF)
            for _ in range(max(1, int(_GROUP / once[name]))):
                begin = time.perf_counter()
                run()
                elapsed[name].append(time.perf_counter() - begin)
            after = resource.getrusage(resource.RUSAGE_SELF)
            used[name][0] += after.ru_utime - before.ru_utime
            used[name][1] += after.ru_stime - before.ru_stime
            used[name][2] += after.ru_minflt - before.ru_minflt
    return {
        name: Times(
            statistics.median(times),
            min(times),
            used[name][0] / len(times),
            used[name][1] / len(times),
            used[name][2] / len(times),
            len(times),
        )
        for name, times in elapsed.items()
    }
