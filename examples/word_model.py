"""A word-level language model with a linear cross-entropy: python examples/word_model.py [TEXT].

A small network reads four words and predicts the next one among all words of the text; with tens of
thousands of words the logits would be by far the largest tensor. The perplexity on held-out text is
printed together with those of a unigram model and of a bigram model with back-off to the unigram.

TEXT is a text file, optionally compressed with xz; its last twentieth is held out. Without it the
example reads books/train.txt.xz and books/valid.txt.xz from the data folder (SOFTXENT_DATA, or
../shared/data), or says that it skips if they don't exist.
"""

from __future__ import annotations

import argparse
import json
import lzma
import math
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import softxent

CONTEXT, WIDTH, HIDDEN, BATCH = 4, 128, 256, 1024
UNKNOWN = 0
DATA = Path(os.environ.get("SOFTXENT_DATA") or Path(__file__).parents[2] / "shared" / "data")


# --- text ---


def words_of(path: Path) -> list[str]:
    with lzma.open(path, "rt") if path.suffix == ".xz" else path.open() as file:
        return re.findall(r"[a-z']+", file.read().lower())


class Text:
    """Training and held-out words as numbers: 0 for an unknown word, then by frequency."""

    def __init__(self, train: list[str], valid: list[str], most: int) -> None:
        counts = Counter(train)
        self.vocabulary = ["<unknown>", *sorted(counts, key=lambda word: (-counts[word], word))]
        number = {word: i for i, word in enumerate(self.vocabulary)}
        self.train = np.array([number[word] for word in train[:most]])
        self.valid = np.array([number.get(word, UNKNOWN) for word in valid])

    @property
    def classes(self) -> int:
        return len(self.vocabulary)


def read_text(path: Path | None, most: int) -> Text | None:
    if path is not None:
        words = words_of(path)
        held_out = len(words) // 20
        return Text(words[:-held_out], words[-held_out:], most)
    books = DATA / "books"
    if not (books / "train.txt.xz").is_file():
        print(f"skipped: there are no books in {books}. Pass a text file.")
        return None
    return Text(words_of(books / "train.txt.xz"), words_of(books / "valid.txt.xz"), most)


# --- counting ---


def unigram(text: Text) -> np.ndarray:
    """Return each word's share of the training text, with 1 added to each count."""
    counts = np.bincount(text.train, minlength=text.classes) + 1.0
    shares: np.ndarray = counts / counts.sum()
    return shares


def unigram_perplexity(text: Text, valid: np.ndarray) -> float:
    return math.exp(-np.log(unigram(text)[valid[1:]]).mean())


def bigram_perplexity(text: Text, valid: np.ndarray, discount: float = 0.75) -> float:
    """Absolute discounting: the discount of observed pairs is given to the unigram.

    p(w | v) = max(c(v w) - d, 0) / c(v) + d (kinds of pairs v .) / c(v) p(w)
    """
    pairs = Counter(zip(text.train[:-1].tolist(), text.train[1:].tolist(), strict=True))
    first = np.bincount(text.train[:-1], minlength=text.classes)
    kinds = np.bincount([v for v, _ in pairs], minlength=text.classes)
    v, w = valid[:-1], valid[1:]
    seen = np.array([pairs[pair] for pair in zip(v.tolist(), w.tolist(), strict=True)])
    total = np.maximum(first[v], 1)
    back_off = np.where(first[v] > 0, discount * kinds[v] / total, 1.0)
    p = np.maximum(seen - discount, 0) / total + back_off * unigram(text)[w]
    return math.exp(-np.log(p).mean())


# --- the network ---


class WordModel(torch.nn.Module):
    """The vectors of the words are both the input embedding and the classifier."""

    def __init__(self, text: Text) -> None:
        super().__init__()
        self.words = torch.nn.Parameter(torch.randn(text.classes, WIDTH) / WIDTH)
        # At the start each word has the probability of the unigram model.
        self.bias = torch.nn.Parameter(torch.from_numpy(np.log(unigram(text))).float())
        self.network = torch.nn.Sequential(
            torch.nn.Linear(CONTEXT * WIDTH, HIDDEN),
            torch.nn.GELU(),
            torch.nn.Linear(HIDDEN, WIDTH),
        )

    def forward(self, context: Tensor) -> Tensor:
        """Features (N, WIDTH) of contexts (N, CONTEXT)."""
        read = F.embedding(context, self.words) * math.sqrt(WIDTH)
        features: Tensor = self.network(read.flatten(1))
        return features

    def loss(
        self, context: Tensor, target: Tensor, *, reduction: Literal["mean", "sum"] = "mean"
    ) -> Tensor:
        features: Tensor = self(context)
        return softxent.linear_cross_entropy(
            features, self.words, target, self.bias, reduction=reduction
        )

    def loss_of_all_logits(self, context: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(self(context), self.words, self.bias), target)


def batch(words: np.ndarray, positions: np.ndarray) -> tuple[Tensor, Tensor]:
    context = words[positions[:, None] + np.arange(-CONTEXT, 0)]
    return torch.from_numpy(context), torch.from_numpy(words[positions])


