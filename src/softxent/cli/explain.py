"""`softxent explain`: why a loss is what it is.

softxent explain 2 -1 0.1 --target 2
softxent explain logits.npy --target targets.npy
softxent explain RUN --row 17
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from softxent.cli.explain_numbers import trace_of_numbers
from softxent.cli.explain_run import is_run, trace_of_run
from softxent.cli.loss_options import add_loss_options
from softxent.cli.typed_numbers import parse_change
from softxent.errors import OptionError
from softxent.render.terminal import supports_colour

if TYPE_CHECKING:
    from softxent.explain import Trace, WhatIf

__all__ = ["add_parser"]

# What argparse takes for a negative number instead of an option. Its own pattern excludes -1e-3 and
# -inf. What starts like a number and isn't one gets an error from `parse_number`.
_NEGATIVE_NUMBER = re.compile(r"-(\d|[.,]|inf|nan)", re.IGNORECASE)


def add_parser(commands: Any) -> None:
    """Add this command to the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "explain",
        help="show step by step why a loss is what it is",
        description="Show step by step how logits become probabilities, a loss and a gradient.",
        epilog="examples: softxent explain 2 -1 0.1 --target 2; softxent explain 2 -1 0.1 "
        "--target 2 --set 2=3.5; softxent explain logits.npy --target targets.npy --html "
        "loss.html; softxent explain RUN --row 17",
        allow_abbrev=False,
    )
    parser._negative_number_matcher = _NEGATIVE_NUMBER
    parser.add_argument(
        "logits",
        metavar="LOGIT",
        nargs="+",
        help="one number per class, such as 2 -1e-3 .5 -inf; or a NumPy file with one row (C,) or "
        "several (N, C); or a run directory, with --row",
    )
    parser.add_argument(
        "--target",
        metavar="CLASS",
        help="the true class, from 0; or class probabilities, such as 0.1,0.2,0.7; or a NumPy file "
        "with either for each row",
    )
    parser.add_argument(
        "--row", type=int, help="only this row, from 0; for a run, the number of the test row"
    )
    parser.add_argument(
        "--set",
        metavar="CLASS=LOGIT",
        action="append",
        help="compare with the loss for another logit; may be repeated",
    )
    add_loss_options(parser)
    parser.add_argument(
        "--dtype",
        choices=("float64", "float32", "float16"),
        help="dtype of the logits (default: that of the file, float64 for typed numbers)",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print every number as JSON")
    output.add_argument(
        "--html", metavar="FILE", type=Path, help="write the explanation to an HTML file instead"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the explanation, or write it to a file."""
    changes = [parse_change(text) for text in args.set or ()]
    if is_run(args):
        trace, heading = trace_of_run(args)
    else:
        trace, heading = trace_of_numbers(args), []
    explained: Trace | WhatIf = trace
    if changes:
        if len(trace.logits) != 1:
            raise OptionError("[explain] --set changes a single row: choose one with --row NUMBER.")
        explained = trace.what_if(dict(changes))
    if args.html is not None:
        _write_page(explained, "; ".join(" ".join(line.split()) for line in heading), args)
    elif args.json:
        print(explained.to_json())
    else:
        lines = [*heading, *([""] if heading else [])]
        print("\n".join([*lines, explained.text(colour=supports_colour())]))
        if len(trace.logits) > 1:
            print("\nTo see a row step by step, add --row NUMBER.")
    return 0


def _write_page(explained: Trace | WhatIf, caption: str, args: argparse.Namespace) -> None:
    from softxent.atomic_file import atomic_file

    for given in [*args.logits, args.target or ""]:
        if given and args.html.is_file() and Path(given).is_file() and args.html.samefile(given):
            raise OptionError(f"[explain] {given} is an input; name another file for --html.")
    if args.html.is_dir():
        raise OptionError(f"[explain] {args.html} is a directory; name a file for --html.")
    with atomic_file(args.html) as file:
        file.write(explained.to_html(caption=caption))
    print(f"written to {args.html}", file=sys.stderr)  # standard output may be the page itself
