"""`load` and `load_rows`: all sources by name, and rows that match a model."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from softxent.errors import DataError, MissingExtraError, OptionError
from softxent.learn import data as data_room
from softxent.learn.data import Dataset, Rows, load, load_rows
from softxent.record import Data


def table(folder: Path, content: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(content)
    return path


def rows_of(info: Data, name: str | Path, *, need_target: bool) -> Rows:
    return load_rows(info, name, seed=0, need_target=need_target)


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    lines = [f"{row},{row % 3},{'rose' if row % 3 else 'iris'}" for row in range(30)]
    return table(tmp_path, "a,b,y\n" + "\n".join(lines) + "\n")


def test_digits_equal_scikit_learn() -> None:
    data = load("digits")
    digits = load_digits()
    assert data.info.kind == "images"
    assert data.info.image_shape == (8, 8)
    assert data.info.classes == list("0123456789")
    assert (data.info.train_rows, data.info.test_rows) == (len(data.train), len(data.test))
    for samples in (data.train, data.test):
        np.testing.assert_array_equal(samples.features, digits.data[samples.rows])
        np.testing.assert_array_equal(samples.target, digits.target[samples.rows])
        assert samples.features.dtype == np.float32


def test_points_are_the_same_for_the_same_seed_only() -> None:
    first, again, other = load("points", seed=3), load("points", seed=3), load("points", seed=4)
    np.testing.assert_array_equal(first.train.features, again.train.features)
    np.testing.assert_array_equal(first.test.rows, again.test.rows)
    points = [np.concatenate([data.train.features, data.test.features]) for data in (first, other)]
    assert not np.isin(points[0], points[1]).all()
    assert first.info.features == ["x", "y"]
    assert first.info.kind == "plane"
    assert len(first.info.classes) == 3


def test_points_do_not_depend_on_the_numpy_version() -> None:
    data = load("points")
    np.testing.assert_allclose(
        data.train.features[:2], [[-0.751918, 0.344132], [-0.143484, -0.224665]], atol=1e-6
    )
    assert data.test.rows[:5].tolist() == [10, 13, 20, 29, 34]


def test_points_need_a_curved_boundary() -> None:
    data = load("points")
    straight = LogisticRegression().fit(data.train.features, data.train.target)
    bent = KNeighborsClassifier().fit(data.train.features, data.train.target)
    assert straight.score(data.test.features, data.test.target) < 0.65
    assert bent.score(data.test.features, data.test.target) > 0.95
    assert np.hypot(*data.train.features.T).max() <= 1.0001
    assert np.bincount(np.concatenate([data.train.target, data.test.target])).tolist() == [500] * 3


def test_the_record_lists_the_file(flowers: Path) -> None:
    info = load(flowers, target="y", drop=["b"], seed=5).info
    content = flowers.read_bytes()
    [file] = info.files
    assert file.name == info.name == "table.csv"
    assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (info.target, info.dropped, info.features) == ("y", ["b"], ["a"])
    assert info.split == "6 of 30 rows held out, the same share of every class, seed 5"


@pytest.mark.parametrize("name", ["digits", "points"])
def test_the_same_rows_are_held_out_again(name: str) -> None:
    data = load(name, seed=9, test_size=0.1)
    rows = load_rows(data.info, name, seed=9, need_target=True)
    np.testing.assert_array_equal(rows.samples.features, data.test.features)
    np.testing.assert_array_equal(rows.samples.target, data.test.target)
    np.testing.assert_array_equal(rows.samples.rows, data.test.rows)
    assert rows.note is not None
    assert f"{len(data.test)} rows of {name}" in rows.note
    unlabelled = load_rows(data.info, name, seed=9, need_target=False)
    assert unlabelled.samples.target is None
    np.testing.assert_array_equal(unlabelled.samples.rows, data.test.rows)


def test_columns_are_matched_by_name(flowers: Path, tmp_path: Path) -> None:
    info = load(flowers, target="y").info
    other = table(tmp_path, "more,y,b,more,a\nx,rose,2,,1\n?,iris,4,,3\n", "other.csv")
    rows = rows_of(info, other, need_target=True)
    assert rows.samples.features.tolist() == [[1, 2], [3, 4]]
    assert rows.samples.target is not None
    assert [info.classes[index] for index in rows.samples.target] == ["rose", "iris"]
    assert rows.samples.rows.tolist() == [0, 1]
    assert rows.note is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,y\n1,rose\n", "there is no column 'b'"),
        ("a,B,y\n1,2,rose\n", "there is no column 'b'. Did you mean 'B'"),
        ("a,b\n1,2\n", "there is no column 'y'"),
        ("a,b,b,y\n1,2,3,rose\n", "more than one column is named 'b'"),
        ("a,b,y\n1,2,rose\n1,2,tulip\n1,2,tulip\n", "line 3: the class 'tulip' was not in the"),
        ("a,b,y\n1,2,rose\n1,2,tulip\n", "The classes are 'iris', 'rose'"),
        ("a,b,y\n1,2,\n", "line 2: column 'y' has no value"),
        ("a,b,y\n1,x,rose\n", "line 2: column 'b' has the value 'x'"),
        ("a,b,y\n", "no rows"),
    ],
)
def test_rows_that_do_not_match_the_model(
    flowers: Path, tmp_path: Path, content: str, message: str
) -> None:
    info = load(flowers, target="y").info
    other = table(tmp_path, content, "other.csv")
    with pytest.raises(DataError) as caught:
        rows_of(info, other, need_target=True)
    assert str(other) in str(caught.value)
    assert message in str(caught.value)


def test_prediction_ignores_the_target(flowers: Path, tmp_path: Path) -> None:
    info = load(flowers, target="y").info
    for content in ("b,a\n2,1\n", "a,y,b\n1,,2\n", "a,y,b\n1,tulip,2\n"):
        rows = rows_of(info, table(tmp_path, content, "other.csv"), need_target=False)
        assert rows.samples.target is None
        assert rows.samples.features.tolist() == [[1, 2]]


def test_numeric_classes_are_matched_by_value(tmp_path: Path) -> None:
    data = load(table(tmp_path, "a,y\n" + "1,1\n2,10\n3,2\n" * 3), target="y")
    assert data.info.classes == ["1", "2", "10"]
    rows = rows_of(data.info, table(tmp_path, "a,y\n1,10.0\n2,+1\n", "b.csv"), need_target=True)
    assert rows.samples.target is not None
    assert rows.samples.target.tolist() == [2, 0]


def test_the_training_file_is_evaluated_on_held_out_rows(flowers: Path, tmp_path: Path) -> None:
    data = load(flowers, target="y")
    copy = tmp_path / "another-name.csv"
    copy.write_bytes(flowers.read_bytes())
    for path in (flowers, copy):
        rows = rows_of(data.info, path, need_target=True)
        np.testing.assert_array_equal(rows.samples.rows, data.test.rows)
        np.testing.assert_array_equal(rows.samples.target, data.test.target)
        np.testing.assert_array_equal(rows.samples.features, data.test.features)
        assert rows.note is not None
        assert rows.note.endswith("these are the 6 rows that were held out")
    copy.write_bytes(flowers.read_bytes() + b"1,2,rose\n")
    assert len(rows_of(data.info, copy, need_target=True).samples) == 31


def test_all_rows_of_the_training_file_are_predicted(flowers: Path) -> None:
    rows = rows_of(load(flowers, target="y").info, flowers, need_target=False)
    assert rows.samples.rows.tolist() == list(range(30))
    assert rows.note is not None
    assert rows.note.endswith("was trained on, with 24 of these 30 rows")


def test_sources_that_do_not_match_the_model(flowers: Path) -> None:
    infos = {name: load(name).info for name in ("digits", "points")}
    infos["table"] = load(flowers, target="y").info
    misfits: list[tuple[str, str | Path, str]] = [
        (
            "digits",
            "points",
            "points has the columns 'x', 'y', but the model was trained on digits",
        ),
        ("points", "digits", "needs the columns 'x', 'y'"),
        (
            "table",
            "digits",
            "digits has images of 8x8 pixels, but the model was trained on table.c",
        ),
        ("table", "points", "needs the columns 'a', 'b'"),
        ("table", "mnist", "mnist has images"),
        ("digits", flowers, "is a table, but the model was trained on digits"),
        ("points", flowers, "names no column with the classes"),
    ]
    for model, name, message in misfits:
        with pytest.raises(DataError) as caught:
            rows_of(infos[model], name, need_target=True)
        assert message in str(caught.value)


def test_points_from_a_file_are_predicted(tmp_path: Path) -> None:
    path = table(tmp_path, "y,x\n0.5,-0.25\n")
    rows = rows_of(load("points").info, path, need_target=False)
    assert rows.samples.features.tolist() == [[-0.25, 0.5]]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnsit", "'mnsit' is not a data source. Did you mean 'mnist'?"),
        ("table.txt", "Use digits, mnist, points, or a file that ends in .csv, .csv.gz,"),
        ("", "'' is not a data source"),
        ("absent.csv", "absent.csv: there is no such file"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load(name, target="y")
    assert message in str(caught.value)
    with pytest.raises(DataError) as caught:
        rows_of(load("points").info, name, need_target=False)
    assert message in str(caught.value)


def test_folders_and_devices_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "device.csv").symlink_to("/dev/null")
    with pytest.raises(DataError, match="is a folder"):
        load(tmp_path / "folder.csv", target="y")
    with pytest.raises(DataError, match="is not a regular file"):
        load(tmp_path / "device.csv", target="y")


def test_options_of_other_sources(flowers: Path) -> None:
    with pytest.raises(OptionError, match="needs a target"):
        load(flowers)
    with pytest.raises(OptionError, match="leave out target and drop"):
        load("digits", target="y")
    with pytest.raises(OptionError, match="leave out target and drop"):
        load("points", drop=["x"])
    with pytest.raises(OptionError, match="seed"):
        load("points", seed=-1)
    with pytest.raises(OptionError, match="test_size"):
        load(flowers, target="y", test_size=20)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch, flowers: Path) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.setitem(sys.modules, "sklearn.model_selection", None)
    sources: list[tuple[str | Path, str | None]]
    sources = [("digits", None), ("points", None), (flowers, "y")]
    for name, target in sources:
        with pytest.raises(MissingExtraError, match=r'scikit-learn.*"softxent\[learn\]"'):
            load(name, target=target)


def test_without_pyarrow(monkeypatch: pytest.MonkeyPatch, flowers: Path) -> None:
    for module in ("table", "arrow", "csv_file", "parquet_file"):
        monkeypatch.delitem(sys.modules, f"softxent.learn.data.{module}", raising=False)
    monkeypatch.delattr(data_room, "table", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow.csv", None)
    with pytest.raises(MissingExtraError, match=r'pyarrow.*"softxent\[learn\]"'):
        load(flowers, target="y")
    assert len(load("points").train) == 1200


def check_same(found: Rows, data: Dataset) -> None:
    np.testing.assert_array_equal(found.samples.rows, data.test.rows)
    np.testing.assert_array_equal(found.samples.features, data.test.features)
    np.testing.assert_array_equal(found.samples.target, data.test.target)


def test_otto(shared_data: Path) -> None:
    path = shared_data / "otto" / "train.csv.gz"
    data = load(path, target="target", drop=["id"])
    assert data.train.features.shape == (49_502, 93)
    assert data.info.classes == [f"Class_{number}" for number in range(1, 10)]
    target = np.concatenate([data.train.target, data.test.target])
    assert np.bincount(target).tolist() == [1929, 16122, 8004, 2691, 2739, 14135, 2839, 8464, 4955]
    check_same(rows_of(data.info, path, need_target=True), data)


def test_letters(shared_data: Path, tmp_path: Path) -> None:
    letters = (shared_data / "letter" / "letter-recognition.data").read_text()
    header = ",".join(["letter", *(f"feature{number}" for number in range(16))])
    path = table(tmp_path, f"{header}\n{letters}")
    data = load(path, target="letter")
    assert data.info.classes == list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert (len(data.train), len(data.test)) == (16_000, 4_000)
    check_same(rows_of(data.info, path, need_target=True), data)
    with pytest.raises(DataError, match="The first line looks like data"):
        load(table(tmp_path, letters, "bare.csv"), target="letter")
