"""Writing a training to a run directory, and loading rows for the model of a run."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from softxent.learn.data import Dataset, Rows, load_rows
from softxent.learn.evaluation import logits_of, probabilities
from softxent.learn.model import Network, describe, pack_weights
from softxent.learn.training import Trained
from softxent.ops import kernels
from softxent.record import Data, Mistake, NewRun, Record, Regions, Run, Sum, TestRows

__all__ = ["load_run_rows", "write_run"]


_MOST_MISTAKES = 24
_GRID = 160  # points per side: regions.json stays below half a megabyte
_MARGIN = 0.1  # on each side, as a share of the range of the points


def write_run(
    new: NewRun,
    dataset: Dataset,
    trained: Trained,
    *,
    command: str,
    notes: Sequence[str] = (),
) -> Run:
    """Write the files of a run, run.json last.

    Args:
        new: the directory, as returned by `softxent.record.new_run`.
        dataset: the data of the training.
        trained: the result of `train`.
        command: the command line, for the record.
        notes: sentences for the readers of the results.

    Returns:
        The content of run.json.

    Raises:
        OSError: the disk is full, or a file can't be written.

    Example:
        >>> import dataclasses
        >>> import tempfile
        >>> from softxent.learn import RECIPES, data, train
        >>> from softxent.record import new_run
        >>> dataset, path = data.load("digits"), Path(tempfile.mkdtemp()) / "runs" / "digits"
        >>> short = dataclasses.replace(RECIPES["default"], epochs=1)
        >>> with new_run(path) as new:
        ...     _ = write_run(new, dataset, train(dataset, short), command="")
        >>> (path / "run.json").exists()
        True
    """
    (new.directory / "weights.safetensors").write_bytes(pack_weights(trained.network))
    test = trained.test
    new.add("epochs.json", trained.epochs)
    new.add(
        "test.json",
        TestRows(
            rows=dataset.test.rows.tolist(),
            target=test.target.tolist(),
            logits=test.logits.tolist(),
        ),
    )
    new.add("mistakes.json", _mistakes(dataset, trained))
    if dataset.info.kind == "plane":
        new.add("regions.json", _regions(dataset, trained.network))
    run = Run(
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=trained.seconds,
        seed=trained.seed,
        versions=_versions(trained.threads),
        recipe=trained.recipe.settings(),
        data=dataset.info,
        model=describe(trained.network),
        test_loss=Sum.of(test.loss),
        test_accuracy=Sum.of(test.accuracy),
        notes=list(notes),
        files=new.digests(),
    )
    new.finish(run)
    return run


def load_run_rows(
    record: Record, name: str, *, data_dir: Path | None = None, need_target: bool
) -> Rows:
    """Load rows for the model of a run; from its own training data, only held-out rows.

    Args:
        record: the run, as returned by `softxent.record.read`.
        name: a data source, as for `softxent.learn.data.load`.
        data_dir: as for `softxent.learn.data.load`.
        need_target: True to evaluate, False to predict; see `softxent.learn.data.load_rows`.

    Raises:
        DataError, OptionError: as `softxent.learn.data.load_rows`.

    Example:
        >>> from softxent.record import read
        >>> rows = load_run_rows(read(Path("runs/digits-1")), "digits", need_target=True)
        >>> len(rows.samples.features)  # the rows that were held out for the test
        360
    """
    return load_rows(
        record.run.data,
        name,
        data_dir=data_dir,
        seed=record.run.seed,
        need_target=need_target,
    )


def _mistakes(dataset: Dataset, trained: Trained) -> list[Mistake]:
    """List the wrongly predicted rows with the highest losses, the highest first."""
    test = trained.test
    wrong = np.flatnonzero(test.predicted != test.target)
    worst = wrong[np.argsort(-test.losses[wrong], kind="stable")][:_MOST_MISTAKES]
    return [
        Mistake(
            row=int(dataset.test.rows[i]),
            target=int(test.target[i]),
            predicted=int(test.predicted[i]),
            loss=float(test.losses[i]),
            probabilities=probabilities(test.logits[i : i + 1])[0].tolist(),
            image=_image(dataset.info, trained.network, dataset.test.features[i]),
        )
        for i in worst
    ]


def _image(
    data: Data, network: Network, features: npt.NDArray[np.float32]
) -> list[list[int]] | None:
    """Return grey levels from 0 to 255, where 255 is the highest level of the training images."""
    if data.image_shape is None:
        return None
    levels = np.rint(features / network.scale.numpy() * 255).clip(0, 255)
    image: list[list[int]] = levels.astype(int).reshape(data.image_shape).tolist()
    return image


def _regions(dataset: Dataset, network: Network) -> Regions:
    """Predict the class and its probability on a grid that covers all the points."""
    points = np.concatenate([dataset.train.features, dataset.test.features]).astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = _MARGIN * np.maximum(high - low, np.finfo(np.float32).eps)
    x, y = np.linspace(low - margin, high + margin, _GRID).T
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.float32)
    share = probabilities(logits_of(network, grid)).reshape(len(y), len(x), -1)
    target = dataset.test.target
    return Regions(
        x=x.tolist(),
        y=y.tolist(),
        predicted=share.argmax(axis=-1).tolist(),
        probability=share.max(axis=-1).tolist(),
        points=[(float(a), float(b)) for a, b in dataset.test.features],
        target=[] if target is None else target.tolist(),
    )


def _versions(threads: int) -> dict[str, str]:
    """Collect what the bits of a result depend on."""
    return {
        "softxent": version("softxent"),
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "torch", "safetensors")},
        "platform": platform.platform(terse=True),
        "torch kernels": torch.backends.cpu.get_cpu_capability(),
        "softxent kernels": kernels(),
        "threads": str(threads),
    }
