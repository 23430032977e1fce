"""Softmax and cross-entropy compared with SciPy, torch and memory speed: python -m benches.engine.

Memory speed is that of a copy of the logits, and of a multiplication in place of 256 MB, with the
same number of threads. All peers get the same arrays and alternate.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.special
import torch
import torch.nn.functional as F

from benches.harness import Case, check, interleave, save
from softxent import (
    _native,
    cross_entropy_with_grad,
    get_num_threads,
    log_softmax,
    logsumexp,
    set_num_threads,
    softmax,
)

RNG = np.random.default_rng(0)


def in_parts(work: Callable[..., object], *arrays: np.ndarray) -> Callable[[], None]:
    """Return a function that runs `work` on parts of the arrays, with the kernels' thread count."""
    count = _native.get_num_threads()
    parts = list(zip(*(np.array_split(a.reshape(-1), count) for a in arrays), strict=True))

    def run() -> None:
        helpers = [threading.Thread(target=work, args=part) for part in parts[1:]]
        for helper in helpers:
            helper.start()
        work(*parts[0])
        for helper in helpers:
            helper.join()

    return run


def torch_loss(x: np.ndarray, y: np.ndarray, function: Any) -> Callable[[], Any]:
    logits = torch.from_numpy(x).requires_grad_()
    target = torch.from_numpy(y)

    def run() -> Any:
        logits.grad = None
        loss = function(logits, target)
        loss.backward()
        return loss, logits.grad

    return run


