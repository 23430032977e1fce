"""Large results live in memory that is kept for the next one: bounded, and freed when asked."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

import softxent
from softxent import _native

LARGE = (1024, 1024)  # 4 MiB of float32


@pytest.fixture(autouse=True)
def _nothing_held() -> None:
    softxent.empty_cache()
    assert _native.cached_memory() == 0


def test_a_result_that_is_gone_makes_room_for_the_next() -> None:
    x = np.zeros(LARGE, np.float32)
    first = softxent.softmax(x)
    address = first.ctypes.data
    del first
    assert _native.cached_memory() >= x.nbytes
    second = softxent.softmax(x)
    assert second.ctypes.data == address
    assert _native.cached_memory() == 0


def test_what_is_not_to_be_kept_goes_back_at_once() -> None:
    kept = _native.empty(4 << 20, keep=True)
    address = kept.ctypes.data
    del kept
    held = _native.cached_memory()
    lent = _native.empty(4 << 20, keep=False)
    assert lent.ctypes.data != address  # what is kept stays where the next result finds it
    lent[:] = 1
    del lent
    assert _native.cached_memory() == held >= 4 << 20


def test_a_result_in_use_keeps_its_memory() -> None:
    x = np.random.default_rng(0).normal(size=LARGE).astype(np.float32)
    first = softxent.softmax(x)
    view, copy = first[3:, ::7], first.copy()
    del first  # the view keeps it
    softxent.empty_cache()
    others = [softxent.log_softmax(x) for _ in range(3)]
    assert not any(np.may_share_memory(view, other) for other in others)
    np.testing.assert_array_equal(view, copy[3:, ::7])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_fresh_result_is_an_ordinary_array(dtype: Any) -> None:
    x = np.random.default_rng(0).normal(size=LARGE).astype(dtype)
    out = softxent.softmax(x, axis=0)
    assert out.dtype == dtype
    assert out.flags.c_contiguous
    assert out.flags.writeable
    assert out.ctypes.data % 64 == 0
    np.testing.assert_array_equal(out, softxent.softmax(x, axis=0, out=np.empty_like(x)))


def test_no_more_is_held_than_the_limit() -> None:
    x = np.zeros((32 << 20) // 4, np.float32).reshape(8, -1)  # 32 MiB
    results = [softxent.softmax(x) for _ in range(20)]
    del results
    assert x.nbytes <= _native.cached_memory() <= 512 << 20
    softxent.empty_cache()
    assert _native.cached_memory() == 0


@pytest.mark.parametrize(("limit", "held"), [("0", 0), ("5000000", 1), ("none", 3)])
def test_the_environment_sets_the_limit(limit: str, held: int) -> None:
    code = (
        "import numpy as np, softxent\nfrom softxent import _native\n"
        "x = np.zeros((1024, 1024), np.float32)\n"
        "for _ in range(3): first = softxent.softmax(x); second = softxent.softmax(x)\n"
        "del first, second\n"
        "print(_native.cached_memory() // x.nbytes)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"SOFTXENT_CACHE_BYTES": limit},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == held  # of the three; what is no number changes nothing


def test_many_threads_get_memory_of_their_own() -> None:
    x = np.random.default_rng(0).normal(size=(512, 1024)).astype(np.float32)
    want = softxent.softmax(x)
    wrong: list[Any] = []

    def work() -> None:
        for _ in range(20):
            results = [softxent.softmax(x) for _ in range(3)]
            wrong.extend(r for r in results if not np.array_equal(r, want))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
