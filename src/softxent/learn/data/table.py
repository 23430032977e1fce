"""Tables: which columns are the features and which is the target, and both as numbers.

What CSV and Parquet files have in common. Features are numeric columns, true and false are 1 and 0,
and nothing is guessed: text and missing values are errors that name the column and the place.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from softxent.errors import DataError, OptionError
from softxent.learn.data.arrow import pyarrow as pa
from softxent.learn.data.classes import as_number, find_classes, name_classes
from softxent.learn.data.csv_file import CsvFile
from softxent.learn.data.dataset import Source
from softxent.learn.data.files import require_file
from softxent.learn.data.names import did_you_mean, listing, quoted
from softxent.learn.data.parquet_file import ParquetFile

__all__ = ["read", "read_rows"]

_FEW = 20  # classes that are never taken for something else


class _TableFile(Protocol):
    path: Path
    columns: list[str]

    def read(self, columns: list[str], text: str | None) -> Any: ...

    def where(self, row: int) -> str: ...

    def value(self, row: int, column: str) -> str: ...


@dataclass(frozen=True, slots=True)
class _Values:
    """A target column: its distinct values as text, and each row's place among them."""

    distinct: list[str]
    which: npt.NDArray[np.int64]


def read(path: Path, target: str, drop: Sequence[str]) -> Source:
    """Read a table to learn from: every column that is neither the target nor dropped is a feature.

    Args:
        path: a .csv, .csv.gz or .parquet file.
        target: the column of the classes.
        drop: columns to leave out.

    Raises:
        OptionError: the target is dropped.
        DataError: a column isn't there, or the file or a value in it is not what it has to be.
    """
    file = _open(path)
    if target in drop:
        raise OptionError(
            f"[data] {quoted(target)} is the target, so it can't be dropped. Drop another column."
        )
    _check_columns(file, [target, *drop])
    features = [name for name in file.columns if name != target and name not in drop]
    _check_once(file, [*features, target])
    if "" in features:
        raise DataError(
            f"[data] {path}: column {file.columns.index('') + 1} has no name (is it a row number "
            "that was written as an index?). Name it, or drop it under the name ''."
        )
    if not features:
        raise DataError(
            f"[data] {path}: no column is left as a feature. Its columns are "
            f"{listing(file.columns)}."
        )
    columns = file.read([*features, target], text=target)
    _check_rows(file, columns)
    values = _target_values(file, columns[target], target)
    _check_classes(file, values, target)
    classes, place = name_classes(values.distinct)
    return Source(
        kind="table",
        description=f"A table of {len(features):,} numeric columns",
        feature_names=features,
        image_shape=None,
        features=_numbers(file, columns, features, learned_from=True),
        classes=classes,
        target=np.array(place, dtype=np.int64)[values.which],
    )


def read_rows(
    path: Path, features: Sequence[str], target: str | None, classes: Sequence[str]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64] | None]:
    """Read rows for a model that is there already; columns that it doesn't know are not looked at.

    Args:
        path: a .csv, .csv.gz or .parquet file.
        features: the columns that the model was trained with, in its order.
        target: the column of the classes, or None to leave it alone.
        classes: the classes that the model knows.

    Returns:
        (N, D) float32 features and (N,) int64 class indices, or None without a target.

    Raises:
        DataError: a column isn't there, a class is unknown, or a value is not what it has to be.
    """
    file = _open(path)
    needed = [*features] if target is None else [*features, target]
    _check_columns(file, needed)
    _check_once(file, needed)
    columns = file.read(needed, text=target)
    _check_rows(file, columns)
    numbers = _numbers(file, columns, features, learned_from=False)
    if target is None:
        return numbers, None
    values = _target_values(file, columns[target], target)
    return numbers, find_classes(values.distinct, values.which, classes, file.where)


def _open(path: Path) -> _TableFile:
    require_file(path)
    return ParquetFile(path) if path.name.lower().endswith(".parquet") else CsvFile(path)


def _check_columns(file: _TableFile, needed: Sequence[str]) -> None:
    known = set(file.columns)
    for name in needed:
        if name not in known:
            raise DataError(
                f"[data] {file.path}: has no column {quoted(name)}."
                f"{did_you_mean(name, file.columns)} Its columns are {listing(file.columns)}."
                f"{_no_header(file)}"
            )


def _check_once(file: _TableFile, used: Sequence[str]) -> None:
    counts = Counter(file.columns)
    twice = sorted(name for name in set(used) if counts[name] > 1)
    if twice:
        raise DataError(
            f"[data] {file.path}: has more than one column named {listing(twice)}. "
            f"Rename all but one.{_no_header(file)}"
        )


