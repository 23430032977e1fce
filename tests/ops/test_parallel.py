"""The result of a row has the same bits for any number of threads and any other rows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import softxent
from softxent import _native
from softxent.ops.options import Reduction
from tests.support.backends import Backend

Compute = Callable[..., Any]

# Results a row: (rows of logits, a class index each) -> one array with a row each.
BY_ROW: dict[str, Compute] = {
    "softmax": lambda x, y: softxent.softmax(x),
    "log_softmax": lambda x, y: softxent.log_softmax(x),
    "logsumexp": lambda x, y: softxent.logsumexp(x),
    "loss": lambda x, y: softxent.cross_entropy(x, y, reduction="none"),
    "gradient": lambda x, y: softxent.cross_entropy_with_grad(x, y, reduction="sum")[1],
    "smoothed gradient": lambda x, y: softxent.cross_entropy_with_grad(
        x, y, reduction="sum", label_smoothing=0.1, z_loss=1e-3, softcap=20.0
    )[1],
}
by_row = pytest.mark.parametrize("compute", BY_ROW.values(), ids=BY_ROW)


def batch(rows: int, classes: int, dtype: Any = np.float32) -> tuple[Any, Any]:
    rng = np.random.default_rng(rows + classes)
    return rng.normal(0, 4, (rows, classes)).astype(dtype), rng.integers(0, classes, rows)


@pytest.fixture
def torch_threads() -> Iterator[Callable[[int], None]]:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


# Large enough that the work is shared out: many rows of few classes, few rows of many.
SHAPES = [(20_001, 3), (4_000, 10), (70, 1_003), (3, 40_000)]


@by_row
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_number_of_threads(threads: Any, compute: Compute, shape: tuple[int, int]) -> None:
    x, y = batch(*shape)
    results = []
    for count in (1, 2, 5):
        threads(count)
        assert softxent.get_num_threads() == count
        results.append(compute(x, y).tobytes())
    assert len(set(results)) == 1


@by_row
def test_number_of_threads_of_tensors(torch_threads: Any, compute: Compute) -> None:
    x, y = (Backend("torch")(a) for a in batch(4_000, 10))
    results = []
    for count in (1, 2):
        torch_threads(count)
        results.append(compute(x, y).numpy().tobytes())
    assert len(set(results)) == 1


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_reductions_do_not_depend_on_threads(threads: Any, reduction: Reduction) -> None:
    x, y = batch(20_001, 3)
    results = set()
    for count in (1, 2, 5):
        threads(count)
        results.add(float(softxent.cross_entropy(x, y, reduction=reduction)))
    assert len(results) == 1


@pytest.mark.parametrize("classes", [1, 2, 3, 10, 16, 17, 1_003])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_the_rows_beside_it(kind: str, classes: int, dtype: Any) -> None:
    """Alone, first, last, or among any number of others: the same bits."""
    backend = Backend(kind)
    x, y = batch(37, classes, dtype)
    for name, compute in BY_ROW.items():
        whole = backend.take(compute(backend(x), backend(y)))
        for start, stop in [(0, 1), (36, 37), (5, 6), (1, 17), (3, 36), (20, 37)]:
            part = backend.take(compute(backend(x[start:stop]), backend(y[start:stop])))
            assert part.tobytes() == whole[start:stop].tobytes(), name


@by_row
def test_the_values_beside_it(backend: Backend, compute: Compute) -> None:
    """Neither the largest numbers nor none at all in other rows show in a row's bits."""
    x, y = batch(6, 10)
    mixed = np.insert(x, [1, 3], [[np.nan] * 10, [3e38] * 5 + [-np.inf] * 5], axis=0)
    got = backend.take(compute(backend(mixed), backend(np.insert(y, [1, 3], [0, 0]))))
    want = backend.take(compute(backend(x), backend(y)))
    assert np.delete(got, [1, 4], axis=0).tobytes() == want.tobytes()


def test_many_python_threads_at_once(threads: Any) -> None:
    """The pool runs one job at a time; a call that finds it busy gets the same bits without it."""
    x, y = batch(5_000, 20)
    threads(1)
    want = {name: compute(x, y).tobytes() for name, compute in BY_ROW.items()}
    threads(3)
    with ThreadPoolExecutor(8) as pool:
        jobs = [
            (name, pool.submit(compute, x, y)) for _ in range(6) for name, compute in BY_ROW.items()
        ]
        for name, job in jobs:
            assert job.result().tobytes() == want[name]


def test_threads_changed_while_others_compute(threads: Any) -> None:
    x, _ = batch(5_000, 20)
    want = softxent.softmax(x).tobytes()
    with ThreadPoolExecutor(4) as pool:
        jobs = []
        for count in range(1, 25):
            jobs.append(pool.submit(softxent.softmax, x))
            threads(count % 4 + 1)
        assert all(np.asarray(job.result()).tobytes() == want for job in jobs)


