"""How often the doctor is right: false alarms on healthy set-ups, and detected mistakes.

    python -m benches.doctor [--data DIR] [--seed 0] [--write docs/doctor/rates.md]

A healthy set-up is a data set, an architecture and a state of training, examined in every way that
the doctor offers, or a log; it must not get a finding above a note. Each mistake is generated in up
to 40 instances from the same models; it counts as found if its own rule reports it.
"""

from __future__ import annotations

import argparse
import collections
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benches.doctor.healthy import healthy
from benches.doctor.logs import FORMATS
from benches.doctor.mistakes import Count, mistakes
from benches.doctor.setups import STEPS, Scored
from benches.doctor.watching import Cost, costs


def page(
    result: dict[str, Any],
    counts: dict[str, Count],
    formats: dict[str, Count],
    watch: list[Cost],
    *,
    data: bool,
) -> str:
    """The page in the docs."""
    setups, disturbed = result["setups"], result["disturbed"]
    notes = ", ".join(f"{k} ({n})" for k, n in result["notes"].most_common()) or "none"
    instances = sum(one.instances for one in counts.values())
    found = sum(one.found for one in counts.values())
    undecided = sum(one.undecided for one in counts.values())
    prose = textwrap.fill(
        f"{setups} set-ups got {result['diagnoses']} diagnoses, in about twenty ways: "
        f"**{disturbed} of {setups} had a finding above a note**. They are data sets "
        f"({'; '.join(result['sources'])}) with five or six architectures, untrained, after "
        f"{STEPS[1]} and after {STEPS[2]} steps, with two seeds; sequences, segmentation, one "
        f"logit, soft targets, class weights, frozen layers; {result['loops']} training loops "
        "around watch: a perceptron, a transformer and a convolutional network with SGD, momentum, "
        "Adam, AdamW and Lion, schedules and warm-ups, loss scaling, accumulation, clipping, tiny "
        "data, a rare class, fine-tuning near the floor, distillation, a policy gradient, a GAN; "
        f"and {result['logs']} logs, in "
        f"{len(FORMATS)} formats with 12 learning curves each: accuracies as fractions and as "
        "percentages, auxiliary terms, label smoothing, class weights, mixup, resumed and short "
        "runs, mixed precision, and logs of regression, detection, language models and policies. "
        "Notes that were reported: "
        f"{notes}.",
        100,
        break_on_hyphens=False,
    )
    weak = textwrap.fill(
        f"{found} of {instances} generated instances were found by their own rule "
        f"({found / instances:.1%}). For {undecided} more the diagnosis lists the mistake as not "
        "checked: with an untrained model, or after a few steps, another order of the columns fits "
        "the labels as well by chance.",
        100,
        break_on_hyphens=False,
    )
    return "\n".join(
        [
            "# How often the doctor is right",
            "",
            f"Written by `python -m benches.doctor {'--data DIR ' if data else ''}--write "
            f"docs/doctor/rates.md`, seed {result['seed']}.",
            "",
            "## Healthy set-ups",
            "",
            prose,
            "",
            *(f"- {name}: {number}" for name, number in result["alarms"].most_common()),
            *([""] if result["alarms"] else []),
            "## Mistakes",
            "",
            weak,
            "",
            *_table("rule", counts, link=True),
            "",
            "The logs with a mistake by format, all rules together:",
            "",
            *_table("format", formats, link=False),
            "",
            "## The cost of watching",
            "",
            "Loops with and without `doctor.watch` alternate; processor time is measured. The",
            "share is the median of the ratios, minus 1.",
            "",
            "| loop | steps | time per step | watching adds | quartiles |",
            "| --- | ---: | ---: | ---: | ---: |",
            *(
                f"| {c.name} | {c.steps:,} | {c.step:,.0f} µs | {c.share:.2%} | {c.low:.2%} to "
                f"{c.high:.2%} |"
                for c in watch
            ),
            "",
        ]
    )


def _table(head: str, counts: dict[str, Count], *, link: bool) -> Iterator[str]:
    yield f"| {head} | instances | found | as warning or error | not checked |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, one in counts.items():
        shown = name
        if link:
            rule, comma, state = name.partition(",")
            shown = f"[{rule}]({rule}.md){comma}{state}"
        share = f" ({one.found / one.instances:.0%})" if one.instances else ""
        numbers = f"{one.instances} | {one.found}{share} | {one.above} | {one.undecided or ''}"
        yield f"| {shown} | {numbers} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder with mnist, otto and letter")
    parser.add_argument("--seed", type=int, default=0, help="other data, weights and mistakes")
    parser.add_argument("--rounds", type=int, default=15, help="of loops for the cost of watch")
    parser.add_argument("--write", type=Path, help="where to write the page")
    args = parser.parse_args()
    torch.set_num_threads(1)
    pool: list[Scored] = []
    alarms: collections.Counter[str] = collections.Counter()
    result = healthy(args.data, args.seed, alarms, pool)
    result |= {"alarms": alarms, "seed": args.seed}
    counts, formats = mistakes(pool, result["histories"], args.data, args.seed)
    text = page(result, counts, formats, costs(args.rounds), data=args.data is not None)
    print(text)
    if args.write is not None:
        args.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
