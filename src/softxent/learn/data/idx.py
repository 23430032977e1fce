"""Reading IDX, the format of MNIST's files.

A file has two zero bytes, a byte for the data type, a byte for the number of dimensions, a
big-endian 32-bit size for each dimension, and the numbers, big-endian, with the last dimension
contiguous. The header is compared with the size of the file before it is used.
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
_DEFLATE_LIMIT = 1032  # the highest compression ratio of deflate
_PIECE = 1 << 20


def read(path: Path) -> npt.NDArray[Any]:
    """Read an IDX file, optionally compressed with gzip.

    Args:
        path: the file; gzip is recognised by its content.

    Returns:
        The array in the shape of the header; uint8, int8, int16, int32, float32 or float64 as
        stored.

    Raises:
        DataError: the file isn't IDX, is truncated or damaged, or is longer than its header says.

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
        _check_size(path, header + size, shape)
        data = _read_at_most(stream, size)
        if len(data) < size:
            raise DataError(
                f"[data] {path}: the file ends after {header + len(data):,} bytes, but its header, "
                f"shape {shape}, requires {header + size:,}. It is truncated: copy it again."
            )
        if stream.read(1):  # gzip also compares its checksum here
            raise DataError(
                f"[data] {path}: the file is longer than the {header + size:,} bytes that its "
                f"header, shape {shape}, requires. It is damaged: copy it again."
            )
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _read_header(stream: BinaryIO, path: Path) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        raise DataError(
            f"[data] {path}: this is not an IDX file. It starts with {magic.hex(' ') or 'nothing'} "
            "instead of 00 00, a type of 08, 09 or 0b to 0e, and the number of dimensions. "
            "Check that it is the right file, unpacked or as .gz."
        )
    dimensions = magic[3]
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise DataError(
            f"[data] {path}: the file ends within its header, after {4 + len(sizes)} bytes. "
            "It is truncated: copy it again."
        )
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    return np.dtype(_DTYPES[magic[2]]), shape, 4 + len(sizes)


def _check_size(path: Path, required: int, shape: tuple[int, ...]) -> None:
    """Raise if the file can't hold what its header claims, before memory is allocated."""
    stored = path.stat().st_size
    most = stored * _DEFLATE_LIMIT if is_gzip(path) else stored
    if required > most:
        raise DataError(
            f"[data] {path}: the file has {stored:,} bytes, too few for the {required:,} that its "
            f"header, shape {shape}, requires. It is truncated or damaged: copy it again."
        )


def _read_at_most(stream: BinaryIO, size: int) -> bytearray:
    """Read up to `size` bytes; memory grows with the bytes read, not with `size`."""
    data = bytearray()
    while len(data) < size and (piece := stream.read(min(_PIECE, size - len(data)))):
        data += piece
    return data
