"""HTML tables whose headers are marked as such."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from softxent.render.markup import Child, Element, el

__all__ = ["scrolling", "table"]


def table(
    caption: Child,
    columns: Sequence[tuple[Child, str]],
    rows: Iterable[Sequence[Child]],
    *,
    foot: Iterable[Sequence[Child]] = (),
    class_: str | None = None,
) -> Element:
    """A table; the first cell of each row is the row's header.

    Args:
        caption: what the table shows; None for no caption.
        columns: each column's header and its kind, which becomes the class of its cells: `text`,
            `number` (aligned on the right), `whole` (never broken into lines), or another one that
            the page's stylesheet knows. Without any header the table has no head.
        rows: each row's cells.
        foot: rows below a rule, such as totals and means.
        class_: the table's class.
    """

    def line(cells: Sequence[Child]) -> Element:
        first, *rest = zip(cells, (kind for _, kind in columns), strict=True)
        return el(
            "tr",
            el("th", first[0], scope="row", class_=first[1]),
            (el("td", cell, class_=kind) for cell, kind in rest),
        )

    head = None
    if any(header for header, _ in columns):
        headers = (el("th", header, scope="col", class_=kind) for header, kind in columns)
        head = el("thead", el("tr", headers))
    below = [line(cells) for cells in foot]
    return el(
        "table",
        el("caption", caption) if caption is not None else None,
        head,
        el("tbody", map(line, rows)),
        el("tfoot", below) if below else None,
        class_=class_,
    )


def scrolling(label: str, content: Element) -> Element:
    """Content that may be wider than the screen; the keyboard can reach and scroll it."""
    return el("div", content, class_="scroll", role="region", aria_label=label, tabindex="0")
