"""Encodings: columns to matrices and back, in pieces as in one, through JSON, and what is refused."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbp.data.encoding import Encoding, Task
from dbp.data.statistics import summarize
from dbp.errors import DataError

F8, F4 = np.dtype("float64"), np.dtype("float32")


def _fit(
    table: pa.Table, features: list[str], targets: list[str], task: Task = "regression", standardize: bool = True
) -> Encoding:
    numeric = [*features, *targets] if task == "regression" else features
    summary = summarize(table, numeric, None if task == "regression" else targets[0], np.arange(table.num_rows))
    return Encoding.from_summary(
        summary,
        features=features,
        targets=targets,
        task=task,
        standardize=standardize,
        standardize_target=standardize and task == "regression",
    )


def _table(rows: int = 500) -> pa.Table:
    random = np.random.default_rng(2)
    return pa.table(
        {
            "a": random.standard_normal(rows) * 1e6 + 5e7,
            "b": random.integers(0, 9, rows),
            "c": random.random(rows) > 0.3,
            "y": random.standard_normal(rows) * 1e-4 - 3,
            "label": random.choice(["red", "green", "blue"], rows),
        }
    )


def test_standardised_columns_have_mean_0_and_variance_1() -> None:
    """Of floats, whole numbers and truth, features and target alike, in float64."""
    table = _table()
    encoding = _fit(table, ["a", "b", "c"], ["y"])
    both = np.hstack([encoding.encode_features(table, F8), encoding.encode_targets(table, F8)])
    np.testing.assert_allclose(both.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(both.var(axis=0), 1, rtol=1e-12)
    raw = np.column_stack([np.asarray(table[name], dtype=float) for name in "abcy"])
    # The mean of y, -3, has steps of 4e-16; its spread is 1e-4: a plain mean is off by 1e-11 of the spread.
    np.testing.assert_allclose(both, (raw - raw.mean(axis=0)) / raw.std(axis=0), rtol=1e-9, atol=1e-10)


def test_not_standardised_is_as_it_is() -> None:
    """`standardize: false`: the columns' own numbers, in the order asked for."""
    table = _table()
    encoding = _fit(table, ["c", "a"], ["y"], standardize=False)
    np.testing.assert_array_equal(encoding.encode_features(table, F8), np.column_stack([table["c"], table["a"]]))
    np.testing.assert_array_equal(encoding.encode_targets(table, F4)[:, 0], np.asarray(table["y"]).astype("float32"))


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, 500), max_size=5).map(sorted), dtype=st.sampled_from([F4, F8]))
def test_in_pieces_as_in_one(cuts: list[int], dtype: np.dtype[np.floating]) -> None:
    """The same bits however the rows are cut, as tables, batches and chunks."""
    table = _table()
    for task, targets in (("regression", ["y"]), ("classification", ["label"])):
        encoding = _fit(table, ["a", "b", "c"], targets, task)
        edges = [0, *cuts, 500]
        pieces = [table.slice(a, b - a) for a, b in itertools.pairwise(edges)]
        for encode in (encoding.encode_features, encoding.encode_targets):
            whole = encode(table, dtype)
            assert whole.flags.c_contiguous
            np.testing.assert_array_equal(np.concatenate([encode(piece, dtype) for piece in pieces]), whole)
            np.testing.assert_array_equal(encode(pa.concat_tables(pieces), dtype), whole)


@pytest.mark.parametrize("value", [0.1, 1e9 + 0.3, -7, 3e38, True])
def test_a_constant_column_is_exactly_0(value: float) -> None:
    """Though the mean of many 0.1 is not 0.1: no rounding is left over to be learnt from; and a warning says so."""
    table = pa.table({"a": pa.array([value] * 1001), "y": np.arange(1001.0)})
    encoding = _fit(table, ["a"], ["y"])
    assert (encoding.encode_features(table, F8) == 0.0).all()
    assert encoding.warnings == (f"column 'a' has one value only ({value:g}), so nothing can be learnt from it",)


