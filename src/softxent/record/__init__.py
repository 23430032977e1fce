"""A training run on disk: the contents of its files, how they are written and checked.

    run.json             data, recipe, versions, results, and the size and SHA-256 of every other
                         file
    epochs.json          loss and accuracy of each epoch, as sums with their denominators
    test.json            each test row: its number in the source, its target, its logits
    mistakes.json        the worst mistakes on the test rows, with their images, if any
    regions.json         for points in the plane: the decision regions on a grid
    weights.safetensors  the weights
    report.html          the report, made from the others

`learn` writes a run; `report`, `explain` and the command line read it without `learn`.
"""

from softxent.errors import missing_extra

try:
    import msgspec as _msgspec  # noqa: F401  (the only place that reports it missing)
except ImportError:
    raise missing_extra("msgspec", needed_by="record", extra="learn") from None

from softxent.record.digest import digest
from softxent.record.reading import Record, read, read_run
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
from softxent.record.writing import NewRun, new_run

__all__ = [
    "FORMAT_VERSION",
    "Data",
    "Epoch",
    "FileDigest",
    "Mistake",
    "Model",
    "NewRun",
    "Record",
    "Regions",
    "Run",
    "Sum",
    "TestRows",
    "digest",
    "new_run",
    "read",
    "read_run",
]
