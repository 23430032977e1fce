"""A run's record on disk -> one offline HTML file.

`render` makes the page as text and touches no file; `write` puts it beside the record. The page
is made from the top down in `page.py`, one file a section; it needs no JavaScript, fetches nothing,
and is the same each time that it is made from the same record.
"""

from __future__ import annotations

from pathlib import Path

from softxent.record import Record
from softxent.report.page import render
from softxent.whole_file import whole_file

__all__ = ["render", "write"]


def write(record: Record, path: Path | None = None) -> Path:
    """Write the report whole or not at all.

    Args:
        record: the run, as `softxent.record.read` gives it.
        path: where to; `report.html` in the run's directory where None. A report that is there
            is replaced.

    Returns:
        The path.

    Raises:
        OSError: the disk is full, or the file can't be written.

    Example:
        >>> write(softxent.record.read(Path("runs/digits")))  # doctest: +SKIP
        PosixPath('runs/digits/report.html')
    """
    path = record.path / "report.html" if path is None else path
    with whole_file(path) as file:
        file.write(render(record))
    return path
