"""`softxent evaluate RUN DATA`: how right a trained classifier is about labelled rows."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "evaluate",
        help="measure a trained classifier on labelled rows",
        description="Loss, accuracy, and precision and recall of each class. Rows that the model "
        "learned from are left out.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="RUN", type=Path, help="a run directory")
    parser.add_argument("data", metavar="DATA", help="what `softxent train` takes, with its target")
    parser.add_argument(
        "--data-dir", metavar="DIR", type=Path, help="the folder of mnist's four IDX files"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the measures."""
    from softxent import record
    from softxent.cli import display
    from softxent.learn import evaluate, load_model, load_run_rows

    stored = record.read(args.directory)
    network = load_model(stored)
    rows = load_run_rows(stored, args.data, data_dir=args.data_dir, need_target=True)
    result = evaluate(network, rows.samples)
    display.say(f"{args.directory} on {args.data}")
    if rows.note is not None:
        display.say(rows.note)
    display.say(f"loss      {display.in_nats(result.loss)}")
    display.say(f"accuracy  {display.as_fraction(result.accuracy)}")
    display.say("\n" + display.class_table(result.by_class(stored.run.data.classes)))
    return 0
