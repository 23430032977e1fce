"""`check`, `check_mean` and `check_predictions`, beyond the examples of the rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import softxent
from softxent import doctor
from softxent.errors import OptionError, ShapeError


@pytest.fixture
def logits() -> np.ndarray:
    return 3 * np.random.default_rng(0).standard_normal((64, 10))


@pytest.fixture
def target() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 10, 64)


@pytest.mark.parametrize(("classes", "floor"), [(2, 0.313), (3, 0.551), (9, 1.372), (10, 1.461)])
def test_floor_of_a_double_softmax(classes: int, floor: float) -> None:
    sure = np.eye(classes)
    found = doctor.check(sure, np.arange(classes)).findings[0]
    assert found.rule == "softmax-twice"
    assert found.numbers["floor"] == pytest.approx(floor, abs=5e-4)
    assert found.numbers["loss_twice"] == pytest.approx(found.numbers["floor"])
    assert found.numbers["loss_once"] == 0


def test_one_row_of_probabilities_is_less_certain(logits: np.ndarray) -> None:
    one = doctor.check(softxent.softmax(logits[:1]), [3]).findings[0]
    assert (one.rule, one.level, one.confidence) == ("softmax-twice", "warning", "likely")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_probabilities_are_recognized_in_every_dtype(
    logits: np.ndarray, target: np.ndarray, dtype: torch.dtype
) -> None:
    probs = torch.from_numpy(logits).softmax(1).to(dtype)
    y = torch.from_numpy(target)
    assert doctor.check(probs, y).rules == ("softmax-twice",)
    assert doctor.check(torch.from_numpy(logits).to(dtype), y).rules == ()


def test_nothing_is_changed(logits: np.ndarray, target: np.ndarray) -> None:
    before = logits.copy(), target.copy()
    logits.flags.writeable = target.flags.writeable = False
    doctor.check(logits, target, weight=np.arange(10.0), label_smoothing=0.1, temperature=1.0)
    np.testing.assert_array_equal(before[0], logits)
    np.testing.assert_array_equal(before[1], target)


def test_tensors_that_require_a_gradient(logits: np.ndarray, target: np.ndarray) -> None:
    z = torch.from_numpy(logits).requires_grad_()
    assert doctor.check(z.softmax(1), torch.from_numpy(target)).rules == ("softmax-twice",)
    assert z.grad is None


def test_ignored_rows_are_not_judged(logits: np.ndarray, target: np.ndarray) -> None:
    logits[:8], target[:8] = np.nan, -100
    assert doctor.check(logits, target).rules == ()


@pytest.mark.parametrize("shape", [(0, 10), (0, 10, 4)])
def test_empty_batch(shape: tuple[int, ...]) -> None:
    rows = shape[:1] + shape[2:]
    axis = 1
    diagnosis = doctor.check(np.zeros(shape), np.zeros(rows, int), axis=axis)
    assert diagnosis.rules == ("all-ignored",)


@pytest.mark.parametrize(
    "target",
    [
        None,
        [0, 1],
        [[0.5, 0.5], [1, 0]],
        [[1], [0]],
        [0.0, 1.0],
        [True, False],
        [7, -3],
        [[0, 1, 1]],
        3,
    ],
)
@pytest.mark.parametrize(
    "scores",
    [
        [[1.0, 2.0], [3.0, -1.0]],
        [1.0, 2.0],
        [[1], [2]],
        [[0.5, 0.5], [0.2, 0.8]],
        [[[1.0, 2], [3, 4]]],
        [[np.nan, np.inf], [-np.inf, -np.inf]],
        np.zeros((0, 2)),
        np.zeros((2, 0)),
    ],
)
@pytest.mark.parametrize(
    "loss",
    [
        "cross_entropy",
        "nll_loss",
        "log_loss",
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
    ],
)
def test_unusual_arguments_get_a_diagnosis(scores: object, target: object, loss: str) -> None:
    diagnosis = doctor.check(
        scores, target, loss=loss, weight=[1, 2], label_smoothing=0.1, temperature=2.0, value=0.3
    )
    assert str(diagnosis)


def test_what_cannot_be_judged() -> None:
    with pytest.raises(ShapeError, match=r"^\[check\] scores is a single number"):
        doctor.check(3.0)
    with pytest.raises(OptionError, match=r"^\[check\] loss is 'hinge'"):
        doctor.check([[1.0, 2.0]], loss="hinge")
    with pytest.raises(OptionError, match="reduction is 'average'"):
        doctor.check([[1.0, 2.0]], reduction="average")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="axis is 2"):
        doctor.check([[1.0, 2.0]], axis=2)
    with pytest.raises(ShapeError, match="one mean and one count"):
        doctor.check_mean(1.0, [1.0, 2.0], [3])
    with pytest.raises(ShapeError, match="a count is 0"):
        doctor.check_mean(1.0, [1.0, 2.0], [3, 0])
    with pytest.raises(ShapeError, match="pass a number"):
        doctor.check_mean("much", [1.0, 2.0], [3, 4])


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1 / 64, "divided by the 64 rows once more"),
        (64, "the sum, not divided"),
        (0.1, "divided by the 640 scores"),
        (-1, "with the wrong sign"),
        (1 / math.log(2), "in bits"),
    ],
)
def test_denominators(logits: np.ndarray, target: np.ndarray, factor: float, words: str) -> None:
    mean = float(softxent.cross_entropy(logits, target))
    found = doctor.check(logits, target, value=mean * factor).findings[0]
    assert found.rule == "wrong-denominator"
    assert words in found.evidence
    assert found.numbers["expected"] == pytest.approx(mean)


def test_denominator_with_weights_and_ignored_rows(logits: np.ndarray, target: np.ndarray) -> None:
    weight = np.arange(1.0, 11)
    target[:5] = -100
    right = float(softxent.cross_entropy(logits, target, weight))
    losses = softxent.cross_entropy(logits, target, weight, reduction="none")
    assert "wrong-denominator" not in doctor.check(logits, target, weight=weight, value=right).rules
    for value, words in (
        (losses.mean(), "all 64 rows"),
        (losses.sum() / 59, "59 kept rows"),
    ):
        found = doctor.check(logits, target, weight=weight, value=value).findings[0]
        assert (found.rule, found.numbers["weight"]) == (
            "wrong-denominator",
            weight[target[5:]].sum(),
        )
        assert words in found.evidence


def test_the_same_labels_as_one_hot(logits: np.ndarray, target: np.ndarray) -> None:
    weight = np.full(10, 12.75)
    weight[0] = 1
    one_hot = np.eye(10)[target]
    found = doctor.check(logits, one_hot, weight=weight).findings[0]
    assert found.rule == "weights-against-one-hot"
    by_index = softxent.cross_entropy(logits, target, weight)
    by_rows = softxent.cross_entropy(logits, one_hot, weight)
    assert found.numbers["ratio"] == pytest.approx(float(by_rows / by_index))


def test_weights_bend_smoothing_agrees_with_the_minimizer(logits: np.ndarray) -> None:
    weight = np.ones(10)
    weight[3] = 100.0
    found = doctor.check(logits, np.zeros(64, int), weight=weight, label_smoothing=0.1).findings[0]
    # The minimizer of the loss of a row of class 0, by gradient descent.
    z = np.zeros((1, 10))
    for _ in range(4000):
        _, gradient = softxent.cross_entropy_with_grad(
            z, [0], weight, label_smoothing=0.1, reduction="sum"
        )
        z -= 0.3 * gradient
    learned = softxent.softmax(z)[0]
    assert found.numbers["taught"] == pytest.approx(learned[0], abs=1e-3)
    assert found.numbers["winner"] == int(learned.argmax()) == 3


def test_columns_in_text_order_are_recognized() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 12, 240)
    z = 8 * np.eye(12)[y] + rng.standard_normal((240, 12))
    by_name = np.array(sorted(range(12), key=str))
    found = doctor.check(z[:, by_name], y).findings[0]
    assert found.rule == "column-order"
    np.testing.assert_array_equal(by_name[found.numbers["order"]], np.arange(12))
    assert "as text" in found.evidence


def test_padding_is_not_an_ignored_class(logits: np.ndarray) -> None:
    tokens = np.random.default_rng(2).integers(1, 10, (16, 4))
    tokens[:, 3] = 0
    scores = logits.reshape(16, 4, 10)
    padded = doctor.check(scores, tokens, ignore_index=0)
    assert [(one.rule, one.level) for one in padded] == [("ignored-class", "note")]
    tokens[::2, 1] = 0
    scattered = doctor.check(scores, tokens, ignore_index=0)
    assert scattered.findings[0].level == "warning"


@pytest.mark.parametrize("lengths", [[30, 12, 25, 7, 18, 22, 9, 28]])
def test_padding_end_to_end_is_not_an_ignored_class(lengths: list[int]) -> None:
    rng = np.random.default_rng(2)
    tokens = np.where(np.arange(30) < np.array(lengths)[:, None], rng.integers(1, 40, (8, 30)), 0)
    scores = rng.standard_normal((240, 40))
    for padded in (tokens.reshape(-1), tokens.T):  # rows end to end; time first
        found = doctor.check(scores.reshape(*padded.shape, 40), padded, ignore_index=0)
        assert [(one.rule, one.level) for one in found] == [("ignored-class", "note")]
    shuffled = doctor.check(scores, rng.permutation(tokens.reshape(-1)), ignore_index=0)
    assert shuffled.findings[0].level == "warning"


@pytest.mark.slow
def test_large_inputs_are_sampled() -> None:
    scores = np.zeros((5000, 1000), np.float32)
    scores[:, 0] = np.arange(5000)
    diagnosis = doctor.check(scores, np.zeros(5000, int))
    assert any("of 5,000 rows were sampled" in sentence for sentence in diagnosis.not_checked)
    target = np.zeros(5000, int)
    target[1777] = 1000  # labels are never sampled
    assert "labels-out-of-range" in doctor.check(scores, target).rules


def test_the_reported_digits_limit_the_comparison() -> None:
    means, counts = [0.5001, 0.5002], [64, 16]
    assert doctor.check_mean("0.500", means, counts).rules == ()
    assert doctor.check_mean("0.50015", means, counts).rules == ("mean-of-means",)


def test_broadcast_comparison_counts_pairs() -> None:
    predicted, target = np.array([[0], [1], [1], [0]]), np.array([0, 1, 1, 1])
    found = doctor.check_predictions(predicted, target).findings[0]
    assert found.rule == "broadcast-comparison"
    assert found.numbers["equal"] == int((predicted == target).sum())
    assert doctor.check_predictions([0, 1], [0, 1, 1]).rules == ()


def test_findings_are_ordered_by_severity(logits: np.ndarray, target: np.ndarray) -> None:
    diagnosis = doctor.check(logits, target + 1, weight=np.arange(1, 11), value=1.0)
    levels = [one.level for one in diagnosis]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)
    assert diagnosis.worst == "error"
    assert diagnosis.rules[0] in str(diagnosis)
    assert len(diagnosis.checked) == len(set(diagnosis.checked))
    assert (
        doctor.check(logits, target, value=float(softxent.cross_entropy(logits, target))).worst
        is None
    )


def test_shapes_that_do_not_match_are_a_finding() -> None:
    diagnosis = doctor.check(np.zeros((2, 3)), np.zeros((2, 4)))
    assert "unfitting-shapes" in diagnosis.rules
    assert diagnosis.worst == "error"


@pytest.mark.parametrize("count", [16, 20, 39])
def test_few_numbers_in_an_interval_are_a_note(count: int) -> None:
    scores = np.linspace(0.01, 0.99, count)
    once = doctor.check(scores, np.arange(count) % 2.0, loss="binary_cross_entropy_with_logits")
    assert once.worst in (None, "note")
    rows = scores[: count // 4 * 4].reshape(-1, 4)
    assert doctor.check(rows, np.arange(len(rows)) % 4).worst in (None, "note")


@pytest.mark.parametrize("loss", ["log_loss", "cross_entropy"])
def test_one_hot_scores_and_soft_targets_are_swapped(loss: str) -> None:
    labels = np.arange(12) % 3
    predicted = np.full((12, 3), 0.1) + 0.7 * np.eye(3)[labels]
    assert "swapped-arguments" in doctor.check(np.eye(3)[labels], predicted, loss=loss).rules
    assert "swapped-arguments" not in doctor.check(predicted, np.eye(3)[labels], loss=loss).rules


def test_columns_in_the_order_of_text() -> None:
    labels = np.arange(24) % 12
    logits = 8 * np.eye(12)[labels]
    order = sorted(range(12), key=str)
    found = {one.rule: one for one in doctor.check(logits[:, order], labels)}["column-order"]
    assert "order of the numbers as text" in found.evidence


def _weak(classes: int, strength: float, rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a weak model: each class is higher in its own column, by less than the noise."""
    rng = np.random.default_rng(classes)
    target = rng.integers(0, classes, rows)
    return strength * np.eye(classes)[target] + rng.standard_normal((rows, classes)), target


