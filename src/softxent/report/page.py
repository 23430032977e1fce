"""The report as one page, from top to bottom."""

from __future__ import annotations

from pathlib import Path

from softxent.metrics import measure, measure_calibration
from softxent.record import Record, Run
from softxent.render.markup import Element, el, name
from softxent.render.numbers import percent
from softxent.render.page import page, stylesheet
from softxent.report.sections import (
    classes,
    confusion,
    learning,
    mistakes,
    provenance,
    regions,
    reliability,
    result,
)

__all__ = ["render"]


def render(record: Record) -> str:
    """The report as one HTML page.

    Args:
        record: the run, as `softxent.record.read` gives it.

    Returns:
        The page. It contains everything it needs: it runs no script and fetches nothing.

    Example:
        >>> from pathlib import Path
        >>> from softxent.record import read
        >>> render(read(Path("runs/digits-1")))[:15]
        '<!DOCTYPE html>'
    """
    run = record.run
    metrics = measure(record.test_logits, record.test_target)
    calibration = measure_calibration(metrics.confidence, metrics.correct)
    sections = [
        result.section(run, metrics),
        provenance.notes(run),
        regions.section(run.data, record.regions, metrics) if record.regions else None,
        learning.section(record.epochs),
        confusion.section(run.data.classes, metrics),
        classes.section(run.data.classes, metrics),
        mistakes.section(record),
        reliability.section(calibration) if calibration else None,
        provenance.section(run),
    ]
    present = [section for section in sections if section is not None]
    accuracy = percent(run.test_accuracy.mean.total, run.test_accuracy.weight)
    return page(
        f"{run.data.name}: {accuracy} · softxent report",
        stylesheet(Path(__file__).with_name("style.css")),
        _header(run),
        _contents(present),
        el("main", present),
        _footer(run),
    )


def _header(run: Run) -> Element:
    return el(
        "header",
        el("p", "softxent report", class_="kind"),
        el("h1", name(run.data.name, 60)),
        result.lead(run),
    )


def _contents(sections: list[Element]) -> Element:
    """Links to the sections, from their own headings."""
    headings = [heading for section in sections if (heading := section.find("h2")) is not None]
    return el(
        "nav",
        el("ul", (el("li", el("a", h.text, href=f"#{h.get('id')}")) for h in headings)),
        aria_label="Contents",
    )


def _footer(run: Run) -> Element:
    version = run.versions.get("softxent", "")
    return el(
        "footer",
        el(
            "p",
            "Made by softxent ",
            name(version) if version else None,
            " from the record of the run.",
        ),
    )
