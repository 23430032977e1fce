"""Named rows of logits that tests of exactness share: the ordinary ones and the hard ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(sum(name.encode()))


def ordinary(dtype: Any) -> Rows:
    return _rng("ordinary").normal(size=(6, 10)).astype(dtype)


def thousand(dtype: Any) -> Rows:
    return _rng("thousand").normal(0, 5, (2, 1000)).astype(dtype)


def sure(dtype: Any) -> Rows:
    """Where lse - x gives 0: the loss is exp(-20), exp(-40), exp(-87)."""
    rows = [[20, 0], [0, 40], [88, 0], [1e-3, -87], [3000.5, 3000.5 - 50]]
    return np.array(rows, dtype)


def surest(dtype: Any) -> Rows:
    """Down to the smallest normal number."""
    depth = -np.log(np.finfo(dtype).tiny) - 2
    return np.array([[0, -depth, -depth + 1], [17.25, -depth + 19, 17.25 - depth]], dtype)


def far(dtype: Any) -> Rows:
    """Logits up to 1e4 apart."""
    rows = _rng("far").uniform(-5000, 5000, (4, 60))
    rows[:, ::7] = 5000 - _rng("close").uniform(0, 80, rows[:, ::7].shape)
    return rows.astype(dtype)


def offset(dtype: Any) -> Rows:
    """Common offsets up to 1e4."""
    common = np.array([[1e4], [-1e4], [123.4], [-77.7]])
    return (_rng("offset").normal(0, 5, (4, 50)) + common).astype(dtype)


def deep(dtype: Any) -> Rows:
    """A small maximum over logits far below it: the difference doesn't fit in one float."""
    depth = -np.log(np.finfo(dtype).tiny) - 2
    rows = -_rng("deep").uniform(0.2 * depth, depth, (3, 40))
    rows[:, 0] = [-0.1234567, 0.7654321, -3.3]
    return rows.astype(dtype)


def ties(dtype: Any) -> Rows:
    rows = [[0.3] * 8, [1, 1, 0, 0, 1, 1, 0, 0], [5, 5, -5, -5, 5, 5, 5, 5], [-2.5] * 8]
    return np.array(rows, dtype)


def masked(dtype: Any) -> Rows:
    rows = _rng("masked").normal(0, 3, (4, 20)).astype(dtype)
    rows[:, 1::2] = -np.inf
    rows[3, 2:] = -np.inf
    return rows


def lse_near_zero(dtype: Any) -> Rows:
    """The maximum and log1p(rest) cancel in the log-sum-exp."""
    logs = np.log(np.array([[0.5, 0.25, 0.25], [0.9, 0.07, 0.03], [0.2, 0.3, 0.5]]))
    return logs.astype(dtype)


def wide(dtype: Any) -> Rows:
    """What is hard, over so many classes that each row is worked on by itself."""
    depth = -np.log(np.finfo(dtype).tiny) - 2
    rows = _rng("wide").normal(0, 1, (6, 700))
    rows[0, 500] = 60  # sure
    rows[1] -= 0.9 * depth
    rows[1, 3] = 0.7  # sure to the smallest numbers
    rows[2] = _rng("far").uniform(-5000, 5000, 700)
    rows[2, ::50] = 5000 - np.arange(14)
    rows[3] += 1e4
    rows[4, 1::3] = -np.inf
    rows[5] = np.repeat([2.5, 2.5, -1.0, 2.25, 0.0, -80.0, 2.5], 100)
    return rows.astype(dtype)


EVERY = {
    case.__name__: case
    for case in (
        *(ordinary, thousand, wide, sure, surest, far, offset, deep, ties, masked),
        lse_near_zero,
    )
}


def million(dtype: Any) -> Rows:
    """A million classes with 64 values among them, so that the oracle can count them."""
    values = _rng("million").normal(0, 4, 64).astype(dtype)
    return values[_rng("places").integers(0, 64, (1, 1_000_000))]
