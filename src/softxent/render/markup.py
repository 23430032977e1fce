"""HTML elements whose text and attributes are escaped by construction.

No markup is made by joining strings. A name from somebody's data can become the text of an element
or the value of an attribute, and nothing else.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from typing import TypeAlias
from xml.etree.ElementTree import Element

__all__ = ["Child", "Element", "el", "name", "to_html"]

Child: TypeAlias = "str | Element | Iterable[Child] | None"

# HTML can't represent most of these, and UTF-8 no half of a surrogate pair. The direction overrides
# (U+202A to 202E, 2066 to 2069) would make one name read as another.
_UNWRITABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


def el(tag: str, *children: Child, **attributes: str | float | None) -> Element:
    """An element with its children.

    Args:
        tag: the element's name.
        children: text, elements, or nested iterables of them; None adds nothing.
        attributes: `_` in a name stands for `-`, a trailing `_` is dropped; None omits the
            attribute.

    Example:
        >>> to_html(el("p", "2 < 3 ", el("b", "&"), class_="note"))
        '<p class="note">2 &lt; 3 <b>&amp;</b></p>'
    """
    element = ET.Element(tag)
    for key, value in attributes.items():
        if value is not None:
            text = value if isinstance(value, str) else f"{round(value, 2):g}"
            element.set(key.rstrip("_").replace("_", "-"), _replace_unwritable(text))
    _append(element, children)
    return element


def name(text: str, longest: int | None = None) -> Element:
    """A name from the data, isolated from the writing direction of the text around it.

    Args:
        text: the name.
        longest: the most characters shown; a longer name loses its middle and is whole in the
            tooltip.
    """
    if not text.strip():
        return el("em", "(empty)")
    if longest is None or len(text) <= longest:
        return el("bdi", text)
    tail = longest // 3
    return el("bdi", f"{text[: longest - tail - 1]}…{text[-tail:]}", title=text)


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
            text = _replace_unwritable(child)
            if len(parent):
                parent[-1].tail = (parent[-1].tail or "") + text
            else:
                parent.text = (parent.text or "") + text
        else:
            _append(parent, child)


def _replace_unwritable(text: str) -> str:
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text)
