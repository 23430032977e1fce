"""The derivations of the notes, step by step: the explanation shows the numbers they print."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import softxent
from softxent import Trace

# Untyped: some arguments are wrong on purpose, and attributes are None only without a target.
explain: Any = softxent.explain

NOTE = np.array([2, -1, 0.1], np.float32)  # a float32 tensor in the note


def lines(trace: Trace) -> list[str]:
    return [" ".join(line.split()) for line in trace.text().splitlines()]


def has(trace: Trace, *words: str) -> bool:
    """Whether some line has all the words."""
    return any(all(word in line for word in words) for line in lines(trace))


def logits_of(probabilities: list[float]) -> np.ndarray:
    """Logits whose softmax these probabilities are."""
    return np.log(probabilities)


def test_exponentials_then_probabilities_then_minus_log() -> None:
    trace = explain(NOTE, 2)
    assert has(trace, "class 0", "exp(2)", "= 7.38905609893065")
    # NumPy 1.26 rounds the last digit of exp(-1) differently from later versions.
    assert has(trace, "class 1", "exp(-1)", f"= {float(np.exp(-1.0))}")
    assert has(trace, "class 2", "= 1.1051709197224806")
    # The note divides each exponential by their sum, as printed here digit by digit.
    shares = trace.exponentials[0] / trace.exponential_sum[0]
    note = [0.8337810127228958, 0.04151151228426165, 0.12470747499284246]
    np.testing.assert_allclose(shares, note, rtol=5e-16)
    np.testing.assert_allclose(trace.probabilities[0], shares, rtol=5e-16)
    assert has(trace, "-log(0.1247074749928", "= 2.08178448428")
    assert f"{trace.computed.value:.4f}" == "2.0818"
    # In float32, as torch prints it with four digits.
    assert trace.computed.probabilities.round(4).tolist() == [
        [np.float32(0.8338), np.float32(0.0415), np.float32(0.1247)]
    ]


def test_the_one_hot_target_and_its_scalar_product() -> None:
    trace = explain(NOTE, [0, 0, 1.0])
    assert has(trace, "class 2", "1", "2.081784484", "2.081784484")
    assert has(trace, "loss = 2.08178448428")
    assert trace.mass.tolist() == [[0, 0, 1]]
    assert trace.mass[0] @ trace.probabilities[0] == explain(NOTE, 2).target_probability[0]


def test_softmax_of_the_second_note() -> None:
    trace = explain([2.0, 1.0, 0.1], 0)
    assert trace.probabilities.round(8).tolist() == [[0.65900114, 0.24243297, 0.09856589]]
    assert f"{trace.value:.15f}".startswith("0.41703001")
    # torch's float32 kernels printed 0.4170299470424652 and 0.41703000664711: neighbours.
    in_float32 = explain(np.array([2.0, 1.0, 0.1], np.float32), 0).computed.value
    assert in_float32 in (
        pytest.approx(0.4170299470424652, abs=1e-12),
        pytest.approx(0.41703000664711, abs=1e-12),
    )
    bad = explain(np.array([0.5, 2.0, 0.3], np.float32), 0)
    assert bad.computed.value == pytest.approx(1.840616226196289, abs=1e-12)
    assert has(bad, "softxent", "1.8406162")


@pytest.mark.parametrize(
    ("probabilities", "target", "loss"),
    [
        ([0.7, 0.2, 0.1], 0, 0.35667494393873245),
        ([0.1, 0.3, 0.6], 0, 2.3025850929940455),
        ([0.1, 0.15, 0.05, 0.6, 0.1], 3, -math.log(0.6)),
        ([0.15, 0.2, 0.4, 0.1, 0.15], 3, -math.log(0.1)),
        ([0.05, 0.15, 0.4, 0.3, 0.1], 3, -math.log(0.3)),
    ],
)
def test_logarithms_of_probabilities_are_logits(
    probabilities: list[float], target: int, loss: float
) -> None:
    trace = explain(logits_of(probabilities), target)
    np.testing.assert_allclose(trace.probabilities[0], probabilities, rtol=1e-14)
    assert trace.value == pytest.approx(loss, rel=1e-14)
    assert has(trace, f"= {loss:.10f}"[:12])


def test_the_larger_the_mistake_the_larger_the_loss() -> None:
    rows = [
        [0.1, 0.15, 0.05, 0.6, 0.1],
        [0.15, 0.2, 0.4, 0.1, 0.15],
        [0.05, 0.15, 0.4, 0.3, 0.1],
    ]
    right, far, near = explain([logits_of(row) for row in rows], [3, 3, 3]).losses
    assert right < near < far


def test_the_mean_of_three_rows_of_given_probabilities() -> None:
    rows = [[0.3, 0.3, 0.4], [0.3, 0.4, 0.3], [0.1, 0.2, 0.7]]
    trace = explain([logits_of(row) for row in rows], [2, 1, 0])
    np.testing.assert_allclose(trace.losses, -np.log([0.4, 0.4, 0.1]), rtol=1e-14)
    assert trace.value == pytest.approx(-(2 * math.log(0.4) + math.log(0.1)) / 3, rel=1e-14)
    assert trace.mean.weight == 3
    assert has(trace, "/ 3 = 1.37838")


@pytest.mark.parametrize(
    ("logits", "printed"),
    [
        ([[0.1, 0.2, 3.9], [1.2, 0.1, 0.3], [0.3, 2.2, 0.2]], "0.2834"),
        ([[0.9, 0.2, 0.1], [0.1, 0.3, 1.5], [1.2, 0.2, 0.5]], "1.6418"),
        ([[0.1, 0.2, 0.9], [1.1, 0.1, 0.2], [0.2, 2.1, 0.1]], "0.4966"),
        ([[0.8, 0.2, 0.3], [0.2, 0.3, 0.5], [0.2, 0.2, 0.5]], "1.2389"),
    ],
)
def test_batches(logits: list[list[float]], printed: str) -> None:
    trace = explain(np.array(logits, np.float32), [2, 0, 1])
    assert f"{trace.value:.4f}" == f"{trace.computed.value:.4f}" == printed
    assert has(trace, "The mean: the sum of the losses over 3 rows.")
    assert has(trace, "/ 3 = ", printed[:5])


def test_minus_one_plus_the_logarithm_of_the_sum() -> None:
    trace = explain([0.1, 0, 0, 1], 3)
    assert trace.probabilities.round(4).tolist() == [[0.1898, 0.1717, 0.1717, 0.4668]]
    by_hand = -1 + math.log(math.exp(0.1) + math.exp(0) + math.exp(0) + math.exp(1))
    assert trace.value == pytest.approx(by_hand, rel=1e-15)
    assert f"{trace.value:.4f}" == "0.7619"
    assert has(trace, "lse = 1 + log(", "= 1.76189334")
    assert has(trace, "loss = 1.76189334", "- 1 = 0.76189334")
    assert math.log(trace.exponential_sum[0]) == pytest.approx(trace.lse[0], rel=1e-15)
