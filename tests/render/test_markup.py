"""HTML that is escaped by construction, and a page whose colours are readable."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from softxent import render
from softxent.render.markup import el, name, to_html
from softxent.render.page import page, stylesheet
from softxent.render.tables import table


def parsed(html: str) -> tuple[list[tuple[str, dict[str, str | None]]], str]:
    """The tags with their attributes, and the text, as a browser reads them."""
    tags: list[tuple[str, dict[str, str | None]]] = []
    texts: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append((tag, dict(attrs)))

        def handle_data(self, data: str) -> None:
            texts.append(data)

    reader = Reader()
    reader.feed(html)
    reader.close()
    return tags, "".join(texts)


def test_text_and_attributes_are_escaped() -> None:
    tags, text = parsed(to_html(el("p", "<b>&amp;", title="\"><script>'")))
    assert tags == [("p", {"title": "\"><script>'"})]
    assert text == "<b>&amp;"


def test_what_html_cannot_hold_is_replaced() -> None:
    assert "\x00" not in to_html(el("p", "a\x00b"))
    assert to_html(el("p", "a\x00b\u202ec\ud800")) == "<p>a\ufffdb\ufffdc\ufffd</p>"
    assert "\u202e" not in to_html(name("\u202egpj.exe"))


def test_a_long_name_keeps_both_ends_and_is_whole_in_the_tooltip() -> None:
    element = name("species of the genus Iris number 17", 14)
    assert element.text is not None
    assert len(element.text) == 14
    assert element.text.startswith("species")
    assert element.text.endswith("17")
    assert element.get("title") == "species of the genus Iris number 17"


def test_nested_children_and_the_attributes_of_an_element() -> None:
    element = el("p", "1 < 2 & ", el("b", "<i>"), " ]]>", title='"<>', class_="a")
    assert to_html(element) == (
        '<p title="&quot;<&gt;" class="a">1 &lt; 2 &amp; <b>&lt;i&gt;</b> ]]&gt;</p>'
    )
    assert to_html(el("p", None, ["x", ["y"]])) == "<p>xy</p>"
    assert to_html(el("td", "1", aria_label=None, width=1 / 3)) == '<td width="0.33">1</td>'
    assert to_html(name("  ")) == "<em>(empty)</em>"
    assert to_html(name("abcdefghijkl", 7)) == '<bdi title="abcdefghijkl">abcd…kl</bdi>'


def test_a_table_marks_its_headers() -> None:
    made = table(
        "Counts.", [("class", "text"), ("rows", "number")], [["a", "1"]], foot=[["b", "2"]]
    )
    tags, text = parsed(to_html(made))
    assert [attributes["scope"] for tag, attributes in tags if tag == "th"] == [
        "col",
        "col",
        "row",
        "row",
    ]
    assert text == "Counts.classrowsa1b2"
    bare = to_html(table(None, [("", "text"), ("", "number")], [["a", "1"]]))
    assert "thead" not in bare
    assert "caption" not in bare


def test_a_page_extends_the_base_stylesheet(tmp_path: Path) -> None:
    (tmp_path / "more.css").write_text(".more { color: red; }")
    style = stylesheet(tmp_path / "more.css")
    assert style.startswith(stylesheet())
    assert style.endswith(".more { color: red; }")
    html = page("T", style, el("p", "x"))
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert "<body><p>x</p></body>" in html


def schemes() -> list[dict[str, str]]:
    css = (Path(render.__file__).parent / "base.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)
    assert len(blocks) == 3  # light, dark, print
    return [dict(re.findall(r"--([\w-]+): ([^;]+);", block)) for block in blocks]


def luminance(colour: Sequence[float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Sequence[float], other: Sequence[float]) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def rgb(text: str) -> list[float]:
    if text.startswith("#"):
        digits = text[1:] if len(text) == 7 else "".join(2 * c for c in text[1:])
        return [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    return [int(part) / 255 for part in text.split()]


@pytest.mark.parametrize("scheme", schemes(), ids=["light", "dark", "print"])
def test_text_stands_out_from_what_is_behind_it(scheme: dict[str, str]) -> None:
    """WCAG AA: 4.5 to 1, on the page and on the deepest shade of the matrix."""
    page = rgb(scheme["page"])
    for text in ("text", "quiet", "accent", "wrong"):
        assert contrast(rgb(scheme[text]), page) >= 4.5
    for tint in ("accent-rgb", "wrong-rgb"):
        deepest = [0.5 * t + 0.5 * p for t, p in zip(rgb(scheme[tint]), page, strict=True)]
        assert contrast(rgb(scheme["text"]), deepest) >= 4.5
