"""The report: right numbers, safe text, one offline page."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softxent import record as records
from softxent.ops.mean import Mean
from softxent.record import Data, Epoch, Mistake, Model, Record, Regions, Run, Sum, TestRows
from softxent.render.markup import to_html
from softxent.report import render, write
from softxent.report.charts import Axis, Series, axis, line_chart
from softxent.report.palette import class_colours
from softxent.report.png import encode

# ---------------------------------------------------------------- records to report on


def losses(logits: np.ndarray, target: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    lse = np.log(np.exp(shifted).sum(axis=1))
    return np.asarray(lse - shifted[np.arange(len(target)), target])


def an_epoch(number: int, train: float | None, test: float | None, rows: int = 100) -> Epoch:
    def total(mean: float | None) -> Sum:
        return Sum(total=None if mean is None else mean * rows, weight=rows)

    return Epoch(
        number=number,
        seconds=0.25,
        learning_rate=0.001,
        train_loss=total(train),
        train_accuracy=total(0.5),
        test_loss=total(test),
        test_accuracy=total(0.75),
    )


def some_logits(rows: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A model that is right more often than not."""
    rng = np.random.default_rng(seed)
    target = rng.integers(classes, size=rows)
    logits = rng.normal(size=(rows, classes)).astype(np.float32)
    logits[np.arange(rows), target] += 2
    return logits, target


def write_record(
    path: Path,
    logits: np.ndarray,
    target: np.ndarray,
    *,
    classes: Sequence[str] | None = None,
    epochs: Sequence[Epoch] | None = None,
    images: tuple[int, int] | None = None,
    plane: Regions | None = None,
    features: Sequence[str] = (),
    result: tuple[Sum, Sum] | None = None,
    mistakes: int = 30,
    notes: Sequence[str] = (),
    text: str = "tame",
) -> Record:
    """A run directory of these test rows, read back as the command line reads it."""
    named = list(classes) if classes else [f"class {i}" for i in range(logits.shape[1])]
    row_losses, predicted = losses(logits, target), logits.argmax(axis=1)
    right = Mean(float((predicted == target).sum()), len(target))
    of_loss = Mean(float(row_losses.sum()), len(target))
    wrong = [i for i in np.argsort(-row_losses) if predicted[i] != target[i]][:mistakes]
    rng = np.random.default_rng(1)
    with records.new_run(path) as new:
        new.add("epochs.json", epochs if epochs is not None else [an_epoch(1, 1.0, 0.9)])
        new.add(
            "test.json",
            TestRows(
                rows=list(range(len(target))),
                target=target.tolist(),
                logits=[[float(v) if math.isfinite(v) else None for v in row] for row in logits],
            ),
        )
        new.add(
            "mistakes.json",
            [
                Mistake(
                    row=int(i),
                    target=int(target[i]),
                    predicted=int(predicted[i]),
                    loss=float(row_losses[i]) if math.isfinite(row_losses[i]) else None,
                    probabilities=[1 / logits.shape[1]] * logits.shape[1],
                    image=rng.integers(256, size=images).tolist() if images else None,
                )
                for i in wrong
            ],
        )
        if plane is not None:
            new.add("regions.json", plane)
        (new.directory / "weights.safetensors").write_bytes(b"weights")
        new.finish(
            Run(
                command=f"softxent train {text}",
                created="2026-01-02T03:04:05Z",
                seconds=1.5,
                seed=7,
                versions={"softxent": "0.1.0", text: text},
                recipe={"name": text, "layers": [4, 3], "early_stopping": None, "shuffle": True},
                data=Data(
                    name=text,
                    kind="images" if images else "plane" if plane else "table",
                    description=text,
                    files=[records.FileDigest(name=text, bytes=1234567, sha256="ab" * 32)],
                    split=text,
                    test_size=None,
                    train_rows=400,
                    test_rows=len(target),
                    classes=named,
                    features=list(features),
                    image_shape=images,
                    target=text,
                    dropped=[text],
                ),
                model=Model(kind=text, layers=[4, 3], parameters=15),
                test_loss=result[0] if result else Sum.of(of_loss),
                test_accuracy=result[1] if result else Sum.of(right),
                notes=list(notes),
                files=new.digests(),
            )
        )
    return records.read(path)


