"""Which library multiplies the matrices of a linear head on CPU tensors.

torch's own matmul (MKL; oneDNN for half precision), NumPy's BLAS and oneDNN have each been up to
twice as fast as another one: it depends on the processor, the dtype and the shape. By default
`rule` chooses by the processor, NumPy's BLAS and the dtype; NumPy's BLAS is left out where torch
has fewer threads than the process may use. Two processes with the same settings on one kind of
machine get the same bits. The environment variable SOFTXENT_PRODUCTS changes that:

    torch, onednn, numpy    use this engine wherever it can multiply the dtype
    timed                   time the engines at the first matmuls of a kind, and keep the fastest;
                            a busy moment can change the choice, and with it the last bits
"""

from __future__ import annotations

import functools
import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from softxent.errors import OptionError
from softxent.ops.arrays.runtime import get_num_threads
from softxent.ops.tensors import torch_private
from softxent.ops.tensors.kernels.buffers import empty

__all__ = ["Engine", "available", "choose", "chosen_engines", "processor", "rule"]


@dataclass(frozen=True, slots=True)
class Engine:
    """One library's matmul.

    Attributes:
        name: "torch", "onednn" or "numpy".
        write: (a, b, out): out = a b.
        add: (a, b, out, scratch): out += a b, with room for a b.
        adds_in_place: whether `add` needs no scratch memory for one dtype.
        copies: whether the result is allocated elsewhere and copied.
    """

    name: str
    write: Callable[[Tensor, Tensor, Tensor], Any]
    add: Callable[[Tensor, Tensor, Tensor, Tensor], Any]
    adds_in_place: bool = False
    copies: bool = False


def _shaped(scratch: Tensor, like: Tensor) -> Tensor:
    return scratch[: like.numel()].view(like.shape)


def _torch_write(a: Tensor, b: Tensor, out: Tensor) -> None:
    torch.mm(a, b, out=out)


def _torch_add(a: Tensor, b: Tensor, out: Tensor, scratch: Tensor) -> None:
    if out.dtype == a.dtype:
        out.addmm_(a, b)
    else:  # a sum in float32 of matmuls in half precision
        out.add_(torch.mm(a, b, out=_shaped(scratch, out)))


def _onednn_write(a: Tensor, b: Tensor, out: Tensor) -> None:
    out.copy_(torch_private.linear_by_onednn(a, b))


def _onednn_add(a: Tensor, b: Tensor, out: Tensor, scratch: Tensor) -> None:
    out.add_(torch_private.linear_by_onednn(a, b))


def _numpy_write(a: Tensor, b: Tensor, out: Tensor) -> None:
    np.matmul(a.numpy(), b.numpy(), out=out.numpy())


def _numpy_add(a: Tensor, b: Tensor, out: Tensor, scratch: Tensor) -> None:
    # NumPy adds as well: torch's threads would spin against those of NumPy's BLAS.
    part, total = _shaped(scratch, out).numpy(), out.numpy()
    np.matmul(a.numpy(), b.numpy(), out=part)
    np.add(total, part, out=total)


TORCH = Engine("torch", _torch_write, _torch_add, adds_in_place=True)
ENGINES = {
    engine.name: engine
    for engine in (
        TORCH,
        Engine("onednn", _onednn_write, _onednn_add, copies=True),
        Engine("numpy", _numpy_write, _numpy_add),
    )
}
_SMALL = 2**21  # multiplications; below, every engine is fast enough


def available(dtype: torch.dtype) -> list[str]:
    """The engines that can multiply tensors of a dtype; torch's own comes first.

    NumPy's BLAS has threads of its own. It is left out where torch is set to fewer threads than
    the process may use.
    """
    names = ["torch"]
    if dtype == torch.float32 and torch_private.has_onednn():
        names.append("onednn")
    if dtype in (torch.float32, torch.float64) and torch.get_num_threads() >= get_num_threads():
        names.append("numpy")
    return names


def choose(x: Tensor, w: Tensor) -> Engine:
    """The engine for features like x (rows, D) and blocks of weights like w (classes, D)."""
    names = available(x.dtype)
    wanted = os.environ.get("SOFTXENT_PRODUCTS", "")
    if wanted and wanted != "timed":
        if wanted not in ENGINES:
            raise OptionError(
                f"[softxent] SOFTXENT_PRODUCTS is {wanted!r}: valid are "
                f"{', '.join(ENGINES)}, timed."
            )
        return ENGINES[wanted] if wanted in names else TORCH
    rows, width, classes = *x.shape, len(w)
    if len(names) == 1 or rows * width * classes < _SMALL:
        return TORCH
    dtype = str(x.dtype).removeprefix("torch.")
    # Sizes within a factor of 2 share an engine.
    sizes = [1 << max(0, size - 1).bit_length() for size in (rows, width, classes)]
    key = " ".join([dtype, *map(str, sizes)])
    with _lock:
        if wanted == "timed":
            if key not in _timed:
                _timed[key] = _fastest(names, x, w)
            name = _timed[key]
        else:
            name = rule(processor(), blas(), dtype)
            name = name if name in names else "torch"
        _chosen[key] = name
    return ENGINES[name]


_timed: dict[str, str] = {}
_chosen: dict[str, str] = {}
_lock = threading.Lock()


def chosen_engines() -> dict[str, str]:
    """The dtypes and sizes (rows, width, classes) met so far, each with the engine last used.

    Sizes are rounded up to powers of 2.
    """
    return dict(_chosen)


# --- rules ---


@functools.cache
def processor() -> str:
    """The processor's maker as it names itself, such as "AuthenticAMD"; else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "vendor_id":
            return value.strip()
    return platform.machine()


@functools.cache
def blas() -> str:
    """The name of the BLAS that NumPy was built with, "scipy-openblas" for example."""
    config: Any = np.show_config(mode="dicts")
    return str(config.get("Build Dependencies", {}).get("blas", {}).get("name", ""))


def rule(processor: str, blas: str, dtype: str) -> str:
    """The engine that was measured to be the fastest on such a processor.

    docs/linear.md holds the measurements. What wasn't measured stays with torch.

    Args:
        processor: as `processor` names it.
        blas: the BLAS of NumPy.
        dtype: "float32" or "float64".
    """
    if processor == "AuthenticAMD" and "openblas" in blas and dtype == "float32":
        return "numpy"
    return "torch"


# --- timing, on request ---

_GAIN = 0.9  # another engine's threads delay torch's own, so it has to be that much faster


def _fastest(names: list[str], x: Tensor, w: Tensor) -> str:
    """The fastest of three rounds of the head's three matmuls, after one round that isn't counted.

    The rounds of an engine follow each other, because waiting threads of another one would slow it
    down.
    """
    shapes = (len(x), len(w)), x.shape, w.shape
    z, dx, dw = (empty(tuple(shape), x.dtype, keep=False) for shape in shapes)
    best = {}
    for name in names:
        write, times = ENGINES[name].write, []
        for _ in range(4):
            start = time.perf_counter()
            write(x, w.T, z)
            write(z, w, dx)
            write(z.T, x, dw)
            times.append(time.perf_counter() - start)
        best[name] = min(times[1:])
    fastest = min(names, key=best.__getitem__)
    return fastest if best[fastest] < _GAIN * best["torch"] else "torch"
