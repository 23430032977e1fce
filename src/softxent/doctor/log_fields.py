"""Names and numbers in fields: JSON, Python dicts, CSV, rows of a Markdown table."""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from softxent.doctor.log_names import Raw, meaning_of
from softxent.doctor.printed import Printed

__all__ = ["from_columns", "from_object", "from_table", "from_whole_json"]

_DECIMAL_COMMA = re.compile(r"^(\s*[-+]?\d+),(\d+\s*%?\s*)$")
_LONGEST_LITERAL = 1_000_000  # characters of a Python dict that are parsed


def from_columns(line: int, fields: Mapping[str, str]) -> list[Raw]:
    """A row of a Markdown table; an accuracy beside a held-out loss is taken to be of its rows."""
    found = list(_from_mapping(line, fields, None))
    held_out = {raw.split for raw in found if raw.what == "loss"} & {"validation", "test"}
    if len(held_out) != 1 or any(raw.what == "accuracy" and raw.split for raw in found):
        return found
    (split,) = held_out
    return [
        raw._replace(split=split, guessed=True) if raw.what == "accuracy" else raw for raw in found
    ]


def from_object(line: int, text: str, epoch: float | None) -> list[Raw] | None:
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


def _from_mapping(line: int, entry: Mapping[Any, Any], epoch: float | None) -> Iterator[Raw]:
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
            sign = _is_percentage(flat[key])
            yield Raw(line, meaning[1], epoch, meaning[0], number, sign=sign)


def _number(value: Any) -> Printed | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return Printed.read(value.rstrip(" %") if isinstance(value, str) else repr(value))


def _is_percentage(value: Any) -> bool:
    return isinstance(value, str) and value.rstrip().endswith("%")


def from_whole_json(text: str) -> list[Raw] | None:
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
    named = {key: inner for key, inner in lists.items() if meaning_of(key)}
    if named:
        length = min(map(len, named.values()))
        return [{key: inner[i] for key, inner in named.items()} for i in range(length)]
    return [value]


def from_table(text: str) -> list[Raw] | None:
    """CSV with column names in its first line."""
    lines = text.strip().splitlines() or [""]
    delimiter = max(",;\t", key=lines[0].count)
    try:
        names, *rows = csv.reader(lines, delimiter=delimiter)
    except (csv.Error, ValueError):
        return None
    if len(names) < 2 or not rows or not any(map(meaning_of, names)):
        return None
    if any(re.search(r"[:={]", name) or Printed.read(name) for name in names):
        return None
    found: list[Raw] = []
    for line, fields in enumerate(rows, start=2):
        if delimiter != ",":
            fields = [_DECIMAL_COMMA.sub(r"\1.\2", field) for field in fields]
        found += _from_mapping(line, dict(zip(names, fields, strict=False)), None)
    return found
