"""A small GPT-2 of the transformers package, trained with torch's loss and with softxent's.

    python examples/gpt2.py

The model is randomly initialised from its configuration, so nothing is downloaded. Its code is
unchanged: `softxent.nn.patch()` replaces the loss that it calls.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from softxent import nn

BATCH, LENGTH, VOCABULARY, STEPS = 4, 128, 50257, 10


def train() -> tuple[list[float], float]:
    """Train, and return the losses and the median duration of a step in seconds."""
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=2,
        n_head=2,
        n_embd=64,
        n_positions=LENGTH,
        vocab_size=VOCABULARY,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    model = GPT2LMHeadModel(config)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tokens = torch.randint(VOCABULARY, (BATCH, LENGTH), generator=torch.Generator().manual_seed(1))
    losses, seconds = [], []
    for _ in range(STEPS):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
        losses.append(loss.item())
    return losses, statistics.median(seconds)


def main() -> None:
    results: dict[str, list[tuple[list[float], float]]] = {"torch": [], "softxent": []}
    for _ in range(3):  # alternate
        for name, patch in (("torch", contextlib.nullcontext), ("softxent", nn.patch)):
            with patch():
                results[name].append(train())
    print("step   torch      softxent")
    for step, pair in enumerate(
        zip(results["torch"][0][0], results["softxent"][0][0], strict=True), 1
    ):
        print(f"{step:4d}   {pair[0]:.6f}   {pair[1]:.6f}")
    torchs, ours = (statistics.median(r[1] for r in results[name]) for name in results)
    print(
        f"a step: {1e3 * torchs:.0f} ms and {1e3 * ours:.0f} ms, {torchs / ours:.2f} times as fast"
    )


if __name__ == "__main__":
    main()
