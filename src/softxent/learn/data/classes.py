"""Class names from the values of a target, and class indices from values.

Names are kept as the source writes them. If all values are numbers, classes are compared and sorted
by value, so that 2 comes before 10, and 1 in one file equals 1.0 in another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from softxent.errors import DataError
from softxent.learn.data.names import listing, quoted

__all__ = ["as_number", "find_classes", "name_classes"]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def as_number(text: str) -> int | float | None:
    """Return the number that a text represents, or None if it doesn't represent one."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return int(text)  # exact for any number of digits
    except ValueError:
        return float(text)


def name_classes(values: Sequence[str]) -> tuple[list[str], list[int]]:
    """Derive class names from the distinct values of a target.

    Args:
        values: distinct values in the order of their first appearance.

    Returns:
        The sorted class names, and the index of each value among them.

    Example:
        >>> name_classes(["10", "2", "2.0"])
        (['2', '10'], [1, 0, 0])
        >>> name_classes(["pear", "apple"])
        (['apple', 'pear'], [1, 0])
    """
    numbers = [as_number(value) for value in values]
    keys: Sequence[str | int | float | None] = values if None in numbers else numbers
    names: dict[str | int | float | None, str] = {}
    for key, value in zip(keys, values, strict=True):
        names.setdefault(key, value)
    order = sorted(names)  # type: ignore[type-var]  # all text, or all numbers
    place = {key: index for index, key in enumerate(order)}
    return [names[key] for key in order], [place[key] for key in keys]


def find_classes(
    values: Sequence[str],
    which: npt.NDArray[np.integer],
    classes: Sequence[str],
    where: Callable[[int], str],
) -> npt.NDArray[np.int64]:
    """Return the class index of each row, for the classes of the training.

    Args:
        values: distinct values of a target.
        which: (N,) integer, the index of each row's value in `values`.
        classes: the class names of the model.
        where: formats the position of a row for messages, with the file first.

    Returns:
        (N,) int64 class indices.

    Raises:
        DataError: a value isn't one of the classes; the message names the first such row.
    """
    by_name = {name: index for index, name in enumerate(classes)}
    numbers = [as_number(name) for name in classes]
    by_number = {} if None in numbers else {number: i for i, number in enumerate(numbers)}
    indices = np.array(
        [by_name.get(value, by_number.get(as_number(value), -1)) for value in values],
        dtype=np.int64,
    )
    target = indices[which] if len(values) else np.zeros(len(which), dtype=np.int64)
    unknown = np.flatnonzero(target < 0)
    if len(unknown):
        row = int(unknown[0])
        others = f" (and {len(unknown) - 1:,} more rows like it)" if len(unknown) > 1 else ""
        raise DataError(
            f"[data] {where(row)}: the class {quoted(values[which[row]])} was not in the training "
            f"data{others}. The classes are {listing(classes)}. Correct the value, remove the "
            "rows, or train a model that includes the class."
        )
    return target
