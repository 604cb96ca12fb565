"""Categories, dates and missing values in exported models: each row becomes the inputs that dbp makes of it, or is refused, too.

The network hands its inputs through, so that they are seen one by one, and compared to the last bit.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from exported_models import feeds, import_file, run_alone, run_onnx
from hypothesis import given, settings
from hypothesis import strategies as st

from dbp import Model, Network
from dbp.data.column_rules import CategoryRule, ColumnRule, DateRule, NumberRule
from dbp.data.encoding import Encoding
from dbp.errors import DataError, InputError
from dbp.models.export.numpy_file import numpy_source
from dbp.models.export.onnx_file import onnx_bytes
from dbp.models.export.portable import Portable

PARTS = ("year", "month", "day", "weekday", "hour", "minute", "day_of_year", "timestamp")
EPOCH = dt.datetime(1970, 1, 1)
CLASSES: dict[str, tuple[Any, ...]] = {
    "text": ("a", "b b", "c", "日本", "1", "nan"),
    "whole": (-3, 0, 1, 7, 2**53 + 1, 2**62),
    "truth": (False, True),
}


def through(rules: Sequence[ColumnRule], seed: int = 0) -> Model:
    """Return a model of columns c0, c1, ... whose outputs are its inputs."""
    width = sum(rule.width for rule in rules)
    random = np.random.default_rng(seed)
    mean, scale = np.zeros(width), np.ones(width)
    start = 0
    for rule in rules:
        mean[start : start + rule.scaled] = random.standard_normal(rule.scaled) * 10
        scale[start : start + rule.scaled] = random.random(rule.scaled) + 0.5
        start += rule.width
    features = tuple(f"c{place}" for place in range(len(rules)))
    targets = tuple(f"t{place}" for place in range(width))
    plain = all(rule.is_plain for rule in rules)
    encoding = Encoding(
        *(features, tuple(mean.tolist()), tuple(scale.tolist()), targets, "regression", ()),
        *((0.0,) * width, (1.0,) * width, (), () if plain else tuple(rules)),
    )
    # The file's own reader must take it: what is tested is a model that there can be.
    assert Encoding.from_json(encoding.to_json()) == encoding
    theta = np.concatenate([np.eye(width).ravel(), np.zeros(width)])
    return Model(Network((width, width), ("identity",)), theta, encoding, "squared_error")


@st.composite
def numbers(draw) -> tuple[NumberRule, st.SearchStrategy[Any], pa.DataType]:
    fill = draw(st.none() | st.floats(-100, 100))
    rule = NumberRule(fill, fill is not None and draw(st.booleans()))
    return rule, st.none() | st.floats(-1e6, 1e6) | st.sampled_from([np.inf, -0.0]), pa.float64()


@st.composite
def dates(draw) -> tuple[DateRule, st.SearchStrategy[Any], pa.DataType]:
    parts = tuple(draw(st.lists(st.sampled_from(PARTS), min_size=1, unique=True)))
    fill = tuple(float(number) for number in range(len(parts))) if draw(st.booleans()) else None
    rule = DateRule(parts, draw(st.booleans()), fill, fill is not None and draw(st.booleans()))
    zone = dt.UTC if rule.zoned else None
    kind = pa.timestamp("us", "UTC" if rule.zoned else None)
    cells = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9998, 12, 31)).map(lambda date: date.replace(tzinfo=zone))
    return rule, st.none() | cells, kind


@st.composite
def categories(draw) -> tuple[CategoryRule, st.SearchStrategy[Any], pa.DataType]:
    family = draw(st.sampled_from(list(CLASSES)))
    every = draw(st.permutations(CLASSES[family]))
    known = every[: draw(st.integers(1, len(every)))]
    cut = draw(st.integers(0, len(known)))
    takes_missing = family != "truth" and draw(st.booleans())
    missing = draw(st.sampled_from(["class", "rare", "unknown"])) if takes_missing else "unknown"
    rule = CategoryRule(
        *(tuple(sorted(known[:cut])), tuple(sorted(known[cut:])), draw(st.sampled_from(["refuse", "other", "zeros"]))),
        *(missing == "class", missing == "rare", takes_missing),
    )
    kind = {"text": pa.string(), "whole": pa.int64(), "truth": pa.bool_()}[family]
    # No graph can be asked about missing truth.
    return rule, st.sampled_from(every) if family == "truth" else st.none() | st.sampled_from(every), kind


@st.composite
def models_with_tables(draw) -> tuple[Model, pa.Table]:
    columns = draw(st.lists(numbers() | dates() | categories(), min_size=1, max_size=5))
    rows = draw(st.integers(1, 12))
    cells = {
        f"c{place}": pa.array(draw(st.lists(values, min_size=rows, max_size=rows)), kind)
        for place, (_, values, kind) in enumerate(columns)
    }
    return through([rule for rule, _, _ in columns], draw(st.integers(0, 9))), pa.table(cells)


def by_row(model: Model, table: pa.Table) -> list[np.ndarray | None]:
    """Return the inputs of each row, None where dbp refuses it."""
    found: list[np.ndarray | None] = []
    for row in range(len(table)):
        try:
            found.append(model.outputs(table.slice(row, 1))[0])
        except DataError:
            found.append(None)
    return found


@settings(max_examples=40, deadline=None)
@given(models_with_tables())
def test_onnx_makes_the_same_inputs(case):
    model, table = case
    found = run_onnx(onnx_bytes(Portable.of(model), "columns"), feeds(table))
    for row, wanted in enumerate(by_row(model, table)):
        assert found["valid"][row] == (wanted is not None)
        np.testing.assert_array_equal(found["prediction"][row], np.nan if wanted is None else wanted)


@settings(max_examples=40, deadline=None)
@given(models_with_tables())
def test_numpy_makes_the_same_inputs(case):
    """torch takes its inputs from the same lines."""
    model, table = case
    scope: dict[str, Any] = {"__name__": "exported"}
    exec(compile(numpy_source(Portable.of(model)), "exported.py", "exec"), scope)
    rows = by_row(model, table)
    for row, wanted in enumerate(rows):
        columns = table.slice(row, 1).to_pydict()
        if wanted is None:
            with pytest.raises(scope["CellError"], match=r"column 'c\d', row 1: "):
                scope["outputs"](columns)
        else:
            np.testing.assert_array_equal(scope["outputs"](columns)[0], wanted)
    good = [row for row, wanted in enumerate(rows) if wanted is not None]
    if good:
        np.testing.assert_array_equal(
            scope["outputs"](table.take(good).to_pydict()), np.array([rows[row] for row in good])
        )


def test_every_day_of_800_years_is_the_same_in_onnx():
    """Leap years, centuries and both sides of 1970; the first and the last microsecond of each day."""
    days = np.arange(-400 * 366, 400 * 366) * 86_400_000_000
    moments = np.concatenate([days, days - 1])
    model = through([DateRule(PARTS)])
    found = run_onnx(onnx_bytes(Portable.of(model)), {"c0": moments[:, None]})
    np.testing.assert_array_equal(
        found["prediction"], model.predict({"c0": pa.array(moments).cast(pa.timestamp("us"))})
    )


def test_numbers_with_holes_go_into_one_matrix():
    model = through([NumberRule(), NumberRule(4.5, True), NumberRule(-1.0), NumberRule(0.0, True)])
    rows = np.array([[1.0, 2, 3, 4], [5, np.nan, np.nan, np.nan], [np.nan, 1, 1, 1], [1, np.inf, 1, 1]])
    found = run_onnx(onnx_bytes(Portable.of(model)), {"rows": rows})
    assert found["valid"].tolist() == [True, True, False, False]
    np.testing.assert_array_equal(found["prediction"][:2], model.predict(rows[:2]))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            CategoryRule(("", "a"), (), "zeros", True, False, True),
            "column 'c0': a value may be missing, for which ONNX has no word (the empty text is one of its classes), so the model "
            "cannot be exported to onnx",
        ),
        (
            CategoryRule((False, True), (), "zeros", True, False, True),
            "column 'c0': a value may be missing, for which ONNX has no word (its classes are true and false), so the model "
            "cannot be exported to onnx",
        ),
    ],
)
def test_what_onnx_cannot_say_is_refused_by_column(rule, message, tmp_path):
    """And can be exported to numpy."""
    model = through([rule])
    with pytest.raises(InputError) as refused:
        model.export(tmp_path / "m.onnx", "onnx")
    assert str(refused.value) == message
    module = import_file(model.export(tmp_path / "m.py", "numpy")[0])
    cells = [*rule.classes, None]
    table = pa.table({"c0": pa.array(cells)})
    np.testing.assert_array_equal(module.outputs({"c0": cells}), model.outputs(table))


def test_a_matrix_of_categories_is_refused_by_column(tmp_path):
    model = through([NumberRule(), CategoryRule(("a", "b"))])
    with pytest.raises(
        InputError, match="column 'c1': it does not hold numbers, so the model cannot be exported to onnx with one"
    ):
        model.export(tmp_path / "m.onnx", "onnx", "matrix")
    module = import_file(model.export(tmp_path / "m.py", "numpy")[0])
    with pytest.raises(ValueError, match="column 'c1' is no number, so an array will not do; expected columns by name"):
        module.predict(np.ones((1, 2)))


MIXED = [
    NumberRule(1.25, True),
    CategoryRule(("north", "south"), ("tiny",), "other", True, False, True),
    CategoryRule((1, 2, 3), (), "zeros"),
    CategoryRule((False, True)),
    DateRule(("month", "weekday", "hour", "timestamp"), False, (1.0, 2.0, 3.0, 4.0), True),
]
CSV = """c0,c1,c2,c3,c4
1.5,north,1,true,2024-02-29
,south,3,FALSE,2024-02-29 23:59
NA,,4,True,2024-02-29T23:59:59.25
-2e3,tiny,2,false,
7,new,2,true,1969-12-31 23:00:00
"""


def test_a_table_of_csv_means_what_it_means_to_dbp(tmp_path):
    """Empty cells, spellings of truth, dates; in a process without dbp."""
    model = through(MIXED)
    (tmp_path / "t.csv").write_text(CSV)
    wanted = model.predict(tmp_path / "t.csv")
    file, *_ = model.export(tmp_path / "m.py", "numpy")
    done = run_alone(file, "t.csv")
    assert done.returncode == 0, done.stderr
    (tmp_path / "out.csv").write_text(done.stdout)
    out = pa.csv.read_csv(tmp_path / "out.csv")
    np.testing.assert_array_equal(np.column_stack(out.columns[5:]), wanted)


DATES = [
    "2026-11-25",
    "2026-11-25 08",
    "2026-11-25 08:30",
    "2026-11-25T08:30:00",
    "2026-11-25 08:30:00.1",
    "0001-01-01",
]
NO_DATES = [
    *(
        "2026-11-25 08:30:00.1234567",
        "2026-11-25 08:30:00Z",
        "2026-11-25 24:00:00",
        "2026-1-5",
        "20261125",
        "+12026-01-01",
    ),
    *(
        "2026-11-25 083000",
        " 2026-11-25",
        "2026-11-25 08:30:00.",
        "2026-02-30",
        "-001-01-01",
        "2026-11-25 23:59:60",
        "now",
    ),
]


def test_text_is_read_as_a_date_where_dbp_does(tmp_path):
    model = through([DateRule(PARTS)])
    module = import_file(model.export(tmp_path / "m.py", "numpy")[0])
    np.testing.assert_array_equal(module.outputs({"c0": DATES}), model.outputs({"c0": DATES}))
    for text in NO_DATES:
        with pytest.raises(DataError):
            model.outputs({"c0": [text]})
        with pytest.raises(ValueError, match="expected a date such as 2026-11-25 08:30:00"):
            module.outputs({"c0": [text]})


def test_text_with_a_time_zone_is_read_where_dbp_does(tmp_path):
    model = through([DateRule(PARTS, True)])
    module = import_file(model.export(tmp_path / "m.py", "numpy")[0])
    times = ["2024-01-01T00:00:00", "2024-02-29 23:59", "1969-12-31 22", "0001-01-02T00:00:00.5"]
    zones = ["Z", "+02:00", "-0530", "+14", "-23:59"]
    for text in [time + zone for time in times for zone in zones]:
        np.testing.assert_array_equal(module.outputs({"c0": [text]}), model.outputs({"c0": [text]}))
    wrong = ["2024-01-01", "2024-01-01Z", "2024-01-01 00:00:00", "2024-01-01 00:00:00z", "2024-01-01 00:00:00+24:00"]
    wrong += [
        "2024-01-01 00:00:00+02:60",
        "2024-01-01 00:00:00 +02:00",
        "2024-01-01T00:00:00Z\n",
        "+02:00",
        "Z",
        "late",
    ]
    for text in wrong:
        with pytest.raises(DataError, match="expected a date with its time zone"):
            model.outputs({"c0": [text]})
        with pytest.raises(ValueError, match="expected a date and time with its zone"):
            module.outputs({"c0": [text]})


def test_columns_of_arrow_and_of_data_frames(tmp_path):
    """Arrow's own, and whatever says `to_numpy`, as columns of pandas and polars do."""

    class Column:
        def __init__(self, values: list[Any], dtype: str) -> None:
            self._values = np.array(values, dtype=dtype)

        def to_numpy(self) -> np.ndarray:
            return self._values

    model = through(MIXED)
    (tmp_path / "t.csv").write_text(CSV)
    table = pa.csv.read_csv(tmp_path / "t.csv", convert_options=pa.csv.ConvertOptions(strings_can_be_null=True))
    table = table.set_column(4, "c4", table["c4"].cast(pa.timestamp("us")))
    module = import_file(model.export(tmp_path / "m.py", "numpy")[0])
    wanted = model.outputs(table)
    np.testing.assert_array_equal(module.outputs({name: table[name] for name in table.column_names}), wanted)
    kinds = {"c0": "float64", "c1": "object", "c2": "int64", "c3": "bool", "c4": "M8[ns]"}
    frame = {name: Column(table[name].to_pylist(), kind) for name, kind in kinds.items()}
    np.testing.assert_array_equal(module.outputs(frame), wanted)