FORK = """
import os
{before}
import numpy as np
import softxent
{after}
softxent.set_num_threads(3)
x = np.random.default_rng(0).normal(size=(5000, 20))
y = np.arange(5000) % 20

def compute():
    loss, grad = softxent.cross_entropy_with_grad(x, y)
    return float(loss), grad.tobytes(), softxent.softmax(x).tobytes()

{use}
child = os.fork()
if child == 0:
    first = compute()  # a pool whose threads are gone would wait for them forever
    if os.path.isdir("/proc/self/task"):  # or leave all the work to this one
        assert len(os.listdir("/proc/self/task")) == 3
    os._exit(0 if first == compute() == {want} else 1)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert code == 0, code
assert compute() == compute()
print("fine")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize(
    ("before", "after", "use"),
    [
        ("", "", "want = compute()"),
        ("", "", "want = None"),
        ("import torch", "", "want = compute()"),
        ("", "import torch; softxent.softmax(torch.ones(2, 3))", "want = compute()"),
    ],
    ids=["used before", "not used before", "torch loaded before", "torch used after"],
)
@pytest.mark.slow
def test_after_fork(before: str, after: str, use: str) -> None:
    if "torch" in before + after:
        pytest.importorskip("torch")
    want = "(want or first)"
    script = FORK.format(before=before, after=after, use=use, want=want)
    # Python warns of every fork of a process with threads; that it works is the point here.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr


def test_a_child_may_fork_again() -> None:
    script = """
import os
import numpy as np
import softxent
softxent.set_num_threads(2)
x = np.ones((5000, 20))
want = softxent.softmax(x).tobytes()
for generation in range(3):
    child = os.fork()
    if child:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    assert softxent.softmax(x).tobytes() == want
print("fine", flush=True)
os._exit(0)
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr


def test_a_child_forked_while_others_compute() -> None:
    """A lock that some thread held then stays locked in the child: nobody may wait for it."""
    script = """
import os, threading
import numpy as np
import softxent
softxent.set_num_threads(3)
x = np.random.default_rng(0).normal(size=(5000, 20))
want = softxent.softmax(x).tobytes()
stop = []

def compute():
    while not stop:
        softxent.softmax(x)

others = [threading.Thread(target=compute) for _ in range(2)]
for other in others:
    other.start()
codes = []
for _ in range(10):
    child = os.fork()
    if child == 0:
        os._exit(0 if softxent.softmax(x).tobytes() == want else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.append(1)
for other in others:
    other.join()
print(set(codes))
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.returncode) == ("{0}\n", 0), done.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_an_interrupt_is_honoured_between_calls() -> None:
    """Ctrl-C ends a loop of calls, wherever it strikes, and the next call works."""
    script = """
import numpy as np
import softxent
softxent.set_num_threads(2)
x = np.random.default_rng(0).normal(size=(5000, 200))
want = softxent.softmax(x).tobytes()
out = np.empty_like(x)
try:
    print("ready", flush=True)
    while True:
        softxent.softmax(x, out=out)
except KeyboardInterrupt:
    print(softxent.softmax(x).tobytes() == want)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        # Who starts the tests in the background has them ignore it, and so would the child.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        try:
            out, _ = child.communicate(timeout=120)
        finally:
            child.kill()
    assert (out, child.returncode) == ("True\n", 0)


# --- what the environment says -------------------------------------------------------------------


def in_environment(script: str, **variables: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **variables},
    )
    return done.returncode, done.stdout.strip(), done.stderr


@pytest.mark.slow
def test_kernels_can_be_named() -> None:
    script = "import softxent; print(softxent.kernels(), softxent.softmax([0.0, 0.0]))"
    assert in_environment(script, SOFTXENT_KERNELS="baseline")[1] == "baseline [0.5 0.5]"
    code, _, err = in_environment(script, SOFTXENT_KERNELS="fastest")
    assert code != 0
    assert "[softxent] SOFTXENT_KERNELS is 'fastest'; this machine can run: " in err
    assert "baseline" in err


@pytest.mark.slow
def test_threads_can_be_named() -> None:
    script = "import softxent; print(softxent.get_num_threads())"
    assert in_environment(script, OMP_NUM_THREADS="3")[1] == "3"
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    granted = _native.processors_granted()
    own = min(own or 1, granted) if granted else own
    for nonsense in ("0", "-1", "many", ""):
        assert in_environment(script, OMP_NUM_THREADS=nonsense)[1] == str(own)


# The files of a control group, relative to where /proc and /sys are; and the processors it grants.
GROUPS: list[tuple[dict[str, str], int]] = [
    ({}, 0),
    ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, 0),
    ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2),
    ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "150000 100000"}, 2),
    ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "1000 100000"}, 1),
    ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "nonsense"}, 0),
    (
        {  # the group outside is the tighter one
            "proc/self/cgroup": "0::/pods/one",
            "sys/fs/cgroup/pods/one/cpu.max": "800000 100000",
            "sys/fs/cgroup/pods/cpu.max": "300000 100000",
        },
        3,
    ),
    (
        {  # the first version of control groups
            "proc/self/cgroup": "7:memory:/a\n4:cpu,cpuacct:/a\n0::/",
            "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "400000",
            "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        },
        4,
    ),
]


@pytest.mark.parametrize(("files", "processors"), GROUPS)
def test_the_time_that_control_groups_grant(
    files: dict[str, str], processors: int, tmp_path: Path
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert _native.processors_granted(str(tmp_path)) == processors


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks here")
def test_one_thread_where_one_processor_may_be_used() -> None:
    script = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import softxent
print(softxent.get_num_threads())
"""
    variables = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False,
        env=variables,
    )  # fmt: skip
    assert done.stdout == "1\n", done.stderr
