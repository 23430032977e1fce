"""The identity of a file: name, size and SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path

from softxent.record.schema import FileDigest

__all__ = ["digest"]

_CHUNK = 1 << 20


def digest(path: Path) -> FileDigest:
    """A file's name, size and SHA-256; reads the whole file once, in chunks.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "three.bin"
        >>> _ = path.write_bytes(b"abc")
        >>> digest(path).bytes, digest(path).sha256[:8]
        (3, 'ba7816bf')
    """
    sha = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha.update(chunk)
            size += len(chunk)
    return FileDigest(name=path.name, bytes=size, sha256=sha.hexdigest())
