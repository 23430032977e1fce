"""What the memory of the machine allows: a copy, and a multiplication in place."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from benches.speed.timing import Run
from softxent import get_num_threads

_WORTH_THREADS = 2**20  # bytes; waking a thread takes as long as copying half of them


@cache
def _pool(helpers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(helpers)


def _in_parts(work: Callable[..., object], *arrays: npt.NDArray[Any]) -> Run:
    """Run `work` on parts of the arrays, with as many threads as the kernels use."""
    count = get_num_threads() if arrays[0].nbytes >= _WORTH_THREADS else 1
    parts = list(zip(*(np.array_split(a.reshape(-1), count) for a in arrays), strict=True))
    if count == 1:
        return lambda: work(*parts[0])
    pool = _pool(count - 1)

    def run() -> None:
        waiting = [pool.submit(work, *part) for part in parts[1:]]
        work(*parts[0])
        for each in waiting:
            each.result()

    return run


def limits(x: npt.NDArray[Any]) -> dict[str, Run]:
    """Each reads the bytes of x, and writes as many."""
    bits = x.view(np.uint8).reshape(-1)
    numbers = np.ones(max(1, x.nbytes // 4), np.float32)
    return {
        "copy": _in_parts(np.copyto, numbers.view(np.uint8)[: bits.size].copy(), bits),
        "multiply": _in_parts(lambda part: np.multiply(part, 1, out=part), numbers),
    }
