"""`audit_log`: the formats that it reads, and the arithmetic of its rules."""

from __future__ import annotations

import json
import math

import pytest

from softxent import doctor
from softxent.doctor.logs.read_log import read
from softxent.errors import DataError, OptionError

# The log of the last note in docs/notes.md: batch means were added up and divided by the rows.
NOTE = """\
Test set: Average loss: 0.0261, Accuracy: 5546/10000 (55%)


Test set: Average loss: 0.0070, Accuracy: 8688/10000 (86%)


Test set: Average loss: 0.0047, Accuracy: 9107/10000 (91%)


Test set: Average loss: 0.0034, Accuracy: 9406/10000 (94%)


Test set: Average loss: 0.0027, Accuracy: 9505/10000 (95%)


Test set: Average loss: 0.0022, Accuracy: 9597/10000 (95%)


Test set: Average loss: 0.0020, Accuracy: 9619/10000 (96%)


Test set: Average loss: 0.0019, Accuracy: 9633/10000 (96%)


Test set: Average loss: 0.0017, Accuracy: 9696/10000 (96%)
"""


def test_a_log_with_batch_means_divided_by_rows() -> None:
    diagnosis = doctor.audit_log(NOTE)
    assert diagnosis.rules == ("impossible-loss", "cut-percentage")
    loss, percentage = diagnosis.findings

    assert loss.level == "error"
    assert loss.confidence == "certain"
    assert "Every test loss is impossible" in loss.evidence
    assert "10000/157 = 63.7" in loss.evidence
    assert loss.numbers["batch_size"] == 64
    assert loss.numbers["factor"] == pytest.approx(10000 / 157)
    printed = [0.0261, 0.0070, 0.0047, 0.0034, 0.0027, 0.0022, 0.0020, 0.0019, 0.0017]
    assert loss.numbers["printed"] == printed
    assert loss.numbers["true"] == pytest.approx([x * 10000 / 157 for x in printed])
    for true in ("1.662 ± 0.003", "0.446 ± 0.003", "0.108 ± 0.003"):
        assert true in loss.evidence

    for text in ('"8688/10000 (86%)"', '"9597/10000 (95%)" and "9696/10000 (96%)"'):
        assert text in percentage.evidence
    assert "truncated, not rounded" in percentage.evidence
    assert len(percentage.numbers["printed"]) == 3
    assert percentage.numbers["rounded"] == ["87%", "96%", "97%"]


def test_the_same_log_with_correct_numbers_has_no_finding() -> None:
    true = NOTE
    for row in read(NOTE).rows:
        assert row.loss is not None
        assert row.accuracy is not None
        true = true.replace(row.loss.text, f"{row.loss.value * 10000 / 157:.4f}")
    for cut, rounded in (
        ("8688/10000 (86", "8688/10000 (87"),
        ("9597/10000 (95", "9597/10000 (96"),
    ):
        true = true.replace(cut, rounded)
    assert doctor.audit_log(true.replace("9696/10000 (96", "9696/10000 (97")).rules == ()


@pytest.mark.parametrize(
    ("known", "size"),
    [
        ({"batch_size": 128}, 128),
        ({"text": "batch_size = 32\n"}, 32),
        ({"text": "batch_size = 32\nbatch_size = 100\n"}, 64),  # ambiguous
        (
            {
                "text": "".join(
                    f"Train Epoch: 1 [{rows}/60000 ({rows // 600}%)]\tLoss: 2.301\n"
                    for rows in range(0, 6400, 1280)
                )
            },
            128,
        ),
    ],
)
def test_source_of_the_batch_size(known: dict[str, object], size: int) -> None:
    text = str(known.pop("text", "")) + NOTE
    found = doctor.audit_log(text, **known).findings[0]  # type: ignore[arg-type]
    assert found.rule == "impossible-loss"
    assert found.numbers["batch_size"] == size
    assert found.numbers["factor"] == pytest.approx(10000 / math.ceil(10000 / size))


def test_impossible_loss_on_both_sides_of_the_bound() -> None:
    bound = (1 - 0.9) * math.log(2)
    line = "test loss {:.6f}  accuracy 900/1000 (90.0%)"
    assert doctor.audit_log(line.format(bound + 1e-5)).rules == ()
    assert doctor.audit_log(line.format(bound - 1e-5)).rules == ("impossible-loss",)
    # A rounded percentage may stand for a higher accuracy.
    assert (
        doctor.audit_log(f"test loss {(1 - 0.91) * math.log(2) + 1e-3:.6f}  accuracy 90%").rules
        == ()
    )


