"""Reading a run directory: nothing in it is used before it is checked."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from softxent.errors import RunError
from softxent.record.digest import digest
from softxent.record.html import write_html
from softxent.record.schema import (
    FORMAT_VERSION,
    Epoch,
    FileDigest,
    Mistake,
    Regions,
    Run,
    TestRows,
)
from softxent.render.numbers import percent, plural

__all__ = ["Record", "read", "read_run"]

_T = TypeVar("_T")
_REQUIRED = ("epochs.json", "test.json", "weights.safetensors")
_REMEDY = "Train again, or copy the run again."


class Record:
    """A run directory that was read and checked.

    Attributes:
        path: the directory.
        run: run.json.
        epochs: epochs.json.
        test: test.json.
        mistakes: mistakes.json.
        regions: regions.json, or None where the data are not points in the plane.
    """

    def __init__(
        self,
        path: Path,
        run: Run,
        epochs: list[Epoch],
        test: TestRows,
        mistakes: list[Mistake],
        regions: Regions | None,
    ) -> None:
        self.path = path
        self.run = run
        self.epochs = epochs
        self.test = test
        self.mistakes = mistakes
        self.regions = regions

    @property
    def weights_path(self) -> Path:
        """The safetensors file."""
        return self.path / "weights.safetensors"

    @property
    def test_logits(self) -> np.ndarray:
        """(rows, classes) float32, bit for bit as the model computed them; NaN for null."""
        logits = np.array(self.test.logits, dtype=np.float32)
        return logits.reshape(len(self.test.rows), len(self.run.data.classes))

    @property
    def test_target(self) -> np.ndarray:
        """(rows,) int64 class indices."""
        return np.array(self.test.target, dtype=np.int64)

    def __repr__(self) -> str:
        run = self.run
        right, rows = run.test_accuracy.mean.total, run.test_accuracy.weight
        return (
            f"<Record {str(self.path)!r}: {run.data.name!r}, {len(run.data.classes):,} classes, "
            f"{percent(right, rows)} of {plural(int(rows), 'test row')} right>"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return write_html(self.run, self.epochs)


def read_run(path: Path) -> Run:
    """Read and check run.json alone.

    Args:
        path: the directory that `softxent train` made.

    Raises:
        RunError: the directory isn't a run, or run.json is damaged or from a newer softxent.

    Example:
        >>> read_run(Path("runs/digits-1")).data.name
        'digits'
    """
    if not path.is_dir():
        problem = "is a file, not a run directory" if path.exists() else "doesn't exist"
        raise RunError(
            f"[run] {path} {problem}. A run is the directory that `softxent train` made."
        )
    head = path / "run.json"
    if not head.exists():
        raise RunError(
            f"[run] {path} holds no run.json, so it isn't a run directory. "
            "A run is the directory that `softxent train` made."
        )
    content = _read_bytes(head)
    version = _decode(head, content, _Version)
    if version.version > FORMAT_VERSION:
        raise RunError(
            f"[run] {head} has format version {version.version}; this softxent reads up to "
            f"{FORMAT_VERSION}. Upgrade softxent."
        )
    return _decode(head, content, Run)


class _Version(msgspec.Struct):
    version: int


def read(path: Path) -> Record:
    """Read a run directory, and check every file's size and SHA-256, then every field.

    Args:
        path: the directory that `softxent train` made.

    Raises:
        RunError: it isn't a run, a file is missing or damaged, or its numbers contradict each
            other.

    Example:
        >>> record = read(Path("runs/digits-1"))
        >>> record.test_logits.shape
        (360, 10)
    """
    run = read_run(path)
    for expected in run.files:
        _check_file(path, expected)
    listed = {file.name for file in run.files}
    for name in _REQUIRED:
        if name not in listed:
            raise RunError(
                f"[run] {path / 'run.json'} doesn't list {name}: the run is incomplete. {_REMEDY}"
            )

    def load(name: str, kind: type[_T]) -> _T:
        return _decode(path / name, _read_bytes(path / name), kind)

    record = Record(
        path,
        run,
        load("epochs.json", list[Epoch]),
        load("test.json", TestRows),
        load("mistakes.json", list[Mistake]) if "mistakes.json" in listed else [],
        load("regions.json", Regions) if "regions.json" in listed else None,
    )
    _check_numbers(record)
    return record


def _check_file(path: Path, expected: FileDigest) -> None:
    """A file of the run has the size and the digest that run.json lists."""
    if Path(expected.name).name != expected.name:
        raise RunError(f"[run] {path / 'run.json'} names a file outside the run: {expected.name!r}")
    file = path / expected.name
    if not file.is_file():
        raise RunError(f"[run] {file} is missing: the run is incomplete. {_REMEDY}")
    found = digest(file)
    if found.bytes != expected.bytes:
        raise RunError(
            f"[run] {file} has {found.bytes} bytes where {expected.bytes} were written: it was "
            f"cut short or changed. {_REMEDY}"
        )
    if found.sha256 != expected.sha256:
        raise RunError(
            f"[run] {file} was changed after the run was written (its SHA-256 differs). {_REMEDY}"
        )


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RunError(f"[run] {path} is missing: the run is incomplete. {_REMEDY}") from None
    except OSError as error:
        raise RunError(f"[run] {path} can't be read: {error.strerror}") from None


def _decode(path: Path, content: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RunError(
            f"[run] {path} is damaged or was not written by softxent: {error}. {_REMEDY}"
        ) from None


def _check_numbers(record: Record) -> None:
    """The files agree with each other, and every index is valid."""
    classes = len(record.run.data.classes)
    test = record.test
    where = record.path / "test.json"
    if classes == 0:
        raise RunError(f"[run] {record.path / 'run.json'} lists no classes")
    if not len(test.rows) == len(test.target) == len(test.logits) == record.run.data.test_rows:
        raise RunError(f"[run] {where}: rows, target and logits have different lengths")
    if any(len(row) != classes for row in test.logits):
        raise RunError(f"[run] {where}: a row doesn't have {classes} logits")
    mistakes = [index for m in record.mistakes for index in (m.target, m.predicted)]
    regions = record.regions
    grid = [] if regions is None else [index for line in regions.predicted for index in line]
    points = [] if regions is None else regions.target
    for indices in (test.target, mistakes, grid, points):
        if any(not 0 <= index < classes for index in indices):
            raise RunError(f"[run] {record.path}: a class index is outside 0 to {classes - 1}")
    _check_mistakes(record, classes)
    if regions is not None:
        _check_regions(record.path / "regions.json", regions, test)


def _check_mistakes(record: Record, classes: int) -> None:
    where = record.path / "mistakes.json"
    if not {m.row for m in record.mistakes} <= set(record.test.rows):
        raise RunError(f"[run] {where} names a row that isn't a test row")
    if any(len({len(line) for line in m.image or []}) > 1 for m in record.mistakes):
        raise RunError(f"[run] {where}: an image isn't rectangular")
    if any(len(m.probabilities) != classes for m in record.mistakes):
        raise RunError(f"[run] {where}: a row doesn't have {classes} probabilities")


def _check_regions(where: Path, regions: Regions, test: TestRows) -> None:
    if (
        len(regions.predicted) != len(regions.y)
        or len(regions.probability) != len(regions.y)
        or any(len(line) != len(regions.x) for line in regions.predicted + regions.probability)
        or len(regions.points) != len(regions.target)
        or regions.target != test.target
        or min(len(regions.x), len(regions.y)) < 2
        or any(np.diff(axis).min() <= 0 for axis in (regions.x, regions.y))
    ):
        raise RunError(f"[run] {where}: the grid's sizes don't fit together")
