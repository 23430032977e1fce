"""Reading CSV with pyarrow, with the line number in each error message.

The bytes are checked first, in a separate pass: pyarrow reads in threads that outlive its call, and
such a thread aborts the process if it still holds a Python object at exit. Rows are counted without
blank lines, as pyarrow counts them. To explain an error, a slow pass by Python's csv module finds
the line of a row that an editor shows.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from softxent.errors import DataError
from softxent.learn.data.arrow import pyarrow as pa
from softxent.learn.data.files import is_gzip, open_file
from softxent.learn.data.names import quoted

__all__ = ["CsvFile"]

_LONGEST_ROW = 4 << 20  # bytes; also the size of the blocks that are parsed
_END = "end of file"


class CsvFile:
    """A CSV file with a header, comma-separated, in UTF-8, optionally compressed with gzip.

    Attributes:
        path: the file.
        columns: the column names, as in the header.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns = self._read_header()

    def read(self, columns: list[str], text: str | None) -> Any:
        """Read some columns as a pyarrow table.

        Args:
            columns: names of columns, each unique in the file.
            text: the column that is kept as text; the types of the others are inferred.

        Raises:
            DataError: the file isn't UTF-8, a row has too few or too many fields, or a quote isn't
                closed.
        """
        quotes = self._count_quotes()
        compression = "gzip" if is_gzip(self.path) else None
        with pa.input_stream(str(self.path), compression=compression) as stream:
            try:
                table = pa.csv.read_csv(
                    stream,
                    read_options=pa.csv.ReadOptions(block_size=_LONGEST_ROW),
                    parse_options=pa.csv.ParseOptions(newlines_in_values=True),
                    convert_options=pa.csv.ConvertOptions(
                        include_columns=columns,
                        column_types={} if text is None else {text: pa.string()},
                        strings_can_be_null=True,
                        quoted_strings_can_be_null=False,
                    ),
                )
            except pa.ArrowException as error:
                self._explain(error)
        if quotes % 2:
            self._check_last_quote()
        return table

    def where(self, row: int) -> str:
        """Format the position of a row for messages: the line that an editor shows."""
        line, _ = self._record(row)
        return f"{self.path}, line {line}"

    def value(self, row: int, column: str) -> str:
        """Return the text of a cell."""
        _, record = self._record(row)
        return record[self.columns.index(column)]

    def _count_quotes(self) -> int:
        """Check that the whole file is text, and count its quotes."""
        with open_file(self.path) as stream:
            checked = _CheckedText(self.path, stream)
            while checked.read(1 << 20):
                pass
        return checked.quotes

    def _read_header(self) -> list[str]:
        with open_file(self.path) as stream:
            head = io.BytesIO()
            checked = _CheckedText(self.path, stream)
            while head.tell() < _LONGEST_ROW and (piece := checked.read(1 << 16)):
                head.write(piece)
        # Only the last character can be incomplete, where the last piece ends within it.
        text = head.getvalue().decode("utf-8-sig", errors="ignore")
        records = csv.reader(io.StringIO(text, newline=""))
        try:
            header: list[str] = next((record for record in records if record), [])
        except csv.Error as error:
            raise DataError(
                f"[data] {self.path}: the first line isn't a CSV header ({error}). "
                "Start the file with column names separated by commas."
            ) from None
        if not header:
            raise DataError(
                f"[data] {self.path}: the file is empty. A table needs a header with column names."
            )
        if head.tell() >= _LONGEST_ROW and next(records, None) is None:
            raise DataError(
                f"[data] {self.path}: the first line is longer than {_LONGEST_ROW >> 20} MiB and "
                "can't be a header. Start the file with a line of column names."
            )
        if len(header) == 1:
            for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")):
                if separator in header[0]:
                    raise DataError(
                        f"[data] {self.path}: the columns seem to be separated by {name}: "
                        f"{quoted(header[0])}. Save the file with commas (and with decimal points)."
                    )
        return header

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each record that isn't blank with the number of its first line; [_END] is last."""
        with open_file(self.path) as stream:
            buffer = io.BufferedReader(_CheckedText(self.path, stream))
            lines = io.TextIOWrapper(buffer, encoding="utf-8-sig", newline="")
            reader = csv.reader(itertools.chain(lines, ["\n", _END]))
            start = 1
            try:
                for record in reader:
                    if record:
                        yield start, record
                    start = reader.line_num + 1
            except csv.Error as error:
                raise DataError(
                    f"[data] {self.path}, line {start}: {error}. Shorten the text there, or close "
                    "an open quote."
                ) from None

    def _record(self, row: int) -> tuple[int, list[str]]:
        return next(itertools.islice(self._records(), row + 1, None))

    def _explain(self, error: Exception) -> None:
        """Raise for a file that pyarrow can't parse; name the line if its fields are the reason."""
        for line, record in self._records():
            if len(record) != len(self.columns) and record != [_END]:
                raise DataError(
                    f"[data] {self.path}, line {line}: has {len(record)} "
                    f"field{'s' * (len(record) != 1)} where the header has {len(self.columns)} "
                    "columns. Correct the line; a text with a comma in it needs quotes."
                ) from None
        raise DataError(
            f"[data] {self.path}: the file can't be read as CSV ({error}). Save it again as plain "
            f"CSV, with rows of at most {_LONGEST_ROW >> 20} MiB."
        ) from None

    def _check_last_quote(self) -> None:
        """Raise if a quote is open at the end: it includes everything after it, also [_END]."""
        line, record = 1, [""]
        for line, record in self._records():  # noqa: B007  # only the last one is used
            pass
        if record != [_END]:
            raise DataError(
                f"[data] {self.path}, line {line}: this record opens a quote that is never closed. "
                "Close it; write a quote within quoted text twice."
            )


class _CheckedText(io.RawIOBase):
    """A stream of bytes that checks that they are UTF-8 text while they are read."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        super().__init__()
        self.quotes = 0
        self._path = path
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._lines = 0  # ended so far

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        piece = self._stream.read(len(buffer))
        self._check(piece)
        self._lines += piece.count(b"\n")
        self.quotes += piece.count(b'"')
        buffer[: len(piece)] = piece
        return len(piece)

    def _check(self, piece: bytes) -> None:
        if self._lines == 0 and piece.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError(
                f"[data] {self._path}: the file is UTF-16 text. Save it as CSV in UTF-8."
            )
        try:
            self._decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            line = self._lines + error.object[: error.start].count(b"\n") + 1
            raise DataError(
                f"[data] {self._path}, line {line}: byte {error.object[error.start]:02x} is not "
                "UTF-8 text. Save the file as CSV in UTF-8."
            ) from None
        if b"\0" in piece:
            line = self._lines + piece[: piece.index(b"\0")].count(b"\n") + 1
            raise DataError(
                f"[data] {self._path}, line {line}: there is a NUL byte, so the file is not text "
                "(maybe a spreadsheet format) or damaged. Save it as CSV in UTF-8."
            )
