"""The command line is frozen: its commands, their arguments and their help.

To change it on purpose, write the new state with `python tests/cli/test_help.py`, and add a line to
CHANGELOG.md. The layout is argparse's, which differs between Python versions, so the test compares
the words.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import softxent
from softxent.cli import build_parser, main
from softxent.ops.options import DETAILS, LossOptions

FROZEN = Path(__file__).with_name("frozen_help.txt")


def described(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Each command with its description, then each of its arguments."""
    yield f"{parser.prog}: {parser.description}"
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield f"  {choice.dest}: {choice.help}"
            for command in action.choices.values():
                yield from described(command)
            continue
        names = ", ".join(action.option_strings) or action.metavar or action.dest
        kind = getattr(action.type, "__name__", action.type)
        yield (
            f"  {names}: metavar={action.metavar} nargs={action.nargs} type={kind} "
            f"default={action.default} required={action.required} choices={action.choices}: "
            f"{action.help}"
        )


def current() -> str:
    return "\n".join(described(build_parser())) + "\n"


def test_the_command_line_is_as_frozen() -> None:
    assert current() == FROZEN.read_text()


def test_every_option_is_explained() -> None:
    assert "default=None required=False choices=None: None" not in current()


def test_the_loss_options_of_explain_are_those_of_the_library() -> None:
    (commands,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    options = {action.dest: action for action in commands.choices["explain"]._actions}
    for name in set(LossOptions._fields) - {"ignore_index", "reduction"}:
        assert (options[name].help or "").startswith(DETAILS[name].help)
        assert name in inspect.signature(softxent.explain).parameters


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"softxent {softxent.__version__}\n"


if __name__ == "__main__":
    FROZEN.write_text(current())
