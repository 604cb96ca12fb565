"""Columns that are no plain numbers: against scikit-learn's encoders and written-out ones, through JSON, and what is refused."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from dbp.data.column_plan import ColumnOptions, Quantity, SplitRule
from dbp.data.dataset import Dataset
from dbp.data.encoding import Encoding
from dbp.data.open_table import open_table
from dbp.data.statistics import ColumnSummary, summarize
from dbp.errors import DataError

F8 = np.dtype("float64")
ROWS = 700
EPOCH = dt.datetime(1970, 1, 1)


def _mixed(rows: int = ROWS) -> pa.Table:
    draw = np.random.default_rng(5)
    start = dt.datetime(2023, 12, 30, 22, 15)
    holes = draw.random((2, rows)) < 0.15
    return pa.table(
        {
            "size": pa.array(draw.standard_normal(rows) * 7 + 90, mask=holes[0]),
            "count": pa.array(draw.integers(0, 40, rows), mask=holes[1]),
            "color": draw.choice(["red", "green", "blue", "teal", "ochre"], rows, p=[0.5, 0.3, 0.17, 0.02, 0.01]),
            "zone": draw.choice([30, 7, -2], rows),
            "open": draw.random(rows) < 0.4,
            "when": [start + dt.timedelta(hours=int(hours)) for hours in draw.integers(0, 20_000, rows)],
            "y": draw.standard_normal(rows),
        }
    )


def _open(folder: Path, table: pa.Table, features: list[str] | None = None, **options: Any) -> Dataset:
    pq.write_table(table, folder / "t.parquet")
    return Dataset.open(
        str(folder / "t.parquet"), None, "y", features, "regression", 0, columns=ColumnOptions(**options)
    )


def _summary(dataset: Dataset, shards: int = 1) -> ColumnSummary:
    cuts = [dataset.training_rows * number // shards for number in range(shards + 1)]
    parts = [dataset.summarize("train", low, high) for low, high in itertools.pairwise(cuts)]
    while len(parts) > 1:
        parts = [a.add(b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    dataset.check(parts[0], None)
    return parts[0]


def _encoding(dataset: Dataset, standardize: bool = False, shards: int = 1) -> Encoding:
    return dataset.fitted_encoding(_summary(dataset, shards), standardize, False)


def _fit(folder: Path, table: pa.Table, features: list[str] | None = None, **options: Any) -> Encoding:
    return _encoding(_open(folder, table, features, **options))


def test_one_hot_is_that_of_scikit_learn(tmp_path: Path) -> None:
    """Text, whole numbers and truth as categories, in sorted order, one after another."""
    table, names = _mixed(), ["color", "zone", "open"]
    encoding = _fit(tmp_path, table, names, categories=("zone", "open"))
    columns = [np.array(table[name].to_pylist(), dtype=object) for name in names]
    expected = OneHotEncoder(sparse_output=False).fit_transform(np.stack(columns, axis=1))
    np.testing.assert_array_equal(encoding.encode_features(table, F8), expected)
    assert encoding.input_names[5:] == ("zone = -2", "zone = 7", "zone = 30", "open = False", "open = True")


def test_rare_classes_share_an_input(tmp_path: Path) -> None:
    """As scikit-learn's infrequent ones do; with `unknown: other`, classes never seen join them."""
    table = _mixed()
    color = np.array(table["color"].to_pylist(), dtype=object)[:, None]
    theirs = OneHotEncoder(sparse_output=False, min_frequency=30, handle_unknown="infrequent_if_exist").fit(color)
    encoding = _fit(tmp_path, table, ["color"], rare_below=30, unknown="other")
    new = pa.table({"color": ["teal", "red", "never", "ochre"]})
    for rows in (table, new):
        words = np.array(rows["color"].to_pylist(), dtype=object)[:, None]
        np.testing.assert_array_equal(encoding.encode_features(rows, F8), theirs.transform(words))
    assert encoding.input_names[-1] == "color = other"