@pytest.fixture
def small(tmp_path: Path) -> Record:
    return write_record(tmp_path / "run", *some_logits(60, 4))


@pytest.fixture
def plane(tmp_path: Path) -> Record:
    logits, target = some_logits(50, 3, seed=3)
    rng = np.random.default_rng(0)
    grid = rng.integers(3, size=(5, 7))
    regions = Regions(
        x=np.linspace(-3, 3, 7).tolist(),
        y=np.linspace(-2, 2, 5).tolist(),
        predicted=grid.tolist(),
        probability=[[1.0] * 7] * 5,
        points=[(float(x), float(y)) for x, y in rng.uniform(-2, 2, size=(50, 2))],
        target=target.tolist(),
    )
    return write_record(
        tmp_path / "plane",
        logits,
        target,
        classes=["blue", "orange", "green"],
        plane=regions,
        features=["width", "height"],
    )


# ---------------------------------------------------------------- reading a page


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text, as a browser reads them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))

    def all(self, tag: str, class_: str | None = None) -> list[dict[str, Any]]:
        found = [attributes for name, attributes in self.tags if name == tag]
        return [a for a in found if class_ is None or class_ in (a.get("class") or "").split()]

    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(tag, tuple(attributes)) for tag, attributes in self.tags]


def decode_png(png: bytes) -> np.ndarray:
    """An independent reader of what `encode` may write."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = [], 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        (crc,) = struct.unpack(">I", png[at + 8 + length : at + 12 + length])
        assert crc == zlib.crc32(kind + data)
        chunks.append((kind, data))
        at += 12 + length
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colours, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (depth, rest) == (8, [0, 0, 0])
    channels = {0: 1, 6: 4}[colours]
    lines = np.frombuffer(zlib.decompress(chunks[1][1]), np.uint8).reshape(height, -1)
    assert not lines[:, 0].any()
    pixels = lines[:, 1:].reshape(height, width, channels)
    return pixels[..., 0] if channels == 1 else pixels


# ---------------------------------------------------------------- numbers


def two_classes(rows: int, sharpen: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose probabilities are the frequencies for `sharpen` 1, and too high for more."""
    rng = np.random.default_rng(5)
    margin = rng.uniform(0.5, 2, size=rows)
    target = np.where(rng.random(rows) < 1 / (1 + np.exp(-margin)), 0, 1)
    return np.stack([sharpen * margin, np.zeros(rows)], axis=1).astype(np.float32), target


def test_the_report_says_whether_a_model_is_overconfident(tmp_path: Path) -> None:
    for sharpen, verdict in ((1, "which chance can explain"), (3, "the model is overconfident")):
        made = write_record(tmp_path / str(sharpen), *two_classes(2000, sharpen))
        assert verdict in Page(render(made)).text


# ---------------------------------------------------------------- pieces


