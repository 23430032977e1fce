"""The command, data, model, recipe and versions: what is needed to repeat the run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from softxent.record import FileDigest, Run
from softxent.render.markup import Child, Element, el, name
from softxent.render.numbers import count, number, size
from softxent.render.tables import scrolling, table

__all__ = ["notes", "section"]

_MOST_FEATURES = 100


def notes(run: Run) -> Element | None:
    """The notes that the run recorded."""
    if not run.notes:
        return None
    return el(
        "section",
        el("h2", "Notes", id="notes"),
        el("ul", (el("li", name(note)) for note in run.notes)),
    )


def section(run: Run) -> Element:
    """Command, data with digests, model, recipe and versions."""
    return el(
        "section",
        el("h2", "What was run", id="provenance"),
        el("pre", el("code", run.command)),
        el(
            "div",
            _facts("Data", _data(run)),
            _facts("Model and run", _model(run)),
            _facts("Recipe", [(el("code", key), _value(v)) for key, v in run.recipe.items()]),
            _facts("Versions", [(name(key), name(v)) for key, v in run.versions.items()]),
            class_="facts",
        ),
        _files("Data files", run.data.files),
        _files("Files of this record", run.files),
    )


def _data(run: Run) -> list[tuple[Child, Child]]:
    data = run.data
    facts: list[tuple[Child, Child]] = [
        ("name", name(data.name)),
        ("description", name(data.description)),
        ("split", name(data.split)),
        ("train rows", count(data.train_rows)),
        ("test rows", count(data.test_rows)),
        ("classes", count(len(data.classes))),
    ]
    if data.image_shape is not None:
        height, width = data.image_shape
        facts.append(("images", f"{height} by {width} grey levels"))
    if data.target is not None:
        facts.append(("target column", name(data.target)))
    if data.features:
        facts.append((f"{count(len(data.features))} features", _names(data.features)))
    if data.dropped:
        facts.append(("dropped columns", _names(data.dropped)))
    if not data.files:
        facts.append(("files", "none: the data are part of a package or generated"))
    return facts


def _model(run: Run) -> list[tuple[Child, Child]]:
    return [
        ("model", name(run.model.kind)),
        ("layers", " → ".join(map(count, run.model.layers))),
        ("parameters", count(run.model.parameters)),
        ("seed", str(run.seed)),
        ("time", f"{number(run.seconds, 3)} s of training and testing"),
        ("started", name(run.created)),
    ]


def _facts(title: str, facts: Iterable[tuple[Child, Child]]) -> Element:
    pairs = (el("div", el("dt", term), el("dd", fact)) for term, fact in facts)
    return el("section", el("h3", title), el("dl", pairs))


def _value(value: str | int | float | bool | list[int] | None) -> Child:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return name(str(value))


def _names(names: Sequence[str]) -> Child:
    shown = [[", " if i else "", name(one, 40)] for i, one in enumerate(names[:_MOST_FEATURES])]
    more = len(names) - len(shown)
    return [*shown, f" and {count(more)} more" if more else None]


def _files(title: str, files: Sequence[FileDigest]) -> Element | None:
    if not files:
        return None
    body = table(
        title,
        [("file", "text"), ("size", "number"), ("SHA-256", "whole")],
        [[name(one.name), size(one.bytes), el("code", one.sha256)] for one in files],
    )
    return scrolling(title, body)
