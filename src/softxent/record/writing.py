"""Writing a run directory, which appears complete or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from softxent.errors import RunError
from softxent.record.digest import digest
from softxent.record.schema import FileDigest, Run

__all__ = ["NewRun", "new_run"]

_NOT_DIGESTED = ("run.json", "report.html")  # the digests themselves, and what is made from them


class NewRun:
    """A run directory that is being written: `add` its files, then `finish` with run.json."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        """Where the files are until the run is complete; every file in it belongs to the run."""
        self.finished = False

    def add(self, name: str, content: object) -> None:
        """Write one JSON file."""
        (self.directory / name).write_bytes(msgspec.json.encode(content))

    def digests(self) -> list[FileDigest]:
        """Every file written so far, by name, except the report, which can be made again."""
        files = sorted(self.directory.iterdir())
        return [digest(file) for file in files if file.name not in _NOT_DIGESTED]

    def finish(self, run: Run) -> None:
        """Write run.json; the directory gets its name when the `with` block ends."""
        (self.directory / "run.json").write_bytes(
            msgspec.json.format(msgspec.json.encode(run), indent=2)
        )
        self.finished = True


@contextlib.contextmanager
def new_run(path: Path) -> Iterator[NewRun]:
    """Create a run directory, complete or not at all.

    The files are written into a hidden directory next to `path`, which gets its name once `finish`
    was called and everything is on disk. After any error, a full disk or Ctrl-C, nothing remains.

    Raises:
        RunError: `path` exists already.
        OSError: the disk is full, or the directory can't be created.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "run"
        >>> try:
        ...     with new_run(path) as new:
        ...         raise KeyboardInterrupt
        ... except KeyboardInterrupt:
        ...     path.exists()
        False
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
            error.filename = str(path)  # the user knows nothing of the hidden directory
        shutil.rmtree(partial, ignore_errors=True)
        for parent in parents:
            with contextlib.suppress(OSError):  # another process may use it by now
                parent.rmdir()
        raise
