"""CSV files as spreadsheets and scripts write them, and errors that name the line."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softxent.errors import DataError, OptionError
from softxent.learn.data import Dataset, load

GOOD = "a,b,y\n" + "1,2,u\n3,4,v\n" * 4  # lines 1 to 9


def write(folder: Path, content: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def every_row(data: Dataset) -> tuple[list[list[float]], list[str]]:
    """Features and class names of all rows, in the order of the file."""
    rows = np.concatenate([data.train.rows, data.test.rows])
    features = np.concatenate([data.train.features, data.test.features])[np.argsort(rows)]
    assert data.train.target is not None
    assert data.test.target is not None
    target = np.concatenate([data.train.target, data.test.target])[np.argsort(rows)]
    assert sorted(rows) == list(range(len(rows)))
    return features.tolist(), [data.info.classes[index] for index in target]


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        GOOD.rstrip("\n"),
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\r"),
        "\ufeff" + GOOD,
        "\n\n" + GOOD.replace("\n", "\n\n"),
        GOOD.replace("2", '"2"').replace("y", '"y"'),
        GOOD.replace("2", " 2.0 ").replace("3", "3e0"),
    ],
    ids=["plain", "no last newline", "CRLF", "CR", "BOM", "blank lines", "quotes", "spaces"],
)
def test_equivalent_files_give_the_same_table(tmp_path: Path, content: str) -> None:
    data = load(write(tmp_path, content), target="y")
    features, classes = every_row(data)
    assert features == [[1, 2], [3, 4]] * 4
    assert classes == ["u", "v"] * 4
    assert data.info.features == ["a", "b"]
    assert data.info.name == "table.csv"
    assert data.train.features.dtype == np.float32


@pytest.mark.parametrize("name", ["table.csv.gz", "table.csv", "TABLE.CSV"])
def test_gzip_is_recognised_by_content(tmp_path: Path, name: str) -> None:
    for content in (GOOD.encode(), gzip.compress(GOOD.encode())):
        assert len(load(str(write(tmp_path, content, name)), target="y").train) == 6


def test_names_and_classes_are_kept_as_they_are(tmp_path: Path) -> None:
    content = '"a, ""b""\nc", ü ,<b>,y\n' + '1,2,3,"one,\ntwo"\n4,5,6,<i>\x1b\n' * 2
    info = load(write(tmp_path, content), target="y").info
    assert info.features == ['a, "b"\nc', " ü ", "<b>"]
    assert info.classes == ["<i>\x1b", "one,\ntwo"]


def test_booleans_are_numbers_and_constants_are_accepted(tmp_path: Path) -> None:
    content = "a,b,c,y\n" + "true,FALSE,7,u\nfalse,True,7,v\n" * 2
    features, _ = every_row(load(write(tmp_path, content), target="y"))
    assert features == [[1, 0, 7], [0, 1, 7]] * 2


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["10", "2", "-1"], ["-1", "2", "10"]),
        (["1", "01", "1.0", "2"], ["1", "2"]),
        (["10", "2", "x"], ["10", "2", "x"]),
        (["true", "False"], ["False", "true"]),
        (["4.5", "10", "0.5"], ["0.5", "4.5", "10"]),
        (["9007199254740993", "9007199254740992"], ["9007199254740992", "9007199254740993"]),
        (["2020-02-01", "2020-01-01"], ["2020-01-01", "2020-02-01"]),
    ],
)
def test_classes_are_sorted_by_value_or_as_text(
    tmp_path: Path, values: list[str], classes: list[str]
) -> None:
    content = "a,y\n" + "".join(f"1,{value}\n" for value in values * 2)
    data = load(write(tmp_path, content), target="y")
    assert data.info.classes == classes
    if len(classes) == len(values):
        assert every_row(data)[1] == values * 2


def test_dropped_columns_can_hold_anything(tmp_path: Path) -> None:
    content = ",note,note,a,y\n" + "1,x,,2,u\n,NA,z,3,v\n" * 2
    data = load(write(tmp_path, content), target="y", drop=["", "note"])
    assert data.info.features == ["a"]
    assert data.info.dropped == ["", "note"]


BAD: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "is empty"),
    "blank": ("\n\n", "is empty"),
    "header only": ("a,b,y\n", "has a header and no rows"),
    "short row": (GOOD + "1,2\n", "line 10: has 2 fields where the header has 3 columns"),
    "long row": (GOOD + "\n\n1,2,u,\n", "line 12: has 4 fields"),
    "text": (
        GOOD + "1,x,u\n1,z,u\n",
        "line 10: column 'b' has the value 'x', which isn't a number",
    ),
    "text after a quoted newline": (
        'a,b,y\n1,2,"u\nu"\n\n1,x,u\n',
        "line 5: column 'b' has the value 'x'",
    ),
    "text with escapes": (GOOD + '1,"\x1b[31m",u\n', r"column 'b' has the value '\x1b[31m'"),
    "long text": (GOOD + f"1,{'x' * 90},u\n", f"has the value '{'x' * 37}...'"),
    "date": (GOOD.replace("2", "2020-01-31"), "line 2: column 'b' has the value '2020-01-31'"),
    "thousands": (GOOD + '1,"1,500",u\n', "line 10: column 'b' has the value '1,500'"),
    "underscore": (GOOD + "1,1_0,u\n", "line 10: column 'b' has the value '1_0'"),
    "missing": (GOOD + "1,,u\n,NA,u\n1,nan,u\n", "line 11: column 'a' has no value"),
    "missing, counted": (GOOD + "1,,u\n1,NA,u\n1,NaN,u\n", "; 3 values are missing"),
    "NaN in capitals": (GOOD + "1,NAN,u\n", "line 10: column 'b' has no value"),
    "all missing": ("a,b,y\n,1,u\n,2,v\n", "line 2: column 'a' has no value"),
    "infinite": (
        GOOD + "1,-inf,u\n",
        "line 10: column 'b' has the value '-inf', which is infinite",
    ),
    "too large": (
        GOOD + "1,1e39,u\n",
        "line 10: column 'b' has the value '1e39', which is infinite or",
    ),
    "target missing": (GOOD + "1,2,\n", "line 10: column 'y' has no value"),
    "other separator": (GOOD.replace(",", ";"), "separated by semicolons"),
    "tabs": (GOOD.replace(",", "\t"), "separated by tabs"),
    "column twice": ("a,a,y\n1,2,u\n", "more than one column is named 'a'"),
    "target twice": ("y,a,y\n1,2,u\n", "more than one column is named 'y'"),
    "no name": (",a,y\n1,2,u\n", "column 1 has no name"),
    "no feature": ("y\nu\nv\n", "no column remains as a feature"),
    "no header": ("1,2,u\n3,4,v\n", "The first line looks like data"),
    "one class": (
        "a,y\n1,u\n2,u\n",
        "is 'u' in every row, but a classifier needs at least two classes",
    ),
    "every row its own class": ("a,y\n1,u\n2,v\n", "has a different class"),
    "UTF-16": (GOOD.encode("utf-16"), "is UTF-16 text"),
    "Latin-1": (GOOD.encode() + b"1,2,\xe9\n", "line 10: byte e9 is not UTF-8 text"),
    "Latin-1 header": (b"\xe9" + GOOD.encode(), "line 1: byte e9 is not UTF-8 text"),
    "cut character": (GOOD.encode() + b"1,2,\xc3", "line 10: byte c3 is not UTF-8 text"),
    "NUL": (GOOD + "1,\0,u\n", "line 10: there is a NUL byte"),
    "open quote": (GOOD + '1,2,"u\n1,2,u\n', "line 10: this record opens a quote"),
    "open quote in a number": (GOOD + '1,"2,u\n1,2,u\n', "line 10: has 2 fields"),
    "endless field": (GOOD + f'1,"{"x" * 5_000_000}",u\n', "line 10: field larger"),
    "endless row": (
        ",".join(f"t{index}" for index in range(90)) + ",y\n" + ("x" * 100_000 + ",") * 90 + "u\n",
        "can't be read as CSV",
    ),
    "endless header": ("x," * 2_500_000, "the first line is longer than 4 MiB"),
    "gzip cut": (gzip.compress(GOOD.encode())[:-9], "the gzip data are truncated"),
    "gzip damaged": (gzip.compress(GOOD.encode())[:-8] + bytes(8), "the gzip data are damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_errors_name_the_problem_and_the_position(tmp_path: Path, name: str) -> None:
    content, message = BAD[name]
    path = write(tmp_path, content)
    with pytest.raises(DataError) as caught:
        load(path, target="y")
    assert str(path) in str(caught.value) or "different class" in message
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path))


@pytest.mark.parametrize("kind", ["fractions", "integers", "text"])
def test_a_measurement_or_an_identifier_is_rejected_as_target(tmp_path: Path, kind: str) -> None:
    values = {
        "fractions": [f"{row % 30 / 7:.3f}" for row in range(300)],
        "integers": [str(row) for row in range(300)],
        "text": [f"id-{row}" for row in range(300)],
    }[kind]
    path = write(tmp_path, "a,y\n" + "".join(f"1,{value}\n" for value in values))
    count = len(set(values))
    with pytest.raises(DataError, match=f"'y' has {count} distinct values in 300 rows"):
        load(path, target="y")


def test_many_classes_with_several_rows_each(tmp_path: Path) -> None:
    path = write(tmp_path, "a,y\n" + "".join(f"1,{row % 100}\n" for row in range(300)))
    assert len(load(path, target="y").info.classes) == 100


def test_similar_names_are_suggested_for_a_missing_column(tmp_path: Path) -> None:
    path = write(tmp_path, "height,width,Species \n1,2,u\n3,4,v\n")
    for target in ("species", "Speceis"):
        with pytest.raises(DataError, match=r"Did you mean 'Species '\? The columns are 'height'"):
            load(path, target=target)
    with pytest.raises(DataError, match=r"there is no column 'wdith'\. Did you mean 'width'"):
        load(path, target="Species ", drop=["wdith"])
    with pytest.raises(OptionError, match="'height' is the target"):
        load(path, target="height", drop=["height"])


def test_many_columns_are_not_all_listed(tmp_path: Path) -> None:
    path = write(tmp_path, ",".join(f"column{index}" for index in range(2000)) + "\n")
    with pytest.raises(DataError, match=r"'column7', ... \(2,000 in all\)"):
        load(path, target="zzz")


def test_a_single_quote_within_text_is_not_an_open_quote(tmp_path: Path) -> None:
    data = load(write(tmp_path, 'a,y\n1,5" pipe\n2,v\n1,5" pipe\n2,v\n3,5" pipe\n'), target="y")
    assert data.info.classes == ['5" pipe', "v"]


@pytest.mark.slow
def test_lines_are_counted_across_blocks(tmp_path: Path) -> None:
    lines = 700_000  # some 8 MB, parsed in two pieces
    path = write(tmp_path, "a,b,y\n" + "1.25,-7,u\n2.5,8,v\n" * (lines // 2) + "1,x,u\n")
    with pytest.raises(DataError, match=f"line {lines + 2}: column 'b' has the value 'x'"):
        load(path, target="y")
    path = write(tmp_path, path.read_bytes() + b"\xff")
    with pytest.raises(DataError, match=f"line {lines + 3}: byte ff is not UTF-8 text"):
        load(path, target="y")


def test_quoted_text_across_blocks(tmp_path: Path) -> None:
    names = ["a\n,b\n" * 50, "c\n,d\n" * 50]
    content = "a,y\n" + "".join(f'1,"{name}"\n' for name in names * 10_000)  # some 6 MB
    data = load(write(tmp_path, content), target="y")
    assert data.info.classes == names
    assert len(data.train) == 16_000


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
NUMBER = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(NUMBER, CELL, NUMBER), min_size=1, max_size=8), st.booleans())
@settings(deadline=None, max_examples=100)
@pytest.mark.slow
def test_output_of_the_csv_module_is_read(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[float, str, float]], crlf: bool
) -> None:
    table = [(a, "x" + text, b) for a, text, b in table] * 2  # never missing, each class twice
    table += [(0.0, "another", 0.0)] * 2  # so that no column is too narrow for float32
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n" if crlf else "\n")
    writer.writerows([("a", "y", "b"), *table])
    path = write(tmp_path_factory.getbasetemp(), text.getvalue())
    features, classes = every_row(load(path, target="y"))
    assert features == [[a, b] for a, _, b in table]
    assert classes == [name for _, name, _ in table]


@given(st.text(st.sampled_from('1,"\n\r;.xy-e \ufeff'), max_size=60) | st.binary(max_size=60))
@settings(deadline=None, max_examples=150)
def test_any_bytes_give_a_table_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, content: str | bytes
) -> None:
    data = content.encode() if isinstance(content, str) else content
    path = write(tmp_path_factory.getbasetemp(), b"x,y\n" + data, "any.csv")
    with contextlib.suppress(DataError):
        every_row(load(path, target="y"))


@pytest.mark.parametrize("values", [(16777216, 16777217), (1700000000, 1700000030)])
def test_numbers_that_are_equal_in_float32_are_rejected(
    tmp_path: Path, values: tuple[int, int]
) -> None:
    file = tmp_path / "dates.csv"
    file.write_text("ts,y\n" + "".join(f"{values[i % 2]},{'ab'[i % 2]}\n" for i in range(40)))
    with pytest.raises(
        DataError, match=r"column 'ts' goes up to 1\d+ and has a standard deviation of only"
    ):
        load(file, target="y")


def test_large_numbers_with_sufficient_differences(tmp_path: Path) -> None:
    file = tmp_path / "dates.csv"
    file.write_text("ts,y\n" + "".join(f"{1.7e9 + 86400 * i},{'ab'[i % 2]}\n" for i in range(40)))
    assert len(load(file, target="y").train) == 32


def test_a_class_named_na_needs_quotes(tmp_path: Path) -> None:
    file = tmp_path / "regions.csv"
    file.write_text("x,y\n" + "".join(f'{i},"{("NA", "EU")[i % 2]}"\n' for i in range(40)))
    assert load(file, target="y").info.classes == ["EU", "NA"]
    file.write_text(file.read_text().replace('"', ""))
    with pytest.raises(DataError, match="Quote text such as NA to keep it"):
        load(file, target="y")


def test_an_empty_quoted_class_is_missing(tmp_path: Path) -> None:
    file = tmp_path / "regions.csv"
    file.write_text("x,y\n" + "".join(f'{i},"{("", "EU")[i % 2]}"\n' for i in range(40)))
    with pytest.raises(DataError, match="column 'y' has no value"):
        load(file, target="y")
