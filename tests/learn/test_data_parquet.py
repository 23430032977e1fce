"""Parquet files give the same table as CSV, for all types of columns."""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from softxent.errors import DataError
from softxent.learn.data import load, load_rows

NUMBERS = [1, 2, 3, 4, 5, 6]
TARGET = ["u", "v"] * 3


def write(folder: Path, **columns: Any) -> Path:
    path = folder / "table.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    "kind",
    [
        pa.int8(), pa.uint8(), pa.int16(), pa.int32(), pa.int64(), pa.uint64(), pa.float16(),
        pa.float32(), pa.float64(), pa.decimal128(9, 2), pa.dictionary(pa.int32(), pa.int64()),
    ],
    ids=str,
)  # fmt: skip
def test_every_type_of_number(tmp_path: Path, kind: pa.DataType) -> None:
    values = [Decimal(n) for n in NUMBERS] if pa.types.is_decimal(kind) else NUMBERS
    if pa.types.is_dictionary(kind):
        column = pa.array(values, kind.value_type).dictionary_encode()
    elif pa.types.is_float16(kind):  # pyarrow 15 doesn't convert Python floats
        column = pa.array(np.array(values, np.float16))
    else:
        column = pa.array(values, kind)
    path = write(tmp_path, a=column, y=TARGET)
    data = load(path, target="y")
    rows = np.concatenate([data.train.rows, data.test.rows])
    found = np.concatenate([data.train.features, data.test.features])
    np.testing.assert_array_equal(found[np.argsort(rows), 0], NUMBERS)
    assert (data.info.name, data.info.features) == ("table.parquet", ["a"])


def test_booleans_are_zero_and_one(tmp_path: Path) -> None:
    data = load(write(tmp_path, a=[True, False] * 3, y=TARGET), target="y")
    assert data.train.target is not None
    np.testing.assert_array_equal(data.train.features[:, 0], 1 - data.train.target)


@pytest.mark.parametrize(
    ("column", "classes"),
    [
        (pa.array([10, 2] * 3), ["2", "10"]),
        (pa.array([10.0, 2.0] * 3), ["2", "10"]),
        (pa.array([True, False] * 3), ["false", "true"]),
        (pa.array(["b", "a"] * 3).dictionary_encode(), ["a", "b"]),
        (pa.array(["b", "a"] * 3, pa.large_string()), ["a", "b"]),
        (pa.array([date(2020, 2, 1), date(2020, 1, 1)] * 3), ["2020-01-01", "2020-02-01"]),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_every_type_of_target(tmp_path: Path, column: pa.Array, classes: list[str]) -> None:
    assert load(write(tmp_path, a=NUMBERS, y=column), target="y").info.classes == classes


def test_row_groups_are_one_table(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    target = ["u", "v", "w"] * 2
    pq.write_table(pa.table({"a": NUMBERS, "y": target}), path, row_group_size=2)
    data = load(path, target="y")
    assert data.info.classes == ["u", "v", "w"]
    assert data.train.target is not None
    for row, index in zip(data.train.rows, data.train.target, strict=True):
        assert data.info.classes[index] == target[row]


def test_a_model_trained_on_csv_reads_parquet_and_vice_versa(tmp_path: Path) -> None:
    numbers = np.arange(20)
    path = tmp_path / "table.csv"
    path.write_text("a,y\n" + "".join(f"{n},{n % 2}.0\n" for n in numbers))
    parquet = write(tmp_path, y=numbers % 2, a=numbers, extra=numbers.astype(str))
    for learned, other, drop in [(path, parquet, []), (parquet, path, ["extra"])]:
        data = load(learned, target="y", drop=drop)
        rows = load_rows(data.info, other, seed=0, need_target=True)
        np.testing.assert_array_equal(rows.samples.features[:, 0], numbers)
        np.testing.assert_array_equal(rows.samples.target, numbers % 2)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"a": ["1", "x"] * 3},
            "row 1 (from 0): column 'a' has the value 'x', which isn't a number",
        ),
        (
            {"a": pa.array(["p", "q"] * 3).dictionary_encode()},
            "column 'a' has the value 'p', which isn't a",
        ),
        ({"a": [[1]] * 6}, "row 0 (from 0): column 'a' has the value '[1]', which isn't a number"),
        ({"a": [1, 2, None, 4, None, 6]}, "row 2 (from 0): column 'a' has no value"),
        ({"a": [1, 2, None, 4, None, 6]}, "2 values are missing"),
        ({"a": [1.0, float("nan")] * 3}, "row 1 (from 0): column 'a' has no value"),
        (
            {"a": pa.array(np.array([1.0, np.nan] * 3, np.float16))},
            "row 1 (from 0): column 'a' has no value",
        ),
        (
            {"a": [1.0, 1e300] * 3},
            "row 1 (from 0): column 'a' has the value '1e+300', which is infinite",
        ),
        ({"a": NUMBERS, "y": ["u", None] * 3}, "row 1 (from 0): column 'y' has no value"),
        ({"a": NUMBERS, "y": [[1], [2]] * 3}, "the target 'y' has the type list<"),
        ({"a": NUMBERS, "y": [b"\xff", b"u"] * 3}, "the target 'y' has the type binary"),
        ({"a": pa.array([], pa.int64()), "y": pa.array([], pa.string())}, "no rows"),
    ],
)
def test_errors_name_the_problem_and_the_position(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    path = write(tmp_path, **{"y": TARGET, **columns})
    with pytest.raises(DataError) as caught:
        load(path, target="y")
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_a_nested_column_with_the_same_name_is_ignored(tmp_path: Path) -> None:
    nested = pa.array([{"a": 7}] * 6)
    path = write(tmp_path, b=nested, **{"b.a": NUMBERS}, y=TARGET)
    assert load(path, target="y", drop=["b"]).info.features == ["b.a"]


def test_a_damaged_file_is_a_data_error(tmp_path: Path) -> None:
    path = write(tmp_path, a=NUMBERS * 20, y=TARGET * 20)
    good = path.read_bytes()
    draw = random.Random(0)
    changed = [bytearray(good) for _ in range(100)]
    for one in changed:
        one[draw.randrange(4, len(good) - 8)] = draw.randrange(256)
    refused = 0
    for content in [b"", b"PAR1", b"a,y\n1,2\n", good[:-20], good[:200], *map(bytes, changed)]:
        path.write_bytes(content)
        try:
            load(path, target="y")
        except DataError as error:
            assert str(path) in str(error)  # noqa: PT017  # some changes do no harm
            refused += 1
    assert refused > 20