@pytest.mark.parametrize("rule", ["mean", "median"])
def test_filling_is_that_of_scikit_learn(tmp_path: Path, rule: str) -> None:
    """Over the rows that have a value, whether one shard has them or eight; with the indicator behind each column."""
    table, names = _mixed(), ["size", "count"]
    dataset = _open(tmp_path, table, names, impute=rule, missing_indicator=True)
    wide = np.stack([table[name].to_numpy().astype(float) for name in names], axis=1)
    expected = SimpleImputer(strategy=rule, add_indicator=True).fit_transform(wide)[:, [0, 2, 1, 3]]
    for shards in (1, 8):
        found = _encoding(dataset, shards=shards).encode_features(table, F8)
        np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_filled_columns_are_standardised_by_what_is_there(tmp_path: Path) -> None:
    """Mean and spread are those of the values; what is filled in by the mean is exactly 0; indicators stay 0 and 1."""
    table = _mixed()
    dataset = _open(tmp_path, table, ["size"], impute="mean", missing_indicator=True)
    found = _encoding(dataset, standardize=True, shards=4).encode_features(table, F8)
    values = table["size"].to_numpy()
    missing = np.isnan(values)
    there = values[~missing]
    np.testing.assert_allclose(found[~missing, 0], (there - there.mean()) / there.std(), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(found[missing, 0], 0.0)
    np.testing.assert_array_equal(found[:, 1], missing)


def test_a_column_without_holes_gets_no_indicator_and_zero_is_zero(tmp_path: Path) -> None:
    """An indicator that was never 1 could not be learnt from. NaN counts as missing, and so does a column of nothing."""
    table = pa.table({"a": [1.0, float("nan"), 3.0], "b": [1, 2, 3], "y": [0.0, 1.0, 2.0]})
    encoding = _fit(tmp_path, table, None, impute="zero", missing_indicator=True)
    np.testing.assert_array_equal(encoding.encode_features(table, F8), [[1, 0, 1], [0, 1, 2], [3, 0, 3]])
    empty = pa.table({"a": pa.nulls(1), "b": pa.nulls(1)})
    np.testing.assert_array_equal(encoding.encode_features(empty, F8), [[0, 1, 0]])
    array = np.array([[np.nan, 5.0]])
    np.testing.assert_array_equal(encoding.encode_features(array, F8), [[0, 1, 5]])


def test_missing_is_a_class_where_the_job_says_so(tmp_path: Path) -> None:
    """An input of its own, or one of the rare; refused by default, with the row."""
    table = pa.table({"c": ["u", None, "v", "u", None], "y": np.arange(5.0)})
    encoding = _fit(tmp_path, table, None, impute=(("c", "class"),))
    expected = [[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1]]
    np.testing.assert_array_equal(encoding.encode_features(table, F8), expected)
    rare = _fit(tmp_path, table, None, impute=(("*", "class"),), rare_below=3, unknown="zeros")
    assert rare.width == 1  # u, v and missing are all rarer than that
    with pytest.raises(DataError, match=r"column 'c', row 2 .*missing; expected a category.*\(2 such cells\)"):
        _fit(tmp_path, table)


def test_parts_of_dates(tmp_path: Path) -> None:
    """Those that Python's own calendar says, of timestamps of any unit, dates and ISO text."""
    table = _mixed()
    parts = ("year", "month", "day", "weekday", "hour", "minute", "day_of_year", "timestamp")
    times = table["when"].to_pylist()
    expected = [
        [t.year, t.month, t.day, t.weekday(), t.hour, t.minute, t.timetuple().tm_yday, (t - EPOCH).total_seconds()]
        for t in times
    ]
    for column in (
        table["when"],
        table["when"].cast(pa.timestamp("ns")),
        table["when"].cast(pa.timestamp("s")),
        pa.array([time.isoformat(" ") for time in times]),
        pa.array([time.isoformat() for time in times]),
    ):
        rows = pa.table({"when": column, "y": table["y"]})
        encoding = _fit(tmp_path, rows, None, dates=(("when", parts),))
        np.testing.assert_array_equal(encoding.encode_features(rows, F8), expected)
        np.testing.assert_array_equal(encoding.encode_features(table, F8), expected)
    days = pa.table({"when": table["when"].cast(pa.date32(), safe=False), "y": table["y"]})
    found = _fit(tmp_path, days, None, dates=(("when", parts[:4]),)).encode_features(days, F8)
    np.testing.assert_array_equal(found, np.array(expected)[:, :4])


def test_dates_with_a_time_zone_are_taken_in_utc(tmp_path: Path) -> None:
    """Whatever the zone; and a model of moments refuses dates that are none."""
    moments = pa.array([0, 86_400 + 3600], pa.timestamp("s", "Asia/Tokyo"))
    table = pa.table({"when": moments, "y": [1.0, 2.0]})
    encoding = _fit(tmp_path, table, None, dates=(("when", ("day", "hour")),))
    np.testing.assert_array_equal(encoding.encode_features(table, F8), [[1, 0], [2, 1]])
    plain = pa.table({"when": moments.cast(pa.timestamp("s", "UTC")).cast(pa.timestamp("s"))})
    with pytest.raises(DataError, match=r"column 'when' holds timestamp\[s\]; expected dates with a time zone"):
        encoding.encode_features(plain, F8)


def test_text_with_a_time_zone_is_taken_in_utc(tmp_path: Path) -> None:
    """As timestamps with one are, in every spelling; a model of one takes the other."""
    times = [dt.datetime(2024, 2, 29, 23, 30, tzinfo=dt.UTC), None, dt.datetime(2023, 12, 31, 22, tzinfo=dt.UTC)]
    there = [time and time.astimezone(dt.timezone(dt.timedelta(hours=-5, minutes=-30))) for time in times]
    stamps = pa.table({"when": pa.array(times, pa.timestamp("us", "UTC")), "y": [1.0, 2.0, 3.0]})
    columns = ("year", "month", "day", "weekday", "hour", "minute", "day_of_year", "timestamp")
    encoding = _fit(tmp_path, stamps, None, dates=(("when", columns),), impute="mean")
    expected = encoding.encode_features(stamps, F8)
    for spell in (
        [time and time.isoformat() for time in times],
        [time and time.isoformat(" ").replace("+00:00", "Z") for time in times],
        [time and time.isoformat() for time in there],
        [time and time.strftime("%Y-%m-%d %H:%M:%S%z") for time in there],
    ):
        table = pa.table({"when": spell, "y": [1.0, 2.0, 3.0]})
        fitted = _fit(tmp_path, table, None, dates=(("when", columns),), impute="mean")
        assert fitted.rules == encoding.rules
        np.testing.assert_array_equal(fitted.encode_features(table, F8), expected)
        np.testing.assert_array_equal(encoding.encode_features(table, F8), expected)
        np.testing.assert_array_equal(fitted.encode_features(stamps, F8), expected)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (
            ["2024-01-01T00:00:00Z", "2024-01-02 00:00:00"],
            r"row 2 .*'2024-01-02 00:00:00'; expected a date with its time zone",
        ),
        (["2024-01-01T00:00:00+02:00", "2024-01-02"], r"row 2 .*expected a date with its time zone, such as"),
        (["2024-01-01 00:00:00", "2024-01-02 00:00:00Z"], r"row 2 .*expected a date such as .*without a time zone"),
        ([None, "2024-01-02 00:00:00-0230", "2024-01-02"], r"row 3 .*expected a date with its time zone"),
    ],
)
def test_text_with_and_without_a_time_zone_is_refused(cells: list[str], words: str, tmp_path: Path) -> None:
    """What the first value has, all must have."""
    table = pa.table({"when": cells, "y": np.arange(float(len(cells)))})
    with pytest.raises(DataError, match=words):
        _fit(tmp_path, table, None, dates=(("when", ("day",)),), impute="mean")


