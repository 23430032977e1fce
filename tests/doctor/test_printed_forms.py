"""Numbers as libraries print them: each printer with a healthy and with a broken loss.

The lines are what each library printed, or what its documentation shows.
"""

from __future__ import annotations

import doctest
import math
from typing import NamedTuple

import pytest

from softxent import doctor
from softxent.doctor.logs import number_forms
from softxent.doctor.logs.number_forms import plain_lists, plain_numbers
from softxent.doctor.logs.read_log import read


class Printer(NamedTuple):
    """A line of a printer with a place for the loss, and how it prints three values there.

    `split` is the one that the loss belongs to.
    """

    line: str
    healthy: str  # 2.3026, as printed
    nan: str
    infinity: str
    split: str = ""


F_STRING = ("2.3026", "nan", "inf")
TENSOR = ("tensor(2.3026)", "tensor(nan)", "tensor(inf)")
BAR = "Epoch 1: 100%|██████████| 4/4 [00:00<00:00, 142.82it/s, v_num=0, {}]"
FIT = "2/2 ━━━━━━━━━━━━━━━━━━━━ 0s 8ms/step - accuracy: 0.3542 - loss: {} - val_accuracy: 0.1250"
CELLS = "│    test_acc     │      0.25       │\n│    test_loss    │{:^17}│"
CARD = (
    "| Training Loss | Epoch | Validation Loss |\n|:-:|:-:|:-:|\n| No log        | 1.0   | {}   |"
)