def test_a_loss_too_small_for_any_batch_size_has_no_factor() -> None:
    found = doctor.audit_log("test loss 0.00000  accuracy 50/100 (50%)").findings[0]
    assert found.rule == "impossible-loss"
    assert "factor" not in found.numbers


@pytest.mark.parametrize(
    ("text", "split", "loss", "accuracy"),
    [
        ("Test set: Average loss: 0.4459, Accuracy: 8688/10000 (87%)", "test", 0.4459, 0.8688),
        ("Train Epoch: 1 [640/60000 (1%)]\tLoss: 2.301234", "train", 2.301234, None),
        ("epoch 3/9  train loss 0.1234  test loss 0.1311  accuracy 9611/10000 (96.11%)",
         "test", 0.1311, 0.9611),
        ("157/157 [=====] - 1s 2ms/step - loss: 0.3012 - accuracy: 0.9123", "", 0.3012, 0.9123),
        ("157/157 [=====] - 1s - loss: 0.3 - accuracy: 0.9 - val_loss: 0.41 - val_accuracy: 0.88",
         "validation", 0.41, 0.88),
        ("\x1b[1m157/157\x1b[0m \x1b[32m━━━━\x1b[0m 1s 2ms/step - accuracy: 0.9123 - loss: 0.3012",
         "", 0.3012, 0.9123),
        ("  1/157 [..] - loss: 2.3\r157/157 [==] - loss: 0.3012 - acc: 0.9123", "", 0.3012, 0.9123),
        ("{'eval_loss': 0.3012, 'eval_accuracy': 0.9123, 'epoch': 1.0}", "test", 0.3012, 0.9123),
        ('{"epoch": 2, "val_loss": 0.3012, "val_acc": 91.23}', "validation", 0.3012, 0.9123),
        ('INFO metrics {"val": {"loss": 0.3012, "acc1": 0.9123}}', "validation", 0.3012, 0.9123),
        ("Test Error: \n Accuracy: 64.6%, Avg loss: 1.091234 \n", "test", 1.091234, 0.646),
        ("[ Epoch 7 ] valLoss=0.3012 valAcc=91.23%", "validation", 0.3012, 0.9123),
        ("epoch,step,train_loss,val_loss,val_acc\n0,99,0.5,,\n0,99,,0.3012,0.9123\n",
         "validation", 0.3012, 0.9123),
        ("epoch;loss;val_loss;val_accuracy\n1;0.5;0.3012;0.9123", "validation", 0.3012, 0.9123),
        ("Epoch 3: | val loss 3.012e-1 | val top-1 accuracy 91.23%", "validation", 0.3012, 0.9123),
    ],
)  # fmt: skip
def test_formats(text: str, split: str, loss: float, accuracy: float | None) -> None:
    row = next(row for row in read(text).rows if row.split == split and row.loss)
    assert row.loss is not None
    assert row.loss.value == pytest.approx(loss)
    if accuracy is None:
        assert row.accuracy is None
    else:
        assert row.accuracy is not None
        assert row.accuracy.value == pytest.approx(accuracy)


