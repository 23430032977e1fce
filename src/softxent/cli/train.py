"""`softxent train DATA`: train a classifier, test it, and write the run with its report."""

from __future__ import annotations

import argparse
import glob
import itertools
import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

__all__ = ["add_parser"]

_RUNS = Path("runs")


def add_parser(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train",
        help="train a classifier",
        description="Train a softmax classifier, test it on held-out rows, and write a run "
        "directory with the weights, all results and an HTML report.",
        allow_abbrev=False,
    )
    # The defaults are None, so that an option that doesn't fit the data can be refused.
    parser.add_argument(
        "data", metavar="DATA", help="digits, mnist, points, or a .csv, .csv.gz or .parquet file"
    )
    parser.add_argument(
        "--target", metavar="COLUMN", help="the column of a table that holds the classes"
    )
    parser.add_argument(
        "--drop",
        metavar="COLUMN",
        nargs="+",
        action="extend",
        help="columns of a table to leave out",
    )
    parser.add_argument(
        "--data-dir", metavar="DIR", type=Path, help="the folder with the four IDX files of mnist"
    )
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="default: works well on most data without tuning; note: the classic network of four "
        "hidden layers, trained by plain SGD for nine epochs",
    )
    parser.add_argument(
        "--epochs", metavar="N", type=int, help="number of epochs (default: that of the recipe)"
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, help="seed of all random numbers (default 0)"
    )
    parser.add_argument(
        "--test-size",
        metavar="SHARE",
        type=float,
        help="share of rows to hold out for the test (default 0.2)",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="run directory to create (default runs/DATA-N)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, test and write the run; then print the results and where the files are."""
    # torch's threads spin while they wait, unless this is set before torch is loaded. On two cores
    # shared with other processes, an epoch of MNIST took 77 s spinning and 5 s sleeping.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from softxent import record, report
    from softxent.cli import display
    from softxent.learn import data, find_recipe, train, write_run
    from softxent.render.text import printable

    recipe = find_recipe(args.recipe or "default")
    if args.epochs is not None:
        recipe = replace(recipe, epochs=args.epochs)

    seed = 0 if args.seed is None else args.seed

    out = _free_name(args.data) if args.out is None else args.out
    dataset = data.load(
        args.data,
        data_dir=args.data_dir,
        target=args.target,
        drop=args.drop or (),
        test_size=args.test_size,
        seed=seed,
    )
    # Before the training, so that an existing name or a read-only directory is reported at once.
    with record.new_run(out) as new:
        display.show_data(dataset.info)
        with display.progress() as progress:
            checkup = _Checkup()
            trained = train(dataset, recipe, seed=seed, progress=progress, observe=checkup)
            checkup.examine(trained.test.logits, trained.test.target, notes=True)
        result = write_run(new, dataset, trained, command=_as_typed(args), notes=checkup.findings())
        stored = record.read(new.directory)
        stored.path = out  # the name that the directory will get
        report.write(stored, new.directory / "report.html")
    # The worst mistake is the most instructive row.
    row = stored.test.rows.index(stored.mistakes[0].row) if stored.mistakes else 0
    for finding in checkup.findings():
        display.say(f"doctor         {printable(finding)}")
    display.say(f"test loss      {display.loss_text(result.test_loss.mean)}")
    display.say(f"test accuracy  {display.fraction_text(result.test_accuracy.mean)}")
    display.say(f"run            {out}")
    display.say(f"report         {out / 'report.html'}")
    display.say(f"next           softxent explain {shlex.quote(str(out))} --row {row}")
    return 0


class _Checkup:
    """The doctor's findings about the first batches and the test rows, for the report."""

    BATCHES = 3

    def __init__(self) -> None:
        self._left = self.BATCHES
        self._found: dict[str, str] = {}

    def __call__(self, logits: Any, target: Any) -> None:
        if self._left:
            self._left -= 1
            self.examine(logits, target, notes=False)

    def examine(self, logits: Any, target: Any, *, notes: bool) -> None:
        """Keep the findings; notes only on request, since an untrained model causes some."""
        from softxent import doctor

        for finding in doctor.check(logits, target).findings:
            if notes or finding.level != "note":
                self._found.setdefault(finding.rule, str(finding))

    def findings(self) -> list[str]:
        """Each finding once, in one line."""
        return list(self._found.values())


def _free_name(data: str) -> Path:
    """The first of runs/DATA-1, runs/DATA-2 ... that no run has, finished or not."""
    stem = Path(data).name.split(".")[0] or "data"
    for number in itertools.count(1):
        path = _RUNS / f"{stem}-{number}"
        if not path.exists() and not any(_RUNS.glob(f".{glob.escape(path.name)}-*")):
            return path
    raise AssertionError("unreachable: count() is infinite")


def _as_typed(args: argparse.Namespace) -> str:
    """The command line as it was typed, for the record."""
    words = ["softxent", "train", args.data]
    for name in ("target", "drop", "data_dir", "recipe", "epochs", "seed", "test_size", "out"):
        value = getattr(args, name)
        if value is not None:
            words.append("--" + name.replace("_", "-"))
            words += value if isinstance(value, list) else [str(value)]
    return shlex.join(words)