@pytest.mark.parametrize(("classes", "strength"), [(2, 6.0), (5, 5.0), (10, 1.6), (30, 2.5)])
def test_columns_of_weak_models(classes: int, strength: float) -> None:
    scores, target = _weak(classes, strength)
    assert "column-order" not in doctor.check(scores, target).rules
    order = np.random.default_rng(1).permutation(classes)
    order = order if np.any(order != np.arange(classes)) else order[::-1]
    (found,) = doctor.check(scores[:, order], target).above_notes()
    assert found.rule == "column-order"
    assert found.numbers["order"] == np.argsort(order).tolist()


def test_two_exchanged_columns() -> None:
    scores, target = _weak(10, 4.0)
    scores[:, [3, 7]] = scores[:, [7, 3]]
    (found,) = doctor.check(scores, target).above_notes()
    assert found.rule == "column-order"
    assert found.numbers["order"] == [0, 1, 2, 7, 4, 5, 6, 3, 8, 9]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("size", [0.3, 1.5, 3.0])
@pytest.mark.parametrize("classes", [8, 10, 26])
def test_column_order_of_an_untrained_model_is_not_claimed(
    classes: int, size: float, seed: int
) -> None:
    """With separated classes and random weights, some order of the columns always fits."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes, 600)
    scores = size * rng.standard_normal((classes, classes))[target]
    scores += 0.1 * rng.standard_normal(scores.shape)
    diagnosis = doctor.check(scores, target)
    assert diagnosis.above_notes() == ()
    assert any("the order of the columns" in words for words in diagnosis.not_checked)


@pytest.mark.parametrize("scale", [0.01, 0.3, 3.0, 30.0])
@pytest.mark.parametrize("classes", [3, 10, 100])
def test_swapped_arguments_of_every_kind(classes: int, scale: float) -> None:
    rng = np.random.default_rng(classes)
    logits, target = scale * rng.standard_normal((64, classes)), rng.integers(0, classes, 64)
    one_hot, probs = np.eye(classes)[target], softxent.softmax(logits)
    smooth, yes = 0.9 * one_hot + 0.1 / classes, (target == 0).astype(float)
    once = 1 / (1 + np.exp(-logits[:, 0]))
    right = [
        (logits, one_hot, "cross_entropy"),
        (logits, smooth, "cross_entropy"),
        (logits, target, "cross_entropy"),
        (logits, target.astype(float), "cross_entropy"),
        (logits, target[:, None], "cross_entropy"),
        (probs, one_hot, "cross_entropy"),
        (probs, one_hot, "log_loss"),
        (probs, smooth, "log_loss"),
        (softxent.log_softmax(logits), one_hot, "nll_loss"),
        (logits[:, 0], yes, "binary_cross_entropy_with_logits"),
        (once, yes, "binary_cross_entropy"),
    ]
    for scores, labels, loss in right:
        if loss == "log_loss" and labels is smooth and scale == 30:
            continue  # probabilities that rounded to 0 and 1 look like labels themselves
        assert "swapped-arguments" in doctor.check(labels, scores, loss=loss).rules, loss
        assert "swapped-arguments" not in doctor.check(scores, labels, loss=loss).rules, loss


def test_two_kinds_of_probabilities_have_no_order() -> None:
    rows = softxent.softmax(np.random.default_rng(0).standard_normal((2, 64, 10)))
    diagnosis = doctor.check(rows[0], rows[1], loss="log_loss")
    assert diagnosis.rules == ()
    assert "the order of the arguments: both are class probabilities." in diagnosis.not_checked


@pytest.mark.parametrize("classes", [2, 3, 5, 9, 30])
def test_sigmoid_of_an_untrained_model_is_more_than_a_note(classes: int) -> None:
    rng = np.random.default_rng(classes)
    logits, target = 0.2 * rng.standard_normal((64, classes)), rng.integers(0, classes, 64)
    (found,) = doctor.check(1 / (1 + np.exp(-logits)), target).findings
    assert (found.rule, found.level) == ("sigmoid-before-softmax", "warning")
    small = 0.1 * rng.standard_normal((64, classes)) + np.linspace(0.3, 0.9, classes)
    assert doctor.check(small, target).worst in (None, "note")


def test_sigmoid_twice_is_detected_by_the_labels() -> None:
    rng = np.random.default_rng(0)
    logits = rng.uniform(-2, 2, 1000)  # sigmoid: 0.12 to 0.88
    once = 1 / (1 + np.exp(-logits))
    yes = (rng.random(1000) < once).astype(float)
    for scores, loss in (
        (once, "binary_cross_entropy_with_logits"),
        (1 / (1 + np.exp(-once)), "binary_cross_entropy"),
    ):
        (found,) = doctor.check(scores, yes, loss=loss).findings
        assert (found.rule, found.level) == ("sigmoid-twice", "warning")
        assert found.numbers["loss_once"] < found.numbers["loss"]
        shuffled = rng.permutation(yes)
        assert doctor.check(scores, shuffled, loss=loss).worst == "note"