PRINTERS: dict[str, Printer] = {
    "an f-string": Printer("epoch 3 loss: {}", *F_STRING),
    "an f-string, no colon": Printer("step 40 | loss {} | norm 0.31", *F_STRING),
    "an f-string with a sign": Printer("loss = {}", "+2.3026", "+nan", "+inf"),
    "an f-string padded with zeros": Printer("loss: {}", "00002.3026", "0000000nan", "0000000inf"),
    "an f-string with quotes": Printer('level=info loss="{}"', *F_STRING),
    "repr of a tensor": Printer("loss: {}", *TENSOR),
    "a tensor on a GPU": Printer(
        "loss: {}",
        "tensor(2.3026, device='cuda:0', grad_fn=<NllLossBackward0>)",
        "tensor(nan, device='cuda:0', grad_fn=<DivBackward0>)",
        "tensor(inf, device='cuda:0', dtype=torch.float16)",
    ),
    "a tensor that requires a gradient": Printer(
        "loss {}",
        "tensor(2.3026, requires_grad=True)",
        "tensor(nan, requires_grad=True)",
        "tensor(inf, dtype=torch.bfloat16, requires_grad=True)",
    ),
    "a tensor of one element": Printer(
        "loss: {}", "tensor([2.3026])", "tensor([nan])", "tensor([[inf]])"
    ),
    "a tensor in a dict": Printer("{{'loss': {}, 'step': 3}}", *TENSOR),
    "NumPy 2 in a dict": Printer(
        "{{'loss': {}}}", "np.float32(2.3026)", "np.float64(nan)", "np.float16(inf)"
    ),
    "an array of NumPy in a dict": Printer(
        "{{'loss': {}}}", "array(2.3026, dtype=float32)", "array(nan)", "array(inf, dtype=float32)"
    ),
    "an array of NumPy": Printer("loss: {}", "[2.3026]", "[nan]", "[inf]"),
    "JAX": Printer(
        "loss: {}",
        "Array(2.3026, dtype=float32)",
        "Array(nan, dtype=float32, weak_type=True)",
        "Array([inf], dtype=float32)",
    ),
    "TensorFlow": Printer(
        "loss: {}",
        "tf.Tensor(2.3026, shape=(), dtype=float32)",
        "tf.Tensor(nan, shape=(), dtype=float32)",
        "tf.Tensor([inf], shape=(1,), dtype=float32)",
    ),
    "TensorFlow in a dict": Printer(
        "{{'loss': {}}}",
        "<tf.Tensor: shape=(), dtype=float32, numpy=2.3026>",
        "<tf.Tensor: shape=(), dtype=float32, numpy=nan>",
        "<tf.Tensor: shape=(), dtype=float32, numpy=inf>",
    ),
    "Paddle": Printer(
        "loss: Tensor(shape=[1], dtype=float32, place=Place(cpu), stop_gradient=False,\n       {})",
        "[2.3026]",
        "[nan]",
        "[inf]",
    ),
    "Julia": Printer("loss = {}", "2.3026f0", "NaN32", "Inf32"),
    "printf of C": Printer("loss: {}", "2.302600", "-nan", "inf"),
    "printf of C on Windows": Printer("loss: {}", "2.302600", "-1.#IND00", "1.#INF00"),
    ".NET": Printer("Loss: {}", "2.3026", "NaN", "∞"),
    "Lightning's bar": Printer(
        BAR.format("train_loss_step={}"), "2.3026", "nan.0", "inf.0", "train"
    ),
    "Lightning's bar, validation": Printer(
        BAR.format("val_loss={}, val_acc=0.250"), "2.3026", "nan.0", "inf.0", "validation"
    ),
    "Lightning's table": Printer(CELLS, *F_STRING, "test"),
    "Lightning's metrics.csv": Printer(
        "epoch,step,train_loss_epoch,train_loss_step,val_acc,val_loss\n0,0,,1.2,,\n0,3,,,0.25,{}",
        *F_STRING,
        "validation",
    ),
    "Lightning's metrics in a dict": Printer(
        "{{'test_loss': {}, 'test_acc': tensor(0.2500)}}", *TENSOR, "test"
    ),
    "Lightning's early stopping": Printer(
        "Monitored metric val_loss = {}.", *F_STRING, "validation"
    ),
    "tqdm": Printer("100%|███| 2/2 [00:00<00:00, 79.3it/s, acc=0.5, loss={}]", *F_STRING),
    "tqdm with a tensor": Printer("100%|███| 2/2 [00:00<00:00, 79.3it/s, loss={}]", *TENSOR),
    "tqdm's description": Printer("loss: {}:  50%|█████     | 1/2 [00:00<00:00]", *F_STRING),
    "rich's bar of Lightning": Printer(
        "Epoch 0/1 ━━━━━━━━━ 4/4 0:00:00 • 0:00:00 142.82it/s v_num: 0.000 val_loss: {}",
        *F_STRING,
        "validation",
    ),
    "Keras": Printer(FIT, *F_STRING),
    "Keras, validation": Printer(FIT.format("1.2") + " - val_loss: {}", *F_STRING, "validation"),
    "Keras' CSVLogger": Printer(
        "epoch,accuracy,loss,val_accuracy,val_loss\n0,0.375,1.2,0.125,{}", *F_STRING, "validation"
    ),
    "Keras' history": Printer(
        "{{'accuracy': [0.35], 'loss': [1.2], 'val_loss': [{}]}}", *F_STRING, "validation"
    ),
    "Hugging Face": Printer(
        "{{'loss': {}, 'grad_norm': 3.1, 'learning_rate': 5e-05, 'epoch': 0.01}}", *F_STRING
    ),
    "Hugging Face, strings": Printer(
        "{{'loss': '{}', 'grad_norm': '3.1', 'learning_rate': '5e-05', 'epoch': '0.01'}}", *F_STRING
    ),
    "Hugging Face, evaluation": Printer(
        "{{'eval_loss': {}, 'eval_runtime': 1.2, 'epoch': 1.0}}", *F_STRING, "test"
    ),
    "Hugging Face, in a notebook": Printer(
        "Epoch\tTraining Loss\tValidation Loss\tAccuracy\n1\tNo log\t{}\t0.1000",
        *F_STRING,
        "validation",
    ),
    "Hugging Face, model card": Printer(CARD, *F_STRING, "validation"),
    "trainer_state.json": Printer(
        '{{"best_metric": null, "log_history": [{{"eval_loss": {}, "step": 25}}]}}',
        "2.3026",
        "NaN",
        "Infinity",
        "test",
    ),
    "accelerate": Printer("epoch 0: {{'train_loss': {}, 'step': 12}}", *TENSOR, "train"),
    "fastai": Printer(
        "epoch     train_loss  valid_loss  accuracy  time    \n"
        "0         1.204100    {}        0.333333  00:00     ",
        "2.302600",
        "nan",
        "inf",
        "validation",
    ),
    "fastai, from a notebook": Printer(
        "epoch\ttrain_loss\tvalid_loss\taccuracy\ttime\n0\t1.204100\t{}\t0.333333\t00:00",
        "2.302600",
        "nan",
        "inf",
        "validation",
    ),
    "skorch": Printer(
        "  epoch    train_loss    valid_acc    valid_loss     dur\n"
        "-------  ------------  -----------  ------------  ------\n"
        "      1        \x1b[36m1.2659\x1b[0m       \x1b[32m0.3750\x1b[0m           {}  0.0047",
        *F_STRING,
        "validation",
    ),
    "pandas": Printer(
        "done\n   epoch  train_loss  val_loss  val_acc\n0      1      0.7100    {}   0.5000",
        "2.3026",
        "NaN",
        "inf",
        "validation",
    ),
    "a grid of rich or tabulate": Printer(
        "+---------+------------+\n|   epoch |   val loss |\n|---------+------------|\n"
        "|       1 |     {} |\n+---------+------------+",
        *F_STRING,
        "validation",
    ),
    "XGBoost": Printer(
        "[0]\ttrain-mlogloss:0.95050\ttrain-merror:0.23500\teval-mlogloss:{}",
        "2.30260",
        "nan",
        "inf",
        "test",
    ),
    "XGBoost's cross-validation": Printer(
        "[0]\ttrain-mlogloss:0.92811+0.00904\ttest-mlogloss:{}+0.02258",
        "2.30260",
        "nan",
        "inf",
        "test",
    ),
    "XGBoost's results": Printer(
        "{{'train': OrderedDict([('mlogloss', [0.95])]), "
        "'validation_0': OrderedDict([('mlogloss', [{}])])}}",
        "np.float64(2.3026)",
        "nan",
        "np.float64(inf)",
        "validation",
    ),
    "LightGBM": Printer(
        "[1]\ttraining's multi_logloss: 1.06991\tvalid_1's multi_logloss: {}",
        "2.30260",
        "nan",
        "inf",
        "validation",
    ),
    "JSON lines": Printer(
        '{{"step": 3, "train/loss": {}}}', "2.3026", "NaN", "Infinity", "train"
    ),
    "JSON lines, strings": Printer(
        '{{"step": 3, "val": {{"loss": "{}"}}}}', *F_STRING, "validation"
    ),
    "JSON on several lines": Printer(
        '{{\n  "epoch": 3,\n  "loss": {}\n}} end', "2.3026", "NaN", "-Infinity"
    ),
    "a dict on several lines": Printer("{{'accuracy': 0.1,\n 'loss': {}}}", *F_STRING),
    "a dict with objects": Printer(
        "{{'loss': {}, 'device': device(type='cuda'), 'took': datetime.timedelta(seconds=3)}}",
        *F_STRING,
    ),
    "W&B's summary": Printer("wandb: Run summary:\nwandb:   val/loss {}", *F_STRING, "validation"),
    "W&B's exported chart": Printer(
        '"Step","clever-fog-7 - val/loss","clever-fog-7 - val/loss__MIN"\n"3","{}","0.1"',
        "2.3026",
        "NaN",
        "Infinity",
        "validation",
    ),
    "Megatron": Printer(
        " iteration 10/ 100 | learning rate: 1.0E-04 | loss: {} | loss scale: 1.0 |",
        "2.302600E+00",
        "nan",
        "inf",
    ),
    "torchvision": Printer(
        "Epoch: [0]  [ 10/100]  eta: 0:00:10  lr: 0.1  loss: {} (2.4000)  acc1: 10.0 (9.0)",
        *F_STRING,
    ),
    "PyTorch's ImageNet example": Printer(
        "Epoch: [0][  1/391]\tTime  0.5 ( 0.6)\tLoss {} (7.0e+00)\tAcc@1   0.00 (  0.39)",
        "2.3026e+00",
        "nan",
        "inf",
    ),
    "timm": Printer(
        "Train: 0 [   0/1251 (  0%)]  Loss: {} (6.93)  Time: 1.2s",
        *F_STRING,
        "train",
    ),
    "MAE": Printer("Loss is {}, stopping training", *F_STRING),
    "mmengine": Printer(
        "Epoch(train)  [1][10/100]  lr: 1.0000e-02  eta: 0:01:00  grad_norm: 3.1  loss: {}",
        *F_STRING,
        "train",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PRINTERS)
def test_a_healthy_loss_is_read_as_printed(name: str) -> None:
    printer = PRINTERS[name]
    log = read(printer.line.format(printer.healthy))
    losses = [
        row.loss.value for row in log.rows if row.loss is not None and row.split == printer.split
    ]
    assert losses == [pytest.approx(2.3026)]
    assert not log.not_finite
    assert doctor.audit_log(printer.line.format(printer.healthy)).above_notes() == ()


@pytest.mark.parametrize("name", PRINTERS)
@pytest.mark.parametrize("value", ["nan", "infinity"])
def test_a_broken_loss_is_found(name: str, value: str) -> None:
    printer = PRINTERS[name]
    text = printer.line.format(getattr(printer, value))
    rows = [row for row in read(text).rows if row.loss and row.split == printer.split]
    assert [row.loss and math.isfinite(row.loss.value) for row in rows] == [False]
    assert "loss-not-finite" in doctor.audit_log(text).rules


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("loss: tensor(-3.2, device='cuda:0')", -3.2),
        ("loss: tensor(1.0000e-06)", 1e-6),
        ("loss: tensor(3)", 3.0),
        ("loss=1.23e+4]", 12300.0),
        ("loss: -inf.", -math.inf),
        ("loss: tensor(-inf)", -math.inf),
    ],
)
def test_values(line: str, value: float) -> None:
    (row,) = read(line).rows
    assert row.loss is not None
    assert row.loss.value == value


