"""`softxent evaluate RUN DATA`: the loss and accuracy of a trained classifier on labelled rows."""

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
        description="Print the loss, the accuracy, and the precision and recall of each class. "
        "Training rows are left out.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="RUN", type=Path, help="a run directory")
    parser.add_argument(
        "data", metavar="DATA", help="data as `softxent train` takes them, with the target"
    )
    parser.add_argument(
        "--data-dir", metavar="DIR", type=Path, help="the folder with the four IDX files of mnist"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the results."""
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
    display.say(f"loss      {display.loss_text(result.loss)}")
    display.say(f"accuracy  {display.fraction_text(result.accuracy)}")
    display.say("\n" + display.class_table(result.by_class(stored.run.data.classes)))
    return 0
