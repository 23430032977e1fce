"""`select=` and `ignore=` choose the rules that run, in every function of the doctor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from softxent import doctor
from softxent.doctor import Diagnosis
from softxent.doctor.catalog import JUDGED_BY, all_rules
from softxent.doctor.finding import SEVERITIES, Evidence
from softxent.doctor.registry import Rule
from softxent.errors import OptionError

PROBS = np.full((4, 3), 1 / 3)
LOG = "Test set: Average loss: 0.0017, Accuracy: 9696/10000 (96%)"


def _examine(**options: Any) -> Diagnosis:
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Softmax(dim=1))
    batch = torch.eye(4).repeat(4, 1), torch.arange(16) % 4
    return doctor.examine(model, batch, torch.nn.CrossEntropyLoss(), **options)


def _watch(**options: Any) -> Diagnosis:
    torch = pytest.importorskip("torch")
    model, loss = torch.nn.Linear(4, 4), torch.nn.CrossEntropyLoss()
    with doctor.watch(model, loss, **options) as watching:
        for _ in range(9):
            loss(model(torch.eye(4)).softmax(dim=1), torch.arange(4))
    return watching.diagnosis


# Each function, on an input in which it finds several mistakes, and two rules that find them.
FUNCTIONS: dict[str, tuple[Callable[..., Diagnosis], str, str]] = {
    "check": (
        lambda **o: doctor.check(PROBS, [0, 1, 2, 0], **o),
        "softmax-twice",
        "constant-scores",
    ),
    "check_mean": (
        lambda **o: doctor.check_mean(0.075, [2.0, 4.0], [64, 16], **o),
        "batch-means-over-rows",
        "mean-of-means",
    ),
    "check_predictions": (
        lambda **o: doctor.check_predictions([[0], [1]], [0, 1], correct=3, **o),
        "broadcast-comparison",
        "more-correct-than-rows",
    ),
    "audit_log": (lambda **o: doctor.audit_log(LOG, **o), "impossible-loss", "cut-percentage"),
    "examine": (_examine, "softmax-twice", "activation-before-loss"),
    "watch": (_watch, "softmax-twice", "never-updated"),
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_select_and_ignore(function: str) -> None:
    call, first, second = FUNCTIONS[function]
    everything = call()
    assert first in everything.rules

    only = call(select=[first])
    assert only.checked == (first,)
    assert only.rules == (first,)

    without = call(ignore=[first])
    assert set(without.checked) == set(everything.checked) - {first}
    assert set(without.rules) == set(everything.rules) - {first}

    both = call(select=[first, second], ignore=[first])
    assert both.checked == (second,)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("option", ["select", "ignore"])
def test_an_unknown_name_is_an_error_with_a_suggestion(function: str, option: str) -> None:
    call, first, _ = FUNCTIONS[function]
    misspelled = first.replace("-", "_") + "s"
    with pytest.raises(OptionError) as error:
        call(**{option: [misspelled]})
    message = str(error.value)
    assert message.startswith(f"[{function}] {option} names {misspelled!r}")
    assert f"Did you mean {first!r}" in message
    assert "softxent doctor --rules" in message


def test_a_name_that_resembles_none_gets_no_suggestion() -> None:
    with pytest.raises(OptionError, match=r"there is no such rule\. `softxent doctor --rules`"):
        doctor.check(PROBS, ignore=["qqqq"])


def test_a_string_holds_names_with_commas_between_them() -> None:
    names = "softmax-twice, constant-scores"
    assert doctor.check(PROBS, select=names).checked == ("softmax-twice", "constant-scores")
    assert doctor.check(PROBS, ignore="softmax-twice").rules == ("constant-scores",)


def test_one_list_serves_all_functions() -> None:
    ignored = ["softmax-twice", "cut-percentage", "never-updated"]
    assert doctor.check(PROBS, ignore=ignored).rules == ("constant-scores",)
    assert doctor.audit_log(LOG, ignore=ignored).rules == ("impossible-loss",)
    assert doctor.audit_log(LOG, select=["softmax-twice", "cut-percentage"]).checked == (
        "cut-percentage",
    )


def test_no_rule_left_is_an_error() -> None:
    with pytest.raises(OptionError, match=r"leave no rule to run.*cut-percentage \(audit_log\)"):
        doctor.check(PROBS, select=["cut-percentage"])
    with pytest.raises(OptionError, match=r"^\[check_predictions\] select and ignore leave no"):
        doctor.check_predictions([0], [0], ignore=[one.name for one in all_rules("predictions")])


def test_ignored_rules_do_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    own = Rule.__call__

    def recorded(self: Rule, case: Any) -> Any:
        ran.append(self.name)
        return own(self, case)

    monkeypatch.setattr(Rule, "__call__", recorded)
    doctor.check(PROBS, [0, 1, 2, 0], ignore=["softmax-twice", "one-row"])
    assert len(ran) == len(all_rules("arrays")) - 2
    assert not {"softmax-twice", "one-row"} & set(ran)


def test_what_only_an_ignored_rule_checks_is_not_reported_as_unchecked() -> None:
    """Without the rule on denominators there is no request for the reported value."""
    logits = np.random.default_rng(0).standard_normal((8, 3))
    request = "the reduction: pass value="
    assert any(request in one for one in doctor.check(logits, [0] * 8).not_checked)
    without = doctor.check(logits, [0] * 8, ignore="wrong-denominator")
    assert not any(request in one for one in without.not_checked)


def test_examine_trains_nothing_without_a_rule_on_models(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")

    built: list[object] = []  # what is raised in a training step is reported, so steps are counted
    own = torch.optim.Adam.__init__

    def recorded(self: object, *args: Any, **kwargs: Any) -> None:
        built.append(self)
        own(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "__init__", recorded)
    assert _examine(select="softmax-twice").rules == ("softmax-twice",)
    assert not built
    _examine(select="cannot-overfit")
    assert built


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.name)
def test_every_rule_can_be_selected_and_ignored(rule: Rule) -> None:
    from softxent.doctor.selection import RuleSelection

    function = JUDGED_BY[rule.subject][0]
    selection = RuleSelection.of(function, rule.subject, select=[rule.name], ignore=())
    assert selection.rules == (rule,)
    others = RuleSelection.of(function, rule.subject, select=None, ignore=[rule.name])
    assert others.rules == tuple(one for one in all_rules(rule.subject) if one is not rule)
    assert rule.severity in SEVERITIES


def test_a_finding_has_at_most_the_severity_of_its_rule() -> None:
    def judge(severity: Any) -> Evidence:
        return Evidence(
            severity=severity, text="", numbers={}, confidence="likely", why="", remedy="",
            not_checked="",
        )  # fmt: skip

    rule = Rule("some-rule", "arrays", "warning", judge, "A title.", {})
    for lower in (None, "note", "warning"):
        found = rule(lower)
        assert found is not None
        assert found.severity == (lower or "warning")
        assert found.level == found.severity
    with pytest.raises(AssertionError, match="some-rule"):
        rule("error")


def test_text_shows_rule_and_severity() -> None:
    finding = doctor.check(PROBS, [0, 1, 2, 0]).findings[0]
    assert (finding.rule, finding.severity) == ("softmax-twice", "error")
    expected = "error: Probabilities go into a loss that applies softmax itself. [softmax-twice]"
    assert expected in str(doctor.check(PROBS, [0, 1, 2, 0])).split("\n")
    assert str(finding).startswith(expected)
