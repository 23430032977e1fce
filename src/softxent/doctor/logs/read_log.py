"""Read a training log: losses and accuracies with their line, epoch and data split.

Known formats are lines of text with names and numbers (`Test set: Average loss: 0.0070, Accuracy:
8688/10000 (86%)`, Keras' progress lines, `epoch 3/9  train loss 0.12`), one JSON object or Python
dict per line, JSON files (a history, Hugging Face's trainer state), a printed history, CSV with
column names, tables in the text with a line of names (Markdown, skorch, fastai, a notebook's table
of Hugging Face, pandas, rich), and tables with one name and number per line (Lightning). Only names
that certainly mean a cross-entropy or a top-1 accuracy are read; of others, such as `box_loss`,
only a NaN or an infinity; `top5_acc` is not read. number_forms.py lists the forms of numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from itertools import pairwise

from softxent.doctor.logs.fields import from_columns, from_object, from_table, from_whole_json
from softxent.doctor.logs.log import Accuracy, Log, NotFinite, Row, Split
from softxent.doctor.logs.names import NamedNumber, meaning_of, split_in
from softxent.doctor.logs.number_forms import plain_numbers
from softxent.doctor.logs.text_lines import CONTEXT, NUMBER, from_text, has_decimal_commas
from softxent.doctor.printed_number import PrintedNumber

__all__ = ["read"]

_CELLS = re.compile(
    rf"\s*[│┃|]?\s*(?P<name>[A-Za-z][\w/@-]*)(?:\s*[│┃|]\s*|\s{{2,}})(?P<number>{NUMBER})\s*[│┃|]?\s*",
    re.IGNORECASE,
)
# A line that only draws, such as |---|---| or +----+----+ or a row of dashes.
_RULER = re.compile(r"(?=.*[-=\u2500-\u257f])[-=+|:\s\u2500-\u257f]+")
_EDGES = re.compile(r"[|\u2502\u2503\u2551]")  # between the cells of a drawn table
_COLUMN = re.compile(r"[A-Za-z][\w /@%.-]*")
_EMPTY_CELLS = {"", "-", "no log", "none", "null", "n/a"}
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PLACE = re.compile(r"\[\s*(\d+)\s*/\s*(\d+)\s*(?:\(\s*\d+(?:\.\d+)?%\s*\))?\s*\]")
# Quantities beside which a loss may be negative, or 0, without being wrong.
_SIGNED = re.compile(
    r"(?<![a-z])(?:rewards?|advantages?|policy|actor|critic|elbo|kl|episodes?|ep_rew_mean|ep_len_mean"
    r"|log_?likelihood|log_?prob|bits_per_dim|bpd)[\w/ ]{0,30}['\"]?\s{0,4}[:=|]\s{0,10}[-+]?\d",
    re.IGNORECASE,
)
_CLASSES = re.compile(
    r"(?<![\w.,/-])(\d{1,7}) classes\b"
    r"|\b(?:num_?|n_?|nb_?)?(?:classes|labels)['\"]?\s{0,4}[=:]\s{0,4}(\d{1,7})(?![\w.,]\d)",
    re.IGNORECASE,
)
_BATCH_SIZE = re.compile(r"\bbatch[_ -]?size['\"]?\s*[=:]\s*(\d+)", re.IGNORECASE)


def read(
    text: str, *, classes: int | None = None, batch_size: int | None = None, name: str = ""
) -> Log:
    """Read a log; if it has no loss and no accuracy, there are no rows."""
    text = plain_numbers(text)
    numbers = list(_read(text, name))
    full = {one.beside for one in numbers if one.what == "loss"}
    missing = [one.line for one in numbers if one.what == "missing loss" and one.beside in full]
    uncounted = [one.line for one in numbers if _is_uncounted(one)]
    return Log(
        rows=tuple(_rows([one for one in numbers if not _is_uncounted(one)])),
        uncounted=tuple(uncounted),
        classes=classes,
        batch_size=batch_size,
        written_classes=_only_number(_CLASSES, text, least=2),
        written_batch_size=_only_number(_BATCH_SIZE, text, least=1),
        stride=_stride(text),
        not_finite=tuple(
            NotFinite(line=one.line, name=one.name, text=one.number.text)
            for one in numbers
            if one.what == "other loss" and not math.isfinite(one.number.value)
        ),
        missing=tuple(dict.fromkeys(missing)),
        signed=bool(_SIGNED.search(text)),
    )


def _read(text: str, name: str) -> Iterator[NamedNumber]:
    whole = from_whole_json(text)
    if whole is not None:
        yield from whole
        return
    table = from_table(text, name)
    if table is not None:
        yield from table
        return
    commas = has_decimal_commas(text)
    epoch: float | None = None
    heading: Split = ""
    columns: list[str] | None = None
    above = ""
    for number, shown in _lines(text):
        if _RULER.fullmatch(shown):
            continue
        cells = _cells(shown)
        if columns is None or len(cells) != len(columns):
            columns = _columns(above, cells)
        above = shown
        if columns is not None:
            yield from from_columns(number, dict(zip(columns, cells, strict=True)))
            continue
        found = list(from_object(number, shown, epoch) or ())
        if not found:
            found, epoch = from_text(number, shown, epoch, heading, commas)
        heading = "" if found or not shown.rstrip().endswith(":") else split_in(shown)
        yield from found


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines as a terminal shows them; a table with a name and a number per line as one line."""
    names: set[str] = set()
    table: list[str] = []
    start = 0
    for number, line in enumerate(re.split(r"\r\n|\n", text), start=1):
        shown = _CONTROL.sub("", _last_update(line))
        cells = _CELLS.fullmatch(shown) if len(shown) <= CONTEXT else None
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
    """The cells of a row of a table: between drawn edges, tabs or blanks."""
    if _EDGES.search(line):
        return [cell.strip() for cell in _EDGES.split(line.strip())[1:-1]] or [line.strip()]
    if "\t" in line:
        return [cell.strip() for cell in line.strip("\r\n").split("\t")]
    return line.split()


