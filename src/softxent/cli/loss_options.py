"""The options of a loss as arguments of a command, derived from their record."""

from __future__ import annotations

import argparse
from typing import Any

from softxent.cli.typed_numbers import parse_numbers
from softxent.ops.options import DEFAULTS, DETAILS, LossOptions

__all__ = ["LOSS_OPTIONS", "add_loss_options", "given_loss_options"]

# One row has nothing to ignore or to reduce; a batch from files is averaged.
_LIBRARY_ONLY = ("ignore_index", "reduction")

LOSS_OPTIONS = tuple(name for name in LossOptions._fields if name not in _LIBRARY_ONLY)
"""The options that the command line has."""


def add_loss_options(parser: argparse.ArgumentParser) -> None:
    """Add one argument per option; its value is None where it isn't given."""
    for name in LOSS_OPTIONS:
        default = getattr(DEFAULTS, name)
        shown = "ones" if name == "weight" else "none" if default is None else f"{default:g}"
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            metavar="W,W,..." if name == "weight" else "NUMBER",
            type=str if name == "weight" else float,
            help=f"{DETAILS[name].help} (default {shown})",
        )


def given_loss_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options that are given, as keywords of `explain`."""
    given = {name: getattr(args, name) for name in LOSS_OPTIONS}
    given = {name: value for name, value in given.items() if value is not None}
    if "weight" in given:
        given["weight"] = parse_numbers("--weight", given["weight"])
    return given