@pytest.mark.parametrize(("low", "high"), [(1e200, 3e200), (-1.7e308, 1.7e308), (1e-200, 3e-200), (0.0, 5e-324)])
def test_numbers_too_large_or_small_to_square(low: float, high: float) -> None:
    """The range serves for scale: still finite, still told apart, and a warning that says so."""
    table = pa.table({"a": [low, high, low, high], "y": [1.0, 2.0, 3.0, 4.0]})
    encoding = _fit(table, ["a"], ["y"])
    encoded = encoding.encode_features(table, F8)[:, 0]
    assert np.isfinite(encoded).all()
    assert encoded[0] < encoded[1]
    assert (np.abs(encoded) <= 1.0).all() or high == 5e-324
    assert "scaled by its range" in encoding.warnings[0] or high == 5e-324


LABELS = {
    "text": (["b", "a", "c", "a"], ("a", "b", "c")),
    "whole numbers": ([10, 9, -1, 9], (-1, 9, 10)),
    "truth": ([True, False, False, True], (False, True)),
    "whole floats": ([2.0, 1.0, 2.0, 30.0], (1, 2, 30)),
    "dictionary": (pa.array(["b", "a", "c", "a"]).dictionary_encode(), ("a", "b", "c")),
    "large text": (pa.array(["b", "a", "c", "a"], pa.large_string()), ("a", "b", "c")),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_there_and_back(case: str) -> None:
    """Class indices in the order of the sorted classes; decoding gives the labels in their own type; so it does after JSON."""
    values, classes = LABELS[case]
    table = pa.table({"x": [1.0, 2.0, 3.0, 4.0], "label": pa.array(values)})
    encoding = _fit(table, ["x"], ["label"], "classification")
    assert encoding.classes == classes
    assert [type(value) for value in encoding.classes] == [type(value) for value in classes]
    again = Encoding.from_json(json.loads(json.dumps(encoding.to_json())))
    for each in (encoding, again):
        indices = each.encode_targets(table, F4)
        assert indices.dtype == np.int32
        assert each.decode(indices).tolist() == table["label"].to_pylist()


def test_json_there_and_back() -> None:
    """Every number to the last bit, so that a loaded model encodes the same bits; warnings stay behind."""
    for task, targets in (("regression", ["y", "b"]), ("classification", ["label"])):
        encoding = _fit(_table(), ["a", "c"], targets, task)
        assert Encoding.from_json(json.loads(json.dumps(encoding.to_json()))) == encoding


def test_outputs_come_back_in_their_own_units() -> None:
    """Decoding undoes the standardisation, in float64, for each target."""
    table = _table()
    encoding = _fit(table, ["c"], ["a", "y"])
    decoded = encoding.decode(encoding.encode_targets(table, F8))
    np.testing.assert_allclose(decoded, np.column_stack([table["a"], table["y"]]), rtol=1e-12)
    np.testing.assert_allclose(encoding.target_units(), [np.asarray(table[name]).std() for name in "ay"], rtol=1e-12)


def _changed(**changes: object) -> dict[str, object]:
    value = {**_fit(_table(), ["a", "c"], ["y"]).to_json(), **changes}
    return json.loads(json.dumps(value))


NOT_ENCODINGS = [
    None,
    [],
    {},
    _changed(task="clustering"),
    _changed(mean=[1.0]),
    _changed(features=[], mean=[], scale=[]),
    _changed(features=["a", 1]),
    _changed(scale=[1.0, 0.0]),
    _changed(scale=[1.0, -1.0]),
    _changed(mean=[1.0, math.nan]),
    _changed(target_mean=[]),
    _changed(target_scale=[math.inf]),
    _changed(task="classification", classes=["a"]),
    _changed(task="classification", classes=["a", "a"]),
    _changed(task="classification", classes=["a", 1]),
    _changed(task="classification", classes=[[], {}]),
]


@pytest.mark.parametrize("value", NOT_ENCODINGS)
def test_json_that_is_no_encoding(value: object) -> None:
    """Nothing that would fail or divide by zero later is taken."""
    with pytest.raises((ValueError, KeyError, TypeError)):
        Encoding.from_json(value)


def _refusal(encoding: Encoding, table: pa.Table, targets: bool = False) -> str:
    encode = encoding.encode_targets if targets else encoding.encode_features
    with pytest.raises(DataError) as refusal:
        encode(table, F4, "t.csv", 100)
    return str(refusal.value)


def test_features_that_are_refused() -> None:
    """File, column, row (counted on from the batches before) and the value as it stands in the file."""
    encoding = _fit(pa.table({"x": [1.0, 2.0], "y": [1.0, 2.0]}), ["x"], ["y"])
    row = "t.csv: column 'x', row 102 (counted from 1, header not counted): "
    assert _refusal(encoding, pa.table({"x": [1.0, math.nan]})).startswith(row + "nan; expected a finite number")
    assert _refusal(encoding, pa.table({"x": [1, None]})).startswith(row + "missing; expected a finite number")
    assert _refusal(encoding, pa.table({"x": [1.0, 1e60]})).startswith(row + "1e+60; expected a number that float32")
    assert _refusal(encoding, pa.table({"x": ["a", "b"]})).startswith(
        "t.csv: column 'x' holds string; expected numbers"
    )
    assert "no column 'x' (did you mean 'xx'?)" in _refusal(encoding, pa.table({"xx": [1.0]}))
    twice = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["x", "x"])
    assert "column 'x' is there twice" in _refusal(encoding, twice)


