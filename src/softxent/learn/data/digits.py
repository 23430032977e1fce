"""The handwritten digits that scikit-learn includes."""

from __future__ import annotations

import numpy as np

from softxent.errors import missing_extra
from softxent.learn.data.dataset import Source

__all__ = ["read"]


def read() -> Source:
    """Read all 1,797 digits: (1797, 64) grey levels from 0 to 16, classes '0' to '9'."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise missing_extra("scikit-learn", needed_by="data", extra="learn") from None
    digits = load_digits()
    return Source(
        kind="images",
        description="Handwritten digits of 8x8 pixels, grey levels 0 to 16 (scikit-learn)",
        feature_names=[],
        image_shape=(8, 8),
        features=digits.data.astype(np.float32),
        classes=[str(name) for name in digits.target_names],
        target=digits.target.astype(np.int64),
    )
