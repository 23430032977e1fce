"""The four IDX files of MNIST, or others in the same format, with images of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from softxent.errors import DataError, OptionError
from softxent.learn.data import idx
from softxent.learn.data.classes import find_classes
from softxent.learn.data.dataset import Dataset, Samples
from softxent.record import Data, digest

__all__ = ["load", "read_test"]


def load(data_dir: str | Path | None) -> Dataset:
    """Load both pairs of files: `train` for training, `t10k` held out.

    Args:
        data_dir: the folder with the four files, named like train-images-idx3-ubyte or
            train-images.idx3-ubyte, with or without .gz.

    Raises:
        OptionError: no folder was given.
        DataError: a file is missing or damaged, or the files don't match each other.
    """
    folder = _require_folder(data_dir)
    train_images, train_labels = _find(folder, "train-images", 3), _find(folder, "train-labels", 1)
    test_images, test_labels = _find(folder, "t10k-images", 3), _find(folder, "t10k-labels", 1)
    features, shape = _read_images(train_images)
    labels = _read_labels(train_labels, train_images, len(features))
    numbers, target = np.unique(labels, return_inverse=True)
    classes = [str(number) for number in numbers]
    if len(classes) < 2:
        raise DataError(
            f"[data] {train_labels}: all labels are {classes[0]}, but a classifier needs at least "
            "two classes. Check that it is the right file."
        )
    test = _samples(test_images, test_labels, shape, classes)
    files = [digest(path) for path in (train_images, train_labels, test_images, test_labels)]
    info = Data(
        name="mnist",
        kind="images",
        description=f"Images of {shape[0]}x{shape[1]} pixels from IDX files",
        files=files,
        split="the test set that comes with the data (t10k)",
        test_size=None,
        train_rows=len(features),
        test_rows=len(test),
        classes=classes,
        features=[],
        image_shape=shape,
        target=None,
        dropped=[],
    )
    train = Samples(features=features, target=target.astype(np.int64), rows=np.arange(len(target)))
    return Dataset(info=info, train=train, test=test)


def read_test(data_dir: str | Path | None, info: Data, *, need_target: bool) -> Samples:
    """Read the `t10k` images for an existing model.

    Args:
        data_dir: the folder with the files.
        info: the data of the training, with the size of the images and the classes.
        need_target: whether to read the labels, too.

    Raises:
        OptionError: no folder was given.
        DataError: a file is missing or damaged, or doesn't match the model.
    """
    folder = _require_folder(data_dir)
    images = _find(folder, "t10k-images", 3)
    labels = _find(folder, "t10k-labels", 1) if need_target else None
    assert info.image_shape is not None
    return _samples(images, labels, info.image_shape, info.classes)


def _samples(
    images: Path, labels: Path | None, shape: tuple[int, int], classes: list[str]
) -> Samples:
    features, found = _read_images(images)
    if found != shape:
        raise DataError(
            f"[data] {images}: the images are {found[0]}x{found[1]}, but those of the training are "
            f"{shape[0]}x{shape[1]}. Use images of that size."
        )
    target = None
    if labels is not None:
        numbers, which = np.unique(_read_labels(labels, images, len(features)), return_inverse=True)
        values = [str(number) for number in numbers]
        target = find_classes(values, which, classes, lambda row: f"{labels}, row {row} (from 0)")
    return Samples(features=features, target=target, rows=np.arange(len(features)))


def _require_folder(data_dir: str | Path | None) -> Path:
    if data_dir is None:
        raise OptionError(
            "[data] mnist needs data_dir (--data-dir): pass the folder with its four IDX files, "
            "such as train-images-idx3-ubyte.gz."
        )
    folder = Path(data_dir)
    if not folder.is_dir():
        raise DataError(
            f"[data] {folder}: there is no such folder. Name the one with MNIST's four IDX files."
        )
    return folder


def _find(folder: Path, stem: str, dimensions: int) -> Path:
    for separator in "-.":
        for ending in ("", ".gz"):
            path = folder / f"{stem}{separator}idx{dimensions}-ubyte{ending}"
            if path.is_file():
                return path
    raise DataError(
        f"[data] {folder}: there is no {stem}-idx{dimensions}-ubyte, with or without .gz. "
        "Put it there, or name the folder that has it."
    )


def _read_images(path: Path) -> tuple[npt.NDArray[np.float32], tuple[int, int]]:
    images = idx.read(path)
    if images.ndim != 3 or images.size == 0:
        raise DataError(
            f"[data] {path}: the shape is {images.shape}, but grey images need (images, height, "
            "width), each at least 1. Check that it is the file of the images."
        )
    with np.errstate(over="ignore"):
        features = images.reshape(len(images), -1).astype(np.float32)
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise DataError(
            f"[data] {path}: image {np.argmin(finite)} (from 0) has a grey level that is NaN, "
            "infinite, or too large for float32. Correct or remove the image."
        )
    return features, (images.shape[1], images.shape[2])


def _read_labels(path: Path, images: Path, count: int) -> npt.NDArray[np.int64]:
    labels = idx.read(path)
    if labels.ndim != 1:
        raise DataError(
            f"[data] {path}: the shape is {labels.shape}, but labels need one number per image. "
            "Check that it is the file of the labels."
        )
    if len(labels) != count:
        raise DataError(
            f"[data] {path}: there are {len(labels):,} labels for the {count:,} images of "
            f"{images}. Check that the two files belong together."
        )
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int64)
    odd = np.flatnonzero(whole != labels)
    if len(odd):
        raise DataError(
            f"[data] {path}: label {odd[0]} (from 0) is {labels[odd[0]]}, which isn't an integer. "
            "Correct it."
        )
    return whole
