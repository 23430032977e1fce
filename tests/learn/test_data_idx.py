"""IDX files are read as stored, and their headers are checked before they are used."""

from __future__ import annotations

import contextlib
import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softxent.errors import DataError
from softxent.learn.data import idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def pack(array: np.ndarray) -> bytes:
    """Encode an array according to the description of the format."""
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", CODES)
def test_every_type_is_read_as_stored(tmp_path: Path, dtype: str, compress: bool) -> None:
    values = np.array([[[0, 1, 2], [3, 100, 127]]]).astype(dtype)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(pack(values)) if compress else pack(values))
    found = idx.read(path)
    assert found.dtype == np.dtype(dtype)
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("shape", [(), (0,), (5,), (0, 28, 28), (2, 3, 4, 5)])
def test_any_number_of_dimensions(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "file"
    path.write_bytes(pack(np.zeros(shape, dtype="i2")))
    assert idx.read(path).shape == shape


def test_gzip_is_recognised_by_content(tmp_path: Path) -> None:
    values = np.arange(5, dtype="u1")
    (tmp_path / "packed").write_bytes(gzip.compress(pack(values)))
    (tmp_path / "plain.gz").write_bytes(pack(values))
    np.testing.assert_array_equal(idx.read(tmp_path / "packed"), values)
    np.testing.assert_array_equal(idx.read(tmp_path / "plain.gz"), values)


GOOD = pack(np.arange(60, dtype="u1").reshape(3, 4, 5))
PACKED = gzip.compress(GOOD)
BAD = {
    "empty": (b"", "starts with nothing"),
    "two bytes": (b"\0\0", "starts with 00 00"),
    "wrong magic": (b"\x01" + GOOD[1:], "not an IDX file"),
    "unknown type": (GOOD[:2] + b"\x0a" + GOOD[3:], "not an IDX file"),
    "text": (b"1,2,3\n4,5,6\n", "not an IDX file"),
    "header cut": (GOOD[:9], "within its header, after 9 bytes"),
    "data cut": (GOOD[:-1], "has 75 bytes, too few for the 76"),
    "one byte more": (GOOD + b"\0", "is longer than the 76 bytes"),
    "gzip of cut data": (gzip.compress(GOOD[:-1]), "ends after 75 bytes"),
    "gzip of one byte more": (gzip.compress(GOOD + b"\0"), "is longer than the 76 bytes"),
    "gzip cut": (PACKED[:-9], "truncated"),
    "gzip checksum": (PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], "damaged"),
    "gzip and garbage": (PACKED + b"garbage", "damaged"),
    "gzip header only": (PACKED[:2], "truncated"),
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_files(tmp_path: Path, name: str) -> None:
    content, message = BAD[name]
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        idx.read(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_a_missing_file_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        idx.read(tmp_path / "absent")
    with pytest.raises(DataError, match="is a folder"):
        idx.read(tmp_path)


@pytest.mark.parametrize("compress", [False, True])
def test_a_false_size_is_rejected_before_memory_is_allocated(
    tmp_path: Path, compress: bool
) -> None:
    header = struct.pack(">BBBB3I", 0, 0, 0x0E, 3, *[2**32 - 1] * 3)
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(header) if compress else header)
    with pytest.raises(DataError, match="too few"):
        idx.read(path)


def test_a_compression_bomb_is_read_up_to_its_declared_size(tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.write_bytes(gzip.compress(pack(np.zeros(1000, dtype="u1")) + bytes(100_000_000), 1))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="is longer than the 1,008 bytes"):
            idx.read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


@given(
    st.binary(max_size=40)
    | st.binary(max_size=40).map(lambda tail: b"\0\0\x08\x01" + tail)
    | st.binary(max_size=40).map(lambda tail: PACKED[:20] + tail)
)
@settings(deadline=None, max_examples=150)
def test_any_bytes_give_an_array_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "idx"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        found = idx.read(path)
        assert pack(found) == (gzip.decompress(content) if content[:1] == b"\x1f" else content)
