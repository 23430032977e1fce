"""What was measured, where and when."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import resource
from pathlib import Path
from typing import Any

import softxent
from softxent.ops.linear import engines

_PACKAGES = {
    "NumPy": "numpy", "SciPy": "scipy", "torch": "torch", "scikit-learn": "scikit-learn",
    "JAX": "jax", "optax": "optax",
}  # fmt: skip


def about() -> dict[str, Any]:
    """The machine, the versions and the date."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {
            "processor": _processor(),
            "processors": os.cpu_count(),
            "threads": softxent.get_num_threads(),
            "kernels": softxent.kernels(),
            "system": f"{platform.system()} {platform.release()}",
            "C library": " ".join(platform.libc_ver()).strip(),
            "huge pages": _huge_pages(),
        },
        "versions": {
            "softxent": softxent.__version__,
            "Python": platform.python_version(),
            **{name: version for name, p in _PACKAGES.items() if (version := _version(p))},
            "BLAS of NumPy": engines.blas(),
        },
    }


class Load:
    """How much of the processors' time other programs use, from now on; on Linux."""

    def __init__(self) -> None:
        self.begin = self._now()

    def of_others(self) -> float | None:
        """The share from 0 to 1, without the processes of this one that have ended."""
        begin, end = self.begin, self._now()
        if begin is None or end is None:
            return None
        everyone, all_time, own = (b - a for a, b in zip(begin, end, strict=True))
        return max(0.0, everyone - own) / max(all_time, 1e-9)

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds that the processors were used, that there were, and that were used by us."""
        try:
            first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
        except OSError:
            return None
        user, nice, system, idle, waiting, *more = (
            int(ticks) / os.sysconf("SC_CLK_TCK") for ticks in first.split()[1:9]
        )
        used = user + nice + system + sum(more)
        usages = (
            resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        return used, used + idle + waiting, sum(u.ru_utime + u.ru_stime for u in usages)


def flags() -> set[str]:
    """The instruction sets of the processor, as Linux names them."""
    return set(_of_processor("flags").split())


def _processor() -> str:
    name = _of_processor("model name") or platform.processor() or platform.machine()
    family = [_of_processor(key) for key in ("cpu family", "model")]
    return f"{name}, family {family[0]}, model {family[1]}" if all(family) else name


def _of_processor(key: str) -> str:
    """A value of the first processor in Linux's list; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    fields = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in fields if name.strip() == key), "")


def _huge_pages() -> str:
    try:
        modes = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="ascii")
    except OSError:
        return "unknown"
    return modes.partition("[")[2].partition("]")[0]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
