"""The forms in which libraries and languages print a number, brought to the plain one.

A log rarely prints its numbers as `0.6931` alone. What prints which form:

    tensor(nan, device='cuda:0', grad_fn=<NllLossBackward0>)   torch, also inside a dict or a bar
    np.float64(nan), array(nan, dtype=float32)                 NumPy 2; MLX
    Array(nan, dtype=float32)                                  JAX
    tf.Tensor(nan, shape=(), dtype=float32), numpy=nan>        TensorFlow
    Tensor(shape=[1], dtype=float32, place=cpu, [nan])         Paddle, MindSpore
    nan.0, inf.0, -inf.                                        Lightning's progress bar
    [nan], [nan  1.]                                           an array of one or more numbers
    000000nan                                                  the format 09.4f
    -nan, -nan(ind), 1.#QNAN, -1.#IND, 1.#INF                  printf of C, on Windows too
    NaN32, 0.5f0                                               Julia
    ∞                                                          .NET
"""

from __future__ import annotations

import re

__all__ = ["plain_lists", "plain_numbers"]

_VALUE = r"[-+]?(?:\d[\d_]*\.?\d*(?:[eE][-+]?\d{1,4})?|\.\d+|nan|inf(?:inity)?)"
_LIST = rf"\[{{1,4}}\s{{0,4}}{_VALUE}(?:[,\s]{{1,20}}{_VALUE}){{0,64}}[,.\s]{{0,4}}\]{{1,4}}"
_TYPES = (
    r"(?:(?:torch|np|numpy|tf|jnp|jax\.numpy|mx|mx\.core|cp|cupy|paddle)\.)?"
    r"(?:tensor|Tensor|EagerTensor|array|Array|DeviceArray|ndarray|Decimal|bfloat16|half|double"
    r"|longdouble|u?int\d{1,3}|float(?:\d{1,3}(?:_e\d\w{1,6})?)?)"
)
# The rest of the arguments may hold one more pair of brackets: device, dtype, shape=().
_REST = r"(?:,[^()\n]{0,200}(?:\([^()\n]{0,60}\)[^()\n]{0,120})?)?"
_WRAPPED = re.compile(
    rf"(?<![\w.])(?P<type>{_TYPES})\(\s{{0,4}}['\"]?(?P<number>{_LIST}|{_VALUE})['\"]?\s{{0,4}}{_REST}\)",
    re.IGNORECASE,
)
_TENSORFLOW = re.compile(
    rf"<tf\.\w{{1,20}}[: ][^<>\n]{{0,200}}?numpy=(?P<number>{_LIST}|{_VALUE})>", re.IGNORECASE
)
# The value comes last, often on a line of its own; the line breaks are kept behind it.
_VALUE_LAST = re.compile(
    rf"\bTensor\(shape=\[[^\]\n]{{0,40}}\],[^\[\]\n]{{0,200}}(?P<space>\s{{1,40}})"
    rf"(?P<number>{_LIST}|{_VALUE})\)",
    re.IGNORECASE,
)
_NOT_FINITE = re.compile(
    r"(?<![\w.])(?P<sign>[-+]?)(?:"
    r"0{0,40}(?P<word>nan|inf)(?:\.0{0,8}|\((?:ind|snan|qnan)\)|(?:16|32|64))"
    r"|0{1,40}(?P<padded>nan|inf)"
    r"|1\.#(?P<windows>IND|QNAN|SNAN|INF)\d{0,8}"
    r"|(?P<sign_of_infinity>∞))(?!\w)",
    re.IGNORECASE,
)
_JULIA = re.compile(r"(?P<digits>\d\.\d{1,20})f(?P<power>[-+]?\d{1,3})\b")
_SHOWN_LIST = re.compile(rf"(?<=[:=\s(]){_LIST}(?!\w)", re.IGNORECASE)
_WORD = re.compile(r"[-+]?(?:nan|inf(?:inity)?)\b", re.IGNORECASE)


def plain_numbers(text: str) -> str:
    """A text with each number in its plain form; the number of lines stays the same.

    Example:
        >>> plain_numbers("loss: tensor(2.3026, device='cuda:0', grad_fn=<NllLossBackward0>)")
        'loss: 2.3026'
        >>> plain_numbers("{'loss': np.float64(nan)} val_loss=nan.0, lr: 1.#INF")
        "{'loss': nan} val_loss=nan, lr: inf"
    """
    if "(" in text:
        text = _VALUE_LAST.sub(_first_the_value, text)
        text = _WRAPPED.sub(_inner, text)
        text = _TENSORFLOW.sub(_inner, text)
    text = _NOT_FINITE.sub(_word, text)
    return _JULIA.sub(r"\g<digits>e\g<power>", text)


def plain_lists(line: str) -> str:
    """A line with the number of each one-element array, and NaN or inf for an array with one.

    Other arrays stay: what a loss of several finite numbers means isn't certain. So do whole
    numbers in brackets, which count batches.

    Example:
        >>> plain_lists("loss: [nan], weights: [0.1 0.9], losses: [0.2 nan]  [64/60000]")
        'loss: nan, weights: [0.1 0.9], losses: nan  [64/60000]'
    """

    def plain(match: re.Match[str]) -> str:
        shown: str = match[0].strip("[], \t")
        bad = _WORD.search(shown)
        if bad is not None:
            return bad[0]
        single = "." in shown and not re.search(r"[\s,]", shown)
        return shown if single else match[0]

    return _SHOWN_LIST.sub(plain, line) if "[" in line else line


def _inner(match: re.Match[str]) -> str:
    number: str = match["number"]
    return number


def _first_the_value(match: re.Match[str]) -> str:
    number: str = match["number"]
    return number + "\n" * match["space"].count("\n")


def _word(match: re.Match[str]) -> str:
    windows = match["windows"]
    word = match["word"] or match["padded"] or ("nan" if windows else "inf")
    if windows and windows.upper() == "INF":
        word = "inf"
    sign: str = match["sign"]
    return sign + str(word)