def test_dates_of_other_kinds(tmp_path):
    """numpy's and pandas-like ones in any unit (what is finer than microseconds is cut off), plain dates, and zones."""
    model = through([DateRule(PARTS)])
    module = import_file(model.export(tmp_path / "m.py", "numpy")[0])
    fine = np.array([-1, -1001, 1, 1_700_000_000_123_456_789], dtype="M8[ns]")
    for dates in (fine, fine.astype("M8[s]"), fine.astype("M8[D]")):
        np.testing.assert_array_equal(module.outputs({"c0": dates}), model.outputs({"c0": pa.array(dates)}))
    day = [dt.date(2026, 11, 25)]
    np.testing.assert_array_equal(module.outputs({"c0": day}), model.outputs({"c0": pa.array(day)}))
    with pytest.raises(ValueError, match="expected a date such as"):
        module.outputs({"c0": [dt.datetime(2026, 1, 1, tzinfo=dt.UTC)]})
    zoned = through([DateRule(PARTS, True)])
    module = import_file(zoned.export(tmp_path / "z.py", "numpy")[0])
    there = [dt.datetime(2026, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30)))]
    table = pa.table({"c0": pa.array(there, pa.timestamp("us", "+05:30"))})
    np.testing.assert_array_equal(module.outputs({"c0": there}), zoned.outputs(table))
    with pytest.raises(ValueError, match="expected a date and time with its zone"):
        module.outputs({"c0": [dt.datetime(2026, 1, 1)]})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"c2": ["x"]}, "column 'c2', row 1: 'x'; expected one of 1, 2, 3"),
        ({"c2": [None]}, "column 'c2', row 1: missing; expected one of 1, 2, 3"),
        ({"c2": [True]}, "column 'c2', row 1: True; expected one of 1, 2, 3"),
        ({"c1": [3]}, "column 'c1', row 1: 3; expected one of 'north', 'south', 'tiny'"),
        ({"c3": ["yes"]}, "column 'c3', row 1: 'yes'; expected one of False, True"),
        ({"c3": [1]}, "column 'c3', row 1: 1; expected one of False, True"),
        ({"c4": [1.5]}, "column 'c4', row 1: 1.5; expected a date such as 2026-11-25 08:30:00"),
        ({"c0": ["one"]}, "column 'c0', row 1: 'one'; expected a finite number"),
    ],
)
def test_values_of_another_type_are_refused(values, message, tmp_path):
    module = import_file(through(MIXED).export(tmp_path / "m.py", "numpy")[0])
    row = {"c0": [1.0], "c1": ["north"], "c2": [1], "c3": [True], "c4": ["2026-01-01"]}
    module.outputs(row)
    with pytest.raises(ValueError) as refused:
        module.outputs(row | values)
    assert str(refused.value) == message
