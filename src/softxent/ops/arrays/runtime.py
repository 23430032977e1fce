"""The instruction set and the number of threads of the compiled kernels."""

from __future__ import annotations

import os

from softxent import _native
from softxent.errors import OptionError
from softxent.ops.spec import check_count

__all__ = ["get_num_threads", "kernels", "set_num_threads"]

_MOST_THREADS = 1024

_forced = os.environ.get("SOFTXENT_KERNELS")
if _forced and not _native.select_level(_forced):
    raise OptionError(
        f"[softxent] SOFTXENT_KERNELS is {_forced!r}; this machine can run: "
        f"{', '.join(_native.levels())}."
    )


def kernels() -> str:
    """The instruction set in use: 'x86-64-v4', 'x86-64-v3' or 'baseline'.

    It is the best that the processor has, unless the environment variable SOFTXENT_KERNELS names
    another.

    Example:
        >>> kernels() in ("x86-64-v4", "x86-64-v3", "baseline")
        True
    """
    return str(_native.current_level())


def get_num_threads() -> int:
    """The number of threads of the kernels.

    By default it is OMP_NUM_THREADS, else the number of processors that the affinity mask and the
    control groups grant. For tensors it is `torch.get_num_threads()` where that is smaller.

    Example:
        >>> get_num_threads() >= 1
        True
    """
    return int(_native.get_num_threads())


def set_num_threads(count: int) -> None:
    """Set the number of threads, for every Python thread of the process.

    Results have the same bits for any number.

    Args:
        count: 1 to 1024.

    Raises:
        OptionError: count is smaller or larger.

    Example:
        >>> set_num_threads(get_num_threads())
    """
    count = check_count("set_num_threads", "count", count)
    if not 1 <= count <= _MOST_THREADS:
        raise OptionError(f"[set_num_threads] count is {count}: use 1 to {_MOST_THREADS} threads.")
    _native.set_num_threads(count)
