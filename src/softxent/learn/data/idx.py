"""Reading IDX, the format of MNIST's files: a magic number, the sizes, then the numbers.

Two zero bytes, a byte for the data type, a byte for the number of dimensions, a big-endian 32-bit
size for each, and then every number, big-endian, last dimension fastest. Nothing in the header is
believed before it is compared with the size of the file.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from softxent.errors import DataError
from softxent.learn.data.files import is_gzip, open_file, require_file

__all__ = ["read"]

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_DEFLATE_LIMIT = 1032  # deflate can't make data smaller than this fraction of their size
_PIECE = 1 << 20


def read(path: Path) -> npt.NDArray[Any]:
    """Read an IDX file, gzip or not.

    Args:
        path: the file; whether it is gzip is told from its content.

    Returns:
        The array with the header's shape; uint8, int8, int16, int32, float32 or float64 as stored.

    Raises:
        DataError: it isn't IDX, is cut short, is damaged, or holds more than its header promises.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
        >>> _ = path.write_bytes(bytes([0, 0, 0x08, 1]) + bytes([0, 0, 0, 3]) + bytes([5, 0, 4]))
        >>> read(path)
        array([5, 0, 4], dtype=uint8)
    """
    require_file(path)
    with open_file(path) as stream:
        dtype, shape, header = _read_header(stream, path)
        size = math.prod(shape) * dtype.itemsize
        _check_promise(path, header + size, shape)
        data = _read_at_most(stream, size)
        if len(data) < size:
            raise DataError(
                f"[data] {path}: ends after {header + len(data):,} bytes where its header, shape "
                f"{shape}, promises {header + size:,}. It was cut short: copy it again."
            )
        if stream.read(1):  # also makes gzip compare its checksum
            raise DataError(
                f"[data] {path}: goes on after the {header + size:,} bytes that its header, shape "
                f"{shape}, promises. It was damaged or joined with another: copy it again."
            )
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _read_header(stream: BinaryIO, path: Path) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        raise DataError(
            f"[data] {path}: is not an IDX file: it starts with {magic.hex(' ') or 'nothing'} "
            "where 00 00, a type of 08, 09 or 0b to 0e, and the number of dimensions belong. "
            "Check that it is the right file, unpacked or as .gz."
        )
    dimensions = magic[3]
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise DataError(
            f"[data] {path}: ends within its header, after {4 + len(sizes)} bytes. "
            "It was cut short: copy it again."
        )
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    return np.dtype(_DTYPES[magic[2]]), shape, 4 + len(sizes)


def _check_promise(path: Path, promised: int, shape: tuple[int, ...]) -> None:
    """Refuse a header that the file can't keep, before any memory is asked for."""
    stored = path.stat().st_size
    most = stored * _DEFLATE_LIMIT if is_gzip(path) else stored
    if promised > most:
        raise DataError(
            f"[data] {path}: has {stored:,} bytes, too few for the {promised:,} that its header, "
            f"shape {shape}, promises. It was cut short or damaged: copy it again."
        )


def _read_at_most(stream: BinaryIO, size: int) -> bytearray:
    """Grows with what is really there, so that a false promise costs nothing."""
    data = bytearray()
    while len(data) < size and (piece := stream.read(min(_PIECE, size - len(data)))):
        data += piece
    return data
