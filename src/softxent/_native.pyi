"""The compiled kernels; tests/native/test_stub.py compares this file with the module.

softxent.ops checks the arguments that users pass. The module itself checks only what memory safety
needs. `uint16` arrays are taken as the bits of bfloat16 numbers.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[Any]
_Float64s = npt.NDArray[np.float64]
_Int64s = npt.NDArray[np.int64]

# `threads` is the most that a call may use; 0 is as many as set_num_threads says.
def softmax(
    x: _Array, out: _Array, *, axis: int = -1, log: bool = False, threads: int = 0
) -> None: ...
def softmax_gradient(
    saved: _Array,
    upstream: _Array,
    out: _Array,
    *,
    axis: int = -1,
    log: bool = False,
    from_result: bool = False,
    threads: int = 0,
) -> None: ...
def logsumexp(x: _Array, out: _Float64s, *, axis: int = -1, threads: int = 0) -> None: ...
def cross_entropy(
    logits: _Array,
    *,
    axis: int = -1,
    index: _Int64s | None = None,
    probabilities: _Array | None = None,
    weight: _Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float = 0.0,
    temperature: float = 1.0,
    loss: _Float64s | None = None,
    saved: _Float64s | None = None,
    from_saved: bool = False,
    scale: float = 1.0,
    mean: bool = False,
    upstream: _Float64s | None = None,
    grad: _Array | None = None,
    k: int = 1,
    entropy: _Float64s | None = None,
    argmax: _Int64s | None = None,
    hits: npt.NDArray[np.bool_] | None = None,
    threads: int = 0,
) -> tuple[float, float]:
    """Write loss, saved statistics and gradient; return the losses' sum and a mean's divisor."""

def plain_cross_entropy(
    logits: int,
    index: int,
    grad: int,
    saved: int,
    type: int,
    rows: int,
    classes: int,
    ignore_index: int,
    label_smoothing: float,
    mean: bool,
    scale: float,
    threads: int,
    /,
) -> float:
    """Return the reduced loss of contiguous rows, which are given by their addresses."""

def reduced_cross_entropy(
    logits: _Array,
    index: _Int64s,
    grad: _Array | None,
    ignore_index: int,
    label_smoothing: float,
    mean: bool,
) -> float:
    """Return the reduced loss of contiguous rows with the classes last."""

def binary_cross_entropy(
    logits: _Array,
    target: _Array,
    *,
    positive_weight: _Array | None = None,
    weight: _Array | None = None,
    loss: _Array | None = None,
    upstream: _Array | None = None,
    scale: float = 1.0,
    grad: _Array | None = None,
    value: bool = True,
    threads: int = 0,
) -> float: ...
def plain_binary_cross_entropy(
    logits: int,
    target: int,
    grad: int,
    type: int,
    count: int,
    scale: float,
    value: bool,
    threads: int,
    /,
) -> float: ...
def empty(bytes: int, keep: bool) -> npt.NDArray[np.uint8]:
    """Return an array whose memory comes from the cache of results, and returns there if kept."""

def cached_memory() -> int: ...
def release_memory() -> None: ...
def levels() -> list[str]:
    """Return the instruction sets that this processor can run, best first."""

def current_level() -> str: ...
def select_level(name: str, /) -> bool: ...
def processors_granted(root: str = "") -> int: ...
def last_streamed() -> bool: ...
def alternating_stores(calls: list[tuple[int, int, float, float]]) -> list[bool]: ...
def expected_pauses(pauses: list[bool]) -> list[bool]: ...
def pool_activity() -> tuple[int, int, int]:
    """Return the threads that were made, how often one waited awake, and how often one slept."""

def get_num_threads() -> int: ...
def set_num_threads(count: int, /) -> None: ...
