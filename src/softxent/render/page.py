"""A whole HTML page that fetches nothing and runs nothing, and the stylesheet that pages share."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from softxent.render.markup import Child, el, to_html

__all__ = ["page", "stylesheet"]


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
