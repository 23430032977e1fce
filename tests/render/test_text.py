"""Plain text: display width, wrapping, columns, colours, and untrusted names."""

from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softxent.render.terminal import paint, supports_colour
from softxent.render.text import (
    align_decimals,
    bar,
    pad,
    printable,
    shorten,
    signed_bar,
    table,
    width,
    wrap,
)

WORDS = st.text(st.sampled_from("ab-日é \N{COMBINING TILDE}"), max_size=60)


def test_width_counts_terminal_columns() -> None:
    assert width("naïve") == 5
    assert width("日本") == 4
    assert width(unicodedata.normalize("NFD", "é")) == 1


@given(WORDS, st.integers(6, 20))
def test_wrapped_lines_fit_and_keep_every_word(text: str, columns: int) -> None:
    lines = wrap(text, "- ", "  ", columns=columns)
    assert all(width(line) <= columns for line in lines)
    assert all(line[:2] == ("  " if i else "- ") for i, line in enumerate(lines))
    assert "".join(line[2:] for line in lines).replace(" ", "") == text.replace(" ", "")
    if lines and max(map(width, text.split())) <= columns - 2:
        assert " ".join(line[2:] for line in lines).split() == text.split()


def test_wrapping_is_greedy_and_never_breaks_at_a_hyphen() -> None:
    assert wrap("one two three", columns=7) == ["one two", "three"]
    assert wrap("see --label-smoothing", columns=19) == ["see", "--label-smoothing"]
    assert wrap("a  b", columns=9) == ["a  b"]
    assert wrap("") == wrap("  ") == []
    assert wrap("日本語", columns=5) == ["日本", "語"]


def test_untrusted_text_cannot_control_the_terminal() -> None:
    assert printable("a\rb\nc") == "a b c"
    assert printable("\x1b[31mred\u202e\x9b") == "\ufffd[31mred\ufffd\ufffd"
    assert shorten("z" * 10**6, 16) == "z" * 15 + "…"
    assert shorten("日本語の名前", 7) == "日本語…"
    assert shorten("short", 16) == "short"


@given(st.text(max_size=40), st.integers(1, 20))
@pytest.mark.slow
def test_shortened_text_fits(text: str, columns: int) -> None:
    made = shorten(text, columns)
    assert width(made) <= columns
    assert all(c.isprintable() for c in made)


def test_columns_are_aligned_by_display_width() -> None:
    assert table([["class", "rows"], ["日本", "7"], ["x", "10"]], right=[1]) == [
        "class  rows",
        "日本      7",
        "x        10",
    ]
    assert table([["a", ""], ["bb", "c"]]) == ["a", "bb  c"]
    assert pad("日", 4) == "日  "


def test_decimal_points_are_aligned() -> None:
    assert align_decimals(["12.5", "3", "1e-07", "-0.25"]) == [
        "12.5  ",
        " 3    ",
        " 1e-07",
        "-0.25 ",
    ]


def test_bars_are_as_long_as_their_numbers() -> None:
    assert (len(bar(0)), len(bar(0.5)), len(bar(1))) == (0, 12, 24)
    assert signed_bar(0) == " " * 12 + "│"
    assert signed_bar(-0.5) == " " * 6 + "█" * 6 + "│"
    assert signed_bar(1) == " " * 12 + "│" + "█" * 12


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "terminal", "file"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": ""}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
    ],
)
def test_who_gets_colours(
    environment: dict[str, str], terminal: bool, file: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert supports_colour(Terminal()) == terminal
    assert supports_colour(io.StringIO()) == file


def test_paint_changes_nothing_but_colours() -> None:
    assert paint("x", "error") == "\x1b[1;31mx\x1b[0m"
    assert paint("x", "error", colour=False) == paint("x", None) == "x"
    assert paint("  ", "error") == "  "
