"""Loading data sources by name, as a data set for training or as rows for a trained model."""

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
"""The default share of held-out rows."""

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
    """Load a data source for training, with rows held out for the test.

    Args:
        name: `digits`, `mnist`, `points`, or the path of a .csv, .csv.gz or .parquet file.
        data_dir: for `mnist`, the folder with its four IDX files.
        target: for a table, the column with the classes. Numeric classes are sorted by value,
            others as text.
        drop: for a table, columns that aren't features.
        test_size: the share of the rows to hold out, the same in each class; None for a fifth.
            `mnist` has its own test rows.
        seed: the seed for the choice of held-out rows, and for the points; 0 to 2**32 - 1.

    Returns:
        The training rows, the held-out rows, and their description for the record of a run.

    Raises:
        DataError: the source doesn't exist, is damaged, or has unsuitable content.
        OptionError: an option that the source needs is missing, or one that it doesn't have is set.
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
                f"[data] {name} has a fixed target and fixed features: leave out target and drop, "
                "which are for tables."
            )
        if name == "mnist":
            if test_size is not None:
                raise OptionError(
                    "[data] mnist has its own test rows: leave out test_size (--test-size)."
                )
            return mnist.load(data_dir)
        return _dataset(_built_in(name, seed), name, [], None, (), test_size, seed)
    path = _table_path(name)
    if target is None:
        raise OptionError(
            f"[data] {name} needs a target (--target): name the column with the classes."
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

    A model is only evaluated on rows that it wasn't trained on. From `digits`, `points` and `mnist`
    only the held-out rows are loaded, for predictions as well. From the file that the model was
    trained on (recognised by its SHA-256) the held-out rows are loaded for an evaluation and all
    rows for predictions.

    Args:
        info: the data of the training. The columns of a table are matched by name, in any order;
            further columns are ignored.
        name: as for `load`.
        data_dir: as for `load`.
        seed: the seed of the training.
        need_target: True to evaluate: the source must have the target, with classes of the model.
            False to predict: the target isn't read, and `samples.target` is None.

    Returns:
        The rows, and a note if they aren't all rows of a source that is new to the model.

    Raises:
        DataError: as for `load`; also if the source doesn't match the model or has a class that
            the model doesn't have.
        OptionError: as for `load`.
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
        raise OptionError(f"[data] data_dir (--data-dir) is for mnist: leave it out for {name}.")


def _built_in(name: str, seed: int) -> Source:
    return digits.read() if name == "digits" else points.generate(seed)


def _table_path(name: str) -> Path:
    if not name.lower().endswith(_ENDINGS):
        raise DataError(
            f"[data] {quoted(name)} is not a data source.{did_you_mean(name, _BUILT_IN)} "
            f"Use {', '.join(_BUILT_IN)}, or a file that ends in {', '.join(_ENDINGS)}."
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
            f"[data] {path}: the model was trained on {info.name}, which names no column with the "
            f"classes. Evaluate the model on {info.name}, or predict this table."
        )
    from softxent.learn.data import table

    features, target = table.read_rows(
        path, info.features, info.target if need_target else None, info.classes
    )
    every_row = Samples(features=features, target=target, rows=np.arange(len(features)))
    sha256 = digest(path).sha256
    if all(sha256 != known.sha256 for known in info.files):
        return Rows(samples=every_row, note=None)
    learned = f"{path} is the file that the model was trained on"
    if target is None:
        note = f"{learned}, with {info.train_rows:,} of these {len(features):,} rows"
        return Rows(samples=every_row, note=note)
    held_out = hold_out(target, info.classes, test_size=test_size, seed=seed).test
    note = f"{learned}: these are the {len(held_out):,} rows that were held out"
    return Rows(samples=_select(features, target, held_out), note=note)


def _misfit(info: Data, found: str) -> DataError:
    return DataError(
        f"[data] {found}, but the model was trained on {info.name} and needs "
        f"{_form(info.features, info.image_shape)}. Pass such rows."
    )


def _form(features: Sequence[str], image_shape: tuple[int, int] | None) -> str:
    if image_shape is not None:
        return f"images of {image_shape[0]}x{image_shape[1]} pixels"
    return f"the columns {listing(features)}"
