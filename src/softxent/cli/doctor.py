"""`softxent doctor LOG`: check whether the numbers in a training log, or in a run, can be true."""

from __future__ import annotations

import argparse
import codecs
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softxent.errors import OptionError

if TYPE_CHECKING:
    from softxent.doctor import Diagnosis

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        help="audit the losses and accuracies in a training log or a run",
        description="Audit a training log by arithmetic: impossible losses, wrong denominators, "
        "double softmax, NaN, overfitting, wrong percentages. Reads plain lines, Keras' progress "
        "lines, one JSON object or Python dict per line, JSON histories, tables, and CSV with "
        "column names; and the run directories of softxent train.",
        epilog="Exit code, as for linters: 0 if there is nothing worse than a warning, 1 if an "
        "error was found, 2 if the log can't be read.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "log", metavar="LOG", help="a file, a run directory, or - for standard input"
    )
    parser.add_argument("--classes", type=int, metavar="C", help="the number of classes")
    parser.add_argument("--batch-size", type=int, metavar="B", help="rows per batch in testing")
    parser.add_argument(
        "--select",
        type=_names,
        action="extend",
        metavar="RULE,...",
        help="run only these rules; may be repeated",
    )
    parser.add_argument(
        "--ignore",
        type=_names,
        action="extend",
        metavar="RULE,...",
        help="don't run these rules; may be repeated",
    )
    parser.add_argument(
        "--rules",
        action=_ListRules,
        nargs=0,
        help="list all rules with severity and summary, and exit",
    )
    parser.set_defaults(run=run)


def _names(text: str) -> list[str]:
    return text.split(",")


class _ListRules(argparse.Action):
    """Print the rules and exit, as `--help` does: no LOG is needed."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Print one line per rule, under the function that runs it."""
        from softxent.doctor.rule_list import write_rules

        print(write_rules())
        parser.exit()


def run(args: argparse.Namespace) -> int:
    """Print the diagnosis."""
    from softxent.doctor.logs.audit import audit_log
    from softxent.render.terminal import supports_colour

    if args.log != "-" and Path(args.log).is_dir():
        diagnosis = _diagnosis_of_run(args)
    else:
        diagnosis = audit_log(
            _text(args.log),
            classes=args.classes,
            batch_size=args.batch_size,
            name="standard input" if args.log == "-" else args.log,
            select=args.select,
            ignore=args.ignore or (),
        )
    print(diagnosis.text(colour=supports_colour()))
    return 1 if diagnosis.worst == "error" else 0


def _diagnosis_of_run(args: argparse.Namespace) -> Diagnosis:
    """Judge the epochs and the test rows that `softxent train` recorded."""
    from softxent import record
    from softxent.doctor.logs.audit import audit_run

    for option in ("classes", "batch_size"):
        if getattr(args, option) is not None:
            raise OptionError(
                f"[doctor] --{option.replace('_', '-')} goes with a log; {args.log} is a run, "
                "which records its own. Leave it out."
            )
    run = record.read(Path(args.log))
    return audit_run(
        [
            row
            for epoch in run.epochs
            for row in (
                (epoch.number, "train", epoch.train_loss.mean, epoch.train_accuracy.mean),
                (epoch.number, "test", epoch.test_loss.mean, epoch.test_accuracy.mean),
            )
        ],
        classes=len(run.run.data.classes),
        logits=run.test_logits,
        target=run.test.target,
        test_loss=run.run.test_loss.mean.value,
        name=args.log,
        select=args.select,
        ignore=args.ignore or (),
    )


def _text(log: str) -> str:
    """The log as text; bytes that aren't UTF-8 are no reason to refuse the others."""
    data = sys.stdin.buffer.read() if log == "-" else Path(log).read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # what PowerShell's > writes
        return data.decode("utf-16", errors="replace")
    return data.decode("utf-8-sig", errors="replace")
