"""Every rule has a seeded mistake in benches/doctor, which it detects, and a row in rates.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")  # the digits, which benches.doctor trains on
torch = pytest.importorskip("torch")

from benches.doctor.logs import broken_logs  # noqa: E402
from benches.doctor.mistakes import in_arrays, in_models, in_trainings  # noqa: E402
from benches.doctor.setups import STEPS, Scored, blobs, train  # noqa: E402
from softxent import doctor  # noqa: E402
from softxent.doctor.catalog import all_rules  # noqa: E402

RATES = Path(__file__).parents[2] / "docs" / "doctor" / "rates.md"
ROW = re.compile(
    r"^\| \[(?P<rule>[\w-]+)\]\([\w-]+\.md\) \| (?P<instances>\d+) \| (?P<found>\d+)", re.M
)


@pytest.fixture(scope="module")
def detected() -> dict[str, bool]:
    """For each rule that has a seeded mistake, whether it detects the first instance."""
    torch.manual_seed(0)
    data = blobs(10, 0)
    model = torch.nn.Sequential(
        torch.nn.Linear(data.x.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
    )
    train(model, data, STEPS[-1], torch.nn.CrossEntropyLoss(), [], 0)
    model.eval()
    with torch.no_grad():
        logits = model(data.x[-400:]).numpy()
    lines: list[dict[str, float]]
    scored = Scored(logits, data.y[-400:].numpy(), STEPS[-1])
    found: dict[str, bool] = {}
    generated: list[Any] = [
        *in_arrays(scored, np.random.default_rng(0)),
        *in_models(data, 0),
        *in_trainings(data, 1),
    ]
    for name, make in generated:
        if name not in found:
            found[name] = name in make().rules
    # A harder problem for the logs: the mistakes of some need wrong predictions.
    data, lines = blobs(100, 0), []
    train(torch.nn.Linear(24, 100), data, STEPS[-1], torch.nn.CrossEntropyLoss(), lines, 0)
    for name, _, text in broken_logs(lines, 1, np.random.default_rng(0)):
        found[name] = name in doctor.audit_log(text).rules
    return found


@pytest.mark.slow
def test_every_rule_has_a_seeded_mistake(detected: dict[str, bool]) -> None:
    missing = {rule.name for rule in all_rules()} - detected.keys()
    assert not missing, f"add a mistake to benches/doctor/mistakes.py or logs.py: {missing}"
    assert not detected.keys() - {rule.name for rule in all_rules()}, "no such rule"


def test_every_rule_detects_its_seeded_mistake(detected: dict[str, bool]) -> None:
    assert [name for name, found in detected.items() if not found] == []


def test_every_rule_has_a_row_in_the_page_of_rates() -> None:
    rows = {row["rule"]: row for row in ROW.finditer(RATES.read_text(encoding="utf-8"))}
    missing = {rule.name for rule in all_rules()} - rows.keys()
    assert not missing, f"run python -m benches.doctor --data DIR --write {RATES.name}: {missing}"
    assert not rows.keys() - {rule.name for rule in all_rules()}
    assert [name for name, row in rows.items() if int(row["found"]) < 1] == []


def test_no_healthy_set_up_has_a_finding_above_a_note() -> None:
    text = " ".join(RATES.read_text(encoding="utf-8").split())
    assert re.search(r"\*\*0 of [1-9]\d\d+ had a finding above a note\*\*", text)