def test_whole_json_files() -> None:
    history = {"loss": [0.9, 0.5], "val_loss": [0.8, 0.6], "val_accuracy": [0.7, 0.8], "lr": [1, 1]}
    rows = read(json.dumps(history, indent=1)).rows
    assert [(row.split, row.loss.value) for row in rows if row.loss] == [
        ("", 0.9), ("validation", 0.8), ("", 0.5), ("validation", 0.6),
    ]  # fmt: skip
    state = {
        "best_metric": 0.4,
        "log_history": [{"loss": 1.2, "epoch": 0.5}, {"eval_loss": 0.4, "epoch": 1.0}],
    }
    rows = read(json.dumps(state, indent=2)).rows
    assert [(row.split, row.epoch, row.loss.value) for row in rows if row.loss] == [
        ("", 0.5, 1.2), ("test", 1.0, 0.4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["box_loss: 0.02, top5_acc: 0.99", "best val loss 0.1", "loss_scale: 65536", "info: 3"]
)
def test_names_that_mean_something_else_are_not_read(text: str) -> None:
    assert read(text).rows == ()


def test_nan_in_every_format() -> None:
    for text in (
        "loss: nan",
        "{'loss': nan, 'epoch': 1}",
        '{"loss": NaN}',
        "epoch,loss,acc\n1,nan,0.1",
        '{"loss": "nan"}',
        "train loss inf",
    ):
        assert doctor.audit_log(text).rules == ("loss-not-finite",), text


def test_learning_rates_and_steps_are_not_losses() -> None:
    rows = read("epoch 2 step 300 lr 0.001 loss 0.25 grad_norm 3.0").rows
    assert [row.loss.value for row in rows if row.loss] == [0.25]
    assert rows[0].epoch == 2


def test_nothing_to_read() -> None:
    with pytest.raises(DataError, match=r"^\[audit_log\] the log holds no loss"):
        doctor.audit_log("hello\n")
    with pytest.raises(DataError):
        doctor.audit_log("")
    with pytest.raises(OptionError, match="classes is 1"):
        doctor.audit_log("loss 1.0", classes=1)
    with pytest.raises(OptionError, match="batch_size is 0"):
        doctor.audit_log("loss 1.0", batch_size=0)


@pytest.mark.parametrize(
    "junk", ["{", "{'a': ", "[1,2", "\x00\x01", "loss", "loss:", "a,b\n1", "é" * 9999]
)
def test_junk_raises_a_data_error(junk: str) -> None:
    with pytest.raises(DataError):
        doctor.audit_log(junk)


@pytest.mark.parametrize(
    "long",
    ["word " * 40000, "{" * 100000, "a," * 100000 + "\n1", "loss" + " " * 50000, "9" * 200000],
)
@pytest.mark.slow
def test_long_lines_are_refused(long: str) -> None:
    with pytest.raises(DataError):
        doctor.audit_log(long)


def test_text_has_no_colours_and_80_columns() -> None:
    lines = str(doctor.audit_log(NOTE)).split("\n")
    assert max(map(len, lines)) <= 80
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize(
    "line",
    [
        "Epoch 3: Test Accuracy: 91.20%, Loss: 0.0123",
        "val_acc: 0.912 | loss: 0.0123",
        "val_auc: 0.912, loss: 0.0123, accuracy: 0.912",
        "Epoch [5/5], Loss: 0.0123, Accuracy: 91.2%",
        "loss: 0.0123 - accuracy: 0.912",
    ],
)
def test_a_loss_of_an_unknown_split_is_a_note_at_most(line: str) -> None:
    assert doctor.audit_log(line).worst in (None, "note")
    assert all(row.split == "" for row in read(line).rows if row.loss)


@pytest.mark.parametrize(
    ("line", "level", "confidence"),
    [
        ("test loss 0.0070, accuracy: 8688/10000 (87%)", "warning", "likely"),  # inherited
        ("Test set: loss 0.0070, accuracy: 86.88%", "warning", "likely"),  # not counted
        ("{'eval_loss': 0.0981, 'eval_accuracy': 0.4213, 'eval_f1': 0.61}", "warning", "likely"),
        ("Test set: loss 0.0070, accuracy: 8688/10000 (87%)", "error", "certain"),
    ],
)
def test_only_counted_rows_make_an_impossible_loss_an_error(
    line: str, level: str, confidence: str
) -> None:
    (found,) = doctor.audit_log(line)
    assert (found.rule, found.level, found.confidence) == ("impossible-loss", level, confidence)
    assert "averaged over labels" in found.not_checked
    assert "a loss per token" in found.not_checked


@pytest.mark.parametrize(
    ("text", "split", "loss", "accuracy"),
    [
        ("Test set: loss: 0.4459, Accuracy: 8,688/10,000 (87%)", "test", 0.4459, 0.8688),
        ("test loss: 0,4459, test acc: 0,87", "test", 0.4459, 0.87),
        ("epoch;val_loss;val_acc\n1;0,4459;86,88%\n", "validation", 0.4459, 0.8688),
        ("epoch,val_loss,val_acc\n1,0.4459,86.88%\n", "validation", 0.4459, 0.8688),
        ("│  test_acc  │  0.8688  │\n│  test_loss  │  0.4459  │\n", "test", 0.4459, 0.8688),
        ("   test_acc        0.8688\n   test_loss       0.4459\n", "test", 0.4459, 0.8688),
        (
            "| Training Loss | Epoch | Validation Loss | Accuracy |\n"
            "|:-------------:|:-----:|:---------------:|:--------:|\n"
            "| No log        | 1.0   | 0.4459          | 0.8688   |\n",
            "validation", 0.4459, 0.8688,
        ),
        (
            "  epoch    train_loss    valid_acc    valid_loss     dur\n"
            "-------  ------------  -----------  ------------  ------\n"
            "      1        0.8387       \x1b[32m0.8688\x1b[0m        0.4459  0.1012\n",
            "validation", 0.4459, 0.8688,
        ),
        (
            "done\n{'loss': [1.2, 0.9], 'val_loss': [0.4459, 0.3], 'val_accuracy': [0.8688, 0.9]}",
            "validation", 0.4459, 0.8688,
        ),
    ],
)  # fmt: skip
def test_formats_with_tables_and_commas(
    text: str, split: str, loss: float, accuracy: float
) -> None:
    row = next(row for row in read(text).rows if row.split == split)
    assert row.loss is not None
    assert row.accuracy is not None
    assert row.loss.value == pytest.approx(loss)
    assert row.accuracy.value == pytest.approx(accuracy)


def test_a_printed_history_has_one_row_per_epoch() -> None:
    rows = read("{'loss': [1.25, 0.9],\n 'val_loss': [1.0, 0.75]}").rows
    assert [(row.split, row.loss.value) for row in rows if row.loss] == [
        ("", 1.25), ("validation", 1.0), ("", 0.9), ("validation", 0.75),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "Accuracy: 8,688",
        "Test set: Average loss: 0.4459, Accuracy: 8,688",
        "Test set: Average loss: 0.4459, Accuracy: 8688",
        '{"eval_loss": 0.4459, "eval_accuracy": 8688}',
    ],
)
def test_a_count_without_a_total_is_not_a_percentage(text: str) -> None:
    log = read(text)
    assert not any(row.accuracy for row in log.rows)
    assert log.uncounted == (1,)


