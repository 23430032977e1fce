"""The files of a run are frozen: their fields and types.

Change them on purpose: raise FORMAT_VERSION where old runs can't be read any more,
`python tests/record/test_format.py` writes the new state, CHANGELOG.md says why.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from softxent import record

FROZEN = Path(__file__).with_name("frozen_format.json")
FILES = {
    "run.json": record.Run,
    "epochs.json": list[record.Epoch],
    "test.json": record.TestRows,
    "mistakes.json": list[record.Mistake],
    "regions.json": record.Regions,
}


def current() -> str:
    schemas, components = msgspec.json.schema_components(FILES.values())
    for component in components.values():
        component.pop("description", None)
    files = dict(zip(FILES, schemas, strict=True))
    frozen = {"version": record.FORMAT_VERSION, "files": files, "types": components}
    return json.dumps(frozen, indent=1, sort_keys=True) + "\n"


def test_the_files_of_a_run_are_as_frozen() -> None:
    assert current() == FROZEN.read_text()


if __name__ == "__main__":
    FROZEN.write_text(current())
