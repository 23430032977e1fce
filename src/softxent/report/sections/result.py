"""The result in one sentence, and compared with guessing."""

from __future__ import annotations

import math

from softxent.metrics import Metrics, wilson_interval
from softxent.record import Run
from softxent.render.markup import Child, Element, el, name
from softxent.render.numbers import count, number, percent
from softxent.render.tables import table

__all__ = ["lead", "section"]


def lead(run: Run) -> Element:
    """Accuracy and loss in one sentence."""
    right, rows = run.test_accuracy.mean.total, run.test_accuracy.weight
    low, high = wilson_interval(right, rows)
    loss = run.test_loss.mean.value
    finite = math.isfinite(loss)
    return el(
        "p",
        "The model classifies ",
        el(
            "strong", f"{count(right)} of {count(rows)} test rows correctly: {percent(right, rows)}"
        ),
        f" (95% confidence interval {percent(low, 1)} to {percent(high, 1)}), with a mean loss ",
        "of " if finite else None,
        el("strong", f"{number(loss)} nats" if finite else "that is not finite"),
        ".",
        class_="lead",
    )


def section(run: Run, metrics: Metrics) -> Element:
    """The comparison with guessing, and warnings."""
    right, rows = run.test_accuracy.mean.total, run.test_accuracy.weight
    frequent, classes = metrics.most_frequent, metrics.classes
    of_frequent, of_all = int(metrics.counts.rows[frequent]), len(metrics.target)
    lines: list[list[Child]] = [
        [el("strong", "this model"), percent(right, rows), number(run.test_loss.mean.value)],
        [
            ["always the most frequent class, ", name(run.data.classes[frequent], 24)],
            percent(of_frequent, of_all),
            "0" if of_frequent == of_all else "∞",
        ],
        [
            f"the same probability for each of {count(classes)} classes",
            percent(1, classes),
            f"ln {count(classes)} = {number(math.log(classes))}",
        ],
    ]
    return el(
        "section",
        el("h2", "Compared with guessing", id="result"),
        table(
            "The model and two ways of guessing, on the same test rows.",
            [("", "text"), ("accuracy", "number"), ("mean loss (nats)", "number")],
            lines,
            class_="wide",
        ),
        el("p", _meaning(run)),
        (el("p", text, class_="warning") for text in _warnings(run, metrics)),
    )


def _meaning(run: Run) -> str:
    mean = run.test_loss.mean
    if not math.isfinite(mean.value):
        return "The mean loss is not finite: at least one row has no finite loss."
    whole = mean.weight == run.data.test_rows
    over = f"{count(mean.weight)} rows" if whole else f"a summed weight of {count(mean.weight)}"
    return (
        "The loss of a row is ln(1/p), where p is the predicted probability of its true class. The "
        f"losses add up to {number(mean.total, 5)} nats over {over}; their mean is that of a model "
        f"with p = {percent(math.exp(-mean.value), 1, 1)} in every row."
    )


def _warnings(run: Run, metrics: Metrics) -> list[str]:
    warnings = []
    accuracy, loss = run.test_accuracy.mean, run.test_loss.mean.value
    guessed = metrics.counts.rows[metrics.most_frequent] / max(1, len(metrics.target))
    low, high = wilson_interval(accuracy.total, accuracy.weight)
    if metrics.classes > 1 and low <= guessed:
        position = "below" if high < guessed else "not clearly above"
        warnings.append(
            f"The accuracy is {position} that of always predicting the most frequent class: "
            "compare its confidence interval."
        )
    if metrics.classes > 1 and math.isfinite(loss) and loss >= math.log(metrics.classes):
        warnings.append(
            f"The loss is not below ln {count(metrics.classes)}: the same probability for every "
            "class would be as good or better. The model is too confident where it is wrong."
        )
    if metrics.unpredicted:
        warnings.append(
            f"Test rows with a logit that is not a finite number: {count(metrics.unpredicted)}. "
            "They have no predicted class, count as wrong, and are in no column of the matrix."
        )
    warnings += _disagreements(run, metrics)
    return warnings


def _disagreements(run: Run, metrics: Metrics) -> list[str]:
    """Differences between the results in run.json and those of the test rows' logits."""
    right, loss = int(metrics.counts.correct.sum()), run.test_loss.mean.value
    again = float(metrics.loss.mean()) if len(metrics.loss) else math.nan
    found = []
    if right != run.test_accuracy.total:
        found.append(
            f"run.json counts {count(run.test_accuracy.mean.total)} correct rows; by the logits in "
            f"test.json there are {count(right)}."
        )
    if math.isfinite(loss) and math.isfinite(again) and not math.isclose(loss, again, rel_tol=1e-3):
        found.append(
            f"run.json has a mean loss of {number(loss)} nats; by the logits in test.json it is "
            f"{number(again)}."
        )
    return found
