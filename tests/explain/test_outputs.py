"""JSON that reads back to the same bits, a page that fetches and runs nothing, colours."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import softxent
from softxent import Trace

# Untyped: some arguments are wrong on purpose, and attributes are None only without a target.
explain: Any = softxent.explain

NOTE = np.array([2, -1, 0.1], np.float32)
HOSTILE = ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "\x1b[31m\u202egnp"]


# JSON.


def test_json_reads_back_to_the_same_numbers() -> None:
    trace = explain(NOTE, 2, [1, 2, 4], label_smoothing=0.1, classes=["a", "b", "c"])
    read = json.loads(trace.to_json())
    assert (read["format"], read["version"], read["dtype"]) == ("softxent.trace", 1, "float32")
    for name in ("logits", "probabilities", "lse", "losses", "gradient", "mass", "margin"):
        np.testing.assert_array_equal(read[name], getattr(trace, name))
    assert read["value"] == trace.value
    assert read["mean"] == {"total": trace.mean.total, "weight": 4.0}
    assert read["target"] == [2]
    assert read["classes"] == ["a", "b", "c"]
    assert read["binary"] is None
    computed = np.array(read["computed"]["gradient"], np.float32)
    np.testing.assert_array_equal(computed, trace.computed.gradient)
    assert [plain["way"] for plain in read["plain"]] == [plain.way for plain in trace.plain]
    assert trace.to_json(indent=2).count("\n") > 100


@settings(deadline=None)
@given(st.lists(st.floats(), min_size=1, max_size=5))
@pytest.mark.slow
def test_any_float64_survives(row: list[float]) -> None:
    text = explain(row).to_json()
    read = [float(value) for value in json.loads(text)["logits"][0]]
    np.testing.assert_array_equal(read, row)
    assert [np.signbit(a) for a in read if a == 0] == [np.signbit(a) for a in row if a == 0]


def test_what_json_cannot_hold_is_a_string() -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    text = explain([[1000, -np.inf], [np.nan, 0]], [1, 0]).to_json()
    read = json.loads(text, parse_constant=refuse)
    assert read["logits"] == [[1000.0, "-Infinity"], ["NaN", 0.0]]
    assert read["losses"] == ["Infinity", "NaN"]
    assert read["exponential_sum"][0] == "Infinity"


def test_what_if_as_json() -> None:
    changed = explain(NOTE, 2).what_if({2: 3.5})
    read = json.loads(changed.to_json())
    assert read["format"] == "softxent.what_if"
    assert read["before"] == json.loads(changed.before.to_json())
    assert read["after"] == json.loads(changed.after.to_json())


# The page.


class Page(HTMLParser):
    """A page's elements, and the text that a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.seen: list[str] = []
        self._hidden = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._hidden = tag in ("style", "title")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.seen.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.seen).split())


TOLD = [
    explain(NOTE, 2),
    explain(NOTE, 2).what_if({2: 3.5}),
    explain([[2, -1], [1000, 0]], [0, 1]),
    explain([2, -1], [0.3, 0.7], [1, 2], label_smoothing=0.1, z_loss=0.1, softcap=3),
    explain([np.nan, 1], 0),
    explain(np.zeros((0, 3)), np.zeros(0, int)),
    explain(np.arange(40.0), 3),
]


@pytest.mark.parametrize("told", TOLD, ids=lambda told: repr(told)[:30])
def test_the_page_says_what_the_text_says(told: Trace) -> None:
    page = Page(told.to_html())
    for word in told.text().replace("█", " ").replace("│", " ").split():
        if not re.fullmatch(r"\d+\.", word):  # a step's number is drawn by the style
            assert word in page.text, word


@pytest.mark.parametrize("told", TOLD, ids=lambda told: repr(told)[:30])
def test_the_page_fetches_and_runs_nothing(told: Trace) -> None:
    for html in (told.to_html(), told._repr_html_()):
        page = Page(html)
        assert not {"script", "link", "img", "iframe", "object", "form"} & set(page.tags)
        names = {name for name, _ in page.attributes}
        assert not {"src", "href", "style"} & names
        assert not any(name.startswith("on") for name in names)
        assert "url(" not in html
        assert "@import" not in html
        assert "//" not in html


def test_the_policy_allows_only_the_style_of_the_page() -> None:
    html = explain(NOTE, 2).to_html()
    style = html.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in html.replace("&#x27;", "'").replace("&#39;", "'")
    assert "default-src 'none'" in html


def test_names_and_captions_stay_text() -> None:
    trace = explain(NOTE, 2, classes=HOSTILE)
    for html in (trace.to_html(caption="<b onclick=x>"), trace._repr_html_()):
        page = Page(html)
        assert not {"script", "img", "b"} & set(page.tags)
        assert "\x1b" not in html
        assert "\u202e" not in html
    assert "<b onclick=x>" in Page(trace.to_html(caption="<b onclick=x>")).text


def test_bars_are_as_long_as_their_numbers() -> None:
    html = explain([0, 0, 0, 0], 1).to_html()
    assert html.count('<rect width="25.00%" height="100%" class="up">') == 4
    assert '<rect x="0.00%" width="50.00%" height="100%" class="down">' in html  # p - t = -0.75
    assert html.count('<rect x="50.00%" width="16.67%" height="100%" class="up">') == 3


def test_a_batch_unfolds_into_its_rows() -> None:
    page = Page(explain(np.zeros((64, 3)), np.zeros(64, int)).to_html())
    assert page.tags.count("details") == 10
    assert "Row 9: Why the loss is 1.0986" in page.text


def test_a_fragment_is_no_whole_page() -> None:
    html = explain(NOTE, 2)._repr_html_()
    assert html.startswith('<div class="softxent explain"><style>')
    assert "<body" not in html
    assert "<html" not in html


# Text.


@pytest.mark.parametrize("told", TOLD, ids=lambda told: repr(told)[:30])
def test_colours_change_nothing_but_colours(told: Trace) -> None:
    coloured = told.text(colour=True)
    assert "\x1b[" in coloured
    bare = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert [line.rstrip() for line in bare.splitlines()] == told.text().splitlines()
    assert coloured.count("\x1b[0m") * 2 == coloured.count("\x1b[")
    assert "\x1b" not in told.text()
