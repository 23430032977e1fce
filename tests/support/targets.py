"""Targets for a batch of logits, and the options of the cross-entropy that tests go through."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

OPTIONS: dict[str, dict[str, Any]] = {  # a weight is `...`: it depends on the classes
    "none": {},
    "weight": {"weight": ...},
    "label_smoothing": {"label_smoothing": 0.1},
    "z_loss": {"z_loss": 1e-3},
    "softcap": {"softcap": 30.0},
    "temperature": {"temperature": 0.7},
    "all": {
        "weight": ...,
        "label_smoothing": 0.1,
        "z_loss": 1e-4,
        "softcap": 50.0,
        "temperature": 2.0,
    },
}


def with_weight(options: dict[str, Any], rows: Array) -> dict[str, Any]:
    """The options with a weight for each class of these rows where they name one."""
    if "weight" not in options:
        return options
    weight = np.random.default_rng(1).uniform(0.2, 3, (rows.shape[-1],)).astype(rows.dtype)
    return {**options, "weight": weight}


def likeliest(rows: Array) -> Array:
    """The class index with the largest logit."""
    return np.asarray(rows.argmax(axis=1))


def least_likely(rows: Array) -> Array:
    """The class index with the smallest logit that isn't masked."""
    return np.asarray(np.where(np.isfinite(rows), rows, np.inf).argmin(axis=1))


def probabilities(rows: Array) -> Array:
    """Target probabilities; 0 for masked classes."""
    q = np.random.default_rng(2).dirichlet(np.ones(rows.shape[1]), len(rows))
    return np.where(np.isfinite(rows), q, 0).astype(rows.dtype)
