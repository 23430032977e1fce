"""The pool of threads on a machine that misbehaves, and what its threads do between jobs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

from softxent import _native

pytestmark = pytest.mark.slow

LEVEL = _native.current_level()


@pytest.fixture(autouse=True)
def only_once(level: str) -> None:
    """The pool is the same on every instruction set."""
    if level != LEVEL:
        pytest.skip("the pool doesn't depend on the instruction set")


# Work that is always worth several threads, and its right answer from one.
START = """
import os, sys, threading, time
import numpy as np
import softxent
from softxent import _native

x = np.random.default_rng(0).normal(size=(2000, 300)).astype(np.float32)
long = np.random.default_rng(1).normal(size=(1, 200_000))
y = np.arange(2000) % 300

def compute():
    loss, grad = softxent.cross_entropy_with_grad(x, y)
    return float(loss), grad.tobytes(), softxent.softmax(long).tobytes()

softxent.set_num_threads(1)
want = compute()
softxent.set_num_threads(4)
"""


def run(script: str, *arguments: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", START + script, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        # NumPy's library has threads of its own, which would be counted and block no signal.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **variables},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def few_threads(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library whose pthread_create makes as many threads as a file says, then EAGAIN."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler and LD_PRELOAD")
    if "LD_PRELOAD" in os.environ:
        pytest.skip("a sanitizer has to come first and replaces pthread_create itself")
    folder = tmp_path_factory.mktemp("shim")
    source, library = folder / "few_threads.c", folder / "few_threads.so"
    source.write_text("""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

int threads_left = -1;  /* -1: any number */

int pthread_create(pthread_t* t, const pthread_attr_t* a, void* (*f)(void*), void* x) {
  static int (*real)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  if (!real) real = dlsym(RTLD_NEXT, "pthread_create");
  if (threads_left == 0) return EAGAIN;
  if (threads_left > 0) --threads_left;
  return real(t, a, f, x);
}
""")
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl", "-pthread"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"the C compiler can't build a library: {done.stderr[-200:]}")
    return str(library)


@pytest.mark.parametrize("made", [0, 1, 2])
def test_threads_that_the_system_does_not_make(made: int, few_threads: str) -> None:
    """The right answer from the threads that there are; the others come when they can be made."""
    script = """
import ctypes
left = ctypes.c_int.in_dll(ctypes.CDLL(os.environ["LD_PRELOAD"]), "threads_left")
left.value = int(sys.argv[1])
for _ in range(3):
    assert compute() == want
print(_native.pool_activity()[0], len(os.listdir("/proc/self/task")) - 1)
left.value = -1
assert compute() == want
print(_native.pool_activity()[0], len(os.listdir("/proc/self/task")) - 1)
"""
    found = run(script, str(made), LD_PRELOAD=few_threads)
    assert found == f"{made} {made}\n3 3\n"


def test_a_limit_of_the_system() -> None:
    """As above, with a limit of the processes' memory in place of a library."""
    resource = pytest.importorskip("resource")
    del resource
    if "LD_PRELOAD" in os.environ:
        pytest.skip("a sanitizer needs more memory than the limit")
    script = """
import resource
with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
unlimited = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + (6 << 20), unlimited[1]))  # a stack takes 8 MiB
loss = softxent.cross_entropy(x, y)
made = _native.pool_activity()[0]
resource.setrlimit(resource.RLIMIT_AS, unlimited)
assert compute() == want
print(made < 3, _native.pool_activity()[0])
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs /proc")
    assert run(script) == "True 3\n"


def test_threads_block_signals() -> None:
    """A signal that the program waits for comes to the program, not to a thread of the pool."""
    if not sys.platform.startswith("linux"):
        pytest.skip("needs /proc")
    script = """
import signal
others = set(os.listdir("/proc/self/task"))
assert compute() == want
faults = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
faults |= {signal.SIGTRAP, signal.SIGSYS}
faults |= {signal.SIGTRAP, signal.SIGSYS}
able = {signal.SIGKILL, signal.SIGSTOP} | faults
made = set(os.listdir("/proc/self/task")) - others
assert len(made) == 3
for thread in made:
    with open(f"/proc/self/task/{thread}/status") as status:
        (blocked,) = (int(line.split()[1], 16) for line in status if line.startswith("SigBlk"))
    for number in range(1, 32):
        assert blocked >> (number - 1) & 1 == (number not in able), (thread, number)
    for number in range(signal.SIGRTMIN, signal.SIGRTMAX + 1):
        assert blocked >> (number - 1) & 1, (thread, number)
assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()  # the caller's own is as it was

# One that is blocked everywhere waits until the program asks for it.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
for number in [signal.SIGTERM, signal.SIGUSR1] * 5:
    os.kill(os.getpid(), number)
    assert compute() == want
    assert signal.sigtimedwait([number], 60).si_signo == number
print("fine")
"""
    assert run(script) == "fine\n"


@pytest.mark.parametrize("threads", [1, 3])
def test_daemon_threads_at_exit(threads: int) -> None:
    """The interpreter exits while daemon threads compute: with its own exit status."""
    script = """
softxent.set_num_threads(2)
ready = threading.Barrier(int(sys.argv[1]) + 1)

def loop():
    ready.wait()
    while True:
        softxent.softmax(x)
        softxent.cross_entropy_with_grad(x, y)
        softxent.logsumexp(x)
        softxent.binary_cross_entropy_with_logits(x, np.zeros_like(x))

for _ in range(int(sys.argv[1])):
    threading.Thread(target=loop, daemon=True).start()
ready.wait()
time.sleep(0.01)
"""
    for _ in range(4):
        assert run(script, str(threads)) == ""


def test_isolated_calls_leave_no_thread_awake() -> None:
    """After a pause no thread waits for the next call: it would spend more time than the call."""
    script = """
small = np.zeros((40, 1000), np.float32)  # worth two threads, but not worth waking one
large = np.zeros((400, 1000), np.float32)
softxent.softmax(large)
time.sleep(0.05)
made, awake, sleeps = _native.pool_activity()
assert made == 3
for _ in range(20):
    softxent.softmax(small)
    time.sleep(0.005)
assert _native.pool_activity() == (made, awake, sleeps)  # nobody was woken
for _ in range(20):
    softxent.softmax(large)
    time.sleep(0.005)
made, awake_after, sleeps_after = _native.pool_activity()
assert sleeps_after > sleeps
print(awake_after - awake)
"""
    assert run(script) == "0\n"


def test_calls_in_a_rhythm() -> None:
    """Which pauses are expected to be short, from the second round of a rhythm on."""

    def expected(pauses: list[bool]) -> Any:
        return _native.expected_pauses(pauses)

    short, long = True, False
    assert expected([long] * 10) == [False] * 10
    assert expected([short] * 10)[4:] == [True] * 6
    # A loss, soon its gradient, and then the rest of a training step.
    for rhythm in ([short, long], [short, short, long], [short, long, long]):
        rounds = rhythm * 6
        assert expected(rounds)[9:] == rounds[9:]
    change = [short] * 5 + [long] * 5
    assert expected(change)[8:] == [False, False]


def test_threads_of_tensors() -> None:
    """torch.set_num_threads holds for tensors, beside the limit of softxent."""
    pytest.importorskip("torch")
    script = """
import torch
from softxent.nn import functional as F
most = int(sys.argv[1])
torch.set_num_threads(most)
z = torch.from_numpy(x).requires_grad_()
t = torch.from_numpy(y)
for dtype in (torch.float32, torch.float64, torch.bfloat16):
    z = torch.from_numpy(x).to(dtype).requires_grad_()
    for options in ({}, {"label_smoothing": 0.1}, {"reduction": "none"}):
        F.cross_entropy(z, t, **options).sum().backward()
    F.cross_entropy_with_stats(z, t)
    F.softmax(z, 1).sum().backward()
    F.log_softmax(z, 0)
    softxent.logsumexp(z)
    F.binary_cross_entropy_with_logits(z, torch.zeros_like(z)).backward()
    F.binary_cross_entropy_with_logits(z, torch.zeros_like(z), reduction="none").sum().backward()
    w = torch.zeros(300, 20, dtype=dtype, requires_grad=True)
    F.linear_cross_entropy(torch.zeros(2000, 20, dtype=dtype), w, t).backward()
of_tensors = _native.pool_activity()[0]
assert compute() == want
print(of_tensors, _native.pool_activity()[0])
"""
    for most in (1, 2, 8):
        assert run(script, str(most)) == f"{min(most, 4) - 1} 3\n"
