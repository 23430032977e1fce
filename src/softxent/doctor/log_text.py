"""Names and numbers in a line of text."""

from __future__ import annotations

import re

from softxent.doctor.log import Split
from softxent.doctor.log_names import Raw, meaning_of, split_in
from softxent.doctor.printed import Printed

__all__ = ["CONTEXT", "NUMBER", "from_text", "has_decimal_commas"]

NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+|nan\b|inf(?:inity)?\b)"
_GAP = r"\s{0,20}"  # bounded, so that no line takes long to refuse
_PAIR = re.compile(
    rf"(?<![\w.])(?P<name>[A-Za-z][\w@/ ]{{0,40}}?)(?:{_GAP}[:=]{_GAP}|\s{{1,20}})"
    rf"(?P<number>{NUMBER})(?!\w|\.\d|{_GAP}=)"
    rf"(?:{_GAP}/{_GAP}(?P<of>\d+))?"
    rf"(?:{_GAP}\(?{_GAP}(?P<percent>{NUMBER})(?={_GAP}%))?(?:{_GAP}(?P<sign>%))?",
    re.IGNORECASE,
)
_THOUSANDS = re.compile(
    r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?=\.\d|\s?/\s?\d)|(?<=/)\s?\d{1,3}(?:,\d{3})+(?![\d,.])"
)
_COMMA = re.compile(r"(?<=[:=\s(])(?P<whole>[-+]?\d+),(?P<part>\d+)(?!\d|,\d|\.\d)")
_SURE_COMMA = re.compile(r"(?<=[:=\s(])[-+]?(?:0,\d+|\d+,(?:\d{1,2}|\d{4,}))(?![\d.]|,\d)")
_POINT = re.compile(r"\d\.\d")
_PLACES = {"epoch", "step", "batch", "iter", "iteration", "set", "phase", "fold"}
_SEPARATOR = re.compile(r"\s[-\u2013|]\s|[,;|\t]")
CONTEXT = 200  # how far before a number the words may stand that say of which rows it is


def has_decimal_commas(text: str) -> bool:
    """Whether a log writes 0,91 for 0.91: then 8,688 is no count."""
    return bool(_SURE_COMMA.search(text)) and not _POINT.search(text)


def _plain_numbers(text: str, decimal_commas: bool) -> str:
    """A line with its thousands separators gone and its decimal commas turned into points."""
    text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)

    def plain(match: re.Match[str]) -> str:
        whole, part = match["whole"], match["part"]
        counted = not decimal_commas and len(part) == 3 and not whole.lstrip("+-").startswith("0")
        return whole + ("" if counted else ".") + part

    return _COMMA.sub(plain, text)


def from_text(
    line: int, text: str, epoch: float | None, heading: Split, decimal_commas: bool
) -> tuple[list[Raw], float | None]:
    """The numbers of known names in a line, and the epoch that holds after it."""
    found: list[Raw] = []
    text = _plain_numbers(text, decimal_commas)
    said = text  # without the names of other numbers: "test accuracy: 0.9, loss: ..." names no loss
    start = 0
    pieces = []
    for separator in [*_SEPARATOR.finditer(text), None]:
        end = separator.start() if separator else len(text)
        pieces.append((start, text[start:end]))
        start = separator.end() if separator else end
    for offset, piece in pieces:
        for match in _PAIR.finditer(piece):
            number = Printed.read(match["number"])
            if number is None:
                continue
            place, end = offset + match.start("name"), offset + match.end("name")
            last = re.split(r"[\s_/]", match["name"].lower())[-1]
            if last == "epoch":
                epoch = number.value
            if last not in _PLACES:
                said = said[:place] + " " * (end - place) + said[end:]
            meaning = None if last == "epoch" else meaning_of(match["name"])
            if meaning is None:
                continue
            what, split = meaning
            guessed = False
            if not split and what == "accuracy" and found and found[-1].what == "loss":
                split = found[-1].split
                guessed = bool(split) and split != split_in(said[max(0, place - CONTEXT) : place])
            split = split or split_in(said[max(0, place - CONTEXT) : place]) or heading
            of = int(match["of"]) if match["of"] else None
            if what == "accuracy" and "correct" in match["name"].lower() and of is None:
                continue
            percent = Printed.read(match["percent"]) if match["percent"] else None
            sign = bool(match["sign"]) and percent is None
            found.append(Raw(line, split, epoch, what, number, of, percent, sign, guessed))
    return found, epoch
