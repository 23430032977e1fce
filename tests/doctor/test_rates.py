"""Every rule has a seeded mistake in benches/doctor, which it detects, and a row in rates.md.

A healthy set-up runs through all rules; the page of rates counts many more of them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("sklearn")  # the digits, which benches.doctor trains on
torch = pytest.importorskip("torch")

from torch.nn import Module  # noqa: E402

from benches.doctor.healthy import diagnoses_of  # noqa: E402
from benches.doctor.logs import FORMATS, broken_logs, curve_of  # noqa: E402
from benches.doctor.loops import broken_loops  # noqa: E402
from benches.doctor.mistakes import in_arrays, in_models, in_trainings  # noqa: E402
from benches.doctor.setups import STEPS, Data, Scored, blobs, train  # noqa: E402
from softxent import doctor  # noqa: E402
from softxent.doctor import Diagnosis  # noqa: E402
from softxent.doctor.catalog import all_rules  # noqa: E402
from softxent.doctor.finding import Finding  # noqa: E402

RATES = Path(__file__).parents[2] / "docs" / "doctor" / "rates.md"
ROW = re.compile(
    r"^\| \[(?P<rule>[\w-]+)\]\([\w-]+\.md\) \| (?P<instances>\d+) \| (?P<found>\d+)", re.M
)


class Trained(NamedTuple):
    """A healthy model, its data, its log and what `watch` observed."""

    model: Module
    data: Data
    lines: list[dict[str, float]]
    watched: Diagnosis


@pytest.fixture(scope="module")
def trained() -> Trained:
    torch.manual_seed(0)
    data = blobs(10, 0)
    model = torch.nn.Sequential(
        torch.nn.Linear(data.x.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
    )
    lines: list[dict[str, float]] = []
    loss = torch.nn.CrossEntropyLoss()
    with doctor.watch(model, loss) as watching:
        train(model, data, STEPS[-1], loss, lines, 0)
    model.eval()
    return Trained(model, data, lines, watching.diagnosis)


def _finding(rule: str, diagnosis: Diagnosis) -> Finding | None:
    return next((one for one in diagnosis if one.rule == rule), None)


@pytest.fixture(scope="module")
def detected(trained: Trained) -> dict[str, Finding | None]:
    """For each rule that has a seeded mistake, what it finds in the first instance."""
    data = trained.data
    with torch.no_grad():
        logits = trained.model(data.x[-400:]).numpy()
    lines: list[dict[str, float]]
    scored = Scored(logits, data.y[-400:].numpy(), STEPS[-1])
    found: dict[str, Finding | None] = {}
    generated: list[Any] = [
        *in_arrays(scored, np.random.default_rng(0)),
        *in_models(data, 0),
        *broken_loops(data, 0),
        *in_trainings(data, 1),
    ]
    for name, make in generated:
        if name not in found:
            found[name] = _finding(name, make())
    # A harder problem for the logs: the mistakes of some need wrong predictions.
    data, lines = blobs(100, 0), []
    train(torch.nn.Linear(24, 100), data, STEPS[-1], torch.nn.CrossEntropyLoss(), lines, 0)
    for name, _, text in broken_logs(lines, 1, np.random.default_rng(0)):
        found[name] = _finding(name, doctor.audit_log(text))
    return found


@pytest.mark.slow
def test_every_rule_has_a_seeded_mistake(detected: dict[str, Finding | None]) -> None:
    missing = {rule.name for rule in all_rules()} - detected.keys()
    assert not missing, f"add a mistake to benches/doctor/mistakes.py or logs.py: {missing}"
    assert not detected.keys() - {rule.name for rule in all_rules()}, "no such rule"


def test_every_rule_detects_its_seeded_mistake(detected: dict[str, Finding | None]) -> None:
    assert [name for name, found in detected.items() if found is None] == []


def test_every_rule_gives_its_evidence(detected: dict[str, Finding | None]) -> None:
    for name, finding in detected.items():
        assert finding is not None, name
        for part in ("evidence", "numbers", "why", "remedy", "not_checked"):
            assert getattr(finding, part), f"{name}: its finding has no {part}"
        assert "\n" not in finding.remedy, f"{name}: the remedy is one line"


def test_every_rule_detects_95_percent() -> None:
    """Of the mistakes with a trained model; rows with ", after N steps" are not counted."""
    rows = ROW.finditer(RATES.read_text(encoding="utf-8"))
    weak = [row["rule"] for row in rows if int(row["found"]) < 0.95 * int(row["instances"])]
    assert not weak, f"less than 95% of the seeded mistakes are detected: {weak}"


def test_a_healthy_set_up_has_no_finding_above_a_note(trained: Trained) -> None:
    curve = curve_of(trained.lines)
    diagnoses = [
        *diagnoses_of(trained.model, trained.data, np.random.default_rng(0)),
        ("watch", trained.watched),
        *((name, doctor.audit_log(write(curve))) for name, write in FORMATS.items()),
    ]
    for how, diagnosis in diagnoses:
        assert diagnosis.above_notes() == (), how
    checked = {rule for _, diagnosis in diagnoses for rule in diagnosis.checked}
    assert checked == {rule.name for rule in all_rules()}


def test_every_rule_has_a_row_in_the_page_of_rates() -> None:
    rows = {row["rule"]: row for row in ROW.finditer(RATES.read_text(encoding="utf-8"))}
    missing = {rule.name for rule in all_rules()} - rows.keys()
    assert not missing, f"run python -m benches.doctor --data DIR --write {RATES.name}: {missing}"
    assert not rows.keys() - {rule.name for rule in all_rules()}
    assert [name for name, row in rows.items() if int(row["found"]) < 1] == []


def test_no_healthy_set_up_has_a_finding_above_a_note() -> None:
    text = " ".join(RATES.read_text(encoding="utf-8").split())
    assert re.search(r"\*\*0 of [1-9]\d\d+ had a finding above a note\*\*", text)
