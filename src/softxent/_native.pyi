from typing import Any

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[Any]

def softmax(x: _Array, out: _Array, *, log: bool) -> None: ...
def logsumexp(x: _Array, out: _Array) -> None: ...
def cross_entropy(
    logits: _Array,
    *,
    index: npt.NDArray[np.int64] | None,
    probabilities: _Array | None,
    weight: _Array | None,
    ignore_index: int,
    label_smoothing: float,
    z_loss: float,
    softcap: float,
    temperature: float,
    loss: npt.NDArray[np.float64],
    scale: float,
    grad: _Array | None,
) -> None: ...
def levels() -> list[str]: ...
def current_level() -> str: ...
def select_level(name: str) -> bool: ...
def get_num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...