def _columns(header: str, cells: list[str]) -> list[str] | None:
    """The names of the columns, if the line above is a header for these cells.

    A number without a name in front, as pandas prints it, is the index of the row.
    """
    names = _cells(header)
    if len(cells) == len(names) + 1 and cells[0].isdecimal() and not _EDGES.search(header):
        names = ["", *names]
    if len(names) < 2 or len(names) != len(cells):
        return None
    if not all(_COLUMN.fullmatch(one) for one in names if one):
        return None
    known = [cell for one, cell in zip(names, cells, strict=True) if meaning_of(one)]
    numbers = [PrintedNumber.read(cell.rstrip(" %")) is not None for cell in known]
    fits = all(
        number or cell.lower() in _EMPTY_CELLS for number, cell in zip(numbers, known, strict=True)
    )
    return names if any(numbers) and fits else None


def _last_update(line: str) -> str:
    """A progress bar overwrites its line: only the last text counts."""
    parts = [part for part in re.split(r"[\r\x08]+", line) if part.strip()]
    return parts[-1] if parts else ""


def _is_bare(one: NamedNumber) -> bool:
    """Whether it is an accuracy without a total and without a percent sign."""
    return one.what == "accuracy" and one.total is None and not one.percent_sign


def _is_uncounted(one: NamedNumber) -> bool:
    """Whether an accuracy is a number of correct rows without a total."""
    return _is_bare(one) and one.number.resolution >= 1 and 100 < one.number.value < math.inf


def _rows(numbers: list[NamedNumber]) -> Iterator[Row]:
    """One row per line and split. Bare accuracies are percentages if any of their split is > 1."""
    highest: dict[Split, float] = {}
    for one in numbers:
        if _is_bare(one):
            highest[one.split] = max(highest.get(one.split, 0.0), one.number.value)
    norms = {(one.line, one.entry): one.number for one in numbers if one.what == "gradient norm"}
    rows: dict[tuple[int, int, Split], Row] = {}
    for one in numbers:
        if one.what not in ("loss", "accuracy"):
            continue
        key = (one.line, one.entry, one.split)
        norm = None if one.split in ("validation", "test") else norms.get(key[:2])
        row = rows.setdefault(
            key,
            Row(
                line=one.line,
                split=one.split,
                epoch=one.epoch,
                loss=None,
                accuracy=None,
                gradient_norm=norm,
            ),
        )
        if one.what == "loss" and row.loss is None:
            rows[key] = replace(row, loss=one.number)
        elif one.what == "accuracy" and row.accuracy is None and math.isfinite(one.number.value):
            accuracy = _accuracy(one, highest.get(one.split, 0.0) > 1)
            rows[key] = replace(row, accuracy=accuracy, guessed=one.guessed)
    yield from rows.values()


def _accuracy(one: NamedNumber, percentages: bool) -> Accuracy:
    number, total = one.number, one.total
    if total is not None:
        return Accuracy(
            text=f"{number.text}/{total}" + (f" ({one.percent.text}%)" if one.percent else ""),
            value=number.value / total if total else math.nan,
            resolution=0.0,
            correct=int(number.value),
            total=total,
            percent=one.percent,
        )
    if one.percent_sign or percentages:
        return Accuracy(
            text=number.text + ("%" if one.percent_sign else ""),
            value=number.value / 100,
            resolution=number.resolution / 100,
        )
    return Accuracy(text=number.text, value=number.value, resolution=number.resolution)


def _only_number(pattern: re.Pattern[str], text: str, *, least: int) -> int | None:
    """The number that all matches have in their first group that matched; None if they differ."""
    numbers = {int(next(filter(None, match.groups()))) for match in pattern.finditer(text)}
    return numbers.pop() if len(numbers) == 1 and min(numbers) >= least else None


def _stride(text: str) -> int | None:
    """The greatest common divisor of the numbers of rows between progress lines."""
    places = [int(match[1]) for match in _PLACE.finditer(text)]
    steps = [b - a for a, b in pairwise(places) if b > a]
    return reduce(math.gcd, steps) if len(steps) >= 2 else None