@pytest.mark.parametrize("shape", [(28, 28), (1, 1), (5, 3, 4)])
def test_a_png_reads_back(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
    np.testing.assert_array_equal(decode_png(encode(pixels)), pixels)


@given(st.floats(-1e9, 1e9), st.floats(1e-9, 1e9))
def test_an_axis_covers_its_range_with_a_few_round_ticks(low: float, extent: float) -> None:
    high = low + extent
    if high - low < 1e-9 * abs(low):
        return  # no room for ticks between two neighbouring numbers
    made = axis(low, high, "x (units)")
    slack = 1e-6 * (high - low)
    assert made.low <= low + slack
    assert made.high >= high - slack
    assert 2 <= len(made.ticks) <= 9


def test_an_epoch_axis_has_whole_ticks() -> None:
    for last in (1, 2, 9, 10, 11, 60, 1000):
        made = axis(1, last, "epoch", whole=True, most=10)
        assert all(tick == int(tick) for tick in made.ticks)
        assert 1 <= len(made.ticks) <= 11


def chart(*series: Sequence[float]) -> Page:
    names = ["train", "test"]
    lines = [
        Series(name=n, style=n, values=values, last="0.5")
        for n, values in zip(names, series, strict=True)
    ]
    places = Axis(low=1, high=4, ticks=[1, 2, 3, 4], label="epoch")
    heights = Axis(low=0, high=1, ticks=[0, 1], label="loss (nats)")
    return Page(to_html(line_chart("c", "t", "d", places, heights, [1, 2, 3, 4], lines)))


def test_a_loss_that_is_not_finite_leaves_a_gap() -> None:
    whole = chart([0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1])
    broken = chart([0.4, 0.3, math.nan, 0.1], [0.4, 0.3, 0.2, 0.1])
    assert (len(whole.all("polyline")), len(whole.all("circle"))) == (2, 8)
    assert (len(broken.all("polyline")), len(broken.all("circle"))) == (2, 7)
    assert len(broken.all("polyline")[0]["points"].split()) == 2


def test_labels_at_the_ends_of_lines_do_not_overlap() -> None:
    ends = chart([0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.11]).all("text", "end")
    assert abs(float(ends[0]["y"]) - float(ends[1]["y"])) >= 15


def test_classes_called_after_colours_get_them() -> None:
    assert class_colours(["Green", "blue"]) == list(reversed(class_colours(["blue", "green"])))
    for classes in (2, 6, 7, 30):
        colours = class_colours([str(i) for i in range(classes)])
        assert len(set(colours)) == classes


# ---------------------------------------------------------------- the page


def test_the_result_comes_with_its_denominators(tmp_path: Path) -> None:
    result = (Sum(total=1078.4, weight=10000), Sum(total=9696, weight=10000))
    logits, target = some_logits(100, 10)
    text = Page(render(write_record(tmp_path / "run", logits, target, result=result))).text
    assert "9,696 of 10,000 test rows correctly: 96.96%" in text
    assert "95% confidence interval 96.61% to 97.28%" in text
    assert "a mean loss of 0.1078 nats" in text
    assert "1,078.4 nats over a summed weight of 10,000" in text
    assert "ln 10 = 2.303" in text
    frequent = np.bincount(target).max()
    assert f"{frequent}.00%" in text


def test_a_record_that_contradicts_itself_is_pointed_out(tmp_path: Path) -> None:
    logits, target = some_logits(100, 4)
    exact = write_record(tmp_path / "exact", logits, target)
    assert "test.json" not in Page(render(exact)).text.split("Learning")[1].split("What was run")[0]
    assert "by the logits in test.json" not in Page(render(exact)).text
    wrong = (Sum(total=1.7, weight=10000), Sum(total=99, weight=100))
    text = Page(render(write_record(tmp_path / "wrong", logits, target, result=wrong))).text
    assert "run.json counts 99 correct rows; by the logits in test.json there are" in text
    assert "run.json has a mean loss of 0.0001700 nats; by the logits in test.json it is" in text


def test_a_model_no_better_than_guessing_gets_a_warning(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=(200, 2)).astype(np.float32)
    text = Page(render(write_record(tmp_path / "noise", logits, rng.integers(2, size=200)))).text
    assert "always predicting the most frequent class: compare" in text
    assert "The loss is not below ln 2" in text
    good = Page(render(write_record(tmp_path / "good", *some_logits(200, 2)))).text
    assert "always predicting the most frequent class: compare" not in good


def test_the_page_fetches_nothing_and_runs_nothing(small: Record, plane: Record) -> None:
    for html in (render(small), render(plane)):
        page = Page(html)
        for tag, attributes in page.tags:
            assert tag not in {"script", "link", "iframe", "object", "embed", "form", "base"}
            for key, value in attributes.items():
                assert not key.startswith("on")
                assert key not in {"style", "srcset", "action", "formaction", "background", "ping"}
                if key in {"src", "href", "xlink:href"}:
                    assert str(value).startswith(("#", "data:image/png;base64,"))
        style = html.split("<style>")[1].split("</style>")[0]
        assert "url(" not in style
        assert "@import" not in style
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
        assert policy == (
            f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
            "base-uri 'none'; form-action 'none'"
        )


HOSTILE = [
    "<script>alert(1)</script>",
    "\"&'",
    "' onmouseover='alert(1)",
    '"><img src=x onerror=alert(1)>',
    "</title></style></table><h1>",
    "]]>--><!--",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
    "\u202eevil\x00\x1b[31m",
    "&lt;b&gt;",
    "x" * 500,
]


@pytest.mark.parametrize("images", [None, (3, 3)])
@pytest.mark.slow
def test_no_element_and_no_attribute_comes_from_the_data(
    tmp_path: Path, images: tuple[int, int] | None
) -> None:
    """The page of hostile names has the elements of a page with harmless names as long."""
    logits, target = some_logits(80, len(HOSTILE))
    for text in HOSTILE:
        pages = []
        for kind in ("hostile", "tame"):
            harmless = kind == "tame"
            names = ["y" * len(n) for n in HOSTILE] if harmless else HOSTILE
            folder = tmp_path / f"{kind}{HOSTILE.index(text)}"
            pages.append(
                Page(
                    render(
                        write_record(
                            folder,
                            logits,
                            target,
                            classes=names,
                            features=names,
                            notes=names,
                            images=images,
                            text="y" * len(text) if harmless else text,
                        )
                    )
                )
            )
        assert pages[0].shape() == pages[1].shape()
        shown = re.sub(r"[\x00\x1b\u202e]", "\ufffd", re.sub(r"\s+", " ", text))
        assert f"softxent train {shown}" in pages[0].text


def test_a_name_from_the_data_is_kept_apart_from_the_direction_around_it(tmp_path: Path) -> None:
    logits, target = some_logits(60, 2)
    html = render(write_record(tmp_path / "run", logits, target, classes=[HOSTILE[6], "b"]))
    assert html.count(HOSTILE[6]) == html.count(f"<bdi>{HOSTILE[6]}</bdi>") > 3


def test_headings_tables_and_drawings_are_accessible(small: Record, plane: Record) -> None:
    for made in (render(small), render(plane)):
        page = Page(made)
        assert page.all("html")[0]["lang"] == "en"
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        assert all(th.get("scope") in {"col", "row"} for th in page.all("th"))
        assert len(page.all("caption")) == len(page.all("table"))
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        for svg in page.all("svg"):
            if svg.get("aria-hidden") != "true":
                assert svg["role"] == "img"
                assert set(svg["aria-labelledby"].split()) <= set(ids)
        assert all(image["alt"] for image in page.all("img"))
        assert all(a["href"].removeprefix("#") in ids for a in page.all("a"))


def test_what_was_run_is_all_there(tmp_path: Path) -> None:
    made = write_record(tmp_path / "run", *some_logits(60, 4), notes=["One column was constant."])
    text = Page(render(made)).text
    for fact in (
        "softxent train tame",
        "2026-01-02T03:04:05Z",
        "ab" * 32,
        "1.2 MB",
        "One column was constant.",
        "early_stopping",
        made.run.files[0].sha256,
    ):
        assert fact in text


def test_mistakes_come_with_the_command_that_explains_them(tmp_path: Path) -> None:
    made = write_record(tmp_path / "my run", *some_logits(60, 4))
    text = Page(render(made)).text
    assert (
        f"softxent explain '{tmp_path}/my run' --row {made.test.rows.index(made.mistakes[0].row)}"
        in text
    )


def test_images_of_mistakes_are_their_pixels(tmp_path: Path) -> None:
    made = write_record(tmp_path / "run", *some_logits(60, 4), images=(6, 5))
    images = Page(render(made)).all("img")
    assert len(images) == min(24, len(made.mistakes)) > 3
    for image, mistake in zip(images, made.mistakes, strict=False):
        png = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
        np.testing.assert_array_equal(decode_png(png), mistake.image)


def test_regions_are_drawn_the_right_way_up_and_wrong_points_are_ringed(plane: Record) -> None:
    page = Page(render(plane))
    (image,) = page.all("image")
    pixels = decode_png(base64.b64decode(image["href"].removeprefix("data:image/png;base64,")))
    regions = plane.regions
    assert regions is not None
    colours = np.array(class_colours(plane.run.data.classes))
    np.testing.assert_array_equal(pixels[..., :3], colours[np.array(regions.predicted)[::-1]])
    wrong = (plane.test_logits.argmax(axis=1) != plane.test_target).sum()
    assert len(page.all("circle", "ring")) == wrong + 1  # one in the legend
    assert sum(path["d"].count("M") for path in page.all("path", "point")) == 50
    assert "width" in page.text
    assert "height" in page.text


@pytest.mark.parametrize(("classes", "cells"), [(2, 4), (26, 676), (40, 1600), (41, 0), (100, 0)])
def test_few_classes_give_a_matrix_and_many_the_most_confused_pairs(
    tmp_path: Path, classes: int, cells: int
) -> None:
    logits, target = some_logits(1000, classes)
    target[:classes] = np.arange(classes)
    page = Page(render(write_record(tmp_path / "run", logits, target)))
    assert (
        len(page.all("td", "wrong"))
        + len(page.all("td", "right"))
        + len([td for td in page.all("td", "none") if "right" not in td["class"]])
        == cells
    )
    assert ("most confused of" in page.text) == (classes > 40)


def test_hundreds_of_classes_show_the_ones_with_the_most_mistakes(tmp_path: Path) -> None:
    made = write_record(tmp_path / "run", *some_logits(600, 300), mistakes=5)
    html = render(made)
    assert "The 200 of 300 classes with the most mistakes" in html
    assert len(html) < 500_000


@pytest.mark.parametrize(
    ("logits", "target"),
    [
        (np.zeros((0, 3)), []),  # no test row
        (np.zeros((4, 1)), [0] * 4),  # one class
        (np.full((30, 3), [9.0, 0, 0]), [0, 1, 2] * 10),  # one class predicted
        (np.full((30, 3), [90.0, 0, 0]), [0] * 30),  # no mistake, loss exactly 0
        (np.full((3, 2), np.nan), [0, 1, 0]),  # nothing is finite
        (np.array([[np.nan, 0], [0, -np.inf], [3, 1]]), [0, 1, 0]),
    ],
)
@pytest.mark.parametrize(
    "epochs",
    [
        [],
        [an_epoch(1, 0.0, 0.0)],
        [an_epoch(1, None, None), an_epoch(2, None, None)],
        [an_epoch(1, 1e30, None), an_epoch(2, None, 1e-9), an_epoch(3, 0.1, 0.2)],
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_odd_records_give_whole_pages(
    tmp_path: Path, logits: np.ndarray, target: list[int], epochs: list[Epoch]
) -> None:
    made = write_record(
        tmp_path / "run",
        logits.astype(np.float32),
        np.array(target, dtype=np.int64),
        epochs=epochs,
        result=(Sum(total=None, weight=len(target)), Sum(total=0, weight=len(target))),
    )
    html = render(made)
    assert html.endswith("</body></html>\n")
    assert not re.search(r"\b(nan|inf)\b", html.split("</style>")[1], flags=re.IGNORECASE)


def test_losses_that_are_not_finite_are_said(tmp_path: Path) -> None:
    logits, target = some_logits(40, 3)
    logits[3, 1] = np.nan
    made = write_record(
        tmp_path / "run",
        logits,
        target,
        result=(Sum(total=None, weight=40), Sum(total=30, weight=40)),
        epochs=[an_epoch(1, 0.5, None)],
    )
    text = Page(render(made)).text
    assert "with a mean loss that is not finite" in text
    assert "Test rows with a logit that is not a finite number: 1." in text


def test_a_report_of_ten_thousand_images_is_small(tmp_path: Path) -> None:
    logits, target = some_logits(10_000, 10)
    html = render(write_record(tmp_path / "run", logits, target, images=(28, 28)))
    assert len(html.encode()) < 150_000


def test_the_same_record_gives_the_same_page(small: Record) -> None:
    assert render(small) == render(small)


# ---------------------------------------------------------------- the file


def test_the_report_is_written_beside_the_record(small: Record, tmp_path: Path) -> None:
    path = write(small)
    assert path == small.path / "report.html"
    assert path.read_text(encoding="utf-8") == render(small)
    records.read(small.path)  # and the record is still whole
    assert write(small, tmp_path / "other.html").read_bytes() == path.read_bytes()


def test_a_report_that_cannot_be_written_leaves_the_old_one(
    small: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(small).write_text("the old one")

    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    before = sorted(small.path.iterdir())
    with pytest.raises(OSError, match="No space"):
        write(small)
    assert sorted(small.path.iterdir()) == before
    assert (small.path / "report.html").read_text() == "the old one"


def test_the_report_needs_neither_torch_nor_scikit_learn_nor_the_trainer() -> None:
    code = (
        "import sys, softxent.report\n"
        "unwanted = {'torch', 'sklearn', 'scipy', 'matplotlib', 'softxent.learn'}\n"
        "raise SystemExit(', '.join(unwanted & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