def test_a_count_without_a_total_is_listed_as_not_checked() -> None:
    diagnosis = doctor.audit_log("test loss 0.4459, test accuracy 8,688")
    assert diagnosis.rules == ()
    assert any("without a total: line 1." in words for words in diagnosis.not_checked)


@pytest.mark.parametrize(
    ("text", "accuracy"),
    [
        ("Verlust: 0,4459\nloss: 0,4459, accuracy: 86,880", 0.8688),
        ("loss: 1,25, accuracy: 8,688", 0.08688),
        ("loss: 1.25, accuracy: 8,688/10,000", 0.8688),
        ("loss: 1.25, accuracy: 100", 1.0),
    ],
)
def test_the_whole_log_decides_what_a_comma_means(text: str, accuracy: float) -> None:
    (row,) = (row for row in read(text).rows if row.accuracy)
    assert row.accuracy is not None
    assert row.accuracy.value == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("training", "level", "confidence"),
    [
        (None, "warning", "likely"),
        ([0.9, 0.6, 0.3], "error", "certain"),
        # Too low as well, as if both were averaged over labels.
        ([0.12, 0.08, 0.04], "warning", "likely"),
    ],
)
def test_percentages_are_certain_if_the_training_loss_fits_them(
    training: list[float] | None, level: str, confidence: str
) -> None:
    text = ""
    for epoch, loss in enumerate([0.012, 0.008, 0.004]):
        text += f"Train Epoch: {epoch} Loss: {training[epoch]}\n" if training else ""
        text += f"Test set: Average loss: {loss}, Accuracy: 86.8%\n"
    (found,) = doctor.audit_log(text).findings
    assert (found.rule, found.level, found.confidence) == ("impossible-loss", level, confidence)


@pytest.mark.parametrize("extra", [2.0, 20.0])
def test_a_term_only_in_the_training_loss_is_not_a_factor(extra: float) -> None:
    held_out = [1.2, 0.6, 0.3, 0.15, 0.08, 0.04]
    lines = "epoch {}  train loss {:.4f}  test loss {:.4f}"
    regular = "\n".join(lines.format(i, extra + x, x) for i, x in enumerate(held_out))
    assert doctor.audit_log(regular).rules == ()
    divided = "\n".join(lines.format(i, 1.1 * x, x / 64) for i, x in enumerate(held_out))
    assert doctor.audit_log(divided).rules == ("small-held-out-loss",)


def test_an_undivided_training_loss_is_named() -> None:
    lines = [f"epoch {i} train loss {812.3 / i:.1f} val loss {0.64 / i:.4f}" for i in range(1, 5)]
    (finding,) = doctor.audit_log("\n".join(lines)).findings
    assert finding.rule == "small-held-out-loss"
    assert "like a sum over about" in finding.evidence
    assert "len(loader)" in finding.remedy