def test_a_missing_date_is_filled_part_by_part(tmp_path: Path) -> None:
    """By the median of each part, with one indicator for all; else it is refused."""
    times = [dt.datetime(2024, 1, 1), None, dt.datetime(2024, 5, 3), dt.datetime(2024, 3, 9)]
    table = pa.table({"when": times, "y": np.arange(4.0)})
    dates = (("when", ("month", "day")),)
    encoding = _fit(tmp_path, table, None, dates=dates, impute="median", missing_indicator=True)
    np.testing.assert_array_equal(encoding.encode_features(table, F8), [[1, 1, 0], [3, 3, 1], [5, 3, 0], [3, 9, 0]])
    with pytest.raises(DataError, match=r"column 'when', row 2 .*missing; expected a date"):
        _fit(tmp_path, table, None, dates=dates)


def test_a_column_without_a_value_is_missing_whatever_its_type(tmp_path: Path) -> None:
    """A CSV file of one row whose cell is empty guesses a type: true/false."""
    times = [dt.datetime(2024, 1, 1), None, dt.datetime(2024, 3, 1)]
    table = pa.table({"when": times, "c": ["u", None, "v"], "n": [1.0, None, 3.0], "y": np.arange(3.0)})
    impute = (("c", "class"), ("*", "median"))
    encoding = _fit(tmp_path, table, None, dates=(("when", ("month",)),), impute=impute)
    (tmp_path / "new.csv").write_text("when,c,n\n,,\n")
    (batch,) = open_table(tmp_path / "new.csv").batches(0, 1, ["when", "c", "n"])
    np.testing.assert_array_equal(encoding.encode_features(batch, F8), [[2, 0, 0, 1, 2]])
    strict = _fit(tmp_path, table.drop_null(), ["c"])
    with pytest.raises(DataError, match=r"column 'c', row 1 .*missing; expected a category"):
        strict.encode_features(batch, F8)


