"""The report: from a run's record on disk to one offline HTML file.

`render` returns the page as text; `write` stores it next to the record. page.py puts the sections
together, and each file in `sections` makes one of them. The page needs no JavaScript and fetches
nothing, and the same record always gives the same page.
"""

from __future__ import annotations

from pathlib import Path

from softxent.atomic_file import atomic_file
from softxent.record import Record
from softxent.report.page import render

__all__ = ["render", "write"]


def write(record: Record, path: Path | None = None) -> Path:
    """Write the report; it appears complete or not at all.

    Args:
        record: the run, as `softxent.record.read` gives it.
        path: the file; `report.html` in the run's directory where None. An existing report is
            replaced.

    Returns:
        The path.

    Raises:
        OSError: the disk is full, or the file can't be written.

    Example:
        >>> from softxent.record import read
        >>> write(read(Path("runs/digits-1"))).name
        'report.html'
    """
    path = record.path / "report.html" if path is None else path
    with atomic_file(path) as file:
        file.write(render(record))
    return path
