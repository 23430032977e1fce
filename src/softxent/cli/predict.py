"""`softxent predict RUN DATA -o FILE.csv`: class probabilities for rows, as a CSV file."""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from softxent.errors import OptionError

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "predict",
        help="predict the classes of rows",
        description="Write a CSV file: each row's number in DATA (from 0), its most probable "
        "class, and the probability of every class.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="RUN", type=Path, help="a run directory")
    parser.add_argument("data", metavar="DATA", help="what `softxent train` takes; needs no target")
    parser.add_argument(
        "-o", "--output", metavar="FILE.csv", type=Path, required=True, help="the file to write"
    )
    parser.add_argument(
        "--data-dir", metavar="DIR", type=Path, help="the folder of mnist's four IDX files"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the file, and say how many rows it has."""
    from softxent import record
    from softxent.learn import load_model, load_run_rows, predict

    output: Path = args.output
    if output.is_dir():
        raise OptionError(f"[predict] {output} is a directory; name a file to write")
    if output.exists() and Path(args.data).exists() and output.samefile(args.data):
        raise OptionError(f"[predict] {output} is DATA itself; name another file to write")
    stored = record.read(args.directory)
    network = load_model(stored)
    rows = load_run_rows(stored, args.data, data_dir=args.data_dir, need_target=False)
    shares = predict(network, rows.samples.features)
    classes = stored.run.data.classes
    with _whole_file(output) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "class", *(f"p({name})" for name in classes)])
        for row, share in zip(rows.samples.rows.tolist(), shares, strict=True):
            writer.writerow([row, classes[share.argmax()], *share.tolist()])
    # Not on standard output, which may be the very file.
    print(f"{len(shares):,} rows written to {output}", file=sys.stderr)
    if rows.note is not None:
        print(rows.note, file=sys.stderr)
    return 0


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[TextIO]:
    """A text file that appears under its name whole, or not at all.

    A device, a pipe or /dev/stdout can't be replaced and is written as it is.
    """
    in_system = path.absolute().is_relative_to("/dev") or path.absolute().is_relative_to("/proc")
    if in_system or (path.exists() and not path.is_file()):
        # Append: a log that standard output goes to keeps what it holds.
        with path.open("a", encoding="utf-8", newline="") as file:
            yield file
        return
    path = path.resolve()  # replace what a link points to, not the link
    partial = path.with_name(f".softxent-{secrets.token_hex(8)}")
    try:
        with partial.open("x", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