def test_text_that_is_no_date_is_named(tmp_path: Path) -> None:
    """With its row, when the rows are read and when the model is used."""
    table = pa.table({"when": ["2024-01-01", "yesterday", "2024-01-03"], "y": np.arange(3.0)})
    with pytest.raises(DataError, match=r"column 'when', row 2 .*'yesterday'; expected a date such as"):
        _fit(tmp_path, table, None, dates=(("when", ("day",)),))


KINDS = [
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.decimal128(9, 2)),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_numbers_of_every_width_are_taken_as_they_are(tmp_path: Path, kind: pa.DataType) -> None:
    """One input each, in any type."""
    values = pa.array([1.0, 0.0, 1.0, 1.0]).cast(kind)
    table = pa.table({"a": values, "y": np.arange(4.0)})
    encoding = _fit(tmp_path, table)
    assert encoding.rules == ()
    np.testing.assert_array_equal(encoding.encode_features(table, F8), [[1], [0], [1], [1]])


def test_order_of_columns_does_not_matter_but_their_presence_does(tmp_path: Path) -> None:
    """Columns are found by name; one that is missing is named, with the nearest there are."""
    table = _mixed()
    encoding = _fit(tmp_path, table, None, dates=(("when", ("month",)),), impute="mean")
    turned = table.select(table.schema.names[::-1])
    np.testing.assert_array_equal(encoding.encode_features(turned, F8), encoding.encode_features(table, F8))
    renamed = table.rename_columns([name.replace("color", "colour") for name in table.schema.names])
    with pytest.raises(DataError, match=r"no column 'color' \(did you mean 'colour'"):
        encoding.encode_features(renamed, F8)


