"""What the commands share: the parser, and errors as one line.

A user's mistake gives one line on standard error and exit code 2, never a traceback. A missing
extra is named.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Sequence

import softxent
from softxent.cli import doctor, evaluate, explain, info, predict, report, train
from softxent.errors import SoftxentError

__all__ = ["build_parser", "main"]

_COMMANDS = (train, evaluate, predict, explain, doctor, report, info)
_INTERRUPTED = 130  # what a shell reports for a program that was ended by Ctrl-C


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="softxent",
        description="Train, evaluate and explain softmax classifiers.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"softxent {softxent.__version__}",
        help="print the version and exit",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in _COMMANDS:
        module.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments; those of the process where None.

    Returns:
        The exit code: 0, or 2 for a user's mistake, or 130 after Ctrl-C.
    """
    # A character that the terminal's encoding lacks becomes a question mark, not a traceback.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    args = build_parser().parse_args(argv)
    # A scheduler or `timeout` that ends the process must not leave half a run behind.
    with contextlib.suppress(ValueError):  # only the main thread may set a handler
        signal.signal(signal.SIGTERM, _terminate)
    try:
        code = args.run(args)
        sys.stdout.flush()
    except SoftxentError as error:
        return _fail(args.command, str(error))
    except BrokenPipeError:
        # The reader of the output has gone (`softxent ... | head`). Python must not try to flush
        # into the closed pipe when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(args.command, _describe(error))
    except KeyboardInterrupt:
        print(f"softxent {args.command}: stopped; nothing was written", file=sys.stderr)
        return _INTERRUPTED
    return int(code)


def _terminate(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)


def _fail(command: str, message: str) -> int:
    print(f"softxent {command}: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _describe(error: OSError) -> str:
    reason = error.strerror or str(error)
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{where}{reason}; nothing was written. Free some space, or write elsewhere."
    return f"{where}{reason}"