def test_targets_that_are_refused() -> None:
    """As for features: none is clipped, and none becomes infinite on the way to float32."""
    encoding = _fit(pa.table({"x": [1.0, 2.0], "y": [1.0, 2.0]}), ["x"], ["y"])
    row = "t.csv: column 'y', row 102 (counted from 1, header not counted): "
    assert _refusal(encoding, pa.table({"y": [1.0, -math.inf]}), True).startswith(
        row + "-inf; expected a finite number"
    )
    assert _refusal(encoding, pa.table({"y": [1.0, 1e60]}), True).startswith(
        row + "1e+60; expected a number that float32"
    )
    assert "'y' holds string" in _refusal(encoding, pa.table({"y": ["1", "2"]}), True)
    assert "no column 'y'" in _refusal(encoding, pa.table({"x": [1.0]}), True)


@pytest.mark.parametrize(
    ("known", "seen", "words"),
    [
        (
            ["a", "b"],
            ["a", "c"],
            "row 102 (counted from 1, header not counted): 'c'; expected one of the classes 'a', 'b'",
        ),
        (["a", "b"], ["a", None], "row 102 (counted from 1, header not counted): None; expected one of the classes"),
        ([1, 2], [1, 3], "row 102 (counted from 1, header not counted): 3; expected one of the classes 1, 2"),
        ([1, 2], [1.0, 2.5], "holds double; expected classes such as 1"),
        (
            [True, False],
            [1, 2],
            "row 102 (counted from 1, header not counted): 2; expected one of the classes False, True",
        ),
        ([1, 2], ["1", "x"], "holds string; expected classes such as 1"),
    ],
)
def test_classes_never_seen(known: list[object], seen: list[object], words: str) -> None:
    """Nothing is cast into a class that it is not."""
    encoding = _fit(pa.table({"x": [1.0, 2.0], "y": known}), ["x"], ["y"], "classification")
    message = _refusal(encoding, pa.table({"y": seen}), True)
    assert message.startswith("t.csv: column 'y'")
    assert words in message


def test_arrays_in_place_of_tables() -> None:
    """Columns in the order of the features; anything else is refused with the order that is expected."""
    table = _table()
    encoding = _fit(table, ["b", "a"], ["y"])
    array = np.column_stack([table["b"], table["a"]])
    np.testing.assert_array_equal(encoding.encode_features(array, F4), encoding.encode_features(table, F4))
    for wrong in (array[:, :1], array[0], array.astype(str), array.astype(complex)):
        with pytest.raises(DataError, match=r"expected \(rows, 2\) numbers, the columns b, a in this order"):
            encoding.encode_features(wrong, F4)
    array[3, 1] = math.nan
    with pytest.raises(DataError, match=r"column 'a', row 4 .*: nan; expected a finite number"):
        encoding.encode_features(array, F4)


@pytest.mark.parametrize("value", [10**400, math.inf, math.nan])
def test_json_with_a_number_that_is_no_float_is_refused(value: float) -> None:
    """Also a whole number of 400 digits: ValueError, as for any other encoding that cannot be."""
    fields = _fit(_table(), ["a", "b"], ["y"]).to_json()
    fields["mean"] = [value, 0.0]
    with pytest.raises(ValueError, match="does not fit together"):
        Encoding.from_json(fields)


def test_json_with_a_label_beyond_int64_is_refused() -> None:
    """numpy would turn it, and all the others, into floats."""
    fields = _fit(_table(), ["a"], ["label"], "classification").to_json()
    fields["classes"] = [1, 2**63]
    with pytest.raises(ValueError, match="does not fit together"):
        Encoding.from_json(fields)