def test_a_class_never_seen(tmp_path: Path) -> None:
    """Refused with its row and the classes there are; or 0 in all inputs."""
    table, new = _mixed(), pa.table({"color": ["red", "mauve", "mauve"]})
    words = r"column 'color', row 2 .*'mauve'; expected one of the classes of the training rows: 'blue'.*2 such cells"
    with pytest.raises(DataError, match=words):
        _fit(tmp_path, table, ["color"]).encode_features(new, F8)
    found = _fit(tmp_path, table, ["color"], unknown="zeros").encode_features(new, F8)
    np.testing.assert_array_equal(found, [[0, 0, 0, 1, 0], [0] * 5, [0] * 5])


@pytest.mark.parametrize(
    ("name", "column", "words"),
    [
        ("color", [1, 2], "column 'color' holds int64; expected text, as in training"),
        ("zone", ["7", "30"], "column 'zone' holds string; expected whole numbers, as in training"),
        ("open", [0, 1], "column 'open' holds int64; expected true/false, as in training"),
        ("size", ["a", "b"], "column 'size' holds string; expected numbers, as in training"),
        ("when", [1.5, 2.5], "column 'when' holds double; expected dates without a time zone, as in training"),
    ],
)
def test_a_column_of_another_type_is_refused_by_name(tmp_path: Path, name: str, column: list[Any], words: str) -> None:
    """Never guessed at."""
    table = _mixed()
    encoding = _fit(
        tmp_path,
        table,
        None,
        categories=("zone", "open"),
        dates=(("when", ("month",)),),
        impute="mean",
        unknown="zeros",
    )
    rows = table.slice(0, 2).set_column(table.schema.names.index(name), name, pa.array(column))
    with pytest.raises(DataError, match=words):
        encoding.encode_features(rows, F8)


