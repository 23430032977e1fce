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
    """The base class of every error of softxent."""


class ShapeError(SoftxentError, ValueError):
    """Shapes that don't fit together, or an axis that doesn't exist."""


class DTypeError(SoftxentError, TypeError):
    """A dtype that an operation doesn't support."""


class TargetError(SoftxentError, ValueError, IndexError):
    """A target that is no class, or no distribution over the classes."""


class ProbabilityError(SoftxentError, ValueError):
    """Something passed as probabilities that can't be probabilities."""


class OptionError(SoftxentError, ValueError):
    """An option with an invalid value."""


class TrainingError(SoftxentError, ArithmeticError):
    """A training that can't continue: its loss is no longer finite."""


class MissingExtraError(SoftxentError, ImportError):
    """An optional dependency that isn't installed; the message names the extra that brings it."""


class DataError(SoftxentError, ValueError):
    """A data file that is missing, damaged, or of another kind than stated."""


class RunError(SoftxentError, ValueError):
    """A directory that isn't a run, or whose files fail their checks."""


def missing_extra(package: str, *, needed_by: str, extra: str) -> MissingExtraError:
    """The error for an optional dependency that can't be imported, with its remedy."""
    return MissingExtraError(
        f"[{needed_by}] needs {package}, which is not installed. "
        f'It comes with an extra: pip install "softxent[{extra}]"'
    )