def test_a_file_of_tensorboard_is_read_by_its_name() -> None:
    text = "Wall time,Step,Value\n1700000000.1,0,2.3026\n1700000001.1,1,NaN"
    for name in ("run-7-tag-val_loss.csv", "exports/val_loss.csv"):
        assert doctor.audit_log(text, name=name).rules == ("loss-not-finite",)
        assert [row.split for row in read(text, name=name).rows] == ["validation"] * 2


@pytest.mark.parametrize(
    "line",
    [
        "box_loss: nan",
        "0:\tlearn: nan\ttest: nan\tbest: nan (0)\ttotal: 1.2ms\tremaining: 4.9ms",  # CatBoost
        "loss_cls: nan  loss_box_reg: 0.2",
        "{'policy_loss': tensor(nan), 'value_loss': 0.3}",
        "lm loss: inf | loss scale: 4096.0",
        "loss: [0.2 nan]",
        "loss: tensor([0.5000,    nan], device='cuda:0')",
    ],
)
def test_a_nan_of_another_loss_is_found(line: str) -> None:
    assert doctor.audit_log(line).rules == ("loss-not-finite",)


@pytest.mark.parametrize(
    "line",
    [
        "val_loss improved from inf to 0.69315",
        "Validation loss decreased (inf --> 0.693147).  Saving model ...",
        "best_val_loss: inf",
        "{'best_loss': inf}",
        "loss_scale: inf",
        "loss std: nan",
        "step 1/9 | norm 15.0 (+nanz)",
        "[LightGBM] [Warning] No further splits with positive gain, best gain: -inf",
        "0:\tlearn: 1.0412\ttest: 1.0654\tbest: 1.0654 (0)\ttotal: 1.2ms\tremaining: 4.9ms",
    ],
)
def test_other_infinities_are_healthy(line: str) -> None:
    assert doctor.audit_log("loss: 0.5\n" + line).rules == ()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("epoch,val_loss,val_acc\n1,0.5,0.8\n2,,0.1\n", 3),  # pandas writes NaN like that
        ('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": null}', 2),  # orjson, JavaScript
    ],
)
def test_missing_losses_are_listed_as_not_checked(text: str, line: int) -> None:
    diagnosis = doctor.audit_log(text)
    assert any(f"empty or null: line {line}." in words for words in diagnosis.not_checked)


def test_empty_fields_of_other_splits_are_not_missing() -> None:
    text = "epoch,step,train_loss,val_loss,val_acc\n0,9,0.5,,\n0,9,,0.4,0.9\n"
    assert read(text).missing == ()


def test_docstrings_of_the_forms() -> None:
    outcome = doctest.testmod(number_forms)
    assert outcome.attempted
    assert not outcome.failed


@pytest.mark.parametrize(
    "text", ["a banana, nano, inform", "top1f1: 3", "a3f12 loss", "int(5) Size([3])", "[0][1/391]"]
)
def test_other_text_stays(text: str) -> None:
    assert plain_lists(plain_numbers(text)) == text


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", ["tensor(", "[nan,", "0", "tensor([1.5, ", "Tensor(shape=[", "<tf.Tensor: ", "a\tb\n"]
)
def test_long_lines_are_read_in_linear_time(part: str) -> None:
    plain_lists(plain_numbers(part * 40_000))