def test_whole_floats_are_the_whole_numbers_that_they_are(tmp_path: Path) -> None:
    """A data frame with a missing value has floats; 1.5 is no class, and neither is a number beyond 2**63."""
    encoding = _fit(tmp_path, _mixed(), ["zone"], categories=("zone",), unknown="zeros")
    expected = [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(encoding.encode_features(pa.table({"zone": [7.0, -2.0, 1.5]}), F8), expected)
    large = pa.table({"zone": pa.array([7, 2**64 - 2, 2**64 - 2], pa.uint64())})
    np.testing.assert_array_equal(encoding.encode_features(large, F8), [[0, 1, 0], [0, 0, 0], [0, 0, 0]])


def test_an_array_serves_where_all_are_numbers(tmp_path: Path) -> None:
    """Else the columns that it cannot hold are named."""
    encoding = _fit(tmp_path, _mixed(), ["size", "color", "when"], dates=(("when", ("month",)),), impute="mean")
    with pytest.raises(DataError, match="'color', 'when' cannot be taken from an array of numbers"):
        encoding.encode_features(np.zeros((2, 3)), F8)


def test_a_column_of_numbers_with_a_bad_cell_is_no_category(tmp_path: Path) -> None:
    """The cell is named, as it always was; unless the job says that it is a category."""
    words = [str(number % 97) for number in range(300)]
    words[211] = "12O"
    table = pa.table({"a": words, "y": np.arange(300.0)})
    with pytest.raises(DataError, match=r"column 'a', row 212 .*'12O'; expected numbers; leave the column out"):
        _open(tmp_path, table)
    assert _fit(tmp_path, table, None, categories=("a",)).width == 98


def test_a_bad_cell_beyond_the_first_rows_is_found_when_all_are_counted(tmp_path: Path) -> None:
    """The first rows alone say category; all rows together say numbers."""
    words = ["none"] * 70_000 + [str(number) for number in range(50)]
    dataset = _open(tmp_path, pa.table({"a": words, "y": np.arange(70_050.0)}))
    with pytest.raises(DataError, match=r"column 'a', row 1 .*'none'; expected numbers"):
        _encoding(dataset)


def test_too_many_classes_are_refused_and_not_kept(tmp_path: Path) -> None:
    """Counting stops at the limit, in every shard and every sum of shards."""
    table = pa.table({"a": [f"id {number}" for number in range(2000)], "y": np.arange(2000.0)})
    dataset = _open(tmp_path, table, None, most_categories=600)
    halves = [dataset.summarize("train", start, start + 500).vocabularies["a"] for start in (0, 500)]
    assert [len(half.counts) for half in halves] == [500, 500]
    assert halves[0].add(halves[1]).over
    assert not halves[0].add(halves[1]).counts
    with pytest.raises(DataError, match="more than 600 different values, too many to be categories"):
        _encoding(dataset)


def test_patterns_stand_for_columns_and_exact_names_win(tmp_path: Path) -> None:
    """In the table's order, none twice, without what is dropped and without the target."""
    names = ["lab_a", "lab_b", "lab_*", "x1", "x2", "x10", "y"]
    table = pa.table({name: np.arange(3.0) for name in names})
    assert _open(tmp_path, table, ["x?", "lab_a", "lab_*"]).features == ("x1", "x2", "lab_a", "lab_*")
    assert _open(tmp_path, table, ["*"], drop=("x*", "lab_a")).features == ("lab_b", "lab_*")
    assert _open(tmp_path, table, None, drop=("lab_*",)).features == ("lab_a", "lab_b", "x1", "x2", "x10")
    impute = (("x*", "mean"), ("x1", "zero"))
    plans = _open(tmp_path, table, None, impute=impute).plans
    assert {plan.name: plan.fill for plan in plans if plan.fill} == {"x1": "zero", "x2": "mean", "x10": "mean"}


def test_a_pattern_of_impute_is_for_the_columns_that_its_rule_suits(tmp_path: Path) -> None:
    """`"*": median` leaves categories alone; a rule that suits none of its columns is a mistake."""
    table = pa.table({"a": np.arange(3.0), "t1": ["x", "y", "z"], "t2": ["x", "y", "z"], "y": np.arange(3.0)})
    plans = _open(tmp_path, table, None, impute=(("*", "median"), ("t*", "class"))).plans
    assert [(plan.name, plan.fill, plan.missing_class) for plan in plans] == [
        ("a", "median", False),
        ("t1", None, True),
        ("t2", None, True),
    ]
    with pytest.raises(
        DataError, match=r"data.impute: 't\*' fits no column of numbers or dates, and mean is for those"
    ):
        _open(tmp_path, table, None, impute=(("t*", "mean"),))
    with pytest.raises(DataError, match="'t1' is a category, which has no mean"):
        _open(tmp_path, table, None, impute=(("t1", "mean"),))


def test_a_column_that_splits_rows_is_a_feature_where_it_is_named(tmp_path: Path) -> None:
    """As a date, for instance; else it is none."""
    pq.write_table(_mixed(), tmp_path / "t.parquet")

    def features(**options: Any) -> tuple[str, ...]:
        rule = SplitRule("time", "when")
        place = str(tmp_path / "t.parquet")
        columns = ColumnOptions(impute="mean", **options)
        return Dataset.open(place, 0.2, "y", None, "regression", 0, columns=columns, split=rule).features

    assert "when" not in features()
    assert "when" in features(dates=(("when", ("hour",)),))


def test_a_column_without_any_value_is_refused(tmp_path: Path) -> None:
    """There is no mean of nothing."""
    table = pa.table({"a": pa.nulls(3, pa.float64()), "y": np.arange(3.0)})
    with pytest.raises(DataError, match="column 'a' has no value in any training row"):
        _fit(tmp_path, table, None, impute="mean")


_NUMBERS = st.one_of(st.none(), st.floats(-1e6, 1e6).map(lambda value: round(value, 3)))


@settings(deadline=None, max_examples=60)
@given(
    columns=st.lists(st.tuples(_NUMBERS, _NUMBERS), min_size=2, max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    rule=st.sampled_from(["mean", "median"]),
)
def test_summaries_of_columns_with_holes_add_up(columns: list[Any], cuts: list[int], rule: Any) -> None:
    """Of any shards, also ones where a column has no value at all: count, mean, spread and median are those of numpy."""
    table = pa.table(
        {"a": [a for a, _ in columns], "b": [b for _, b in columns]}, pa.schema([("a", "double"), ("b", "double")])
    )
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(columns)}), len(columns)]
    asked = [Quantity("a", None, rule), Quantity("b", None, rule)]
    parts = [
        summarize(table.slice(low, high - low), asked, None, np.arange(low, high))
        for low, high in itertools.pairwise(edges)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total.add(part)
    for index, name in enumerate("ab"):
        values = table[name].drop_null().to_numpy()
        assert total.counts[index] == len(values)
        if len(values):
            np.testing.assert_allclose(total.mean[index], values.mean(), rtol=1e-9, atol=1e-6)
            np.testing.assert_allclose(total.m2[index], values.var() * len(values), rtol=1e-7, atol=1e-3)
            if rule == "median":
                np.testing.assert_allclose(total.points[name].median(), np.median(values), rtol=1e-15)


def test_json_there_and_back(tmp_path: Path) -> None:
    """A mixed encoding, and its bits."""
    table = _mixed()
    dataset = _open(
        tmp_path,
        table,
        None,
        categories=("zone",),
        rare_below=20,
        unknown="other",
        dates=(("when", ("month", "weekday")),),
        impute="median",
        missing_indicator=True,
    )
    encoding = _encoding(dataset, standardize=True)
    again = Encoding.from_json(json.loads(json.dumps(encoding.to_json())))
    assert (again.rules, again.mean, again.scale) == (encoding.rules, encoding.mean, encoding.scale)
    np.testing.assert_array_equal(again.encode_features(table, F8), encoding.encode_features(table, F8))
    assert len(encoding.input_names) == encoding.width == encoding.encode_features(table, F8).shape[1]


def test_plain_numbers_are_written_as_they_always_were(tmp_path: Path) -> None:
    """Model files of jobs without the new keys keep their bytes."""
    encoding = _fit(tmp_path, _mixed(), ["zone", "open"])
    assert "columns" not in encoding.to_json()


@pytest.mark.parametrize("kind", ["number", "date", "category"])
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_hostile_rule_is_refused_or_works(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    """Any value in any field: an error that the reader of model files turns into its own; or it encodes, or refuses the column."""
    right: dict[str, Any] = {
        "number": {"kind": "number", "fill": 1.5, "indicator": True},
        "date": {"kind": "date", "parts": ["year", "hour"], "zoned": False, "fill": [1, 2.5], "indicator": False},
        "category": {
            "kind": "category", "classes": ["a", "b"], "rare": ["c"], "unknown": "other", "missing": "class",
            "takes_missing": True,
        },
    }[kind]  # fmt: skip
    words = st.one_of(st.text(max_size=3), st.sampled_from(["a", "class", "year"]))
    scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.just(10**400), words)
    field = data.draw(st.sampled_from(sorted(right)))
    changed = {**right, field: data.draw(st.one_of(scalars, st.lists(scalars, max_size=3)))}
    width = data.draw(st.integers(1, 5))
    value = {
        "features": ["x"], "mean": [0.0] * width, "scale": [1.0] * width, "targets": ["y"], "task": "regression",
        "classes": [], "target_mean": [0.0], "target_scale": [1.0], "columns": [changed],
    }  # fmt: skip
    try:
        encoding = Encoding.from_json(json.loads(json.dumps(value)))
    except (ValueError, KeyError, TypeError):
        return
    table = pa.table({"x": pa.nulls(2)})
    message, shape = "", (2, width)
    try:
        shape = encoding.encode_features(table, F8).shape
    except DataError as error:
        message = str(error)
    assert shape == (2, width)
    assert not message or "column 'x'" in message
