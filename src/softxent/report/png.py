"""Arrays as PNG images in data URIs, which an offline page can show."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import numpy.typing as npt

__all__ = ["data_uri", "encode"]

_COLOUR_TYPES = {1: 0, 4: 6}  # channels: PNG's number for grey and for red, green, blue, alpha


def encode(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A PNG file.

    Args:
        pixels: (height, width) grey levels, or (height, width, 4) red, green, blue, alpha; uint8.
    """
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    lines = pixels.reshape(height, width * channels)
    unfiltered = np.zeros((height, 1), dtype=np.uint8)  # each line starts with its filter type
    body = zlib.compress(np.hstack([unfiltered, lines]).tobytes(), level=9)
    chunks = [(b"IHDR", head), (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def data_uri(pixels: npt.NDArray[np.uint8]) -> str:
    """The PNG as the value of an image's `src`."""
    return "data:image/png;base64," + base64.b64encode(encode(pixels)).decode("ascii")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
