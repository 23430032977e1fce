"""The twenty-five classic mistakes that users report: each is detected by its rule."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import softxent
from softxent import doctor
from softxent.doctor import Diagnosis, check, check_mean, check_predictions

RNG = np.random.default_rng(7)
LOGITS = 2 * RNG.standard_normal((96, 5))
TARGET = RNG.integers(0, 5, 96)
TENSOR, INDEX = torch.from_numpy(LOGITS), torch.from_numpy(TARGET)
PROBS, LOG_PROBS = softxent.softmax(LOGITS), softxent.log_softmax(LOGITS)
SURE = 9 * np.eye(12)[RNG.integers(0, 12, 600)] + RNG.standard_normal((600, 12))
WEIGHT = np.array([1.0, 9, 1, 9, 1])
BINARY = "binary_cross_entropy_with_logits"


def _tokens() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    target = rng.integers(0, 5, (40, 5))
    return 6 * np.eye(5)[target] + rng.standard_normal((40, 5, 5)), target


TOKENS = _tokens()


def _guessed() -> np.ndarray:
    logits = LOGITS.copy()
    logits[32:64] = np.random.default_rng(3).random((32, 5))
    return logits


def _naive() -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(softxent.softmax((60 * LOGITS).astype(np.float32))))


MISTAKES: dict[str, tuple[str, Callable[[], Diagnosis]]] = {
    "1 softmax before the loss": ("softmax-twice", lambda: check(PROBS, TARGET)),
    "2 logits as probabilities": (
        "logits-as-probabilities",
        lambda: check(LOGITS, TARGET, loss="log_loss"),
    ),
    "3 a second logarithm": (
        "log-probabilities-as-probabilities",
        lambda: check(LOG_PROBS, TARGET, loss="log_loss"),
    ),
    "4 NLLLoss of probabilities": (
        "probabilities-as-log-probabilities",
        lambda: check(PROBS, TARGET, loss="nll_loss"),
    ),
    "5 one-hot integers": (
        "one-hot-integers",
        lambda: check(TENSOR, torch.nn.functional.one_hot(INDEX, 5)),
    ),
    "5 a column": ("column-target", lambda: check(TENSOR, INDEX[:, None])),
    "6 float indices": ("float-indices", lambda: check(TENSOR, INDEX.double())),
    "6 int32 indices": ("narrow-indices", lambda: check(TENSOR, INDEX.int())),
    "7 labels from 1": ("labels-from-one", lambda: check(LOGITS, TARGET + 1)),
    "7 -1 for no label": (
        "labels-out-of-range",
        lambda: check(LOGITS, np.where(TARGET == 3, -1, TARGET)),
    ),
    "8 all ignored": ("all-ignored", lambda: check(LOGITS, np.full(96, -100))),
    "9 ignore_index is a class": (
        "ignored-class",
        lambda: check(LOGITS, TARGET, ignore_index=0),
    ),
    "10 divided by the weights": (
        "weighted-mean",
        lambda: check(LOGITS, TARGET, weight=WEIGHT),
    ),
    "10 inert weights": (
        "weight-without-effect",
        lambda: check(LOGITS[:1], TARGET[:1], weight=WEIGHT),
    ),
    "10 one-hot and weights": (
        "weights-against-one-hot",
        lambda: check(LOGITS, np.eye(5)[TARGET], weight=3 * WEIGHT),
    ),
    "11 weights bend smoothing": (
        "weights-bend-smoothing",
        lambda: check(LOGITS, TARGET, weight=WEIGHT**3, label_smoothing=0.2),
    ),
    "11 smoothing of masked classes": (
        "masked-smoothing",
        lambda: check(
            np.where(np.arange(5) == 4, -np.inf, LOGITS), TARGET % 4, label_smoothing=0.1
        ),
    ),
    "12 batch means over rows": (
        "batch-means-over-rows",
        lambda: check_mean("0.1111", [1.0, 2.0, 3.0], [20, 20, 14]),
    ),
    "12 in a log": (
        "impossible-loss",
        lambda: doctor.audit_log("Test set: Average loss: 0.0017, Accuracy: 9696/10000 (97%)"),
    ),
    "13 a short last batch": ("mean-of-means", lambda: check_mean("2.0", [1, 2, 3], [20, 20, 3])),
    "14 unequal micro-batches": (
        "accumulated-means",
        lambda: check_mean("2.0", [1, 2, 3], [512, 37, 260]),
    ),
    "15 log of softmax": ("log-of-softmax", lambda: check(_naive(), TARGET, loss="nll_loss")),
    "16 class ids in a binary loss": (
        "class-ids-in-binary-loss",
        lambda: check(LOGITS[:, 0], TARGET.astype(float), loss=BINARY),
    ),
    "17 sigmoid twice": (
        "sigmoid-twice",
        lambda: check(1 / (1 + np.exp(-3 * LOGITS[:, 0])), TARGET % 2.0, loss=BINARY),
    ),
    "18 softmax over the batch": (
        "softmax-over-batch",
        lambda: check(softxent.softmax(LOGITS, axis=0), TARGET, loss="log_loss"),
    ),
    "19 (N, L, C)": (
        "ambiguous-axis",
        lambda: check(torch.from_numpy(TOKENS[0]), torch.from_numpy(TOKENS[1])),
    ),
    "19 view for permute": (
        "view-for-permute",
        lambda: check(np.tile(TOKENS[0], 2).reshape(40, 10, 5), TOKENS[1], axis=1),
    ),
    "20 one sample of N classes": ("one-row", lambda: check(LOGITS[:, 0], TARGET % 2.0)),
    "20 one class": ("one-class", lambda: check(LOGITS[:, :1], np.zeros(96, int))),
    "21 6 of 4 correct": (
        "broadcast-comparison",
        lambda: check_predictions(TARGET[:, None], TARGET),
    ),
    "22 unnormalised": ("unnormalised-target", lambda: check(LOGITS, 2 * np.eye(5)[TARGET])),
    "22 negative": ("negative-target", lambda: check(LOGITS, np.eye(5)[TARGET] - 0.1)),
    "22 swapped": ("swapped-arguments", lambda: check(np.eye(5)[TARGET], LOGITS)),
    "23 a metric that guesses": ("guessed-probabilities", lambda: check(_guessed(), TARGET)),
    "24 a missing class": (
        "absent-class",
        lambda: check(np.tile(PROBS, (2, 1)), np.tile(TARGET % 4, 2), loss="log_loss"),
    ),
    "24 column order": (
        "column-order",
        lambda: check(SURE[:, np.argsort(np.array(list(map(str, range(12)))))], SURE.argmax(1)),
    ),
    "25 temperature of probabilities": (
        "temperature-on-probabilities",
        lambda: check(PROBS, TARGET, temperature=0.4),
    ),
    "25 temperature not fitted": (
        "temperature-not-fitted",
        lambda: check(SURE, SURE.argmax(1), temperature=8.0),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_rule_detects_it_with_complete_evidence(mistake: str) -> None:
    rule, make = MISTAKES[mistake]
    diagnosis = make()
    found = {one.rule: one for one in diagnosis}
    assert rule in found, diagnosis.rules
    one = found[rule]
    assert any(character.isdigit() for character in one.evidence), "evidence has numbers"
    assert one.numbers
    assert one.confidence in ("certain", "likely", "possible")
    assert one.why
    assert one.remedy
    assert "\n" not in one.remedy
    assert one.not_checked


def test_every_mistake_is_covered() -> None:
    assert {int(name.split()[0]) for name in MISTAKES} == set(range(1, 26))
