from typing import Any

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[Any]
_Float64s = npt.NDArray[np.float64]

def softmax(x: _Array, out: _Array, *, axis: int = -1, log: bool = False) -> None: ...
def logsumexp(x: _Array, out: _Float64s, *, axis: int = -1) -> None: ...
def cross_entropy(
    logits: _Array,
    *,
    axis: int = -1,
    index: npt.NDArray[np.int64] | None = None,
    probabilities: _Array | None = None,
    weight: _Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float = 0.0,
    temperature: float = 1.0,
    loss: _Float64s | None = None,
    summary: _Float64s | None = None,
    from_summary: bool = False,
    scale: float = 1.0,
    mean: bool = False,
    upstream: _Float64s | None = None,
    grad: _Array | None = None,
    k: int = 1,
    entropy: _Float64s | None = None,
    argmax: npt.NDArray[np.int64] | None = None,
    hits: npt.NDArray[np.bool_] | None = None,
) -> tuple[float, float]: ...
def plain_cross_entropy(
    logits: int,
    index: int,
    grad: int,
    summary: int,
    type: int,
    rows: int,
    classes: int,
    ignore_index: int,
    label_smoothing: float,
    mean: bool,
    scale: float,
) -> float: ...
def reduced_cross_entropy(
    logits: _Array,
    index: npt.NDArray[np.int64],
    grad: _Array | None,
    ignore_index: int,
    label_smoothing: float,
    mean: bool,
) -> float: ...
def plain_binary_cross_entropy(
    logits: int, target: int, grad: int, type: int, count: int, scale: float, value: bool
) -> float: ...
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
) -> float: ...
def empty(bytes: int, keep: bool) -> npt.NDArray[np.uint8]: ...
def held_memory() -> int: ...
def release_memory() -> None: ...
def levels() -> list[str]: ...
def current_level() -> str: ...
def select_level(name: str) -> bool: ...
def processors_granted(root: str = "") -> int: ...
def get_num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...
