"""Opening a source file: it has to be there, and gzip is known by its first bytes, not its name."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from softxent.errors import DataError

__all__ = ["is_gzip", "open_file", "require_file"]


def require_file(path: Path) -> None:
    """Raise DataError where there is no such file."""
    if path.is_file():
        return
    if path.is_dir():
        raise DataError(f"[data] {path}: is a folder, not a file. Name the file in it.")
    if path.exists():
        raise DataError(
            f"[data] {path}: is not a regular file, and it has to be read more than once. "
            "Save it to a file first."
        )
    raise DataError(f"[data] {path}: there is no such file. Check the name and the folder.")


def is_gzip(path: Path) -> bool:
    """Whether a file's first two bytes are gzip's."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """A file's bytes, decompressed where they are gzip.

    Raises:
        DataError: the gzip data are damaged; raised while they are read.
    """
    if not is_gzip(path):
        with path.open("rb") as file:
            yield file
        return
    try:
        with gzip.open(path, "rb") as file:
            yield cast(BinaryIO, file)
    except EOFError:
        raise DataError(
            f"[data] {path}: the gzip data end too early: the file was cut short. Copy it again."
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"[data] {path}: the gzip data are damaged ({error}). Copy the file again."
        ) from None
