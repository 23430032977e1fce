"""Read names and numbers from fields: JSON, Python dicts, CSV, rows of a Markdown table."""

from __future__ import annotations

import ast
import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from softxent.doctor.logs.names import NamedNumber, meaning_of
from softxent.doctor.printed_number import PrintedNumber

__all__ = ["from_columns", "from_object", "from_table", "from_whole_json"]

_DECIMAL_COMMA = re.compile(r"^(\s*[-+]?\d+),(\d+\s*%?\s*)$")
_LONGEST_LITERAL = 1_000_000  # characters of a Python dict that are parsed
_DEEPEST = 4  # mappings in mappings
_MAPPINGS = {"OrderedDict", "defaultdict", "dict", "Counter", "mappingproxy"}
_TENSORBOARD = ["wall time", "step", "value"]
_WANDB_RANGE = ("__MIN", "__MAX")  # columns beside a metric in an export of a chart


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
        entry = _literal(body)
    if not isinstance(entry, dict):
        return None
    return [
        number._replace(entry=place)
        for place, one in enumerate(_entries(entry))
        for number in _from_mapping(line, one, epoch)
    ]


def _literal(text: str) -> Any:
    """The value of a printed dict or list; None for anything else.

    Objects that aren't literals, such as dates, become None; no code runs.
    """
    if len(text) > _LONGEST_LITERAL:
        return None
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _value(node: ast.expr) -> Any:
    """The value of a part of a printed dict."""
    match node:
        case ast.Constant(value):
            return value
        case ast.Dict(keys, values):
            return {
                _value(key): _value(value)
                for key, value in zip(keys, values, strict=True)
                if isinstance(key, ast.Constant)
            }
        case ast.List(elements) | ast.Tuple(elements):
            return [_value(one) for one in elements]
        case ast.UnaryOp(ast.USub(), operand):
            value = _value(operand)
            return -value if isinstance(value, int | float) else None
        case ast.Name(name) if name.lower() in ("nan", "inf", "infinity"):
            return float(name)
        case ast.Call(ast.Name(name), [*_, inner]) if name in _MAPPINGS:
            value = _value(inner)
            return dict(value) if isinstance(value, dict | list) else None
    return None


def _verbatim(text: str) -> str:
    """A number in a JSON text, as printed."""
    return text


def _from_mapping(
    line: int, entry: Mapping[Any, Any], epoch: float | None
) -> Iterator[NamedNumber]:
    flat = _flat(entry)
    numbers = {key: number for key, value in flat.items() if (number := _number(value)) is not None}
    for key in numbers:
        if key.lower() == "epoch":
            epoch = numbers[key].value
    beside = frozenset(numbers)
    for key, value in flat.items():
        meaning = None if key.lower() == "correct" else meaning_of(key)
        if meaning is None:
            continue
        what, split = meaning
        if key in numbers:
            sign = _has_percent_sign(value)
            yield NamedNumber(
                line, split, epoch, what, numbers[key], percent_sign=sign, name=key, beside=beside
            )
        elif what == "loss" and (value is None or str(value).strip() == ""):
            nothing = PrintedNumber("", math.nan, 0.0)
            yield NamedNumber(
                line, split, epoch, "missing loss", nothing, name=key, beside=beside | {key}
            )


def _flat(entry: Mapping[Any, Any], depth: int = 0) -> dict[str, Any]:
    """The entries of a mapping and of those inside it, which are named `outer/inner`."""
    flat: dict[str, Any] = {}
    for key, value in entry.items():
        if isinstance(value, Mapping) and depth < _DEEPEST:
            flat |= {f"{key}/{inner}": one for inner, one in _flat(value, depth + 1).items()}
        else:
            flat[str(key)] = value
    return flat


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
        if not isinstance(value, dict):
            return None
        if not any(isinstance(one, list) for one in _flat(value).values()):
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
    flat = _flat(value)
    lists = {key: inner for key, inner in flat.items() if isinstance(inner, list) and inner}
    for inner in lists.values():
        if isinstance(inner[0], Mapping):
            return _entries(inner)
    named = {key: inner for key, inner in lists.items() if meaning_of(key)}
    if named:
        length = min(map(len, named.values()))
        return [{key: inner[i] for key, inner in named.items()} for i in range(length)]
    return [value]


def from_table(text: str, name: str = "") -> list[NamedNumber] | None:
    """The numbers in CSV with column names in its first line; None if it isn't that.

    Args:
        text: the log.
        name: that of its file, which says what TensorBoard's column Value is.
    """
    lines = text.strip().splitlines() or [""]
    delimiter = max(",;\t", key=lines[0].count)
    try:
        names, *rows = csv.reader(lines, delimiter=delimiter)
    except (csv.Error, ValueError):
        return None
    if [one.strip().lower() for one in names] == _TENSORBOARD:
        names[-1] = re.split(r"tag-|[/\\]", name.rpartition(".")[0] or name)[-1]
    names = [_column(one) for one in names]
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


def _column(name: str) -> str:
    """The name of a column; W&B puts the name of the run in front of it."""
    return "" if name.endswith(_WANDB_RANGE) else name.rpartition(" - ")[2]
