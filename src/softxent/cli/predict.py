"""`softxent predict RUN DATA -o FILE.csv`: class probabilities of rows, as a CSV file."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

from softxent.errors import OptionError

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "predict",
        help="predict the classes of rows",
        description="Write a CSV file with the number of each row in DATA (from 0), its most "
        "probable class, and the probability of every class.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="RUN", type=Path, help="a run directory")
    parser.add_argument(
        "data", metavar="DATA", help="data as `softxent train` takes them; needs no target"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE.csv", type=Path, required=True, help="the file to write"
    )
    parser.add_argument(
        "--data-dir", metavar="DIR", type=Path, help="the folder with the four IDX files of mnist"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the file, and print how many rows it has."""
    from softxent import record
    from softxent.atomic_file import atomic_file
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
    with atomic_file(output) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "class", *(f"p({name})" for name in classes)])
        for row, share in zip(rows.samples.rows.tolist(), shares, strict=True):
            writer.writerow([row, classes[share.argmax()], *share.tolist()])
    # Standard output may be the CSV file itself.
    print(f"{len(shares):,} rows written to {output}", file=sys.stderr)
    if rows.note is not None:
        print(rows.note, file=sys.stderr)
    return 0
