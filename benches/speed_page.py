"""Writes the results of benches.engine as a page of docs/speed: python -m benches.speed_page FILE.

Each instruction set has a page, named after the kernels that were measured.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

PAGES = Path("docs/speed")

_HEAD = """# Speed with {level}

Medians of alternating runs in one process, on {megabytes} MB of float32 unless the shape says
otherwise: {cpus} processors ({machine}), kernels for {level}, {threads} threads. Each result is
checked before it is timed. The columns of the peers are ratios of their time to that of softxent:
above 1, softxent is faster. GB/s counts the least that has to be moved, one read and one write.

"fresh array" returns the gradient in a new array, "reused out" in an array of the caller, and "over
the logits" in place of the logits. The limits of this machine's memory are "copy", which copies the
logits to another array, and "multiply", which is `a *= c` in place on 256 MB, scaled to the bytes
of the case, both with the same number of threads. Written by `python -m benches.engine --compile
--megabytes 64` and `python -m benches.speed_page`.
"""


def page(record: dict[str, Any]) -> str:
    """Format the record as Markdown; cases with the same peers share a table."""
    lines = [_HEAD.format(**record)]
    peers: list[str] = []
    for case in record["cases"]:
        ours, *others = case["seconds"]
        if [ours, *others] != peers:
            peers = [ours, *others]
            lines.append(f"\n| | {ours} | GB/s | " + " | ".join(others) + " |")
            lines.append("| --- |" + " ---: |" * (len(peers) + 1))
        best = case["seconds"][ours]
        cells = [case["name"], _time(best), f"{case['bytes'] / best / 1e9:.1f}"]
        cells += [f"{case['seconds'][peer] / best:.2f}" for peer in others]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _time(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms" if seconds > 1e-3 else f"{1e6 * seconds:.1f} µs"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path, nargs="?", default=Path(".bench/engine.json"))
    record = json.loads(parser.parse_args().record.read_text())
    (PAGES / f"{record['level']}.md").write_text(page(record))


if __name__ == "__main__":
    main()
