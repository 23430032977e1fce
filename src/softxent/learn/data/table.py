"""Tables from CSV and Parquet files: features and target as numbers.

Features are numeric columns; true and false are 1 and 0. Text and missing values are errors that
name the column and the position.
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

_FEW = 20  # so many distinct values are always accepted as classes


class _TableFile(Protocol):
    path: Path
    columns: list[str]

    def read(self, columns: list[str], text: str | None) -> Any: ...

    def where(self, row: int) -> str: ...

    def value(self, row: int, column: str) -> str: ...


@dataclass(frozen=True, slots=True)
class _Values:
    """A target column: its distinct values as text, and the index of each row's value."""

    distinct: list[str]
    which: npt.NDArray[np.int64]


def read(path: Path, target: str, drop: Sequence[str]) -> Source:
    """Read a table for training. Each column that is neither target nor dropped is a feature.

    Args:
        path: a .csv, .csv.gz or .parquet file.
        target: the column with the classes.
        drop: columns to leave out.

    Raises:
        OptionError: the target is dropped.
        DataError: a column is missing, the file is damaged, or a value is unsuitable.
    """
    file = _open(path)
    if target in drop:
        raise OptionError(
            f"[data] {quoted(target)} is the target and can't be dropped. Leave it out of drop."
        )
    _check_columns(file, [target, *drop])
    features = [name for name in file.columns if name != target and name not in drop]
    _check_once(file, [*features, target])
    if "" in features:
        raise DataError(
            f"[data] {path}: column {file.columns.index('') + 1} has no name (maybe it is an index "
            "with row numbers). Name it, or drop it by the name ''."
        )
    if not features:
        raise DataError(
            f"[data] {path}: no column remains as a feature. The columns are "
            f"{listing(file.columns)}. Drop fewer."
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
    """Read rows for an existing model; other columns are ignored.

    Args:
        path: a .csv, .csv.gz or .parquet file.
        features: the columns of the training, in order.
        target: the column with the classes, or None to ignore it.
        classes: the classes of the model.

    Returns:
        (N, D) float32 features and (N,) int64 class indices, or None without a target.

    Raises:
        DataError: a column is missing, a class is unknown, or a value is unsuitable.
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
                f"[data] {file.path}: there is no column {quoted(name)}."
                f"{did_you_mean(name, file.columns)} The columns are {listing(file.columns)}."
                f"{_no_header(file)}"
            )


def _check_once(file: _TableFile, used: Sequence[str]) -> None:
    counts = Counter(file.columns)
    twice = sorted(name for name in set(used) if counts[name] > 1)
    if twice:
        raise DataError(
            f"[data] {file.path}: more than one column is named {listing(twice)}. "
            f"Rename all but one.{_no_header(file)}"
        )


def _no_header(file: _TableFile) -> str:
    numbers = sum(as_number(name) is not None for name in file.columns)
    if 2 * numbers < len(file.columns):
        return ""
    return " The first line looks like data: insert a line with column names before it."


def _check_rows(file: _TableFile, columns: Any) -> None:
    if columns.num_rows == 0:
        raise DataError(
            f"[data] {file.path}: the file has a header and no rows. Check that it is complete."
        )


def _target_values(file: _TableFile, column: Any, name: str) -> _Values:
    column = _widen_half(column)
    _check_missing(file, column, name, "leave those rows out")
    try:
        texts = column.cast(pa.string())
    except pa.ArrowException:
        raise DataError(
            f"[data] {file.path}: the target {quoted(name)} has the type {column.type}, which "
            "can't name classes. Use a column of text or numbers."
        ) from None
    encoded = texts.dictionary_encode().combine_chunks()
    return _Values(
        encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64, copy=False)
    )


def _check_classes(file: _TableFile, values: _Values, name: str) -> None:
    """Raise for a constant, a measurement or an identifier, which can't be a target."""
    distinct = values.distinct
    if len(distinct) == 1:
        raise DataError(
            f"[data] {file.path}: the target {quoted(name)} is {quoted(distinct[0])} in every row, "
            "but a classifier needs at least two classes. Use another column or more rows."
        )
    numbers = [as_number(value) for value in distinct]
    measured = None not in numbers and any(number % 1 for number in numbers if number is not None)
    if len(distinct) > _FEW and (measured or 2 * len(distinct) > len(values.which)):
        raise DataError(
            f"[data] {file.path}: the target {quoted(name)} has {len(distinct):,} distinct values "
            f"in {len(values.which):,} rows ({', '.join(map(quoted, distinct[:3]))}, ...), so it "
            "is a measurement or an identifier. Name the column with the classes, or group the "
            "values into classes first."
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
    """Raise for large numbers with small differences, such as dates, which float32 would merge."""
    if not len(values):
        return
    largest = float(np.abs(values).max())
    step, spread = math.ldexp(1.0, math.frexp(largest)[1] - 24), float(values.std())
    if 0 < spread < 30 * step:
        raise DataError(
            f"[data] {file.path}: column {quoted(name)} goes up to {largest:.10g} and has a "
            f"standard deviation of only {spread:.3g}, but float32 has steps of {step:.3g} there. "
            "Subtract its smallest value, or drop it."
        )


def _column_numbers(file: _TableFile, column: Any, name: str) -> npt.NDArray[np.float64]:
    column = _widen_half(column)
    kind = column.type
    _check_missing(file, column, name, f"fill them in, or drop the column {quoted(name)}")
    if pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        row = _first_text(column)
        raise DataError(
            f"[data] {file.where(row)}: column {quoted(name)} has the value "
            f"{quoted(file.value(row, name))}, which isn't a number. Correct it, encode the column "
            "as numbers, or drop it."
        )
    with np.errstate(over="ignore"):
        numbers: npt.NDArray[np.float64] = column.to_numpy().astype(np.float64)
        finite = np.isfinite(numbers.astype(np.float32))
    if not finite.all():
        row = int(np.argmin(finite))
        raise DataError(
            f"[data] {file.where(row)}: column {quoted(name)} has the value "
            f"{quoted(file.value(row, name))}, which is infinite or too large for float32 "
            "(3.4e38). Correct it, rescale the column, or drop it."
        )
    return numbers


def _widen_half(column: Any) -> Any:
    """Convert half floats to float32: pyarrow before 21 can neither cast nor test them for NaN."""
    if not pa.types.is_float16(column.type):
        return column
    return pa.chunked_array([column.to_numpy().astype(np.float32)])


def _check_missing(file: _TableFile, column: Any, name: str, remedy: str) -> None:
    missing = pa.compute.is_null(column, nan_is_null=True)
    if pa.types.is_string(column.type):
        missing = pa.compute.or_kleene(missing, pa.compute.equal(column, ""))
    count = pa.compute.sum(missing).as_py()
    if count:
        row = pa.compute.index(missing, True).as_py()
        values = "value is" if count == 1 else "values are"
        raise DataError(
            f"[data] {file.where(row)}: column {quoted(name)} has no value (empty, NA or NaN); "
            f"{count:,} {values} missing in the column. To correct it, {remedy}. Quote text such "
            "as NA to keep it."
        )


def _first_text(column: Any) -> int:
    """Return the first row without a number, in a column that isn't numeric."""
    if pa.types.is_string(column.type):
        for row, value in enumerate(column.to_pylist()):
            if as_number(value) is None:
                return row
    return 0
