"""No module imports itself through others, not even for type checking."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import pytest

import softxent

grimp = pytest.importorskip("grimp")


def imports_of(modules: dict[str, set[str]]) -> dict[str, set[str]]:
    """Each module with the modules that it imports, without what only looks like an import.

    `from softxent import _native` loads the compiled kernels, which aren't a Python module; it
    looks like an import of the package softxent itself.
    """
    root = softxent.__name__
    return {name: imported - {root} for name, imported in modules.items()}


def find_cycle(modules: dict[str, set[str]]) -> list[str] | None:
    """One cycle of imports, or None."""
    try:
        TopologicalSorter(modules).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return None


def test_the_package_has_no_import_cycle() -> None:
    graph = grimp.build_graph("softxent", exclude_type_checking_imports=False, cache_dir=None)
    modules = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert len(modules) > 100
    assert modules["softxent.explain.explanation"] >= {"softxent.explain.trace"}
    assert find_cycle(imports_of(modules)) is None


def test_a_cycle_is_found() -> None:
    chain = {"a": {"b"}, "b": {"c"}, "c": set[str]()}
    assert find_cycle(chain) is None
    assert find_cycle({**chain, "c": {"a"}}) in (list("abca"), list("bcab"), list("cabc"))
