"""Rules on a mean over batches, in the order in which they run."""

from __future__ import annotations

from softxent.doctor.finding import Evidence
from softxent.doctor.means.reported_mean import ReportedMean
from softxent.doctor.registry import rule

__all__: list[str] = []


@rule("means", severity="warning")
def mean_of_means(case: ReportedMean) -> Evidence | None:
    """The mean of the batches' means counts a short last batch like a full one.

    Symptom: the loss of the epoch depends on the batch size.

    Cause: the means of the batches are averaged as they are, but the last batch has fewer rows.

    Fix: add up sums and counts, and divide once.

    Source: https://github.com/Lightning-AI/pytorch-lightning/issues/2924

    Wrong:
        >>> doctor.check_mean(3.0, means=[2.0, 4.0], counts=[64, 16]).rules
        ('mean-of-means',)

    Fixed:
        >>> doctor.check_mean(2.4, means=[2.0, 4.0], counts=[64, 16]).rules
        ()
    """
    return _unweighted(case) if _last_is_short(case) else None


@rule("means", severity="warning")
def accumulated_means(case: ReportedMean) -> Evidence | None:
    """Means of unequal micro-batches, processes or sequences were averaged as if they were equal.

    Symptom: accumulating gradients over micro-batches differs from one large batch; processes with
    unequal numbers of rows differ from a single process; short sequences weigh as much as long
    ones.

    Cause: each part is divided by its own number of tokens or kept rows before the parts are
    averaged.

    Fix: divide the sum of every part by the count of all parts together.

    Source: https://github.com/huggingface/transformers/pull/34191

    Wrong:
        >>> doctor.check_mean(3.0, means=[2.0, 5.0, 2.0], counts=[30, 4, 50]).rules
        ('accumulated-means',)

    Fixed:
        >>> doctor.check_mean(180 / 84, means=[2.0, 5.0, 2.0], counts=[30, 4, 50]).rules
        ()
    """
    return None if _last_is_short(case) else _unweighted(case)


def _last_is_short(case: ReportedMean) -> bool:
    """Whether all batches but the last have one size, as from a data loader."""
    *full, last = case.counts.tolist()
    return len(set(full)) == 1 and last < full[0]


def _unweighted(case: ReportedMean) -> Evidence | None:
    if case.agrees_with(case.weighted) or not case.agrees_with(case.plain):
        return None
    return Evidence(
        text=(
            f"{case.reported:.6g} is the mean of {len(case.means):,} means; weighted by their "
            f"counts ({case.counts.min():g} to {case.counts.max():g}) it is {case.weighted:.6g}."
        ),
        numbers={
            "reported": case.reported,
            "mean_of_means": case.plain,
            "weighted": case.weighted,
        },
        confidence="certain",
        why="the two differ by more than the last printed digit",
        remedy="epoch = sum((Mean(m * n, n) for m, n in batches), Mean(0.0, 0)).value",
        not_checked="whether each batch's own mean is correct.",
    )


@rule("means", severity="error")
def batch_means_over_rows(case: ReportedMean) -> Evidence | None:
    """Batch means were added up and divided by the number of rows.

    Symptom: the loss is too small, by about the batch size: 0.0017 at 97% accuracy.

    Cause: `total += loss.item()` adds means, and `total / len(dataset)` divides by rows. That was
    correct only while the loss was a sum over the batch.

    Fix: `total += loss.item() * len(target)`; or divide by the number of batches.

    Source: https://github.com/kazuto1011/svm-pytorch/issues/4

    Wrong:
        >>> doctor.check_mean(0.075, means=[2.0, 4.0], counts=[64, 16]).rules
        ('batch-means-over-rows',)

    Fixed:
        >>> doctor.check_mean(2.4, means=[2.0, 4.0], counts=[64, 16]).rules
        ()
    """
    rows = float(case.counts.sum())
    if case.agrees_with(case.weighted) or not case.agrees_with(float(case.means.sum()) / rows):
        return None
    factor = rows / len(case.means)
    return Evidence(
        text=(
            f"{case.reported:.6g} is the sum of {len(case.means):,} batch means divided by "
            f"{rows:g} rows; the mean is {case.weighted:.6g}, {factor:.4g} times as much."
        ),
        numbers={"reported": case.reported, "mean": case.weighted, "factor": factor},
        confidence="certain",
        why="the sum of means divided by rows agrees to the last digit",
        remedy="total += loss.item() * len(target)  # then total / rows",
        not_checked="whether each batch's own mean is correct.",
    )


@rule("means", severity="error")
def undivided_sum(case: ReportedMean) -> Evidence | None:
    """Batch losses were added up and never divided.

    Symptom: the loss grows with the number of batches.

    Cause: a running total is reported as a mean.

    Fix: divide by the number of rows at the end.

    Source: https://github.com/allenai/allennlp/issues/4354

    Wrong:
        >>> doctor.check_mean(6.0, means=[2.0, 4.0], counts=[64, 16]).rules
        ('undivided-sum',)

    Fixed:
        >>> doctor.check_mean(2.4, means=[2.0, 4.0], counts=[64, 16]).rules
        ()
    """
    if len(case.means) < 2 or case.agrees_with(case.weighted):
        return None
    sums = {
        "the sum of the batch means": float(case.means.sum()),
        "the sum over all rows": float(case.means @ case.counts),
    }
    name = next((name for name, total in sums.items() if case.agrees_with(total)), None)
    if name is None:
        return None
    return Evidence(
        text=f"{case.reported:.6g} is {name}; the mean is {case.weighted:.6g}.",
        numbers={"reported": case.reported, "mean": case.weighted},
        confidence="certain",
        why="the sum agrees to the last digit",
        remedy="loss = total / rows",
        not_checked="whether each batch's own mean is correct.",
    )
