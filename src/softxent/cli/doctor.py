"""`softxent doctor LOG`: say whether the numbers in a training log can be true."""

from __future__ import annotations

import argparse
import codecs
import os
import sys
from pathlib import Path
from typing import Any

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        help="audit the losses and accuracies in a training log",
        description="Audit a training log by arithmetic: impossible losses, wrong denominators, "
        "double softmax, percentages that don't fit. Reads plain lines, Keras' progress lines, "
        "JSON or Python dicts a line, JSON histories, and CSV with column names.",
        epilog="Exit code, as linters have it: 0, nothing worse than a warning; 1, at least one "
        "error was found; 2, the log can't be read.",
        allow_abbrev=False,
    )
    parser.add_argument("log", metavar="LOG", help="a file, or - for standard input")
    parser.add_argument("--classes", type=int, metavar="C", help="the number of classes")
    parser.add_argument("--batch-size", type=int, metavar="B", help="rows a batch, in testing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the diagnosis."""
    from softxent.doctor.audit import audit_log
    from softxent.doctor.text import write_text

    name = "standard input" if args.log == "-" else args.log
    diagnosis = audit_log(
        _text(args.log), classes=args.classes, batch_size=args.batch_size, name=name
    )
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(write_text(diagnosis, colour=colour))
    return 1 if diagnosis.worst == "error" else 0


def _text(log: str) -> str:
    """The log as text; bytes that aren't UTF-8 are no reason to refuse the rest."""
    data = sys.stdin.buffer.read() if log == "-" else Path(log).read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # what PowerShell's > writes
        return data.decode("utf-16", errors="replace")
    return data.decode("utf-8-sig", errors="replace")
