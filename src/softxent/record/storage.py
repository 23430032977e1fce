"""Writing a run directory whole or not at all, and believing nothing of it before it is checked."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from softxent.errors import RunError
from softxent.record.schema import (
    FORMAT_VERSION,
    Epoch,
    FileDigest,
    Mistake,
    Regions,
    Run,
    TestRows,
)

__all__ = ["Record", "digest", "new_run", "read", "read_run"]

_T = TypeVar("_T")
_OPTIONAL = {"mistakes.json", "regions.json"}


def digest(path: Path) -> FileDigest:
    """A file's name, size and SHA-256; reads the whole file once, in pieces."""
    sha = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            sha.update(piece)
            size += len(piece)
    return FileDigest(name=path.name, bytes=size, sha256=sha.hexdigest())


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
        """(rows, classes) float32, the bits that the model gave; a null is NaN."""
        logits = np.array(self.test.logits, dtype=np.float32)
        return logits.reshape(len(self.test.rows), len(self.run.data.classes))

    @property
    def test_target(self) -> np.ndarray:
        """(rows,) int64 class indices."""
        return np.array(self.test.target, dtype=np.int64)


def _decode(path: Path, payload: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RunError(
            f"[run] {path} is damaged or not softxent's: {error}. "
            "Train again, or copy the run again."
        ) from None


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RunError(
            f"[run] {path} is missing: the run is incomplete. Train again, or copy the run again."
        ) from None
    except OSError as error:
        raise RunError(f"[run] {path} can't be read: {error.strerror}") from None


def read_run(path: Path) -> Run:
    """Read and check run.json alone: what `report` and `evaluate` need first.

    Raises:
        RunError: the directory isn't a run, or run.json is damaged or from a newer softxent.
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
    payload = _read_bytes(head)
    version = _decode(head, payload, _Version)
    if version.version > FORMAT_VERSION:
        raise RunError(
            f"[run] {head} has format version {version.version}; this softxent reads up to "
            f"{FORMAT_VERSION}. Upgrade softxent."
        )
    return _decode(head, payload, Run)


class _Version(msgspec.Struct):
    version: int


def read(path: Path) -> Record:
    """Read a run directory: every file's size and SHA-256, then every field, is checked.

    Args:
        path: the directory that `softxent train` made.

    Raises:
        RunError: it isn't a run, a file is missing or cut short, or its numbers don't fit together.
    """
    run = read_run(path)
    contents = {}
    for expected in run.files:
        if Path(expected.name).name != expected.name:
            raise RunError(
                f"[run] {path / 'run.json'} names a file outside the run: {expected.name!r}"
            )
        file = path / expected.name
        found = digest(file) if file.is_file() else None
        if found is None:
            raise RunError(
                f"[run] {file} is missing: the run is incomplete. "
                "Train again, or copy the run again."
            )
        if found.bytes != expected.bytes:
            raise RunError(
                f"[run] {file} has {found.bytes} bytes where {expected.bytes} were written: it was "
                "cut short or changed. Train again, or copy the run again."
            )
        if found.sha256 != expected.sha256:
            raise RunError(
                f"[run] {file} was changed after the run was written (its SHA-256 differs). "
                "Train again, or copy the run again."
            )
        contents[expected.name] = file
    for name in ("epochs.json", "test.json", "weights.safetensors"):
        if name not in contents:
            raise RunError(f"[run] {path / 'run.json'} doesn't list {name}: the run is incomplete.")

    def load(name: str, kind: type[_T]) -> _T:
        return _decode(path / name, _read_bytes(path / name), kind)

    record = Record(
        path,
        run,
        load("epochs.json", list[Epoch]),
        load("test.json", TestRows),
        load("mistakes.json", list[Mistake]) if "mistakes.json" in contents else [],
        load("regions.json", Regions) if "regions.json" in contents else None,
    )
    _check_numbers(record)
    return record


def _check_numbers(record: Record) -> None:
    """The files agree with each other: what is used as an index is one."""
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
    if not {m.row for m in record.mistakes} <= set(test.rows):
        raise RunError(f"[run] {record.path / 'mistakes.json'} names a row that isn't a test row")
    if any(len({len(line) for line in m.image or []}) > 1 for m in record.mistakes):
        raise RunError(f"[run] {record.path / 'mistakes.json'}: an image isn't rectangular")
    if any(len(m.probabilities) != classes for m in record.mistakes):
        raise RunError(
            f"[run] {record.path / 'mistakes.json'}: a row doesn't have {classes} probabilities"
        )
    if regions is not None and (
        len(regions.predicted) != len(regions.y)
        or len(regions.probability) != len(regions.y)
        or any(len(line) != len(regions.x) for line in regions.predicted + regions.probability)
        or len(regions.points) != len(regions.target)
        or regions.target != test.target
        or min(len(regions.x), len(regions.y)) < 2
        or any(np.diff(axis).min() <= 0 for axis in (regions.x, regions.y))
    ):
        raise RunError(f"[run] {record.path / 'regions.json'}: the grid's sizes don't fit together")


class NewRun:
    """A run directory in the making: `add` its files, then `finish` with run.json."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        """Where the files are until the run is whole; anything written here belongs to the run."""
        self.finished = False

    def add(self, name: str, content: object) -> None:
        """Write one JSON file."""
        (self.directory / name).write_bytes(msgspec.json.encode(content))

    def digests(self) -> list[FileDigest]:
        """Every file written so far, by name, but the report, which is made again at will."""
        files = sorted(self.directory.iterdir())
        return [digest(file) for file in files if file.name not in ("run.json", "report.html")]

    def finish(self, run: Run) -> None:
        """Write run.json; the directory appears under its name when the `with` block ends."""
        (self.directory / "run.json").write_bytes(
            msgspec.json.format(msgspec.json.encode(run), indent=2)
        )
        self.finished = True


@contextlib.contextmanager
def new_run(path: Path) -> Iterator[NewRun]:
    """Make a run directory whole or not at all.

    The files are written into a hidden directory beside `path`, which takes its name only once
    `finish` was called and everything is on disk. After any error, a full disk or Ctrl-C, nothing
    is left.

    Raises:
        RunError: `path` exists already.
        OSError: the disk is full, or the directory can't be made.
    """
    if path.exists():
        raise RunError(
            f"[run] {path} exists already; it is not overwritten. Name another --out, or delete it."
        )
    parents = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        run = NewRun(partial)
        yield run
        assert run.finished, "a run ends with finish()"
        for file in partial.iterdir():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        partial.chmod(0o755)  # mkdtemp makes it private
        partial.rename(path)
    except BaseException as error:
        if isinstance(error, OSError) and str(error.filename or partial).startswith(str(partial)):
            error.filename = str(path)  # nobody asked for the hidden one
        shutil.rmtree(partial, ignore_errors=True)
        for parent in parents:
            with contextlib.suppress(OSError):  # somebody else may use it by now
                parent.rmdir()
        raise
