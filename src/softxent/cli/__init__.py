"""The command line: `softxent COMMAND`, one file per command."""

from softxent.cli.main import build_parser, main

__all__ = ["build_parser", "main"]
