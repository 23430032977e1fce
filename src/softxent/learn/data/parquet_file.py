"""Reading selected columns of Parquet files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from softxent.errors import DataError
from softxent.learn.data.arrow import pyarrow as pa

__all__ = ["ParquetFile"]


class ParquetFile:
    """A Parquet file.

    Attributes:
        path: the file.
        columns: the column names.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as file:
            self.columns: list[str] = file.schema_arrow.names

    def read(self, columns: list[str], text: str | None = None) -> Any:
        """Read some columns as a pyarrow table, with the types that the file declares.

        Args:
            columns: names of columns, each unique in the file.
            text: as for a CSV file; unused, because the file declares which columns are text.

        Raises:
            DataError: the file is damaged.
        """
        with self._open() as file:
            table = file.read(columns=columns)
            table.validate(full=True)  # reading alone doesn't detect text that isn't UTF-8
            return table

    def where(self, row: int) -> str:
        """Format the position of a row for messages."""
        return f"{self.path}, row {row} (from 0)"

    def value(self, row: int, column: str) -> str:
        """Return the value of a cell as text."""
        return str(self.read([column])[column][row])

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            with pa.parquet.ParquetFile(self.path) as file:
                yield file
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # an error of the system, not one of the format
            raise DataError(
                f"[data] {self.path}: this is not a Parquet file, or it is damaged ({error}). "
                "Copy it again, or save it again."
            ) from None
