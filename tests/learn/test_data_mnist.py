"""MNIST and other data in its format: four matching files, or an error that says what differs."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from softxent.errors import DataError, OptionError
from softxent.learn.data import load, load_rows

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
IMAGES = np.arange(7 * 2 * 3).reshape(7, 2, 3)
LABELS = np.array([3, -1, 40, 3, -1, 40, 3])
STEMS = ("train-images", "train-labels", "t10k-images", "t10k-labels")


def write(
    folder: Path,
    stem: str,
    array: np.ndarray,
    *,
    dtype: str = "i1",
    separator: str = "-",
    compress: bool = False,
) -> Path:
    dimensions = 3 if stem.endswith("images") else 1  # in the name; the array may have others
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[dtype], array.ndim, *array.shape)
    content = header + array.astype(np.dtype(dtype).newbyteorder(">")).tobytes()
    name = f"{stem}{separator}idx{dimensions}-ubyte{'.gz' if compress else ''}"
    (folder / name).write_bytes(gzip.compress(content) if compress else content)
    return folder / name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "train-images", IMAGES)
    write(tmp_path, "train-labels", LABELS)
    write(tmp_path, "t10k-images", IMAGES[:2])
    write(tmp_path, "t10k-labels", LABELS[1:3])
    return tmp_path


def test_images_of_any_size_and_labels_of_any_numbers(folder: Path) -> None:
    data = load("mnist", data_dir=folder)
    assert data.info.classes == ["-1", "3", "40"]
    assert data.info.image_shape == (2, 3)
    assert (data.info.name, data.info.kind, data.info.features) == ("mnist", "images", [])
    assert (data.info.train_rows, data.info.test_rows) == (7, 2)
    np.testing.assert_array_equal(data.train.features, IMAGES.reshape(7, 6))
    assert data.train.features.dtype == np.float32
    np.testing.assert_array_equal(data.train.target, [1, 0, 2, 1, 0, 2, 1])
    np.testing.assert_array_equal(data.test.target, [0, 2])
    np.testing.assert_array_equal(data.test.rows, [0, 1])


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "f4", "f8"])
def test_every_type_of_number(folder: Path, dtype: str) -> None:
    expected = load("mnist", data_dir=folder)
    write(folder, "train-images", IMAGES, dtype=dtype)
    write(folder, "train-labels", LABELS, dtype=dtype)
    found = load("mnist", data_dir=folder)
    np.testing.assert_array_equal(found.train.features, expected.train.features)
    np.testing.assert_array_equal(found.train.target, expected.train.target)


@pytest.mark.parametrize("separator", ["-", "."])
@pytest.mark.parametrize("compress", [False, True])
def test_accepted_file_names(tmp_path: Path, separator: str, compress: bool) -> None:
    for stem in STEMS:
        array = IMAGES if stem.endswith("images") else LABELS
        write(tmp_path, stem, array, separator=separator, compress=compress)
    assert len(load("mnist", data_dir=str(tmp_path)).train) == 7


def test_the_record_lists_the_four_files(folder: Path) -> None:
    files = load("mnist", data_dir=folder).info.files
    assert [file.name for file in files] == [
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ]
    for file in files:
        content = (folder / file.name).read_bytes()
        assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("stem", "array", "dtype", "message"),
    [
        ("train-images", IMAGES[0], "i1", "grey images need (images, height, width)"),
        ("train-images", np.zeros((0, 2, 3)), "i1", "grey images need (images, height, width)"),
        ("train-images", np.zeros((7, 0, 3)), "i1", "grey images need (images, height, width)"),
        ("train-images", np.full((7, 2, 3), 1e39), "f8", "image 0 (from 0) has a grey level"),
        ("train-images", np.full((7, 2, 3), np.nan), "f4", "NaN"),
        ("train-labels", LABELS[:5], "i1", "there are 5 labels for the 7 images"),
        ("train-labels", LABELS[:, None], "i1", "labels need one number per image"),
        ("train-labels", LABELS + 0.5, "f4", "label 0 (from 0) is 3.5"),
        ("train-labels", np.array([3, 3, np.nan, 3, 3, 3, 3]), "f4", "label 2 (from 0) is nan"),
        (
            "train-labels",
            np.ones(7),
            "u1",
            "all labels are 1, but a classifier needs at least two classes",
        ),
        ("t10k-images", IMAGES[:2, :, :2], "i1", "are 2x2, but those of the training are 2x3"),
        ("t10k-labels", LABELS[:1], "i1", "there are 1 labels for the 2 images"),
        ("t10k-labels", np.array([3, 7]), "i1", "row 1 (from 0): the class '7' was not in the"),
    ],
)
def test_files_that_do_not_match(
    folder: Path, stem: str, array: np.ndarray, dtype: str, message: str
) -> None:
    path = write(folder, stem, array, dtype=dtype)
    with pytest.raises(DataError) as caught:
        load("mnist", data_dir=folder)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("stem", STEMS)
def test_a_missing_file_is_named(folder: Path, stem: str) -> None:
    next(folder.glob(f"{stem}*")).unlink()
    with pytest.raises(DataError, match=f"there is no {stem}-idx"):
        load("mnist", data_dir=folder)


def test_the_folder_is_required_and_must_exist(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--data-dir"):
        load("mnist")
    with pytest.raises(DataError, match="no such folder"):
        load("mnist", data_dir=tmp_path / "absent")


def test_rows_for_a_trained_model(folder: Path) -> None:
    info = load("mnist", data_dir=folder).info
    rows = load_rows(info, "mnist", data_dir=folder, seed=0, need_target=True)
    np.testing.assert_array_equal(rows.samples.target, [0, 2])
    np.testing.assert_array_equal(rows.samples.features, IMAGES[:2].reshape(2, 6))
    assert rows.note is not None
    assert "2 test rows" in rows.note


def test_prediction_needs_no_labels_and_no_training_files(folder: Path) -> None:
    info = load("mnist", data_dir=folder).info
    for path in folder.iterdir():
        if "t10k-images" not in path.name:
            path.unlink()
    rows = load_rows(info, "mnist", data_dir=folder, seed=0, need_target=False)
    assert rows.samples.target is None
    assert len(rows.samples) == 2
    with pytest.raises(DataError, match="there is no t10k-labels"):
        load_rows(info, "mnist", data_dir=folder, seed=0, need_target=True)


def test_models_of_other_data(folder: Path) -> None:
    for name, message in [("digits", "those of the training are 8x8"), ("points", "needs the col")]:
        info = load(name).info
        with pytest.raises(DataError, match=message):
            load_rows(info, "mnist", data_dir=folder, seed=0, need_target=True)
    info = load("mnist", data_dir=folder).info
    with pytest.raises(DataError, match="digits has images of 8x8 pixels, but the model"):
        load_rows(info, "digits", seed=0, need_target=True)


def test_the_real_mnist(shared_data: Path) -> None:
    data = load("mnist", data_dir=shared_data / "mnist")
    assert data.train.features.shape == (60_000, 784)
    assert data.test.features.shape == (10_000, 784)
    assert data.info.classes == list("0123456789")
    assert data.info.image_shape == (28, 28)
    assert data.train.features.max() == 255
    assert data.train.target is not None
    assert data.train.target[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.test.target is not None
    assert np.bincount(data.test.target).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
