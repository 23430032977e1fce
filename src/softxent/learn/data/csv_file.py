"""Reading CSV: pyarrow parses it, and where something is wrong the line is found for the reader.

The bytes are checked first, in a pass of their own: pyarrow reads in threads that outlive its call,
and one that still holds a Python object when the process ends aborts it. Rows are counted without
blank lines, as pyarrow counts them; a slow pass by Python's csv module turns such a row into the
line of the file that an editor shows, and only runs to explain an error.
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

_LONGEST_ROW = 4 << 20  # bytes; also what is parsed at a time
_END = "end of file"


class CsvFile:
    """A CSV file with a header: comma-separated, UTF-8, gzip or not.

    Attributes:
        path: the file.
        columns: the column names, as the header writes them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns = self._read_header()

    def read(self, columns: list[str], text: str | None) -> Any:
        """Some columns as a pyarrow table.

        Args:
            columns: their names, each once in the file.
            text: the one of them that is kept as text; what the others hold is inferred.

        Raises:
            DataError: it isn't UTF-8, a row has too few fields or too many, or a quote is open.
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
        """A row's place for the reader of a message: the line that an editor shows."""
        line, _ = self._record(row)
        return f"{self.path}, line {line}"

    def value(self, row: int, column: str) -> str:
        """What a cell holds, as it is written."""
        _, record = self._record(row)
        return record[self.columns.index(column)]

    def _count_quotes(self) -> int:
        """How many quotes there are, once the whole file is known to be text."""
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
        # A character that the last piece cuts in two is only ever at the end of what is looked at.
        text = head.getvalue().decode("utf-8-sig", errors="ignore")
        records = csv.reader(io.StringIO(text, newline=""))
        try:
            header: list[str] = next((record for record in records if record), [])
        except csv.Error as error:
            raise DataError(
                f"[data] {self.path}: its first line is no CSV header ({error}). "
                "A header is column names with commas between them."
            ) from None
        if not header:
            raise DataError(
                f"[data] {self.path}: is empty. A table needs a header with the column names."
            )
        if head.tell() >= _LONGEST_ROW and next(records, None) is None:
            raise DataError(
                f"[data] {self.path}: its first line is longer than {_LONGEST_ROW >> 20} MiB, so "
                "it is no header. Start the file with a line of column names."
            )
        if len(header) == 1:
            for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")):
                if separator in header[0]:
                    raise DataError(
                        f"[data] {self.path}: its columns seem to be separated by {name}: "
                        f"{quoted(header[0])}. Save it with commas (and with decimal points)."
                    )
        return header

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Every record that isn't blank, with the line that it starts in; [_END] comes last."""
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
                    "a quote that is open."
                ) from None

    def _record(self, row: int) -> tuple[int, list[str]]:
        return next(itertools.islice(self._records(), row + 1, None))

    def _explain(self, error: Exception) -> None:
        """Raise for a file that pyarrow can't parse, with the line if it is a matter of fields."""
        for line, record in self._records():
            if len(record) != len(self.columns) and record != [_END]:
                raise DataError(
                    f"[data] {self.path}, line {line}: has {len(record)} "
                    f"field{'s' * (len(record) != 1)} where the header has {len(self.columns)} "
                    "columns. Correct the line; a text with a comma in it needs quotes."
                ) from None
        raise DataError(
            f"[data] {self.path}: can't be read as CSV ({error}). Save it again as plain CSV; a "
            f"row can have up to {_LONGEST_ROW >> 20} MiB."
        ) from None

    def _check_last_quote(self) -> None:
        """An open quote swallows the rest of the file, and [_END] with it."""
        line, record = 1, [""]
        for line, record in self._records():  # noqa: B007  # the last one is what counts
            pass
        if record != [_END]:
            raise DataError(
                f"[data] {self.path}, line {line}: a quote is opened in this record and never "
                "closed. Close it; a quote inside a quoted text is written twice."
            )


class _CheckedText(io.RawIOBase):
    """A file's bytes as they come, once they are known to be UTF-8 text."""

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
            raise DataError(f"[data] {self._path}: is UTF-16 text. Save it as CSV in UTF-8.")
        try:
            self._decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            line = self._lines + error.object[: error.start].count(b"\n") + 1
            raise DataError(
                f"[data] {self._path}, line {line}: is not UTF-8 text: byte "
                f"{error.object[error.start]:02x}. Save the file as CSV in UTF-8."
            ) from None
        if b"\0" in piece:
            line = self._lines + piece[: piece.index(b"\0")].count(b"\n") + 1
            raise DataError(
                f"[data] {self._path}, line {line}: holds a NUL byte, so it is not text (a "
                "spreadsheet's own format?) or damaged. Save it as CSV in UTF-8."
            )