def losses(args: argparse.Namespace) -> Iterator[Case]:
    elements = args.megabytes * 2**18
    shapes = [(elements // c, c) for c in (1000, 32000, 50257, 128256, 262144)]
    shapes += [(65536, 2), (65536, 3), (65536, 10), (65536, 100), (64, 10), (1, 128256)]
    compiled = torch.compile(F.cross_entropy) if args.compile else None
    large = np.ones(2**26, np.float32)
    for rows, classes in shapes:
        x = RNG.standard_normal((rows, classes), dtype=np.float32)
        y = RNG.integers(0, classes, rows)
        over, out, row_loss = x.copy(), np.empty_like(x), np.empty(rows)
        eager = torch_loss(x, y, F.cross_entropy)
        loss, grad = cross_entropy_with_grad(x, y, out=out)
        want, want_grad = eager()
        check("loss", loss, want.detach())
        check("gradient", grad, want_grad, rtol=1e-3)

        peers: dict[str, Callable[[], Any]] = {
            "reused out": partial(cross_entropy_with_grad, x, y, out=out),
            "over the logits (kernel)": partial(
                _native.cross_entropy, over, index=y, loss=row_loss, grad=over
            ),
            "fresh array": partial(cross_entropy_with_grad, x, y),
            "torch eager": eager,
        }
        if compiled:
            peers["torch.compile"] = torch_loss(x, y, compiled)
        work = {}
        if classes >= 1000 and rows > 1:
            peers["copy"] = in_parts(np.copyto, out, x)
            peers["multiply"] = in_parts(lambda part: np.multiply(part, 1, out=part), large)
            work["multiply"] = large.nbytes / x.nbytes
        moved = 2 * x.nbytes
        yield interleave(f"loss and gradient ({rows}, {classes})", moved, peers, work=work)


def images(args: argparse.Namespace) -> Iterator[Case]:
    x = RNG.standard_normal((4, 19, 512, 512), dtype=np.float32)
    y = RNG.integers(0, 19, (4, 512, 512))
    out = np.empty_like(x)
    eager = torch_loss(x, y, F.cross_entropy)
    loss, grad = cross_entropy_with_grad(x, y, axis=1, out=out)
    check("loss", loss, eager()[0].detach())
    check("gradient", grad, eager()[1], rtol=1e-3)
    peers = {
        "reused out": lambda: cross_entropy_with_grad(x, y, axis=1, out=out),
        "torch eager": eager,
    }
    yield interleave("loss and gradient (4, 19, 512, 512) axis 1", 2 * x.nbytes, peers)


def softmaxes(args: argparse.Namespace) -> Iterator[Case]:
    for rows, classes in ((16384, 1000), (1024, 128256), (65536, 10)):
        x = RNG.standard_normal((rows, classes), dtype=np.float32)
        out = np.empty_like(x)
        size = f"({rows}, {classes})"
        for name, ours, peer in (
            ("softmax", softmax, scipy.special.softmax),
            ("log_softmax", log_softmax, scipy.special.log_softmax),
        ):
            check(name, ours(x), peer(x, axis=-1), rtol=1e-4, atol=1e-6)
            yield interleave(
                f"{name} {size}",
                2 * x.nbytes,
                {
                    "reused out": partial(ours, x, out=out),
                    "fresh array": partial(ours, x),
                    "scipy": partial(peer, x, axis=-1),
                },
            )
        check("logsumexp", logsumexp(x), scipy.special.logsumexp(x, axis=-1))
        yield interleave(
            f"logsumexp {size}",
            x.nbytes,
            {
                "softxent": partial(logsumexp, x),
                "scipy": partial(scipy.special.logsumexp, x, axis=-1),
            },
        )


def halves(args: argparse.Namespace) -> Iterator[Case]:
    for classes in (1000, 32000, 128256):
        rows = args.megabytes * 2**18 // classes
        x = RNG.standard_normal((rows, classes), dtype=np.float32)
        y = RNG.integers(0, classes, rows)
        bfloat = (x.view(np.uint32) >> 16).astype(np.uint16)  # truncated
        inputs: dict[str, np.ndarray] = {
            "bfloat16": bfloat,
            "float16": x.astype(np.float16),
            "float32": x,
        }
        outs = {name: np.empty_like(logits) for name, logits in inputs.items()}
        loss = np.empty(rows)

        def loss_and_gradient(
            x: np.ndarray, out: np.ndarray, y: np.ndarray = y, loss: np.ndarray = loss
        ) -> None:
            _native.cross_entropy(x, index=y, loss=loss, grad=out)

        kernels: dict[str, Callable[[np.ndarray, np.ndarray], object]] = {
            "softmax": _native.softmax,
            "loss and gradient": loss_and_gradient,
        }
        for name, kernel in kernels.items():
            for of, logits in inputs.items():
                kernel(logits, outs[of])
            check(name, outs["float16"], outs["float32"], rtol=2e-2, atol=1e-7)
            rounded = (outs["bfloat16"].astype(np.uint32) << 16).view(np.float32)
            check(name, rounded, outs["float32"], rtol=6e-2)
            yield interleave(
                f"{name} ({rows}, {classes})",
                2 * bfloat.nbytes,
                {of: partial(kernel, logits, outs[of]) for of, logits in inputs.items()},
            )


def threads(args: argparse.Namespace) -> Iterator[Case]:
    """One row with two threads and with one; the checks before a kernel use one in both cases."""
    x = RNG.standard_normal((1, 128256), dtype=np.float32)
    y = RNG.integers(0, x.shape[1], 1)
    out, loss = np.empty_like(x), np.empty(1)
    tasks: dict[str, Callable[[], Any]] = {
        "kernel, loss and gradient": lambda: _native.cross_entropy(x, index=y, loss=loss, grad=out),
        "kernel, softmax": lambda: _native.softmax(x, out),
        "loss and gradient": lambda: cross_entropy_with_grad(x, y, out=out),
        "softmax": lambda: softmax(x, out=out),
    }

    def run(count: int, task: Callable[[], Any]) -> Callable[[], None]:
        def run_with() -> None:
            set_num_threads(count)
            task()

        return run_with

    before = get_num_threads()
    for name, task in tasks.items():
        peers = {"2 threads": run(2, task), "1": run(1, task)}
        answers = []
        for peer in peers.values():
            peer()
            answers.append(out.copy())
        np.testing.assert_array_equal(answers[0], answers[1])
        yield interleave(f"{name} (1, 128256)", 2 * x.nbytes, peers)
    set_num_threads(before)


PARTS = {
    "losses": losses,
    "images": images,
    "softmaxes": softmaxes,
    "halves": halves,
    "threads": threads,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--megabytes", type=int, default=128, help="size of the logits")
    parser.add_argument("--compile", action="store_true", help="include torch.compile")
    parser.add_argument("--json", type=Path, default=Path(".bench/engine.json"))
    args = parser.parse_args()
    cases = [case for part in args.parts or PARTS for case in PARTS[part](args)]
    save(
        args.json,
        cases,
        level=_native.current_level(),
        threads=_native.get_num_threads(),
        megabytes=args.megabytes,
    )


if __name__ == "__main__":
    main()
