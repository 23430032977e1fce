"""One thread for small models, and the batch that they are trained on."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from torch import Tensor


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    """Small models train faster on one thread than on several that wait for each other."""
    if find_spec("torch") is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """32 rows of 8 features, from which their 4 classes can be learned."""
    import torch

    generator = torch.Generator().manual_seed(0)
    target = torch.arange(32) % 4
    noise = torch.randn(32, 8, generator=generator)
    return torch.eye(4)[target].repeat(1, 2) + 0.1 * noise, target
