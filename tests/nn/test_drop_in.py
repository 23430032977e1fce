"""`from softxent import nn` replaces `from torch import nn`."""

from __future__ import annotations

import pkgutil

import pytest
import torch

from softxent import nn
from softxent.nn import functional as F


def test_names_that_softxent_lacks_are_torchs_own() -> None:
    assert nn.Module is torch.nn.Module
    assert nn.Linear is torch.nn.Linear
    assert nn.init is torch.nn.init
    assert F.relu is torch.nn.functional.relu


def test_names_that_softxent_has_are_its_own() -> None:
    for name in set(nn.__all__) & set(dir(torch.nn)):
        assert getattr(nn, name) is not getattr(torch.nn, name), name
    for name in set(F.__all__) & set(dir(torch.nn.functional)):
        assert getattr(F, name) is not getattr(torch.nn.functional, name), name


def test_every_public_name_of_torch_is_there() -> None:
    for ours, theirs in ((nn, torch.nn), (F, torch.nn.functional)):
        public = {name for name in dir(theirs) if not name.startswith("_")}
        assert public <= set(dir(ours))
        assert all(hasattr(ours, name) for name in public)


def test_no_module_of_ours_hides_one_of_torchs() -> None:
    """Submodules are attributes of their package, found before `__getattr__`."""
    ours = {module.name for module in pkgutil.iter_modules(nn.__path__)}
    assert ours & {name for name in dir(torch.nn) if not name.startswith("_")} == {"functional"}


def test_other_names_are_attribute_errors() -> None:
    for module in (nn, F):
        for name in ("Linaer", "_reduction"):
            with pytest.raises(AttributeError, match=f"neither .* nor .* has '{name}'"):
                getattr(module, name)


def test_a_model_needs_one_changed_import() -> None:
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.dropout(self.layers(x), training=self.training)

    model, criterion = Classifier(), nn.CrossEntropyLoss(z_loss=1e-4)
    loss = criterion(model(torch.randn(5, 2, 4)), torch.tensor([0, 1, 2, 0, 1]))
    loss.backward()
    assert isinstance(criterion, torch.nn.CrossEntropyLoss)
    assert all(p.grad is not None for p in nn.Module.parameters(model))


def test_functions_have_their_public_path() -> None:
    assert {getattr(F, name).__module__ for name in F.__all__} == {"softxent.nn.functional"}
