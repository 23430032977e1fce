"""The output of notebooks' cells: escaped, self-contained, scoped, in the notebook's colours."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softxent import doctor, explain, render
from softxent.doctor import Diagnosis
from softxent.doctor.finding import Finding
from softxent.render.markup import el
from softxent.render.numbers import plural
from softxent.render.page import fragment

HOSTILE = "</style><script>alert(1)</script>\x1b\u202e<img src=x onerror=alert(1)>&"
VOID = {"meta", "br", "img", "rect", "line"}
NOTEBOOK = (Path(render.__file__).parent / "notebook.css").read_text(encoding="utf-8")
EXPLAIN = (Path(render.__file__).parents[1] / "explain" / "style.css").read_text(encoding="utf-8")


class Output(HTMLParser):
    """What a browser reads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.names: set[str] = set()
        self.classes: set[str] = set()
        self.headings: list[str | None] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.names |= given.keys()
        self.classes |= set((given.get("class") or "").split())
        if tag in ("h1", "h2"):
            self.headings.append(given.get("class"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def a_finding(severity: Any = "error") -> Finding:
    return Finding(
        rule=f"a-{severity}",
        title=f"Title {HOSTILE}",
        severity=severity,
        evidence=f"Words {HOSTILE}.\n  a  1\n  bb 2\nMore.",
        numbers={},
        confidence="likely",
        why=HOSTILE,
        remedy=f"fix({HOSTILE!r})",
        not_checked=HOSTILE,
    )


def a_diagnosis() -> Diagnosis:
    findings = map(a_finding, ("note", "error", "warning"))
    return Diagnosis.of(f"the log {HOSTILE}", findings, ["one"], [HOSTILE])


def a_watch() -> Any:
    torch = pytest.importorskip("torch")
    model, loss = torch.nn.Linear(4, 3), torch.nn.CrossEntropyLoss()
    with doctor.watch(model, loss) as watching:
        loss(model(torch.eye(4)).softmax(dim=1), torch.tensor([0, 1, 2, 0]))
    return watching


def a_record(epochs: int = 3) -> Any:
    pytest.importorskip("msgspec")
    from softxent import record

    def of(total: float) -> record.Sum:
        return record.Sum(total=total, weight=3)

    data = record.Data(
        name=HOSTILE,
        kind="table",
        description=HOSTILE,
        files=[],
        split=HOSTILE,
        test_size=0.2,
        train_rows=6,
        test_rows=3,
        classes=[HOSTILE, *map(str, range(30))],
        features=["x"],
        image_shape=None,
        target=HOSTILE,
        dropped=[],
    )
    run = record.Run(
        command=f"softxent train {HOSTILE}",
        created=HOSTILE,
        seconds=1.0,
        seed=7,
        versions={"softxent": HOSTILE},
        recipe={"name": HOSTILE, "batch_size": 64},
        data=data,
        model=record.Model(kind=HOSTILE, layers=[4, 31], parameters=155),
        test_loss=of(0.75),
        test_accuracy=of(2),
        notes=[HOSTILE],
        files=[],
    )
    told = [
        record.Epoch(
            number=number,
            seconds=1.0,
            learning_rate=0.01,
            train_loss=record.Sum(total=None, weight=3) if number == 2 else of(6 / number),
            train_accuracy=of(1),
            test_loss=of(3.3 / number),
            test_accuracy=of(2),
        )
        for number in range(1, epochs + 1)
    ]
    rows = record.TestRows(rows=[], target=[], logits=[])
    return record.Record(Path("run"), run, told, rows, [], None)


MAKERS: dict[str, Callable[[], Any]] = {
    "explain": lambda: explain([2.0, -1.0], 1, classes=[HOSTILE, "b"]),
    "explain, batch": lambda: explain(np.eye(3), [0, 1, 2], classes=[HOSTILE, "b", "c"]),
    "diagnosis": a_diagnosis,
    "nothing found": lambda: Diagnosis("x", (), ("one",)),
    "watch": a_watch,
    "record": a_record,
    "record without an epoch": lambda: a_record(0),
}


@pytest.fixture(params=MAKERS)
def html(request: pytest.FixtureRequest) -> str:
    text: str = MAKERS[request.param]()._repr_html_()
    return text


def test_an_output_is_valid_escaped_and_self_contained(html: str) -> None:
    output = Output(html)
    assert output.open == []
    assert output.tags.count("style") == 1
    assert not {"script", "img", "link", "iframe", "object", "form", "html", "body"} & set(
        output.tags
    )
    assert not {"src", "href", "style", "id"} & output.names
    assert not any(name.startswith("on") for name in output.names)
    assert not re.search("url\\(|@import|//|[\x1b\u202e]", html)


def test_headings_stay_out_of_the_notebooks_table_of_contents(html: str) -> None:
    headings = Output(html).headings
    assert headings
    assert all(classes and "jp-toc-ignore" in classes.split() for classes in headings)


FROZEN = {
    "explain": "explain formula jp-toc-ignore mark name number note remark softxent steps wide",
    "diagnosis": "error findings formula jp-toc-ignore note remark severity softxent warning",
    "record": "jp-toc-ignore number run softxent text whole wide",
}


@pytest.mark.parametrize("what", FROZEN)
def test_the_names_of_classes_are_frozen(what: str) -> None:
    classes = Output(MAKERS[what]()._repr_html_()).classes
    assert classes - {"up", "down", "bar", "arrow"} == set(FROZEN[what].split())


# The style.


def rules(css: str) -> dict[str, dict[str, str]]:
    """The declarations of each rule by its selector."""
    css = re.sub(r"/\*.*?\*/|@media [^{]*\{", "", css, flags=re.DOTALL)
    found: dict[str, dict[str, str]] = {}
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", css):
        pairs = re.findall(r"([\w-]+):\s*([^;]+);", body)
        found.setdefault(" ".join(selectors.split()), {}).update(pairs)
    return found


SCOPE = ":is(#softxent, .softxent)"


def test_no_rule_reaches_the_notebook_nor_another_output() -> None:
    """Each selector begins with the scope; explain's own rules stay with explain."""
    for selectors in rules(NOTEBOOK):
        assert selectors.startswith(SCOPE)
        assert selectors.count("#softxent") == 1
    for selectors in rules(EXPLAIN):
        for selector in re.split(r",(?![^(]*\))", selectors):
            page = selector.startswith(("main", "body:has(> main.explain)"))
            assert page or selector.strip().startswith(f"{SCOPE}.explain"), selector
    assert ":root" not in NOTEBOOK + EXPLAIN


def test_what_notebooks_set_is_set_again() -> None:
    """Tables of fixed layout, aligned right, shaded (Jupyter), without rules (VS Code); a rem."""
    css = rules(NOTEBOOK)
    wanted = {
        "": {"color": "inherit", "text-align": "left"},
        " table": {"table-layout": "auto", "width": "auto", "color": "inherit", "border": "0"},
        " :is(caption, thead, tbody, tfoot, tr)": {"background": "none", "border": "0"},
        " :is(th, td)": {
            "text-align": "left !important",
            "border-bottom": "1px solid var(--rule) !important",
            "background": "none",
            "font-weight": "400",
            "white-space": "nowrap",
        },
        " :is(th, td).number": {"text-align": "right !important"},
        " :is(h1, h2)": {"color": "inherit", "font-size": "1em"},
        " :is(code, pre)": {"color": "inherit", "background": "none"},
    }
    for selector, declared in wanted.items():
        found = css[f"{SCOPE}{selector}"]
        assert {name: found[name] for name in declared} == declared
    assert rules(EXPLAIN)[f"{SCOPE}.explain svg"]["height"] == "14px"
    assert not re.search(r"\drem\b", NOTEBOOK)
    assert re.findall(r"\d+rem\b", EXPLAIN) == ["51rem", "30rem"]  # the page's width, a screen's


def test_colours_are_those_of_the_theme_or_bring_their_own_background() -> None:
    for selector, declared in rules(NOTEBOOK).items():
        if selector.endswith(".severity"):
            assert declared["color"] == "#fff"
        elif "color" in declared:
            assert declared["color"] in ("inherit", "var(--quiet, inherit)")
    quiet = rules(NOTEBOOK)[SCOPE]["--quiet"]
    assert quiet.startswith("var(--jp-content-font-color2, var(--vscode-")
    assert quiet.endswith("inherit))")
    backgrounds = re.findall(r"\.severity\.(\w+) \{\s+background: (#\w{6});", NOTEBOOK)
    assert {severity for severity, _ in backgrounds} == {"error", "warning", "note"}
    for _, background in backgrounds:
        shares = [int(background[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
        luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))
        assert 1.05 / (luminance + 0.05) >= 4.5  # WCAG AA


# What they say.


def test_a_diagnosis_says_what_its_text_says() -> None:
    diagnosis = doctor.check(np.full((4, 3), 1 / 3), [0, 1, 2, 0])
    output = Output(diagnosis._repr_html_()).text
    assert output.startswith("1 error, 1 note: ")
    for finding in diagnosis:
        for said in (finding.title, finding.why, finding.remedy, finding.not_checked):
            assert said in output
    assert "Nothing found by 1 rule: x" in Output(Diagnosis("x", (), ("a",))._repr_html_()).text
    html = a_diagnosis()._repr_html_()
    assert "<pre>a  1\nbb 2</pre><p>More.</p>" in html
    assert html.index("Title") == html.index("Title", html.index("severity error"))


def test_a_watch_shows_its_diagnosis() -> None:
    watching = a_watch()
    assert watching._repr_html_() == watching.diagnosis._repr_html_()
    assert "softmax-twice" in watching._repr_html_()


def test_a_watch_at_the_prompt() -> None:
    watching = a_watch()
    assert str(watching) == watching.diagnosis.text()
    assert repr(watching).startswith(f"<Watch of Linear, {plural(watching.steps, 'step')}: ")
    assert "softmax-twice" in repr(watching)


def test_a_record_at_the_prompt() -> None:
    record = a_record()
    assert repr(record).startswith(f"<Record {str(record.path)!r}: ")
    assert repr(record).endswith("66.67% of 3 test rows right>")
    assert "\x1b" not in repr(record)


def test_a_record_shows_its_result_its_epochs_and_how_it_was_made() -> None:
    text = Output(a_record()._repr_html_()).text
    assert "2 of 3 test rows are classified correctly: 66.67%. Mean loss: 0.2500 nats." in text
    assert "3 epochs; losses in nats." in text
    assert "12.00001.100033.33%66.67%0.0100" in text
    assert "2not finite0.5500" in text
    assert "batch size 64" in text
    assert "seed7" in text
    many = Output(a_record(100)._repr_html_())
    assert "The first and the last 10 of 100 epochs" in many.text
    assert many.tags.count("tr") == 1 + 20 + 9


def test_the_heading_keeps_its_own_classes() -> None:
    made = fragment(el("h2", "x", class_="mine"), kind="k")
    assert '<h2 class="mine jp-toc-ignore">x</h2>' in made
    assert made.startswith('<div class="softxent k"><style>')
