"""Class names out of a target's values, and values back to class indices.

A name is kept as the source writes it. Where every value is a number, classes are told apart and
sorted by value, so that 2 comes before 10, and a 1 in one file is the 1.0 of another.
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
    """The number that a text spells, or None where it spells none."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return int(text)  # exact, however many digits an identifier has
    except ValueError:
        return float(text)


def name_classes(values: Sequence[str]) -> tuple[list[str], list[int]]:
    """Make classes out of the distinct values of a target.

    Args:
        values: distinct values in the order in which they first appear.

    Returns:
        The class names, sorted, and for each value its place among them.

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
    """The class index of each row, by the classes of the training.

    Args:
        values: distinct values of a target.
        which: (N,) integer, each row's place in `values`.
        classes: the class names that the model knows.
        where: how to name a row's place to a reader, file first.

    Returns:
        (N,) int64.

    Raises:
        DataError: a value is none of the classes; it names the first such row.
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
            f"data{others}. Known are {listing(classes)}. Correct it, leave the rows out, or train "
            "again with them."
        )
    return target
