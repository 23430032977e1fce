"""Every error that a user of softxent can meet.

Each is also the built-in error that NumPy or torch users would expect to catch, and each message
says what is wrong, where, and what to do about it.
"""

from __future__ import annotations

__all__ = [
    "DTypeError",
    "DataError",
    "MissingExtraError",
    "OptionError",
    "ProbabilityError",
    "RunError",
    "ShapeError",
    "SoftxentError",
    "TargetError",
    "TrainingError",
]


class SoftxentError(Exception):
    """What every error of softxent derives from."""


class ShapeError(SoftxentError, ValueError):
    """Shapes that don't fit together, or an axis that isn't there."""


class DTypeError(SoftxentError, TypeError):
    """A data type that an operation doesn't take."""


class TargetError(SoftxentError, ValueError, IndexError):
    """A target that names no class, or that isn't a mass over the classes."""


class ProbabilityError(SoftxentError, ValueError):
    """Something passed as probabilities that can't be probabilities."""


class OptionError(SoftxentError, ValueError):
    """An option with a value that it can't have."""


class TrainingError(SoftxentError, ArithmeticError):
    """A training that can't go on: its loss is no longer a finite number."""


class MissingExtraError(SoftxentError, ImportError):
    """An optional dependency that isn't installed; the message names the extra that brings it."""


class DataError(SoftxentError, ValueError):
    """A data file that is missing, damaged, or not what it was said to be."""


class RunError(SoftxentError, ValueError):
    """A run directory that isn't one, or whose files can't be believed."""


def missing_extra(package: str, *, needed_by: str, extra: str) -> MissingExtraError:
    """The error for an optional dependency that can't be imported, with what mends it."""
    return MissingExtraError(
        f"[{needed_by}] needs {package}, which is not installed. "
        f'It comes with an extra: pip install "softxent[{extra}]"'
    )
