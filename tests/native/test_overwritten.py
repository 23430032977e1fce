"""Inputs that another thread overwrites during a call: a wrong result, and nothing worse.

The kernels check the class indices and then read them again without the GIL. Here a thread sets all
of them to 0 and to 2^30 in turn, so that many calls pass the check and compute with the other
value. A kernel that used it as an address would end the process, as would a read outside under the
address sanitizer (`make sanitize`); threads that share a row and disagree about its class would
wait for each other forever.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys, threading
import numpy as np
from softxent import _native

def cross_entropy(rows, classes, dtype, layout, option):
    x = numbers.standard_normal((rows, classes) if layout == "rows" else (classes, rows))
    x = x.astype(dtype)
    index, loss, saved = np.zeros(rows, np.int64), np.empty(rows), np.zeros((rows, 2))
    wide = np.float64 if dtype == "float64" else np.float32
    arguments = {"axis": 1 if layout == "rows" else 0, "index": index, "loss": loss}
    arguments |= {
        "weight": {"weight": np.ones(classes, wide)},
        "label_smoothing": {"label_smoothing": 0.1},
        "z_loss": {"z_loss": 1e-3},
        "softcap": {"softcap": 20.0},
        "saved": {"from_saved": True},
    }.get(option, {})
    if option == "statistics":
        arguments |= {"k": 1, "entropy": np.empty(rows), "argmax": np.empty(rows, np.int64)}
        arguments |= {"saved": saved, "hits": np.empty(rows, bool)}
    else:
        arguments |= {"saved": saved, "grad": np.empty_like(x)}
    if option == "reduced":
        return index, lambda: _native.reduced_cross_entropy(x, index, None, -100, 0.0, True)
    return index, lambda: _native.cross_entropy(x, **arguments)

def other_operation(rows, classes, dtype, layout, option):
    x = np.empty((rows, classes), dtype)
    out, y = np.empty_like(x), np.zeros(rows, np.int64)
    if option == "softmax":
        return x, lambda: _native.softmax(x, out)
    if option == "logsumexp":
        return x, lambda: _native.logsumexp(x, np.empty(rows))
    return x, lambda: _native.cross_entropy(x, index=y, grad=out, z_loss=1e-3)

def overwrite(array, values):
    while not done:
        for value in values:
            array.fill(value)

_native.set_num_threads(3)
numbers = np.random.default_rng(0)
for case in sys.argv[1:]:
    rows, classes, dtype, layout, option, calls = case.split()
    rows, classes = int(rows), int(classes)
    if layout == "logits":
        array, call = other_operation(rows, classes, dtype, layout, option)
        values = (0, 60, np.nan, -np.inf, 1)
    else:
        array, call = cross_entropy(rows, classes, dtype, layout, option)
        values = (2**30, -100, 0)  # -100: ignored
    done, answered = [], 0
    other = threading.Thread(target=overwrite, args=(array, values))
    other.start()
    while answered < int(calls):
        try:
            call()
            answered += 1
        except IndexError:
            pass
    done.append(True)
    other.join()
    print(case, flush=True)
"""

CASES = {
    # few classes: one row in each lane, adjacent or not
    "lanes": [
        "30000 10 float32 rows plain 30",
        "30000 10 float32 rows reduced 30",
        "30000 10 float32 rows saved 30",
        "30000 10 float64 rows weight 20",
        "30000 10 float16 rows weight 20",
        "30000 10 float32 rows label_smoothing 10",
        "30000 10 float32 rows softcap 10",
        "30000 10 float32 rows statistics 10",
        "30000 10 float64 rows z_loss 10",
        "3000 300 float32 columns weight 10",
    ],
    "rows": [
        "3000 300 float32 rows plain 30",
        "3000 300 float32 rows weight 30",
        "3000 300 float32 rows z_loss 20",
        "3000 300 float16 rows saved 20",
        "3000 300 float32 rows label_smoothing 10",
        "3000 300 float64 rows label_smoothing 10",
        "3000 300 float32 rows statistics 10",
    ],
    "rows shared by threads": [
        "2 70000 float32 rows plain 1000",
        "2 70000 float32 rows z_loss 1000",
        "2 70000 float32 rows weight 1000",
        "2 70000 float32 rows saved 1000",
    ],
    "logits": [
        "3000 10 float32 logits softmax 100",
        "300 3000 float32 logits softmax 100",
        "2 70000 float32 logits logsumexp 500",
        "2 70000 float32 logits z_loss 500",
        "300 300 float64 logits z_loss 20",
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("cases", CASES.values(), ids=CASES)
def test_no_access_outside(cases: list[str], level: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *cases],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "SOFTXENT_KERNELS": level},
    )
    assert (done.stdout.splitlines(), done.returncode) == (cases, 0), done.stderr