def _val(accuracy: float, off: float = 0.0, classes: int = 10) -> str:
    loss = math.log1p((classes - 1) / math.e) + 1 - accuracy + off
    return f"val_loss: {loss:.4f} val_acc: {accuracy:.4f}"


@pytest.mark.parametrize(
    ("lines", "severity"),
    [
        (["val_loss: 2.3620 val_acc: 0.0991"] * 3, "warning"),
        (["val_loss: 2.3620 val_acc: 0.0991"], "note"),
        ([_val(a) for a in (0.0991, 0.1012, 0.0980)], "warning"),
        ([_val(a) for a in (0.31, 0.42, 0.53, 0.6)], "warning"),
        ([_val(a, 0.002) for a in (0.31, 0.42, 0.53, 0.6)], "warning"),
        ([_val(a, 0.005) for a in (0.31, 0.42, 0.53)], None),
        ([_val(0.0991, 0.001)] * 3, None),  # equal lines count as one
        ([_val(a) for a in (0.15, 0.155, 0.16, 0.165, 0.17)], "warning"),
        ([_val(a) for a in (0.16, 0.165, 0.17)], None),  # as high as that of a calibrated model
    ],
)
def test_a_collapsed_double_softmax(lines: list[str], severity: str | None) -> None:
    diagnosis = doctor.audit_log("\n".join(lines), classes=10)
    assert diagnosis.rules == (("loss-floor",) if severity else ())
    assert diagnosis.worst == severity


@pytest.mark.parametrize("share", [0.68, 0.70, 0.72, 0.75, 0.8])
def test_a_calibrated_binary_model_is_no_double_softmax(share: float) -> None:
    """Near 70% its loss is almost the same, since it has the same slope."""
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    lines = [f"val_loss: {entropy + i / 1000:.4f} val_acc: {share:.4f}" for i in range(4)]
    assert doctor.audit_log("\n".join(lines), classes=2).above_notes() == ()


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("Found 900 images belonging to 10 classes.", 10),
        ("num_classes: 7", 7),
        ("Namespace(lr=0.1, num_classes=26)", 26),
        ("{'num_labels': 3}", 3),
        ("10 classes, later 12 classes", None),
        ("1.5 classes", None),
        ("classes: 0.5", None),
    ],
)
def test_the_number_of_classes_is_read(text: str, classes: int | None) -> None:
    assert read(f"{text}\nloss 0.5").written_classes == classes


def test_overfitting_is_a_warning_if_the_probabilities_are_worthless() -> None:
    line = "epoch {}  train loss {:.4f}  val loss {:.4f}  accuracy 41/60 (68.33%)"
    rising = [line.format(i, 0.55 * 0.2**i, 0.8 + i) for i in range(5)]
    text = "\n".join(rising)
    for classes, severity in ((2, "warning"), (100, "note"), (None, "note")):
        (finding,) = doctor.audit_log(text, classes=classes)
        assert (finding.rule, finding.severity) == ("overfitting", severity)
    falling = [line.format(i, 0.7 * 0.2**i, 0.8 - 0.1 * i) for i in range(5)]
    assert doctor.audit_log("\n".join(falling), classes=2).rules == ()
    both_rise = [line.format(i, 0.7 + i, 0.8 + i) for i in range(5)]
    assert "overfitting" not in doctor.audit_log("\n".join(both_rise)).rules


def test_negative_and_zero_losses_of_a_policy_are_healthy() -> None:
    policy = "\n".join(f"episode {i} loss: -0.{i}2 reward: {i}.0" for i in range(5))
    assert doctor.audit_log(policy).rules == ()
    steps = "\n".join(str({"loss": 0.0, "grad_norm": 0.3, "epoch": i}) for i in range(5))
    assert doctor.audit_log(steps).rules == ()
    one_class = steps.replace("0.3", "0.0")
    assert doctor.audit_log(one_class).rules == ("zero-loss",)


def test_single_nan_gradients_are_a_note() -> None:
    lines = [str({"loss": 1.5, "grad_norm": 0.3 if i != 2 else math.nan}) for i in range(6)]
    assert doctor.audit_log("\n".join(lines)).worst == "note"
    last = [str({"loss": 1.5, "grad_norm": 0.3 if i < 3 else math.nan}) for i in range(6)]
    assert doctor.audit_log("\n".join(last)).worst == "error"
