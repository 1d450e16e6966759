"""Data frames in: any library, the used columns, missing and infinite values, a spec's preparation."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from bayesmlm.errors import BayesmlmError, DataError
from bayesmlm.frames import complete_rows, prepare, select

COLUMNS = {
    "y": [0, 1, 1, 0],
    "x": [0.5, -1.0, 2.0, 0.0],
    "g": ["b", "a", "b", "a"],
    "flag": [True, False, True, True],
}


@pytest.fixture(
    params=["mapping", "pandas", "polars", "polars-lazy", "pyarrow"],
)
def frame(request):
    match request.param:
        case "mapping":
            return dict(COLUMNS)
        case "pandas":
            return pd.DataFrame(COLUMNS, index=[7, 5, 3, 1])
        case "polars":
            return pl.DataFrame(COLUMNS)
        case "polars-lazy":
            return pl.DataFrame(COLUMNS).lazy()
        case "pyarrow":
            return pa.table(COLUMNS)


def test_every_library_gives_the_same_columns(frame):
    taken = select(frame, ["g", "x", "flag", "y"])
    assert list(taken.columns) == ["g", "x", "flag", "y"]
    assert taken.index.tolist() == [0, 1, 2, 3]
    assert taken.g.tolist() == COLUMNS["g"]
    assert taken.x.tolist() == COLUMNS["x"]
    assert taken.flag.cat.categories.tolist() == [False, True]
    assert taken.flag.tolist() == COLUMNS["flag"]


def test_the_order_of_levels_is_kept():
    levels = ["low", "mid", "high"]
    values = ["high", "low", "low", "high"]
    for data in (
        pd.DataFrame({"a": pd.Categorical(values, categories=levels)}),
        pl.DataFrame({"a": values}, schema={"a": pl.Enum(levels)}),
    ):
        assert select(data, ["a"]).a.cat.categories.tolist() == levels


def test_what_the_user_holds_is_not_changed():
    data = pd.DataFrame(COLUMNS)
    before = data.copy()
    taken = select(data, ["x"])
    taken["x"] = 0.0
    prepare(data, {"g": ["a", "b"]}, {"z": "x * 2"})
    pd.testing.assert_frame_equal(data, before)


def test_columns_are_read_where_they_are_and_prepared_data_are_a_copy():
    data = pd.DataFrame(COLUMNS)
    assert np.shares_memory(select(data, ["x"]).x.to_numpy(), data.x.to_numpy())
    assert not np.shares_memory(prepare(data, {}, {}).x.to_numpy(), data.x.to_numpy())


@pytest.mark.parametrize(
    "column",
    [
        pd.Categorical(["b", "a", None, "b"], ["b", "a"]),
        pd.Categorical(["b", "a", None, "b"], ["b", "a"], ordered=True),
        pl.Series(["b", "a", None, "b"], dtype=pl.Enum(["b", "a"])),
        pa.DictionaryArray.from_arrays([0, 1, None, 0], ["b", "a"]),
    ],
    ids=["categorical", "ordered", "enum", "dictionary"],
)
def test_a_factor_of_any_library(column):
    make = {"Series": pl.DataFrame, "DictionaryArray": pa.table}.get(type(column).__name__, pd.DataFrame)
    factor = select(make({"a": column}), ["a"]).a
    assert factor.cat.categories.tolist() == ["b", "a"]
    assert not factor.cat.ordered
    assert [None if pd.isna(value) else value for value in factor] == ["b", "a", None, "b"]


@pytest.mark.parametrize(
    "column",
    [
        pd.array(["b", None, "a"], dtype="str"),
        pd.array(["b", None, "a"], dtype="string"),
        np.array(["b", None, "a"], dtype=object),
    ],
    ids=["str", "string", "object"],
)
def test_text_of_any_kind(column):
    taken = select(pd.DataFrame({"a": column}), ["a"])
    assert [None if pd.isna(value) else value for value in taken.a] == ["b", None, "a"]
    assert complete_rows(taken).tolist() == [True, False, True]


@pytest.mark.parametrize(
    "column", [[True, None, False], pd.array([True, None, False], dtype="boolean"), pl.Series([True, None, False])]
)
def test_booleans_with_a_missing_value(column):
    make = pl.DataFrame if isinstance(column, pl.Series) else pd.DataFrame
    taken = select(make({"a": column}), ["a"])
    assert [None if pd.isna(value) else bool(value) for value in taken.a] == [True, None, False]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pd.array([1, 2, None], dtype="Int64"), [1, 2, np.nan]),
        (pd.array([1.5, 2.5, None], dtype="Float64"), [1.5, 2.5, np.nan]),
        (pd.array([1, 2, 3], dtype="Int64"), [1, 2, 3]),
        (np.array([1, 2, 3], dtype=np.uint8), [1, 2, 3]),
        (np.array([1, 2, 3], dtype=np.float32), [1, 2, 3]),
    ],
)
def test_kinds_of_numbers(column, expected):
    np.testing.assert_array_equal(select(pd.DataFrame({"x": column}), ["x"]).x.to_numpy(dtype=float), expected)


@pytest.mark.parametrize(
    ("data", "columns", "message"),
    [
        (COLUMNS, ["yy"], 'the data have no column "yy"; did you mean "y"'),
        (COLUMNS, ["district"], "there are: y, x, g, flag"),
        (pd.DataFrame(COLUMNS).iloc[:0], ["y"], "the data have no rows"),
        (5, ["y"], "the data are a int, not a data frame; give a pandas, polars or pyarrow table"),
        ([1, 2], ["y"], "the data are a list, not a data frame"),
        (pd.DataFrame({"t": pd.to_datetime(["2020-01-01"])}), ["t"], 'column "t" holds Datetime'),
        (pl.DataFrame({"a": [[1], [2]]}), ["a"], 'column "a" holds List'),
    ],
)
def test_what_cannot_be_used_is_named(data, columns, message):
    with pytest.raises(DataError, match=message):
        select(data, columns)


def test_columns_of_unlike_length_are_refused():
    with pytest.raises(DataError, match="length"):
        select({"y": [0, 1], "x": [1.0]}, ["y", "x"])


def test_columns_of_one_name_are_refused():
    data = pd.DataFrame([[0, 1.0, 2.0]], columns=["y", "x", "x"])
    with pytest.raises(DataError, match="x"):
        select(data, ["y", "x"])


# missing and infinite values ----------------------------------------------------------------------------------


def test_complete_rows():
    frame = pd.DataFrame(
        {
            "x": [1.0, np.nan, 3.0, 4.0, 5.0],
            "g": ["a", "b", None, "a", "b"],
            "c": pd.Categorical(["a", "b", "a", None, "a"]),
        }
    )
    assert complete_rows(frame).tolist() == [True, False, False, False, True]
    weights = np.array([1.0, 1.0, 1.0, 1.0, np.nan])
    assert complete_rows(frame, {"weights": weights}).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_value_names_column_and_row(value):
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, value]})
    with pytest.raises(DataError, match=r'column "b" is infinite in row 2 \(counting from 0\)'):
        complete_rows(frame)
    with pytest.raises(DataError, match='column "weights" is infinite in row 1'):
        complete_rows(frame[["a"]], {"weights": np.array([1.0, value, 1.0])})


# preparation --------------------------------------------------------------------------------------------------


def test_derived_columns_then_levels():
    data = prepare(
        {"livch": ["0", "2", "1"], "age": [20.0, 30.0, 40.0]},
        {"livch": ["0", "1", "2"], "ch": ["Y", "N"]},
        {"ch": {"where": "livch != '0'", "levels": ["N", "Y"]}, "decades": "age / 10", "young": "decades < 3"},
    )
    assert data.ch.tolist() == ["N", "Y", "Y"]
    assert data.ch.cat.categories.tolist() == ["Y", "N"]
    assert data.livch.cat.categories.tolist() == ["0", "1", "2"]
    assert data.decades.tolist() == [2.0, 3.0, 4.0]
    assert data.young.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("values", "order", "expected"),
    [
        ([3, 1, 2], ["1", "2", "3"], ["3", "1", "2"]),
        ([3.0, 1.0, np.nan], ["1", "3"], ["3", "1", None]),
        (pd.array([3, 1, None], dtype="Int64"), ["1", "3"], ["3", "1", None]),
        (pd.array([True, False, True]), ["False", "True"], ["True", "False", "True"]),
        (["b", "a", None], ["b", "a"], ["b", "a", None]),
        (pd.Categorical(["b", "a", "b"]), ["b", "a"], ["b", "a", "b"]),
    ],
)
def test_levels_of_any_column(values, order, expected):
    """A level is written as text in a spec file; whole numbers are 1, not 1.0, though a value be missing."""
    prepared = prepare(pd.DataFrame({"a": values}), {"a": order}, {}).a
    assert prepared.cat.categories.tolist() == order
    assert [None if pd.isna(v) else v for v in prepared] == expected


@pytest.mark.parametrize(
    ("column", "condition", "expected"),
    [
        ([1.0, np.nan, 3.0], "a > 2", ["N", None, "Y"]),
        (["p", None, "q"], "a != 'p'", ["N", None, "Y"]),
    ],
)
def test_a_condition_on_a_missing_value_is_missing(column, condition, expected):
    prepared = prepare({"a": column}, {}, {"b": {"where": condition, "levels": ["N", "Y"]}}).b
    assert [None if pd.isna(v) else v for v in prepared] == expected


def test_a_derived_comparison_with_a_missing_value_is_missing():
    prepared = prepare({"a": [1.0, np.nan, 3.0]}, {}, {"large": "a > 2"}).large
    assert [None if pd.isna(v) else bool(v) for v in prepared] == [False, None, True]


@pytest.mark.parametrize(
    ("levels", "derive", "message"),
    [
        ({"livch": ["0", "1"]}, {}, 'column "livch" holds "3.", which is not among the levels given'),
        ({"livh": ["0", "1"]}, {}, 'levels are given for "livh", which the data lack; did you mean "livch"'),
        ({"livch": ["0", "3+", "0"]}, {}, "livch"),
        ({}, {"ch": "livhc == '0'"}, 'a column "livhc" that is not there; did you mean "livch"'),
        ({}, {"z": "scale(age)"}, "only value-by-value functions"),
        ({}, {"z": "livch > 3"}, "livch > 3"),
        ({}, {"z": "log(livch)"}, "log"),
        ({}, {"z": {"where": "age + 1", "levels": ["N", "Y"]}}, r"age \+ 1"),
    ],
)
def test_preparation_that_does_not_fit_the_data(levels, derive, message):
    with pytest.raises(BayesmlmError, match=message):
        prepare({"livch": ["0", "3+"], "age": [1.0, 2.0]}, levels, derive)
