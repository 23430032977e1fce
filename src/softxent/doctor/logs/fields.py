"""Read names and numbers from fields: JSON, Python dicts, CSV, rows of a Markdown table."""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from softxent.doctor.logs.names import NamedNumber, meaning_of
from softxent.doctor.printed_number import PrintedNumber

__all__ = ["from_columns", "from_object", "from_table", "from_whole_json"]

_DECIMAL_COMMA = re.compile(r"^(\s*[-+]?\d+),(\d+\s*%?\s*)$")
_LONGEST_LITERAL = 1_000_000  # characters of a Python dict that are parsed


def from_columns(line: int, fields: Mapping[str, str]) -> list[NamedNumber]:
    """A row of a table; an accuracy beside a held-out loss is assumed to be of the same rows."""
    found = list(_from_mapping(line, fields, None))
    held_out = {one.split for one in found if one.what == "loss"} & {"validation", "test"}
    if len(held_out) != 1 or any(one.what == "accuracy" and one.split for one in found):
        return found
    (split,) = held_out
    return [
        one._replace(split=split, guessed=True) if one.what == "accuracy" else one for one in found
    ]


def from_object(line: int, text: str, epoch: float | None) -> list[NamedNumber] | None:
    """The numbers in a JSON object or Python dict on one line; None if there is none."""
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
        number._replace(entry=place)
        for place, one in enumerate(_entries(entry))
        for number in _from_mapping(line, one, epoch)
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
    """A number in a JSON text, as printed."""
    return text


def _from_mapping(
    line: int, entry: Mapping[Any, Any], epoch: float | None
) -> Iterator[NamedNumber]:
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
        meaning = meaning_of(key)
        if meaning is not None and key.lower() != "correct":
            what, split = meaning
            sign = _has_percent_sign(flat[key])
            yield NamedNumber(line, split, epoch, what, number, percent_sign=sign)


def _number(value: Any) -> PrintedNumber | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return PrintedNumber.read(value.rstrip(" %") if isinstance(value, str) else repr(value))


def _has_percent_sign(value: Any) -> bool:
    return isinstance(value, str) and value.rstrip().endswith("%")


def from_whole_json(text: str) -> list[NamedNumber] | None:
    """The numbers in a file that is one JSON value: a history by entries or by columns."""
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
        number
        for line, entry in enumerate(entries, 1)
        for number in _from_mapping(line, entry, None)
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
    named = {key: inner for key, inner in lists.items() if meaning_of(key)}
    if named:
        length = min(map(len, named.values()))
        return [{key: inner[i] for key, inner in named.items()} for i in range(length)]
    return [value]


def from_table(text: str) -> list[NamedNumber] | None:
    """The numbers in CSV with column names in its first line; None if it isn't that."""
    lines = text.strip().splitlines() or [""]
    delimiter = max(",;\t", key=lines[0].count)
    try:
        names, *rows = csv.reader(lines, delimiter=delimiter)
    except (csv.Error, ValueError):
        return None
    if len(names) < 2 or not rows or not any(map(meaning_of, names)):
        return None
    if any(re.search(r"[:={]", name) or PrintedNumber.read(name) for name in names):
        return None
    found: list[NamedNumber] = []
    for line, fields in enumerate(rows, start=2):
        if delimiter != ",":
            fields = [_DECIMAL_COMMA.sub(r"\1.\2", field) for field in fields]
        found += _from_mapping(line, dict(zip(names, fields, strict=False)), None)
    return found
