"""A training log, read: losses and accuracies with the line, the epoch and the rows they are of.

Known are lines of text with names and numbers (`Test set: Average loss: 0.0070, Accuracy:
8688/10000 (86%)`, Keras' progress lines, `epoch 3/9  train loss 0.12`), JSON objects and Python
dicts a line, whole JSON files (a history, Hugging Face's trainer state), a printed history, CSV
with column names, Markdown tables, and tables with a name and a number a line (Lightning's).
Only names that are known to mean a cross-entropy or a top-1 accuracy are read; `box_loss` and
`top5_acc` are not.
"""

from __future__ import annotations

import ast
import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from softxent.doctor.printed import Printed

__all__ = ["Accuracy", "Log", "Row", "read"]

Split = Literal["train", "validation", "test", ""]

_SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "te"), "test"),
}
_LOSSES = {"loss", "nll", "xent", "logloss", "crossentropy"}
_ACCURACIES = {"accuracy", "acc", "acc1", "top1", "correct"}
_PLAIN_WORDS = {
    *("average", "avg", "mean", "running", "epoch", "step", "total", "batch", "set", "final"),
    *(
        "model",
        "categorical",
        "sparse",
        "binary",
        "cross",
        "entropy",
        "ce",
        "log",
        "the",
        "overall",
    ),
    *("error", "is", "multiclass", "top", "1", "top1"),
}
_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+|nan\b|inf(?:inity)?\b)"
_GAP = r"\s{0,20}"  # bounded, so that no line takes long to refuse
_PAIR = re.compile(
    rf"(?<![\w.])(?P<name>[A-Za-z][\w@/ ]{{0,40}}?)(?:{_GAP}[:=]{_GAP}|\s{{1,20}})"
    rf"(?P<number>{_NUMBER})(?!\w|\.\d|{_GAP}=)"
    rf"(?:{_GAP}/{_GAP}(?P<of>\d+))?"
    rf"(?:{_GAP}\(?{_GAP}(?P<percent>{_NUMBER})(?={_GAP}%))?(?:{_GAP}(?P<sign>%))?",
    re.IGNORECASE,
)
_THOUSANDS = re.compile(
    r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?=\.\d|\s?/\s?\d)|(?<=/)\s?\d{1,3}(?:,\d{3})+(?![\d,.])"
)
_COMMA = re.compile(r"(?<=[:=\s(])(?P<whole>[-+]?\d+),(?P<part>\d+)(?!\d|,\d|\.\d)")
_DECIMAL_COMMA = re.compile(r"^(\s*[-+]?\d+),(\d+\s*%?\s*)$")
_POINT = re.compile(r"\d\.\d")
_CELLS = re.compile(
    rf"\s*[│┃|]?\s*(?P<name>[A-Za-z][\w/@-]*)(?:\s*[│┃|]\s*|\s{{2,}})(?P<number>{_NUMBER})\s*[│┃|]?\s*",
    re.IGNORECASE,
)
_MARKDOWN_RULE = re.compile(r"\s*\|?(?:\s*:?-+:?\s*\|)+(?:\s*:?-+:?\s*)?")
_LONGEST_LITERAL = 1_000_000  # characters of a Python dict that are parsed
_PLACES = {"epoch", "step", "batch", "iter", "iteration", "set", "phase", "fold"}
_SEPARATOR = re.compile(r"\s[-\u2013|]\s|[,;|\t]")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PLACE = re.compile(r"\[\s*(\d+)\s*/\s*(\d+)\s*(?:\(\s*\d+(?:\.\d+)?%\s*\))?\s*\]")
_BATCH_SIZE = re.compile(r"\bbatch[_ -]?size['\"]?\s*[=:]\s*(\d+)", re.IGNORECASE)
_CONTEXT = 200  # how far before a number the words may stand that say of which rows it is
_WORD = re.compile(r"[a-z]+\d*|\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """An accuracy as printed.

    Attributes:
        text: as it stood there.
        value: the fraction of correct rows.
        unit: how far the true fraction may be off, rounded or cut; 0 where rows were counted.
        correct, total: the counts, where they were printed.
        percent: the percentage beside the counts, where it was printed.
    """

    text: str
    value: float
    unit: float
    correct: int | None = None
    total: int | None = None
    percent: Printed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one line says about one set of rows.

    Attributes:
        line: from 1; of a whole JSON file, the entry.
        split: which rows; empty where the line doesn't say.
        epoch: where it is known.
        loss, accuracy: as printed, where there are any.
        guessed: whether the split of one of them was taken from a neighbour's name.
    """

    line: int
    split: Split
    epoch: float | None
    loss: Printed | None
    accuracy: Accuracy | None
    guessed: bool = False

    @property
    def held_out(self) -> bool:
        """Whether these are said to be validation or test rows."""
        return self.split in ("validation", "test")

    @property
    def both(self) -> tuple[Printed, Accuracy]:
        """The loss and the accuracy of a row that has both, as those of `Log.pairs` have."""
        assert self.loss is not None
        assert self.accuracy is not None
        return self.loss, self.accuracy


@dataclass(frozen=True, kw_only=True)
class Log:
    """All rows of a log, and what the caller knows beside it.

    Attributes:
        rows: in the order of the log.
        classes: C, where the caller gave it.
        batch_size: rows a batch, where the caller gave it.
        written_batch_size: `batch_size = 64`, where the text says it once and for all.
        stride: how many training rows lie between two progress lines; None where none are shown.
    """

    rows: tuple[Row, ...]
    classes: int | None = None
    batch_size: int | None = None
    written_batch_size: int | None = None
    stride: int | None = None

    @cached_property
    def losses(self) -> tuple[Row, ...]:
        """The rows with a finite loss."""
        return tuple(row for row in self.rows if row.loss and math.isfinite(row.loss.value))

    @cached_property
    def pairs(self) -> tuple[Row, ...]:
        """The rows with a finite loss and an accuracy that can be."""
        return tuple(row for row in self.losses if row.accuracy and 0 <= row.accuracy.value <= 1)

    @cached_property
    def start_classes(self) -> int | None:
        """C; where it wasn't given, the number whose logarithm the first training loss is."""
        if self.classes is not None:
            return self.classes
        first = next((row.loss.value for row in self.losses if row.loss and not row.held_out), None)
        if first is None or not 0.6 < first < 7:
            return None
        classes = round(math.exp(first))
        return classes if abs(math.log(classes) - first) <= 0.02 else None


class _Raw(NamedTuple):
    """A value of a known name, before it is known whether accuracies are percentages."""

    line: int
    split: Split
    epoch: float | None
    what: Literal["loss", "accuracy"]
    number: Printed
    of: int | None = None
    percent: Printed | None = None
    sign: bool = False
    guessed: bool = False
    entry: int = 0


def read(text: str, *, classes: int | None = None, batch_size: int | None = None) -> Log:
    """Read a log; one without any loss or accuracy gives no rows."""
    raw = list(_read(text))
    return Log(
        rows=tuple(_rows(raw)),
        classes=classes,
        batch_size=batch_size,
        written_batch_size=_written_batch_size(text),
        stride=_stride(text),
    )


def _read(text: str) -> Iterator[_Raw]:
    whole = _whole_json(text)
    if whole is not None:
        yield from whole
        return
    table = _table(text)
    if table is not None:
        yield from table
        return
    epoch: float | None = None
    heading: Split = ""
    columns: list[str] | None = None
    above = ""
    for number, shown in _lines(text):
        if _MARKDOWN_RULE.fullmatch(shown) and above.count("|") == shown.count("|"):
            columns = _cells(above)
        elif columns is not None and shown.count("|") < 1:
            columns = None
        above = shown
        if columns is not None:
            yield from _from_columns(number, dict(zip(columns, _cells(shown), strict=False)))
            continue
        found = list(_from_object(number, shown, epoch) or ())
        if not found:
            found, epoch = _from_text(number, shown, epoch, heading)
        heading = "" if found or not shown.rstrip().endswith(":") else _split_in(shown)
        yield from found


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines as they are seen; those of a table with a name and a number each are one line."""
    names: set[str] = set()
    table: list[str] = []
    start = 0
    for number, line in enumerate(re.split(r"\r\n|\n", text), start=1):
        shown = _CONTROL.sub("", _last_update(line))
        cells = _CELLS.fullmatch(shown) if len(shown) <= _CONTEXT else None
        if table and (cells is None or cells["name"] in names):
            yield start, ", ".join(table)
            table, names = [], set()
        if cells is None:
            yield number, shown
        else:
            start = start if table else number
            table.append(f"{cells['name']}: {cells['number']}")
            names.add(cells["name"])
    if table:
        yield start, ", ".join(table)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _from_columns(line: int, fields: Mapping[str, str]) -> list[_Raw]:
    """A row of a Markdown table; an accuracy beside a held-out loss is taken to be of its rows."""
    found = list(_from_mapping(line, fields, None))
    held_out = {raw.split for raw in found if raw.what == "loss"} & {"validation", "test"}
    if len(held_out) != 1 or any(raw.what == "accuracy" and raw.split for raw in found):
        return found
    (split,) = held_out
    return [
        raw._replace(split=split, guessed=True) if raw.what == "accuracy" else raw for raw in found
    ]


def _plain_numbers(text: str) -> str:
    """A line with its thousands separators gone and its decimal commas turned into points."""
    text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    points = bool(_POINT.search(text))

    def plain(match: re.Match[str]) -> str:
        whole, part = match["whole"], match["part"]
        counted = points and len(part) == 3 and not whole.lstrip("+-").startswith("0")
        return whole + ("" if counted else ".") + part

    return _COMMA.sub(plain, text)


def _last_update(line: str) -> str:
    """A progress bar overwrites its line: what stood there last counts."""
    parts = [part for part in re.split(r"[\r\x08]+", line) if part.strip()]
    return parts[-1] if parts else ""


def _meaning(name: str) -> tuple[Literal["loss", "accuracy"], Split] | None:
    """What a name stands for, and of which rows; None where that isn't known for sure."""
    words = _WORD.findall(re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower().replace("@", ""))
    split: Split = ""
    what: Literal["loss", "accuracy"] | None = None
    for word in words:
        if word in _SPLITS:
            split = _SPLITS[word]
        elif word in _LOSSES:
            what = "loss"
        elif word in _ACCURACIES:
            what = "accuracy"
        elif word not in _PLAIN_WORDS:
            return None
    if what is None and {"cross", "entropy"} <= set(words):
        what = "loss"
    return None if what is None else (what, split)


def _split_in(text: str) -> Split:
    """The last word in a text that names a set of rows."""
    words = [_SPLITS[word] for word in _WORD.findall(text.lower()) if word in _SPLITS]
    return words[-1] if words else ""


def _from_text(
    line: int, text: str, epoch: float | None, heading: Split
) -> tuple[list[_Raw], float | None]:
    found: list[_Raw] = []
    text = _plain_numbers(text)
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
            meaning = None if last == "epoch" else _meaning(match["name"])
            if meaning is None:
                continue
            what, split = meaning
            guessed = False
            if not split and what == "accuracy" and found and found[-1].what == "loss":
                split = found[-1].split
                guessed = bool(split) and split != _split_in(said[max(0, place - _CONTEXT) : place])
            split = split or _split_in(said[max(0, place - _CONTEXT) : place]) or heading
            of = int(match["of"]) if match["of"] else None
            if what == "accuracy" and "correct" in match["name"].lower() and of is None:
                continue
            percent = Printed.read(match["percent"]) if match["percent"] else None
            sign = bool(match["sign"]) and percent is None
            found.append(_Raw(line, split, epoch, what, number, of, percent, sign, guessed))
    return found, epoch


def _from_object(line: int, text: str, epoch: float | None) -> list[_Raw] | None:
    """The values of a JSON object or a Python dict on one line."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    body = text[start : end + 1]
    try:
        entry = json.loads(body, parse_float=_verbatim, parse_constant=_verbatim)
    except ValueError:
        quoted = re.sub(r"(?<![\w'\"])([-+]?(?:nan|inf))(?![\w'\"])", r"'\1'", body)
        entry = _literal(quoted)
    if not isinstance(entry, dict):
        return None
    return [
        raw._replace(entry=place)
        for place, one in enumerate(_entries(entry))
        for raw in _from_mapping(line, one, epoch)
    ]


def _literal(text: str) -> Any:
    """The value of a Python literal; None for anything else."""
    if len(text) > _LONGEST_LITERAL:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _verbatim(text: str) -> str:
    """Keep a number as it was printed."""
    return text


def _from_mapping(line: int, entry: Mapping[Any, Any], epoch: float | None) -> Iterator[_Raw]:
    flat: dict[str, Any] = {}
    for key, value in entry.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}/{inner}": number for inner, number in value.items()}
        else:
            flat[str(key)] = value
    numbers = {key: number for key, value in flat.items() if (number := _number(value)) is not None}
    for key in numbers:
        if key.lower() == "epoch":
            epoch = numbers[key].value
    for key, number in numbers.items():
        meaning = _meaning(key)
        if meaning is not None and key.lower() != "correct":
            sign = _is_percentage(flat[key])
            yield _Raw(line, meaning[1], epoch, meaning[0], number, sign=sign)


def _number(value: Any) -> Printed | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return Printed.read(value.rstrip(" %") if isinstance(value, str) else repr(value))


def _is_percentage(value: Any) -> bool:
    return isinstance(value, str) and value.rstrip().endswith("%")


def _whole_json(text: str) -> list[_Raw] | None:
    """A file that is one JSON value: entries of a history, or columns of one."""
    stripped = text.strip()
    if not stripped.startswith(("{", "[")):
        return None
    try:
        value = json.loads(stripped, parse_float=_verbatim, parse_constant=_verbatim)
    except (ValueError, RecursionError):
        value = _literal(stripped)
        if not isinstance(value, dict) or not any(isinstance(x, list) for x in value.values()):
            return None
    entries = list(_entries(value))
    return [
        raw for line, entry in enumerate(entries, 1) for raw in _from_mapping(line, entry, None)
    ]


def _entries(value: Any) -> Iterable[Mapping[str, Any]]:
    if isinstance(value, list):
        return [entry for entry in value if isinstance(entry, Mapping)]
    if not isinstance(value, Mapping):
        return []
    lists = {key: inner for key, inner in value.items() if isinstance(inner, list) and inner}
    for inner in lists.values():
        if isinstance(inner[0], Mapping):
            return _entries(inner)
    named = {key: inner for key, inner in lists.items() if _meaning(key)}
    if named:
        length = min(map(len, named.values()))
        return [{key: inner[i] for key, inner in named.items()} for i in range(length)]
    return [value]


def _table(text: str) -> list[_Raw] | None:
    """CSV with column names in its first line."""
    lines = text.strip().splitlines() or [""]
    delimiter = max(",;\t", key=lines[0].count)
    try:
        names, *rows = csv.reader(lines, delimiter=delimiter)
    except (csv.Error, ValueError):
        return None
    if len(names) < 2 or not rows or not any(map(_meaning, names)):
        return None
    if any(re.search(r"[:={]", name) or Printed.read(name) for name in names):
        return None
    found: list[_Raw] = []
    for line, fields in enumerate(rows, start=2):
        if delimiter != ",":
            fields = [_DECIMAL_COMMA.sub(r"\1.\2", field) for field in fields]
        found += _from_mapping(line, dict(zip(names, fields, strict=False)), None)
    return found


def _rows(raw: list[_Raw]) -> Iterator[Row]:
    """One row a line and split; an accuracy without sign or count is a percentage beyond 1."""
    bare: dict[Split, float] = {}
    for one in raw:
        if one.what == "accuracy" and one.of is None and not one.sign:
            bare[one.split] = max(bare.get(one.split, 0.0), one.number.value)
    rows: dict[tuple[int, int, Split], Row] = {}
    for one in raw:
        key = (one.line, one.entry, one.split)
        row = rows.setdefault(
            key, Row(line=one.line, split=one.split, epoch=one.epoch, loss=None, accuracy=None)
        )
        if one.what == "loss" and row.loss is None:
            rows[key] = replace(row, loss=one.number)
        elif one.what == "accuracy" and row.accuracy is None and math.isfinite(one.number.value):
            accuracy = _accuracy(one, bare.get(one.split, 0.0) > 1)
            rows[key] = replace(row, accuracy=accuracy, guessed=one.guessed)
    yield from rows.values()


def _accuracy(raw: _Raw, percentages: bool) -> Accuracy:
    number = raw.number
    if raw.of is not None:
        total = raw.of
        return Accuracy(
            text=f"{number.text}/{total}" + (f" ({raw.percent.text}%)" if raw.percent else ""),
            value=number.value / total if total else math.nan,
            unit=0.0,
            correct=int(number.value),
            total=total,
            percent=raw.percent,
        )
    if raw.sign or percentages:
        sign = "%" if raw.sign else ""
        return Accuracy(text=number.text + sign, value=number.value / 100, unit=number.unit / 100)
    return Accuracy(text=number.text, value=number.value, unit=number.unit)


def _written_batch_size(text: str) -> int | None:
    sizes = {int(match[1]) for match in _BATCH_SIZE.finditer(text)}
    return sizes.pop() if len(sizes) == 1 and 0 not in sizes else None


def _stride(text: str) -> int | None:
    """The greatest number of rows that all steps between progress lines are multiples of."""
    places = [int(match[1]) for match in _PLACE.finditer(text)]
    steps = [b - a for a, b in pairwise(places) if b > a]
    return reduce(math.gcd, steps) if len(steps) >= 2 else None
