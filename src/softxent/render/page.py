"""A whole HTML page, or the output of a notebook's cell, that fetches and runs nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path

from softxent.render.markup import Child, el, to_html

__all__ = ["fragment", "page", "stylesheet"]


def stylesheet(*extensions: Path) -> str:
    """The base stylesheet with others after it.

    base.css holds what every page shares: fonts, colours for light, dark and print, text, links,
    tables' cells and the page's frame.

    Args:
        extensions: the CSS files that extend it.
    """
    sheets = [Path(__file__).with_name("base.css"), *extensions]
    return "\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets)


def page(title: str, style: str, *content: Child) -> str:
    """A whole page that fetches nothing and runs nothing.

    Args:
        title: what the browser's tab shows.
        style: the stylesheet.
        content: what the body holds.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    # Even if some text from the data became markup, it could neither run nor fetch anything.
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", title),
        el("style", style),
    )
    html = el("html", head, el("body", *content), lang="en")
    return "<!DOCTYPE html>\n" + to_html(html) + "\n"


def fragment(*content: Child, kind: str, extensions: Iterable[Path] = ()) -> str:
    """The output of a notebook's cell: content with its style, in the colours around it.

    Every rule of the style applies below the class `softxent` alone. JupyterLab leaves the headings
    out of its table of contents, which is that of the notebook's text.

    Args:
        content: what the cell shows.
        kind: a second class, for the extensions: the style of one output reaches all others.
        extensions: the CSS files that extend notebook.css.
    """
    sheets = [Path(__file__).with_name("notebook.css"), *extensions]
    style = "\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets)
    whole = el("div", el("style", style), el("article", *content), class_=f"softxent {kind}")
    for heading in (one for one in whole.iter() if one.tag in ("h1", "h2")):
        heading.set("class", " ".join([*heading.get("class", "").split(), "jp-toc-ignore"]))
    return to_html(whole)
