"""Read names and numbers from a line of text."""

from __future__ import annotations

import math
import re

from softxent.doctor.logs.log import Split
from softxent.doctor.logs.names import NamedNumber, meaning_of, split_in
from softxent.doctor.logs.number_forms import plain_lists
from softxent.doctor.printed_number import PrintedNumber

__all__ = ["CONTEXT", "NUMBER", "from_text", "has_decimal_commas"]

NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+|nan\b|inf(?:inity)?\b)"
_GAP = r"\s{0,20}"  # bounded, so that every line is read in linear time
_PAIR = re.compile(
    rf"(?<![\w.])(?P<name>[A-Za-z][\w@/ ]{{0,40}}?)(?:{_GAP}[:=]{_GAP}|\s{{1,20}})"
    rf"(?P<number>{NUMBER})(?!\w|\.\d|{_GAP}=)"
    rf"(?:{_GAP}/{_GAP}(?P<total>\d+))?"
    rf"(?:{_GAP}\(?{_GAP}(?P<percent>{NUMBER})(?={_GAP}%))?(?:{_GAP}(?P<percent_sign>%))?",
    re.IGNORECASE,
)
_THOUSANDS = re.compile(
    r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?=\.\d|\s?/\s?\d)|(?<=/)\s?\d{1,3}(?:,\d{3})+(?![\d,.])"
)
_COMMA = re.compile(r"(?<=[:=\s(])(?P<whole>[-+]?\d+),(?P<part>\d+)(?!\d|,\d|\.\d)")
_CERTAIN_COMMA = re.compile(r"(?<=[:=\s(])[-+]?(?:0,\d+|\d+,(?:\d{1,2}|\d{4,}))(?![\d.]|,\d)")
_POINT = re.compile(r"\d\.\d")
_POSSESSIVE = re.compile(r"(?<=\w)'s(?= )")  # LightGBM: valid_1's multi_logloss
_WORD_VALUE = re.compile(
    r"(?<=\w=)(?!(?:nan|inf(?:inity)?)\b)[A-Za-z][\w./-]{0,80}(?=\s)", re.IGNORECASE
)
_CATBOOST = re.compile(r"^\d+:\s+(?:learn|test): ")
_CATBOOST_NAME = re.compile(r"\b(?:learn|test)(?=: )")
_PLACES = {"epoch", "step", "batch", "iter", "iteration", "set", "phase", "fold"}
_SEPARATOR = re.compile(r"\s[-\u2013|]\s|[,;|\t]")
CONTEXT = 200  # how far before a number its data split may be named


def has_decimal_commas(text: str) -> bool:
    """Whether a log writes 0,91 for 0.91; then 8,688 is not a count."""
    return bool(_CERTAIN_COMMA.search(text)) and not _POINT.search(text)


def _plain_numbers(text: str, decimal_commas: bool) -> str:
    """A line without thousands separators, and with decimal points instead of commas."""
    text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)

    def plain(match: re.Match[str]) -> str:
        whole, part = match["whole"], match["part"]
        counted = not decimal_commas and len(part) == 3 and not whole.lstrip("+-").startswith("0")
        return whole + ("" if counted else ".") + part

    return _COMMA.sub(plain, text)


def _plain_names(text: str) -> str:
    """A line without quotes around names and numbers, and without words that are values.

    CatBoost doesn't print which loss it is, so it must not be taken for a cross-entropy.
    """
    if _CATBOOST.match(text):
        return _CATBOOST_NAME.sub(r"\g<0> objective loss", text)
    if "'" in text or '"' in text:
        text = _POSSESSIVE.sub("  ", text).replace("'", " ").replace('"', " ")
    # Of `level=info loss=0.5` the word `info` doesn't belong to the name.
    return _WORD_VALUE.sub(lambda match: " " * len(match[0]), text) if "=" in text else text


def from_text(
    line: int, text: str, epoch: float | None, heading: Split, decimal_commas: bool
) -> tuple[list[NamedNumber], float | None]:
    """The numbers with known names in a line, and the epoch after it.

    Args:
        line: its number.
        text: the line.
        epoch: the last epoch that was named before.
        heading: the data split that a heading above the line names.
        decimal_commas: whether the log has decimal commas.
    """
    found: list[NamedNumber] = []
    text = _plain_numbers(_plain_names(plain_lists(text)), decimal_commas)
    # The text without the names of other numbers: "test accuracy: 0.9, loss: 0.1" doesn't say that
    # the loss is a test loss.
    context = text
    start = 0
    pieces = []
    for separator in [*_SEPARATOR.finditer(text), None]:
        end = separator.start() if separator else len(text)
        pieces.append((start, text[start:end]))
        start = separator.end() if separator else end
    for offset, piece in pieces:
        for match in _PAIR.finditer(piece):
            number = PrintedNumber.read(match["number"])
            if number is None:
                continue
            begin, end = offset + match.start("name"), offset + match.end("name")
            last = re.split(r"[\s_/]", match["name"].lower())[-1]
            if last == "epoch":
                epoch = number.value
            counted = number.resolution >= 1 and bool(split_in(last))  # timm: "Train: 0 [1/99]"
            if last not in _PLACES and not counted:
                context = context[:begin] + " " * (end - begin) + context[end:]
            meaning = None if last == "epoch" else meaning_of(match["name"])
            if meaning is None:
                continue
            what, split = meaning
            if what == "other loss" and math.isfinite(number.value):
                continue
            named = split_in(context[max(0, begin - CONTEXT) : begin])
            guessed = False
            if not split and what == "accuracy" and found and found[-1].what == "loss":
                split = found[-1].split
                guessed = bool(split) and split != named
            split = split or named or heading
            total = int(match["total"]) if match["total"] else None
            if what == "accuracy" and "correct" in match["name"].lower() and total is None:
                continue
            percent = PrintedNumber.read(match["percent"]) if match["percent"] else None
            found.append(
                NamedNumber(
                    line,
                    split,
                    epoch,
                    what,
                    number,
                    total=total,
                    percent=percent,
                    percent_sign=bool(match["percent_sign"]) and percent is None,
                    guessed=guessed,
                    name=match["name"].strip(),
                )
            )
    return found, epoch