def _no_header(file: _TableFile) -> str:
    numbers = sum(as_number(name) is not None for name in file.columns)
    if 2 * numbers < len(file.columns):
        return ""
    return " The first line looks like data: put a line with column names before it."


def _check_rows(file: _TableFile, columns: Any) -> None:
    if columns.num_rows == 0:
        raise DataError(f"[data] {file.path}: has a header and no rows. Check that it is complete.")


def _target_values(file: _TableFile, column: Any, name: str) -> _Values:
    _check_missing(file, column, name, "leave those rows out")
    try:
        texts = column.cast(pa.string())
    except pa.ArrowException:
        raise DataError(
            f"[data] {file.path}: the target {quoted(name)} holds {column.type}, which can't name "
            "classes. It has to be text or numbers."
        ) from None
    encoded = texts.dictionary_encode().combine_chunks()
    return _Values(
        encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64, copy=False)
    )


def _check_classes(file: _TableFile, values: _Values, name: str) -> None:
    """What is measured or counted, or names every row, is no target of a classifier."""
    distinct = values.distinct
    if len(distinct) == 1:
        raise DataError(
            f"[data] {file.path}: the target {quoted(name)} is {quoted(distinct[0])} in every row; "
            "a classifier needs two classes."
        )
    numbers = [as_number(value) for value in distinct]
    measured = None not in numbers and any(number % 1 for number in numbers if number is not None)
    if len(distinct) > _FEW and (measured or 2 * len(distinct) > len(values.which)):
        raise DataError(
            f"[data] {file.path}: the target {quoted(name)} has {len(distinct):,} distinct values "
            f"in {len(values.which):,} rows ({', '.join(map(quoted, distinct[:3]))}, ...): a "
            "measurement or an identifier, not classes. Name the column of the classes, or group "
            "the values into classes first."
        )


def _numbers(
    file: _TableFile, columns: Any, names: Sequence[str], *, learned_from: bool
) -> npt.NDArray[np.float32]:
    numbers = np.empty((columns.num_rows, len(names)), dtype=np.float32)
    for index, name in enumerate(names):
        values = _column_numbers(file, columns[name], name)
        if learned_from:
            _check_resolution(file, values, name)
        numbers[:, index] = values
    return numbers


def _check_resolution(file: _TableFile, values: npt.NDArray[np.float64], name: str) -> None:
    """Large numbers that differ little (dates as 20240101, seconds since 1970) merge in float32."""
    if not len(values):
        return
    largest = float(np.abs(values).max())
    step, spread = math.ldexp(1.0, math.frexp(largest)[1] - 24), float(values.std())
    if 0 < spread < 30 * step:
        raise DataError(
            f"[data] {file.path}: column {quoted(name)} goes up to {largest:.10g} and differs by "
            f"{spread:.3g} only: float32, in which models compute, has steps of {step:.3g} there. "
            "Subtract its smallest value, or drop it."
        )


def _column_numbers(file: _TableFile, column: Any, name: str) -> npt.NDArray[np.float64]:
    kind = column.type
    _check_missing(file, column, name, f"fill them in, or drop the column {quoted(name)}")
    if pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        row = _first_text(column)
        raise DataError(
            f"[data] {file.where(row)}: column {quoted(name)} holds "
            f"{quoted(file.value(row, name))} where a number is needed. Correct it, encode the "
            "column as numbers, or drop it."
        )
    with np.errstate(over="ignore"):
        numbers: npt.NDArray[np.float64] = column.to_numpy().astype(np.float64)
        finite = np.isfinite(numbers.astype(np.float32))
    if not finite.all():
        row = int(np.argmin(finite))
        raise DataError(
            f"[data] {file.where(row)}: column {quoted(name)} holds "
            f"{quoted(file.value(row, name))}, which is infinite or too large for float32 "
            "(3.4e38). Correct it, rescale the column, or drop it."
        )
    return numbers


def _check_missing(file: _TableFile, column: Any, name: str, remedy: str) -> None:
    missing = pa.compute.is_null(column, nan_is_null=True)
    if pa.types.is_string(column.type):
        missing = pa.compute.or_kleene(missing, pa.compute.equal(column, ""))
    count = pa.compute.sum(missing).as_py()
    if count:
        row = pa.compute.index(missing, True).as_py()
        values = "value is" if count == 1 else "values are"
        raise DataError(
            f"[data] {file.where(row)}: column {quoted(name)} has no value there (empty, NA or "
            f"NaN); {count:,} {values} missing in all. Correct it: {remedy}. A name such as NA is "
            "text in quotes."
        )


def _first_text(column: Any) -> int:
    """The first row that isn't a number, in a column that isn't one of numbers."""
    if pa.types.is_string(column.type):
        for row, value in enumerate(column.to_pylist()):
            if as_number(value) is None:
                return row
    return 0
