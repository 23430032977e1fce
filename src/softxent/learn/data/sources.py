"""From the name of a data source to what a model learns from, or to rows for a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from softxent.errors import DataError, OptionError
from softxent.learn.data import digits, mnist, points
from softxent.learn.data.classes import find_classes
from softxent.learn.data.dataset import Dataset, Rows, Samples, Source
from softxent.learn.data.names import did_you_mean, listing, quoted
from softxent.learn.data.split import check_draw, hold_out
from softxent.record import Data, FileDigest, digest

__all__ = ["load", "load_rows"]

TEST_SIZE = 0.2
"""The share of the rows that is held out where nothing else is asked for."""

_BUILT_IN = ("digits", "mnist", "points")
_ENDINGS = (".csv", ".csv.gz", ".parquet")


def load(
    name: str | Path,
    *,
    data_dir: str | Path | None = None,
    target: str | None = None,
    drop: Sequence[str] = (),
    test_size: float | None = None,
    seed: int = 0,
) -> Dataset:
    """Load a data source to learn from, with rows held out for the test.

    Args:
        name: `digits`, `mnist`, `points`, or the path of a .csv, .csv.gz or .parquet file.
        data_dir: for `mnist`, the folder with its four IDX files.
        target: for a table, the column of the classes. Classes of numbers are sorted by value,
            others as text.
        drop: for a table, columns that are no features.
        test_size: the share of the rows to hold out, the same of every class; a fifth where None.
            `mnist` has its own.
        seed: what the held-out rows, and the points, are drawn with; 0 to 2**32 - 1.

    Returns:
        The training rows, the held-out rows, and their description for the run record.

    Raises:
        DataError: the source isn't there, is damaged, or isn't what it has to be.
        OptionError: an option that the source needs is missing, or one doesn't fit it.
        MissingExtraError: scikit-learn or pyarrow isn't installed.

    Example:
        >>> data = load("digits", seed=1)
        >>> data.train.features.shape, len(data.test), data.info.classes[:3]
        ((1437, 64), 360, ['0', '1', '2'])
    """
    check_draw(TEST_SIZE if test_size is None else test_size, seed)
    name = str(name)
    _check_data_dir(name, data_dir)
    if name in _BUILT_IN:
        if target is not None or drop:
            raise OptionError(
                f"[data] {name} has its target and its features; target and drop are for tables."
            )
        if name == "mnist":
            if test_size is not None:
                raise OptionError(
                    "[data] mnist has its own test rows; test_size (--test-size) doesn't apply."
                )
            return mnist.load(data_dir)
        return _dataset(_built_in(name, seed), name, [], None, (), test_size, seed)
    path = _table_path(name)
    if target is None:
        raise OptionError(
            f"[data] {name} needs a target (--target): the name of the column of the classes."
        )
    from softxent.learn.data import table

    source = table.read(path, target, drop)
    return _dataset(source, path.name, [digest(path)], target, drop, test_size, seed)


def load_rows(
    info: Data,
    name: str | Path,
    *,
    data_dir: str | Path | None = None,
    seed: int,
    need_target: bool,
) -> Rows:
    """Load rows to evaluate a model on, or to predict.

    A model is only ever evaluated on rows that it hasn't learned from. Of `digits`, `points` and
    `mnist` these are the held-out rows, whatever they are for. Of the very file that a model
    learned from (by its SHA-256) the held-out rows are evaluated, but every row is predicted.

    Args:
        info: what the model was trained on. A table's columns are matched with it by name; their
            order and further columns don't matter.
        name: as for `load`.
        data_dir: as for `load`.
        seed: the training's.
        need_target: True to evaluate: the target has to be there, with classes that the model
            knows. False to predict: the target isn't read, and `samples.target` is None.

    Returns:
        The rows, and a note where they are not simply every row of the source.

    Raises:
        DataError: as `load`, and where the source doesn't fit the model or holds a class that the
            model has never seen.
        OptionError: as `load`.
        MissingExtraError: scikit-learn or pyarrow isn't installed.

    Example:
        >>> info = load("points").info
        >>> rows = load_rows(info, "points", seed=0, need_target=True)
        >>> len(rows.samples), rows.note
        (300, 'these are the 300 rows of points that are held out of training')
    """
    test_size = TEST_SIZE if info.test_size is None else info.test_size
    check_draw(test_size, seed)
    name = str(name)
    _check_data_dir(name, data_dir)
    if name == "mnist":
        if info.image_shape is None:
            raise _misfit(info, "mnist has images")
        samples = mnist.read_test(data_dir, info, need_target=need_target)
        return Rows(
            samples=samples, note=f"these are the {len(samples):,} test rows of mnist (t10k)"
        )
    if name in _BUILT_IN:
        samples = _held_out_rows(info, name, seed, test_size, need_target)
        note = f"these are the {len(samples):,} rows of {name} that are held out of training"
        return Rows(samples=samples, note=note)
    return _table_rows(info, _table_path(name), seed, test_size, need_target)


def _check_data_dir(name: str, data_dir: str | Path | None) -> None:
    if data_dir is not None and name != "mnist":
        raise OptionError(f"[data] data_dir (--data-dir) is for mnist; {name} doesn't take it.")


def _built_in(name: str, seed: int) -> Source:
    return digits.read() if name == "digits" else points.generate(seed)


def _table_path(name: str) -> Path:
    if not name.lower().endswith(_ENDINGS):
        raise DataError(
            f"[data] {quoted(name)} is no data source.{did_you_mean(name, _BUILT_IN)} "
            f"It can be {', '.join(_BUILT_IN)}, or a file that ends in {', '.join(_ENDINGS)}."
        )
    return Path(name)


def _dataset(
    source: Source,
    name: str,
    files: list[FileDigest],
    target: str | None,
    drop: Sequence[str],
    test_size: float | None,
    seed: int,
) -> Dataset:
    test_size = TEST_SIZE if test_size is None else test_size
    split = hold_out(source.target, source.classes, test_size=test_size, seed=seed)
    info = Data(
        name=name,
        kind=source.kind,
        description=source.description,
        files=files,
        split=split.description,
        test_size=test_size,
        train_rows=len(split.train),
        test_rows=len(split.test),
        classes=source.classes,
        features=source.feature_names,
        image_shape=source.image_shape,
        target=target,
        dropped=list(drop),
    )
    train, test = (
        _select(source.features, source.target, rows) for rows in (split.train, split.test)
    )
    return Dataset(info=info, train=train, test=test)


def _select(
    features: npt.NDArray[np.float32],
    target: npt.NDArray[np.int64] | None,
    rows: npt.NDArray[np.int64],
) -> Samples:
    return Samples(
        features=features[rows], target=None if target is None else target[rows], rows=rows
    )


def _held_out_rows(
    info: Data, name: str, seed: int, test_size: float, need_target: bool
) -> Samples:
    source = _built_in(name, seed)
    if source.image_shape != info.image_shape or source.feature_names != info.features:
        raise _misfit(info, f"{name} has {_form(source.feature_names, source.image_shape)}")
    rows = hold_out(source.target, source.classes, test_size=test_size, seed=seed).test
    target = None
    if need_target:
        target = find_classes(
            source.classes, source.target, info.classes, lambda row: f"{name}, row {row} (from 0)"
        )
    return _select(source.features, target, rows)


def _table_rows(info: Data, path: Path, seed: int, test_size: float, need_target: bool) -> Rows:
    if info.image_shape is not None:
        raise _misfit(info, f"{path} is a table")
    if need_target and info.target is None:
        raise DataError(
            f"[data] {path}: {info.name}, which the model was trained on, has no column of the "
            f"classes to look for. Evaluate it on {info.name}, or predict this table."
        )
    from softxent.learn.data import table

    features, target = table.read_rows(
        path, info.features, info.target if need_target else None, info.classes
    )
    every_row = Samples(features=features, target=target, rows=np.arange(len(features)))
    sha256 = digest(path).sha256
    if all(sha256 != known.sha256 for known in info.files):
        return Rows(samples=every_row, note=None)
    learned = f"{path} is the file that the model learned from"
    if target is None:
        note = f"{learned}: it has seen {info.train_rows:,} of these {len(features):,} rows"
        return Rows(samples=every_row, note=note)
    held_out = hold_out(target, info.classes, test_size=test_size, seed=seed).test
    note = f"{learned}: these are the {len(held_out):,} rows that were held out"
    return Rows(samples=_select(features, target, held_out), note=note)


def _misfit(info: Data, found: str) -> DataError:
    return DataError(
        f"[data] {found}, but the model was trained on {info.name}: it takes "
        f"{_form(info.features, info.image_shape)}. Give it rows of that form."
    )


def _form(features: Sequence[str], image_shape: tuple[int, int] | None) -> str:
    if image_shape is not None:
        return f"images of {image_shape[0]}x{image_shape[1]} pixels"
    return f"the columns {listing(features)}"