class Training:
    """A training with the same steps for the same seed, with either loss."""

    def __init__(self, text: Text, rate: float) -> None:
        torch.manual_seed(0)
        self.text, self.random = text, np.random.default_rng(0)
        self.model = WordModel(text)
        self.optimizer = torch.optim.Adam(self.model.parameters(), rate)

    def batch(self) -> tuple[Tensor, Tensor]:
        positions = self.random.integers(CONTEXT, len(self.text.train), BATCH)
        return batch(self.text.train, positions)

    def step(self, *, all_logits: bool = False) -> float:
        loss = self.model.loss_of_all_logits if all_logits else self.model.loss
        self.optimizer.zero_grad()
        value = loss(*self.batch())
        value.backward()
        self.optimizer.step()
        return value.item()

    def perplexity(self, words: np.ndarray) -> float:
        with torch.no_grad():
            positions = np.arange(CONTEXT, len(words))
            total = self.model.loss(*batch(words, positions), reduction="sum").item()
        return math.exp(total / len(positions))


# --- results ---


def train(training: Training, valid: np.ndarray, minutes: float, reports: int) -> None:
    start, steps = time.perf_counter(), 0
    print(f"{'seconds':>8} {'steps':>6} {'words read':>11} {'perplexity':>11}")
    for report in range(reports + 1):
        while steps == 0 or time.perf_counter() - start < report * 60 * minutes / reports:
            if report == 0:
                break
            training.step()
            steps += 1
        perplexity = training.perplexity(valid)
        seconds = time.perf_counter() - start
        print(f"{seconds:8.0f} {steps:6d} {steps * BATCH:11,d} {perplexity:11.1f}", flush=True)


def show_skipping(training: Training, bounds: list[float]) -> None:
    """Print the time of a step's loss and gradients, and the gradient's error and its bound."""
    model = training.model
    batches = [training.batch() for _ in range(8)]
    errors: dict[float, list[float]] = {bound: [] for bound in bounds}
    allowed: dict[float, list[float]] = {bound: [] for bound in bounds}
    times: dict[float, list[float]] = {bound: [] for bound in [0.0, *bounds]}
    for context, target in batches:
        features = model(context).detach().requires_grad_()
        exact = None
        for bound in times:
            start = time.perf_counter()
            loss = softxent.linear_cross_entropy(
                features, model.words, target, model.bias, skip_below=bound
            )
            (dw,) = torch.autograd.grad(loss, [model.words])
            times[bound].append(time.perf_counter() - start)
            if exact is None:
                exact = dw
                continue
            errors[bound].append(float((dw - exact).abs().max()))
            allowed[bound].append(bound * float(features.detach().abs().mean(0).max()))
    exact_time = float(np.median(times[0.0]))
    print(f"\nskip_below   time of exact's {exact_time:.3f} s   largest error of dW   its bound")
    for bound in bounds:
        ratio = exact_time / float(np.median(times[bound]))
        print(
            f"{bound:10.0e}   {ratio:9.2f} times faster   {max(errors[bound]):19.2e}   "
            f"{min(allowed[bound]):9.2e}"
        )


def peak() -> float:
    """Return the peak memory of this process, in MiB."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**20 if sys.platform == "darwin" else 2**10)


def first_steps(text: Text, args: argparse.Namespace) -> None:
    """Print the losses of the first steps and the memory as JSON, in a process of its own."""
    training = Training(text, args.rate)
    before = peak()
    losses = [training.step(all_logits=args.first == "all") for _ in range(args.steps)]
    print(json.dumps({"losses": losses, "MiB": peak() - before}))


def compare(args: argparse.Namespace) -> None:
    """Compare the first steps with softxent and with all logits, each in a fresh process."""
    results = {}
    for kind in ("softxent", "all"):
        command = [sys.executable, __file__, *([str(args.text)] if args.text else [])]
        command += ["--first", kind, "--steps", str(args.steps), "--words", str(args.words)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        results[kind] = json.loads(done.stdout)
    pairs = zip(results["softxent"]["losses"], results["all"]["losses"], strict=True)
    apart = max(abs(a - b) for a, b in pairs)
    print(
        f"the first {args.steps} steps with torch's full logits: losses differ by at most "
        f"{apart:.1e}"
    )
    print(
        f"peak memory of a step, without the model: {results['softxent']['MiB']:.0f} MiB with "
        f"softxent, {results['all']['MiB']:.0f} MiB with all logits\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("text", nargs="?", type=Path, help="a text file; without it, the books")
    parser.add_argument("--minutes", type=float, default=8.0, help="of training")
    parser.add_argument("--reports", type=int, default=8)
    parser.add_argument("--words", type=int, default=2_000_000, help="of the training text")
    parser.add_argument("--held-out", type=int, default=20_000, help="words to report on")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--steps", type=int, default=50, help="to compare; 0 for none")
    parser.add_argument("--first", choices=["softxent", "all"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    text = read_text(args.text, args.words)
    if text is None:
        return
    if args.first:
        first_steps(text, args)
        return
    valid = text.valid[: args.held_out]
    print(f"{len(text.train):,} words of training text, {text.classes:,} classes")
    print(f"unigram perplexity of held-out text: {unigram_perplexity(text, valid):.1f}")
    print(f"bigram with back-off:                {bigram_perplexity(text, valid):.1f}\n")
    if args.steps:
        compare(args)
    training = Training(text, args.rate)
    train(training, valid, args.minutes, args.reports)
    show_skipping(training, [1e-5, 1e-4, 2.0**-12, 1e-3])


if __name__ == "__main__":
    main()
