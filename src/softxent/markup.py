"""HTML whose text and attributes are escaped by construction, and which needs nothing from outside.

Nobody pastes markup together. A name from somebody's data can become the text of an element or the
value of an attribute, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from typing import TypeAlias
from xml.etree.ElementTree import Element

__all__ = ["Child", "Element", "el", "name", "page", "to_html"]

Child: TypeAlias = "str | Element | Iterable[Child] | None"

# HTML has no way to write these, UTF-8 none for half a surrogate pair; and the direction overrides
# (U+202A to 202E, 2066 to 2069) would make a name read as another one.
_UNWRITABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


def el(tag: str, *children: Child, **attributes: str | float | None) -> Element:
    """An element with its children.

    Args:
        tag: the element's name.
        children: text, elements, or nested iterables of them; None stands for nothing.
        attributes: `_` in a name stands for `-`, a last `_` is dropped; None leaves it out.

    Example:
        >>> to_html(el("p", "2 < 3 ", el("b", "&"), class_="note"))
        '<p class="note">2 &lt; 3 <b>&amp;</b></p>'
    """
    element = ET.Element(tag)
    for key, value in attributes.items():
        if value is not None:
            text = value if isinstance(value, str) else f"{round(value, 2):g}"
            element.set(key.rstrip("_").replace("_", "-"), _clean(text))
    _append(element, children)
    return element


def name(text: str, longest: int | None = None) -> Element:
    """A name out of the data, kept apart from the direction of the text around it.

    Args:
        text: the name.
        longest: cut the middle out of longer names; the whole name is then in the tooltip.
    """
    if not text.strip():
        return el("em", "(empty)")
    if longest is None or len(text) <= longest:
        return el("bdi", text)
    tail = longest // 3
    return el("bdi", f"{text[: longest - tail - 1]}…{text[-tail:]}", title=text)


def page(title: str, style: str, body: Element) -> str:
    """A whole page that fetches nothing and runs nothing.

    Args:
        title: what the browser's tab says.
        style: the style sheet.
        body: the body element.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    # Even if some text of the data became markup, this would let it neither run nor fetch anything.
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
    return "<!DOCTYPE html>\n" + to_html(el("html", head, body, lang="en")) + "\n"


def to_html(element: Element) -> str:
    """The element as HTML."""
    return ET.tostring(element, encoding="unicode", method="html")


def _append(parent: Element, children: Iterable[Child]) -> None:
    for child in children:
        if child is None:
            continue
        if isinstance(child, ET.Element):
            parent.append(child)
        elif isinstance(child, str):
            text = _clean(child)
            if len(parent):
                parent[-1].tail = (parent[-1].tail or "") + text
            else:
                parent.text = (parent.text or "") + text
        else:
            _append(parent, child)


def _clean(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", text)
