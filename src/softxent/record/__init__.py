"""A training run on disk: what its files hold, how they are written, how they are checked.

    run.json             what was run with what: data, recipe, versions, results, and every other
                         file's size and SHA-256
    epochs.json          loss and accuracy of each epoch, as sums with their denominators
    test.json            each test row: its number in the source, its target, its logits
    mistakes.json        the worst mistakes on the test rows, with their images where there are any
    regions.json         for points in the plane: the decision regions on a grid
    weights.safetensors  the weights
    report.html          the report, made from the others

`learn` writes it; `report`, `explain` and the command line read it and need nothing of `learn`.
"""

from softxent.errors import missing_extra

try:
    import msgspec as _msgspec  # noqa: F401  (said here once, in softxent's words)
except ImportError:
    raise missing_extra("msgspec", needed_by="record", extra="learn") from None

from softxent.record.schema import (
    FORMAT_VERSION,
    Data,
    Epoch,
    FileDigest,
    Mistake,
    Model,
    Regions,
    Run,
    Sum,
    TestRows,
)
from softxent.record.storage import Record, new_run, read, read_run

__all__ = [
    "FORMAT_VERSION",
    "Data",
    "Epoch",
    "FileDigest",
    "Mistake",
    "Model",
    "Record",
    "Regions",
    "Run",
    "Sum",
    "TestRows",
    "new_run",
    "read",
    "read_run",
]
