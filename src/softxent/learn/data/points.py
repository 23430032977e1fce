"""Points in the plane in three classes (colours), on three intertwined spiral arms.

No straight lines separate the classes, so a linear model fails visibly where a small network with
curved boundaries succeeds.
"""

from __future__ import annotations

import math

import numpy as np

from softxent.learn.data.dataset import Source

__all__ = ["generate"]

_COLOURS = ["blue", "orange", "green"]
_PER_ARM = 500
_TURNS = 1.0  # of an arm, from the centre to its end
_NOISE = 0.4  # radians; neighbouring arms are 2.1 apart, so few points are among those of others


def generate(seed: int) -> Source:
    """Generate 1,500 points around the origin, 500 of each class, determined by the seed."""
    # RandomState, because its stream is frozen: the test rows of a model must be the same with
    # another version of NumPy.
    random = np.random.RandomState(seed)
    arm = np.repeat(np.arange(len(_COLOURS)), _PER_ARM)
    along = np.tile(np.sqrt(np.linspace(0.02, 1, _PER_ARM)), len(_COLOURS))  # even spacing
    angle = 2 * math.pi * (arm / len(_COLOURS) + _TURNS * along)
    angle += random.normal(scale=_NOISE, size=len(angle))  # so that arms widen outwards
    x_y = along[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    order = random.permutation(len(x_y))
    return Source(
        kind="plane",
        description="Generated points in the plane, three colours on three spiral arms",
        feature_names=["x", "y"],
        image_shape=None,
        features=x_y[order].astype(np.float32),
        classes=list(_COLOURS),
        target=arm[order].astype(np.int64),
    )
