"""`softxent report RUN`: make the HTML report of a run again from its record."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "report",
        help="make the HTML report of a run again",
        description="Make RUN/report.html again from the other files of the run.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="RUN", type=Path, help="a run directory")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the report and print its path."""
    from softxent import record, report

    path = report.write(record.read(args.directory))
    print(path)
    return 0
