"""Every number of the four notes that softxent starts from, through the public functions.

The notes are in German, English, Chinese and English; the section comments give their numbers. What
a note prints is quoted to all of its digits. Where a note is wrong, the test says what is right.
`docs/notes.md` lists all of it, and the last section here holds it to what it says.
"""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softxent
from softxent.errors import TargetError
from tests.support.oracle import cross_entropy as exact_cross_entropy
from tests.support.oracle import rounded, ulps


class Kind:
    """NumPy or torch; either makes float32 arrays unless told otherwise, as torch does."""

    def __init__(self, name: str) -> None:
        self._torch = pytest.importorskip("torch") if name == "torch" else None

    def __call__(self, values: Any, dtype: str = "float32") -> Any:
        array = np.array(values, dtype)
        return array if self._torch is None else self._torch.from_numpy(array)

    def labels(self, values: Any) -> Any:
        return self(values, "int64")


@pytest.fixture(params=["numpy", "torch"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param)


def printed(values: Any, digits: int) -> list[str]:
    return [f"{v:.{digits}f}" for v in np.asarray(values, np.float64).reshape(-1)]


# --- 1, German: softmax and cross-entropy by hand ------------------------------------------------

COLOURS = [[2, -1, 0.1]]
TWO_POINTS = [[2, -1, 0.1], [2.5, 2, 1.8]]


def test_softmax_of_a_point(kind: Kind) -> None:
    p = softxent.softmax(kind(COLOURS))
    assert printed(p, 4) == ["0.8338", "0.0415", "0.1247"]


def test_softmax_by_hand() -> None:
    """The note widens float32 logits, so that it prints exp(0.10000000149), not exp(0.1)."""
    trace = softxent.explain(np.array(COLOURS, np.float32))
    exponentials = [7.38905609893065, 0.36787944117144233, 1.1051709197224806]
    normalised = [0.8337810127228958, 0.04151151228426165, 0.12470747499284246]
    np.testing.assert_array_max_ulp(trace.exponentials[0], np.array(exponentials), 1)
    by_hand = trace.exponentials[0] / trace.exponential_sum
    np.testing.assert_array_max_ulp(by_hand, np.array(normalised), 1)
    np.testing.assert_array_max_ulp(trace.probabilities[0], np.array(normalised), 1)
    widened = softxent.softmax(np.array(COLOURS, np.float32).astype(np.float64))
    np.testing.assert_array_max_ulp(widened[0], np.array(normalised), 1)
    assert math.exp(0.1) != exponentials[2]


def test_softmax_of_a_batch(kind: Kind) -> None:
    p = softxent.softmax(kind(TWO_POINTS))
    assert printed(p, 4) == ["0.8338", "0.0415", "0.1247", "0.4755", "0.2884", "0.2361"]


def test_the_loss_is_2_0818(kind: Kind) -> None:
    logits = kind(COLOURS)
    assert printed(softxent.cross_entropy(logits, kind.labels([2])), 4) == ["2.0818"]
    assert printed(-softxent.log_softmax(logits)[0, 2], 4) == ["2.0818"]
    assert printed(softxent.log_loss(softxent.softmax(logits), kind.labels([2])), 4) == ["2.0818"]


def test_one_hot_times_softmax_is_the_targets_probability(kind: Kind) -> None:
    p = softxent.softmax(kind(COLOURS))
    onehot = softxent.one_hot(kind.labels([2]), 3)
    assert np.asarray(onehot).tolist() == [[0, 0, 1]]
    assert printed((p * onehot).sum(), 4) == ["0.1247"]
    assert printed(softxent.cross_entropy(kind(COLOURS), onehot), 4) == ["2.0818"]


# --- 2, English: probabilities, logits, batches, two networks ------------------------------------

SCORES = [2.0, 1.0, 0.1]
GOOD, BAD = [[2.0, 1.0, 0.1]], [[0.5, 2.0, 0.3]]
BATCH_GOOD = [[0.1, 0.2, 3.9], [1.2, 0.1, 0.3], [0.3, 2.2, 0.2]]
BATCH_BAD = [[0.9, 0.2, 0.1], [0.1, 0.3, 1.5], [1.2, 0.2, 0.5]]
BATCH_CLASSES = [2, 0, 1]


def test_softmax_of_scores(kind: Kind) -> None:
    assert printed(softxent.softmax(kind(SCORES, "float64")), 8) == [
        "0.65900114",
        "0.24243297",
        "0.09856589",
    ]
    assert printed(softxent.softmax(kind(SCORES)), 4) == ["0.6590", "0.2424", "0.0986"]


@pytest.mark.parametrize(
    ("probabilities", "loss"),
    [([0.7, 0.2, 0.1], 0.35667494393873245), ([0.1, 0.3, 0.6], 2.3025850929940455)],
)
def test_loss_of_probabilities(kind: Kind, probabilities: Any, loss: float) -> None:
    """Notes 2 and 4."""
    p = kind([probabilities], "float64")
    for target in (kind.labels([0]), kind.labels([[1, 0, 0]])):
        got = softxent.log_loss(p, target)
        np.testing.assert_array_max_ulp(np.asarray(got), np.array(loss), 1)


# What notes 2 and 4 print for the same two rows of logits and the target 0, in float32. The exact
# loss of the first is 0.4170300164247...: note 4 has the float32 next to it, note 2 (and today's
# torch) the second one below.
SINGLE = [(GOOD, 0.4170299470424652), (GOOD, 0.41703000664711), (BAD, 1.840616226196289)]


@pytest.mark.parametrize(("logits", "note"), SINGLE)
def test_loss_of_logits(kind: Kind, logits: Any, note: float) -> None:
    exact = exact_cross_entropy(np.array(logits[0], np.float32), 0).loss
    got = softxent.cross_entropy(kind(logits), kind.labels([0]))
    assert got.dtype in (np.float32, kind._torch and kind._torch.float32)
    assert ulps(np.float32(got), exact) <= 1
    np.testing.assert_array_max_ulp(np.float32(note), rounded(exact, np.float32), 2)
    assert float(np.float32(note)) == note  # the note prints all digits of a float32


def test_which_of_the_two_prints_is_right() -> None:
    """Our float32 loss is the correctly rounded one: note 4's."""
    assert softxent.cross_entropy(np.array(GOOD, np.float32), [0]).item() == 0.41703000664711
    assert softxent.cross_entropy(np.array(BAD, np.float32), [0]).item() == 1.840616226196289
    assert np.float32(0.41703000664711) - np.float32(0.4170299470424652) == 2 * np.spacing(
        np.float32(0.417)
    )


def test_predictions(kind: Kind) -> None:
    assert softxent.top_k(kind(GOOD), 1)[1].tolist() == [[0]]
    assert softxent.top_k(kind(BAD), 1)[1].tolist() == [[1]]
    assert softxent.top_k(kind(BATCH_GOOD), 1)[1].reshape(-1).tolist() == [2, 0, 1]
    assert softxent.top_k(kind(BATCH_BAD), 1)[1].reshape(-1).tolist() == [0, 2, 0]


@pytest.mark.parametrize(("logits", "loss"), [(BATCH_GOOD, "0.2834"), (BATCH_BAD, "1.6418")])
def test_loss_of_a_batch(kind: Kind, logits: Any, loss: str) -> None:
    assert printed(softxent.cross_entropy(kind(logits), kind.labels(BATCH_CLASSES)), 4) == [loss]


class TestNetworks:
    """The two networks of note 2, with softxent's losses and with torch's."""

    @staticmethod
    def network(outputs: int, *last: Any) -> Any:
        torch = pytest.importorskip("torch")
        torch.manual_seed(0)
        nn = torch.nn
        return nn.Sequential(nn.Linear(28 * 28, 5), nn.ReLU(), nn.Linear(5, outputs), *last)

    @staticmethod
    def train(model: Any, loss_of: Any, x: Any, y: Any) -> tuple[list[float], list[Any]]:
        torch = pytest.importorskip("torch")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        losses = []
        for _ in range(5):
            optimizer.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses, [p.detach().clone() for p in model.parameters()]

    def same_training(self, outputs: int, last: Any, ours: Any, theirs: Any, y: Any) -> None:
        torch = pytest.importorskip("torch")
        x = torch.rand(16, 28 * 28, generator=torch.Generator().manual_seed(1))
        losses, parameters = self.train(self.network(outputs, *last), ours, x, y)
        want_losses, want_parameters = self.train(self.network(outputs, *last), theirs, x, y)
        assert losses[-1] < losses[0]
        np.testing.assert_allclose(losses, want_losses, rtol=1e-5)
        for got, want in zip(parameters, want_parameters, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)

    def test_two_classes_by_sigmoid(self) -> None:
        torch = pytest.importorskip("torch")
        y = (torch.arange(16) % 2).float().reshape(16, 1)
        self.same_training(
            1,
            [torch.nn.Sigmoid()],
            softxent.binary_cross_entropy,
            torch.nn.functional.binary_cross_entropy,
            y,
        )
        # The same network without its sigmoid, and the loss that has one in it.
        self.same_training(
            1,
            [],
            softxent.binary_cross_entropy_with_logits,
            torch.nn.functional.binary_cross_entropy_with_logits,
            y,
        )

    def test_three_classes_by_softmax(self) -> None:
        torch = pytest.importorskip("torch")
        self.same_training(
            3, [], softxent.cross_entropy, torch.nn.functional.cross_entropy, torch.arange(16) % 3
        )

    def test_ten_classes_and_five_layers(self) -> None:
        """The network of note 4, 784-520-320-240-120-10: one pass forward and back."""
        torch = pytest.importorskip("torch")
        torch.manual_seed(0)
        widths = [784, 520, 320, 240, 120, 10]
        layers: list[Any] = []
        for a, b in itertools.pairwise(widths):
            layers += [torch.nn.Linear(a, b), torch.nn.ReLU()]
        model = torch.nn.Sequential(*layers[:-1])
        assert sum(p.numel() for p in model.parameters()) == 682_090
        x, y = torch.rand(64, 784), torch.arange(64) % 10
        gradients = []
        for loss_of in (softxent.cross_entropy, torch.nn.functional.cross_entropy):
            model.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            gradients.append([loss.detach()] + [p.grad.clone() for p in model.parameters()])
        for got, want in zip(*gradients, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-7)


# --- 3, Chinese: where the logits come from, and the loss by formula -----------------------------


def test_top_one_and_top_n(kind: Kind) -> None:
    """Probabilities [0.4, 0.1, 0.2, 0.3]: class 0, and a short list."""
    p = kind([0.4, 0.1, 0.2, 0.3])
    assert softxent.top_k(p, 1)[1].tolist() == [0]
    assert softxent.top_k(p, 3)[1].tolist() == [0, 3, 2]


def test_a_fully_connected_layer(kind: Kind) -> None:
    """WX: 7 classes, 100 feature maps of 4 x 4 flattened to N = 1600; softmax over T x 1."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 4, 4)).reshape(-1, 1)
    assert features.shape == (1600, 1)
    w = rng.normal(0, 0.05, (7, 1600))
    logits = w @ features
    p = np.asarray(softxent.softmax(kind(logits, "float64"), axis=0))
    assert p.shape == (7, 1)
    assert ((p > 0) & (p < 1)).all()
    assert p.sum() == pytest.approx(1)
    assert softxent.top_k(kind(logits), 1, axis=0)[1].tolist() == [[int(logits.argmax())]]


# p and y of three samples; L_1 = L_2 = -log 0.4, L_3 = -log 0.1
THREE = [[0.3, 0.3, 0.4], [0.3, 0.4, 0.3], [0.1, 0.2, 0.7]]
THREE_ONE_HOT = [[0, 0, 1], [0, 1, 0], [1, 0, 0]]


def test_three_samples(kind: Kind) -> None:
    p = kind(THREE, "float64")
    losses = [-math.log(0.4), -math.log(0.4), -math.log(0.1)]
    for target in (kind.labels(THREE_ONE_HOT), kind.labels([2, 1, 0])):
        each = softxent.log_loss(p, target, reduction="none")
        np.testing.assert_allclose(each, losses, rtol=1e-15)
        mean = softxent.log_loss(p, target)
        assert float(mean) == pytest.approx(sum(losses) / 3, rel=1e-15)
        assert printed(mean, 4) == ["1.3784"]


FIVE = {
    "right": [0.1, 0.15, 0.05, 0.6, 0.1],
    "wrong": [0.05, 0.15, 0.4, 0.3, 0.1],
    "far off": [0.15, 0.2, 0.4, 0.1, 0.15],
}


def test_the_more_wrong_the_more_loss(kind: Kind) -> None:
    """-log 0.6 < -log 0.3 < -log 0.1."""
    target = kind.labels([[0, 0, 0, 1, 0]])
    losses = {
        name: float(softxent.log_loss(kind([p], "float64"), target)) for name, p in FIVE.items()
    }
    assert losses["right"] == pytest.approx(-math.log(0.6), rel=1e-15)
    assert losses["wrong"] == pytest.approx(-math.log(0.3), rel=1e-15)
    assert losses["far off"] == pytest.approx(-math.log(0.1), rel=1e-15)
    assert losses["right"] < losses["wrong"] < losses["far off"]
    predictions = {name: softxent.top_k(kind(p), 1)[1].item() for name, p in FIVE.items()}
    assert predictions == {"right": 3, "wrong": 2, "far off": 2}


@pytest.mark.parametrize("logits", [BATCH_GOOD, BATCH_BAD])
def test_the_losses_are_one(kind: Kind, logits: Any) -> None:
    """Cross-entropy of softmax's outputs, softmax loss, and NLL of log-softmax (notes 2, 3, 4)."""
    z, y = kind(logits, "float64"), kind.labels(BATCH_CLASSES)
    softmax_loss = float(softxent.cross_entropy(z, y))
    of_outputs = softxent.log_loss(softxent.softmax(z), y)
    assert float(of_outputs) == pytest.approx(softmax_loss, rel=1e-14)
    nll = softxent.nll_loss(softxent.log_softmax(z), y)
    assert float(nll) == pytest.approx(softmax_loss, rel=1e-14)
    np.testing.assert_allclose(
        softxent.log_softmax(z), np.log(np.asarray(softxent.softmax(z))), rtol=1e-14
    )


def test_log_softmax_is_better_with_small_probabilities(kind: Kind) -> None:
    z = kind([[0.0, -200.0]])
    assert float(softxent.softmax(z)[0, 1]) == 0  # in float32
    assert float(softxent.log_softmax(z)[0, 1]) == -200


# --- 4, English: ten outputs, batches, a loss by hand, a training log ----------------------------

LOGITS = [[0.1, 0, 0, 1]]
BATCH_1 = [[0.1, 0.2, 0.9], [1.1, 0.1, 0.2], [0.2, 2.1, 0.1]]
BATCH_2 = [[0.8, 0.2, 0.3], [0.2, 0.3, 0.5], [0.2, 0.2, 0.5]]


def test_ten_outputs(kind: Kind) -> None:
    """XW = y: n rows of two features, ten outputs a row, a softmax a row."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 2)) @ rng.normal(size=(2, 10))
    p = np.asarray(softxent.softmax(kind(logits, "float64"), axis=1))
    assert p.shape == (6, 10)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-15)


# 0.4966353476047516 is the second float32 above the exact 0.496635297573679...
@pytest.mark.parametrize(
    ("logits", "note"), [(BATCH_1, 0.4966353476047516), (BATCH_2, 1.2388995885849)]
)
def test_losses_of_its_batches(kind: Kind, logits: Any, note: float) -> None:
    rows = np.array(logits, np.float32)
    exact = (
        sum(exact_cross_entropy(z, y).loss for z, y in zip(rows, BATCH_CLASSES, strict=True)) / 3
    )
    got = softxent.cross_entropy(kind(logits), kind.labels(BATCH_CLASSES))
    assert ulps(np.float32(got), exact) <= 1
    np.testing.assert_array_max_ulp(np.float32(note), rounded(exact, np.float32), 2)
    assert float(np.float32(note)) == note


def test_the_right_prints_of_its_batches() -> None:
    losses = [
        softxent.cross_entropy(np.array(b, np.float32), BATCH_CLASSES).item()
        for b in (BATCH_1, BATCH_2)
    ]
    assert losses == [0.4966352880001068, 1.2388995885849]


def test_softmax_of_four_logits(kind: Kind) -> None:
    p = softxent.softmax(kind(LOGITS))
    assert printed(p, 4) == ["0.1898", "0.1717", "0.1717", "0.4668"]


def test_the_loss_is_0_7619(kind: Kind) -> None:
    assert printed(softxent.cross_entropy(kind(LOGITS), kind.labels([3])), 4) == ["0.7619"]
    exact = softxent.cross_entropy(kind(LOGITS, "float64"), kind.labels([3]))
    np.testing.assert_array_max_ulp(np.asarray(exact), np.array(0.7618933412552511), 1)
    lse = softxent.logsumexp(kind(LOGITS, "float64"))  # -1 + log(exp 0.1 + exp 0 + exp 0 + exp 1)
    np.testing.assert_array_max_ulp(np.asarray(lse)[0] - 1, 0.7618933412552511, 2)


# --- what the notes get wrong --------------------------------------------------------------------


def test_softmax_over_axis_0_mixes_samples() -> None:
    """Note 2's NumPy softmax: right for one row, wrong for a batch."""

    def theirs(x: Any) -> Any:
        return np.exp(x) / np.sum(np.exp(x), axis=0)

    row, batch = np.array(SCORES), np.array(TWO_POINTS, float)
    np.testing.assert_allclose(theirs(row), softxent.softmax(row), rtol=1e-15)
    assert (np.abs(theirs(batch).sum(axis=1) - 1) > 0.1).all()
    np.testing.assert_allclose(softxent.softmax(batch).sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_allclose(theirs(batch), softxent.softmax(batch, axis=0), rtol=1e-14)


def test_without_a_shift_it_overflows(kind: Kind) -> None:
    x = np.array([1000.0, 999.0])
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isnan(np.exp(x) / np.sum(np.exp(x))).all()
    p = softxent.softmax(kind(x, "float64"))
    np.testing.assert_allclose(p, [1 / (1 + math.exp(-1)), 1 / (1 + math.e)], rtol=1e-15)


def test_its_cross_entropy_is_a_sum() -> None:
    """Note 2's cross_entropy doesn't divide by the rows: twice the rows, twice the loss."""
    p, y = np.array(THREE), np.array(THREE_ONE_HOT)
    theirs = -np.sum(y * np.log(p))
    assert softxent.log_loss(p, y, reduction="sum") == pytest.approx(theirs, rel=1e-15)
    assert softxent.log_loss(p, y) == pytest.approx(theirs / 3, rel=1e-15)
    twice = softxent.log_loss(np.vstack([p, p]), np.vstack([y, y]))
    assert twice == pytest.approx(theirs / 3, rel=1e-15)


def test_the_label_is_3_not_4(kind: Kind) -> None:
    """Note 3 calls y = [0, 0, 0, 1, 0] the label 4: counted from 0 it is 3."""
    p = kind([FIVE["right"]], "float64")
    assert np.asarray(softxent.one_hot(kind.labels(3), 5)).tolist() == [0, 0, 0, 1, 0]
    by_three, by_four = (float(softxent.log_loss(p, kind.labels([y]))) for y in (3, 4))
    assert by_three == pytest.approx(-math.log(0.6))
    assert by_four == pytest.approx(-math.log(0.1))  # another class's loss, and nothing says so
    fourth = softxent.top_k(kind(LOGITS), 1)[1].item()  # which note 4 calls the "3rd column"
    assert fourth == 3
    with pytest.raises(TargetError, match="start at 1"):
        softxent.log_loss(kind(THREE, "float64"), kind.labels([1, 2, 3]))


def test_a_rounded_probability_costs_digits() -> None:
    """Note 4 calls -log(0.4668) the same result: it is another number from the fifth digit on."""
    exact = float(softxent.cross_entropy(np.array(LOGITS), [3]))
    rounded_off = float(softxent.log_loss(np.array([[0.1898, 0.1717, 0.1717, 0.4668]]), [3]))
    assert rounded_off == pytest.approx(0.7618543785697361, rel=1e-15)
    assert f"{exact:.4f}" == "0.7619" == f"{rounded_off:.4f}"
    assert f"{exact:.5f}" == "0.76189"
    assert f"{rounded_off:.5f}" == "0.76185"


# Average loss, correct of 10,000, and the percentage, as note 4 prints them.
LOG = [
    (0.0261, 5546, 55),
    (0.0070, 8688, 86),
    (0.0047, 9107, 91),
    (0.0034, 9406, 94),
    (0.0027, 9505, 95),
    (0.0022, 9597, 95),
    (0.0020, 9619, 96),
    (0.0019, 9633, 96),
    (0.0017, 9696, 96),
]
ROWS, BATCH = 10_000, 64


def test_means_of_batches_divided_by_rows() -> None:
    """157 batch means over 10,000 rows: 63.7 times too small."""
    batches = math.ceil(ROWS / BATCH)
    assert batches == 157
    assert f"{ROWS / batches:.1f}" == "63.7"
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(ROWS, 10)), rng.integers(0, 10, ROWS)
    cuts = range(0, ROWS, BATCH)
    means = [softxent.cross_entropy(logits[i : i + BATCH], target[i : i + BATCH]) for i in cuts]
    assert len(means) == batches
    theirs = sum(means) / ROWS
    epoch = softxent.Mean(0.0, 0)
    for i in cuts:
        part = slice(i, i + BATCH)
        total = softxent.cross_entropy(logits[part], target[part], reduction="sum")
        epoch += softxent.Mean(float(total), len(target[part]))
    assert epoch.weight == ROWS
    assert epoch.value == pytest.approx(softxent.cross_entropy(logits, target), rel=1e-13)
    assert epoch.value / theirs == pytest.approx(63.7, rel=2e-3)  # the last batch has 16 rows


@pytest.mark.parametrize(("loss", "correct", "percent"), LOG)
def test_its_test_losses_can_not_be_true(loss: float, correct: int, percent: int) -> None:
    """A wrong prediction costs at least log 2: its class is not ahead of another."""
    least = (ROWS - correct) / ROWS * math.log(2)
    assert loss < least < loss * ROWS / 157


def test_a_wrong_prediction_costs_log_2(kind: Kind) -> None:
    tied = softxent.cross_entropy(kind([[1.0, 1.0, -50.0]], "float64"), kind.labels([1]))
    assert float(tied) == pytest.approx(math.log(2), rel=1e-14)


def test_its_percentages_are_cut() -> None:
    right = [round(100 * correct / ROWS) for _, correct, _ in LOG]
    assert [percent for *_, percent in LOG] == [100 * correct // ROWS for _, correct, _ in LOG]
    wrong = {
        correct: (percent, better)
        for (_, correct, percent), better in zip(LOG, right, strict=True)
        if percent != better
    }
    assert wrong == {8688: (86, 87), 9597: (95, 96), 9696: (96, 97)}


# --- docs/notes.md -------------------------------------------------------------------------------

DOCUMENT = Path(__file__).parents[1] / "docs" / "notes.md"
NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?")


def tables(text: str) -> list[list[str]]:
    """The cells of every row of every table with the columns `call` and `softxent`."""
    rows, columns = [], None
    for line in text.splitlines():
        if not line.startswith("|"):
            columns = None
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if columns is None:
            columns = cells
        elif "call" in columns and not set(line) <= set("|- "):
            rows.append(cells)
    return rows


def agree(said: str, got: str) -> None:
    """The same words, and the same numbers to the last printed digit, give or take one."""
    assert NUMBER.sub("#", said) == NUMBER.sub("#", got)
    for a, b in zip(NUMBER.findall(said), NUMBER.findall(got), strict=True):
        digits = len(a.partition(".")[2])
        assert abs(float(a) - float(b)) <= max(10.0**-digits, 2**-52 * abs(float(a))), (a, b)


def test_the_document() -> None:
    """Each call in docs/notes.md gives what stands beside it, and that is the note's number."""
    text = DOCUMENT.read_text(encoding="utf-8")
    names: dict[str, Any] = {"np": np}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    rows = tables(text)
    assert len(rows) >= 35
    for _, note, call, ours in rows:
        result = eval(call.strip("`"), names)
        agree(ours.strip("`"), " ".join(str(result).split()))
        if "*" not in note:  # a star: the note's number is not the right one
            digits = [len(n.partition(".")[2]) for n in NUMBER.findall(note)]
            for ours_number, said, places in zip(
                NUMBER.findall(ours), NUMBER.findall(note), digits, strict=True
            ):
                assert abs(float(ours_number) - float(said)) <= 0.51 * 10.0**-places + (
                    2**-52 * abs(float(said))
                ), (note, ours)


def test_a_wrong_document_would_fail() -> None:
    with pytest.raises(AssertionError):
        agree("0.8338", "0.8340")
    with pytest.raises(AssertionError):
        agree("[0.5 0.5]", "[0.5, 0.5]")
    agree("0.8338", "0.83379")
