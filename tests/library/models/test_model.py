"""Models: predictions from anything that holds the columns, measures against scikit-learn, and files that give the same bits."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, r2_score, root_mean_squared_error

import dbp.data.csv
import dbp.data.parquet
from dbp import Model, Network, load_model
from dbp.data.columns import Label
from dbp.data.encoding import Encoding
from dbp.errors import DataError, StorageError
from dbp.network.losses import LossName

FEATURES = ("width", "height", "depth")
MEAN, SCALE = (3.0, -200.0, 0.25), (0.5, 40.0, 1e-3)
ROWS = 60


def _network(outputs: int, seed: int, dtype: str) -> tuple[Network, NDArray[np.floating]]:
    network = Network((len(FEATURES), 6, outputs), ("tanh", "identity"))
    theta = network.initial_parameters(seed, "float64")
    return network, (theta + 0.2 * np.random.default_rng(seed).standard_normal(theta.size)).astype(dtype)


def _classifier(
    classes: tuple[Label, ...], outputs: int | None = None, loss: LossName = "cross_entropy", dtype: str = "float32"
) -> Model:
    network, theta = _network(outputs or len(classes), 1, dtype)
    encoding = Encoding(FEATURES, MEAN, SCALE, ("kind",), "classification", classes)
    return Model(network, theta, encoding, loss, {"name": "kinds", "step": 7})


def _regression(targets: int, dtype: str = "float32") -> Model:
    """Return a model of targets in large units: about 5e6 ± 1e6, and other magnitudes after it."""
    network, theta = _network(targets, 2, dtype)
    names, means, scales = ("price", "mass", "share"), (5e6, -3.0, 1e-4), (1e6, 2.0, 1e-5)
    encoding = Encoding(FEATURES, MEAN, SCALE, names[:targets], "regression", (), means[:targets], scales[:targets])
    return Model(network, theta, encoding, "squared_error")


MODELS: dict[str, Callable[[], Model]] = {
    "text labels": lambda: _classifier(("blue", "green", "red")),
    "labels of more than ASCII": lambda: _classifier(("", "naïve\n", "日本")),
    "whole labels": lambda: _classifier((-1, 3, 2**40), dtype="float64"),
    "truth": lambda: _classifier((False, True)),
    "one logistic output": lambda: _classifier(("no", "yes"), outputs=1),
    "one logistic output of truth": lambda: _classifier((False, True), outputs=1, dtype="float64"),
    "squared error on classes": lambda: _classifier((1, 2, 3), loss="squared_error"),
    "squared error on one output": lambda: _classifier(("no", "yes"), outputs=1, loss="squared_error"),
    "one target": lambda: _regression(1),
    "three targets": lambda: _regression(3, "float64"),
}


def _inputs(rows: int = ROWS) -> NDArray[np.float64]:
    """Return rows (rows, features) whose encoded values have about mean 0 and variance 1."""
    return np.random.default_rng(5).standard_normal((rows, len(FEATURES))) * SCALE + MEAN


def _table(model: Model, rows: int = ROWS) -> pa.Table:
    """Return a table with the features, and targets that the model is partly right about."""
    inputs, draw = _inputs(rows), np.random.default_rng(8)
    columns: dict[str, Any] = {name: inputs[:, k] for k, name in enumerate(FEATURES)}
    if model.encoding.task == "classification":
        other = np.array(model.encoding.classes)[draw.integers(0, len(model.encoding.classes), rows)]
        columns["kind"] = np.where(draw.random(rows) < 0.5, model.predict(inputs), other).tolist()
    else:
        predictions = model.predict(inputs).reshape(rows, -1)
        noise = draw.standard_normal(predictions.shape) * model.encoding.target_scale
        columns |= {name: predictions[:, k] + noise[:, k] for k, name in enumerate(model.encoding.targets)}
    return pa.table(columns)


@pytest.fixture
def batch_rows(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set how many rows of a file are read at once."""

    def change(rows: int) -> None:
        for module in (dbp.data.parquet, dbp.data.csv):
            monkeypatch.setattr(module, "BATCH_ROWS", rows)

    return change


def _forward(model: Model, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the raw outputs in float64, by plain numpy."""
    first, second = model.network.layers(model.parameters.astype(np.float64))
    encoded = (inputs - MEAN) / SCALE
    return np.tanh(encoded @ first.weights + first.bias) @ second.weights + second.bias


# ---- files


@pytest.mark.parametrize("case", MODELS)
def test_saved_and_loaded_it_is_the_same_model(case: str, tmp_path: Path) -> None:
    """The same bits of the parameters and of every prediction, in the type of the labels; and the same file again."""
    model, path = MODELS[case](), tmp_path / "m.safetensors"
    model.save(path)
    again = load_model(str(path))
    assert (again.network, again.encoding, again.loss, again.about) == (
        model.network,
        model.encoding,
        model.loss,
        model.about,
    )
    assert [type(label) for label in again.encoding.classes] == [type(label) for label in model.encoding.classes]
    assert again.parameters.dtype == model.parameters.dtype
    assert again.parameters.tobytes() == model.parameters.tobytes()
    assert again.parameters_sha256 == model.parameters_sha256 == hashlib.sha256(model.parameters.tobytes()).hexdigest()
    table = _table(model)
    assert again.outputs(table).tobytes() == model.outputs(table).tobytes()
    assert again.predict(table).dtype == model.predict(table).dtype
    assert again.predict(table).tolist() == model.predict(table).tolist()
    assert again.evaluate(table) == model.evaluate(table)
    if model.has_probabilities:
        assert again.predict_probabilities(table).tobytes() == model.predict_probabilities(table).tobytes()
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_loaded_in_a_fresh_process_it_predicts_the_same_bits(tmp_path: Path) -> None:
    """One file, another process, another number of threads asked for."""
    model = MODELS["three targets"]()
    model.save(tmp_path / "m.safetensors")
    pyarrow.parquet.write_table(_table(model), tmp_path / "t.parquet")
    code = (
        "import hashlib, dbp; "
        "print(hashlib.sha256(dbp.load_model('m.safetensors').predict('t.parquet').tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(model.predict(tmp_path / "t.parquet").tobytes()).hexdigest()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """StorageError with the path, and nothing left behind."""
    with pytest.raises(StorageError, match=r"nowhere/m\.safetensors"):
        MODELS["one target"]().save(tmp_path / "nowhere/m.safetensors")
    assert list(tmp_path.iterdir()) == []


# ---- predictions


@pytest.mark.parametrize("case", MODELS)
def test_predictions_are_what_the_outputs_stand_for(case: str) -> None:
    """Against plain numpy: the class of the largest output, of a logit above 0 or of 1/2; or numbers in the targets' own units."""
    model, inputs = MODELS[case](), _inputs()
    outputs = _forward(model, inputs)
    found = model.predict(inputs)
    eps = float(np.finfo(model.parameters.dtype).eps)
    np.testing.assert_allclose(model.outputs(inputs), outputs, rtol=0, atol=30 * eps)
    encoding = model.encoding
    if encoding.task == "regression":
        expected = outputs * encoding.target_scale + encoding.target_mean
        assert found.shape == ((ROWS,) if len(encoding.targets) == 1 else (ROWS, len(encoding.targets)))
        assert found.dtype == np.float64
        for k, scale in enumerate(encoding.target_scale):
            np.testing.assert_allclose(found.reshape(ROWS, -1)[:, k], expected[:, k], rtol=1e-15, atol=30 * eps * scale)
        return
    border = 0.0 if model.has_probabilities else 0.5
    places = outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > border).astype(int)
    assert found.tolist() == [encoding.classes[place] for place in places]
    assert {type(label) for label in found.tolist()} == {type(encoding.classes[0])}
    assert len(set(found.tolist())) > 1


@pytest.mark.parametrize("case", [name for name, make in MODELS.items() if make().has_probabilities])
def test_probabilities_are_in_the_order_of_the_classes(case: str) -> None:
    """One column per class, two for one output; rows sum to 1; the most probable class is the predicted one."""
    model, inputs = MODELS[case](), _inputs()
    found = model.predict_probabilities(inputs)
    assert found.shape == (ROWS, len(model.encoding.classes))
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-14)
    assert [model.encoding.classes[place] for place in found.argmax(axis=1)] == model.predict(inputs).tolist()
    outputs = _forward(model, inputs)
    logits = outputs if outputs.shape[1] > 1 else np.hstack([np.zeros_like(outputs), outputs])
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=100 * float(np.finfo(model.parameters.dtype).eps))


@pytest.mark.parametrize("case", ["squared error on classes", "squared error on one output", "one target"])
def test_squared_error_gives_no_probabilities(case: str) -> None:
    """Refused, with what would have them."""
    model = MODELS[case]()
    with pytest.raises(ValueError, match=r"squared_error has no class probabilities; only cross_entropy has"):
        model.predict_probabilities(_inputs())


class _Frame:
    """What a data frame library shows of itself: an Arrow stream, and nothing that numpy could take for numbers."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


SOURCES: dict[str, Callable[[pa.Table], Any]] = {
    "columns in another order, and more": lambda table: table.select(["more", "depth", "width", "height"]),
    "a table in chunks": lambda table: pa.concat_tables([table.slice(0, 7), table.slice(7)]),
    "a record batch": lambda table: table.combine_chunks().to_batches()[0],
    "a stream of batches": lambda table: table.to_reader(max_chunksize=9),
    "a data frame": _Frame,
    "a dict of arrays": lambda table: {name: np.asarray(table[name]) for name in ("more", *reversed(FEATURES))},
    "a dict of lists": lambda table: {name: table[name].to_pylist() for name in FEATURES},
    "a list of rows": lambda table: np.column_stack([table[name] for name in FEATURES]).tolist(),
    "an array, columns first": lambda table: np.asfortranarray(np.column_stack([table[name] for name in FEATURES])),
    "a strided array": lambda table: np.repeat(np.column_stack([table[name] for name in FEATURES]), 2, axis=0)[::2],
}


def _with_more(model: Model) -> pa.Table:
    table = _table(model)
    return table.append_column("more", pa.array(["x"] * ROWS))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("case", ["text labels", "three targets"])
def test_rows_in_any_form_give_the_same_bits(case: str, source: str) -> None:
    """Columns are found by name, wherever they stand; an array has them in the order of the features."""
    model = MODELS[case]()
    table = _with_more(model)
    expected = np.column_stack([table[name] for name in FEATURES])
    assert model.predict(SOURCES[source](table)).tolist() == model.predict(expected).tolist()
    assert model.outputs(SOURCES[source](table)).tobytes() == model.outputs(expected).tobytes()
    if model.has_probabilities:
        found = model.predict_probabilities(SOURCES[source](table))
        assert found.tobytes() == model.predict_probabilities(expected).tobytes()


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_rows_in_a_file(ending: str, as_text: bool, tmp_path: Path, batch_rows: Callable[[int], None]) -> None:
    """By its path, as text or Path; in many batches as in one; columns in any order, more of them, and no targets needed."""
    batch_rows(7)
    for case in ("text labels", "one logistic output", "one target", "three targets"):
        model = MODELS[case]()
        table = _with_more(model)
        path = tmp_path / f"t.{ending}"
        shown = table.select(["more", "depth", "height", "width"])
        if ending == "parquet":
            pyarrow.parquet.write_table(shown, path)
        else:
            pyarrow.csv.write_csv(shown, path)
        found, expected = model.predict(str(path) if as_text else path), model.predict(table)
        assert found.dtype == expected.dtype
        if model.has_probabilities:
            assert found.tolist() == expected.tolist()
            shares = model.predict_probabilities(str(path) if as_text else path)
            np.testing.assert_allclose(shares, model.predict_probabilities(table), rtol=1e-5)
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("case", MODELS)
def test_no_rows_give_no_predictions(case: str, tmp_path: Path) -> None:
    """An empty array of the right shape and kind, from a table, an array or a file."""
    model = MODELS[case]()
    table = _table(model).slice(0, 0)
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    some = model.predict(_inputs())
    for rows in (table, np.empty((0, 3)), tmp_path / "t.parquet"):
        found = model.predict(rows)
        assert found.shape == (0, *some.shape[1:])
        assert found.dtype == some.dtype
        if model.has_probabilities:
            assert model.predict_probabilities(rows).shape == (0, len(model.encoding.classes))


def test_a_missing_column_is_named_with_its_nearest() -> None:
    """Each of them, and the columns that there are; whatever the form of the rows."""
    model = MODELS["text labels"]()
    table = _table(model).rename_columns(["Wid-th", "height", "deepth", "kind"])
    words = (
        r"^table: no column 'width' \(did you mean 'Wid-th'.*\), 'depth' \(did you mean 'deepth'.*\); "
        "the columns are: Wid-th, height, deepth, kind$"
    )
    for rows in (table, table.to_batches()[0], {name: table[name].to_pylist() for name in table.schema.names}):
        for method in (model.predict, model.predict_probabilities, model.outputs):
            with pytest.raises(DataError, match=words):
                method(rows)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_missing_column_of_a_file_is_named_with_the_file(ending: str, tmp_path: Path) -> None:
    """The path comes first; evaluating needs the targets, predicting does not."""
    model = MODELS["one target"]()
    path = tmp_path / f"t.{ending}"
    write = pyarrow.parquet.write_table if ending == "parquet" else pyarrow.csv.write_csv
    write(_table(model).drop_columns(["price"]), path)
    assert len(model.predict(path)) == ROWS
    with pytest.raises(DataError) as refusal:
        model.evaluate(path)
    assert str(refusal.value) == f"{path}: no column 'price'; the columns are: width, height, depth"
    write(_table(model).rename_columns(["width", "heights", "depth", "price"]), path)
    for method in (model.predict, model.evaluate):
        with pytest.raises(DataError) as refusal:
            method(path)
        assert str(refusal.value).startswith(f"{path}: no column 'height' (did you mean 'heights'")


@pytest.mark.parametrize("rows", [[], None, 5, [1.0, 2.0, 3.0], [[1.0, 2.0]], [["a", "b", "c"]], np.zeros((2, 4))])
def test_arrays_that_do_not_fit(rows: object) -> None:
    """The shape and kind seen, and the columns expected."""
    with pytest.raises(
        DataError, match=r"expected \(rows, 3\) numbers, the columns width, height, depth in this order"
    ):
        MODELS["one target"]().predict(rows)


def test_a_bad_cell_in_a_later_batch_is_named_by_its_row_in_the_file(
    tmp_path: Path, batch_rows: Callable[[int], None]
) -> None:
    """Rows are counted on from batch to batch, in predicting and in evaluating."""
    model = MODELS["one target"]()
    table = _table(model)
    height = table["height"].to_pylist()
    height[43] = math.nan
    table = table.set_column(1, "height", pa.array(height))
    batch_rows(10)
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    for method in (model.predict, model.evaluate):
        with pytest.raises(DataError, match=r"t\.parquet: column 'height', row 44 .*: nan; expected a finite number"):
            method(tmp_path / "t.parquet")


# ---- measures


@pytest.mark.parametrize("case", [name for name, make in MODELS.items() if make().encoding.classes])
def test_measures_of_classes_are_those_of_scikit_learn(
    case: str, tmp_path: Path, batch_rows: Callable[[int], None]
) -> None:
    """Accuracy, log loss, and the RMS of the outputs (probabilities, where there are some) against 0 and 1."""
    model = MODELS[case]()
    table = _table(model)
    known, classes = table["kind"].to_pylist(), list(model.encoding.classes)
    found = model.evaluate(table)
    assert found["rows"] == ROWS
    assert found["accuracy"] == accuracy_score(known, model.predict(table).tolist())
    assert 0.4 < found["accuracy"] < 1
    one_hot = np.array([[label == each for each in classes] for label in known], dtype=float)
    outputs = _forward(model, _inputs())
    if model.has_probabilities:
        logits = outputs if outputs.shape[1] > 1 else np.hstack([np.zeros_like(outputs), outputs])
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        places = one_hot.argmax(axis=1)
        assert found["log_loss"] == pytest.approx(log_loss(places, shares, labels=range(len(classes))), rel=1e-6)
        outputs = shares if outputs.shape[1] > 1 else shares[:, 1:]
    else:
        assert "log_loss" not in found
    wanted = one_hot if outputs.shape[1] > 1 else one_hot[:, 1:]
    assert found["rms"] == pytest.approx(math.sqrt(((outputs - wanted) ** 2).mean()), rel=1e-6)
    batch_rows(7)
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    assert model.evaluate(tmp_path / "t.parquet") == found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("targets", [1, 3])
def test_measures_of_numbers_are_those_of_scikit_learn(
    targets: int, dtype: str, tmp_path: Path, batch_rows: Callable[[int], None]
) -> None:
    """In the targets' own units: RMS and MAE over all cells, R² as the mean over targets; in many batches as in one."""
    model = _regression(targets, dtype)
    table = _table(model)
    known = np.column_stack([table[name] for name in model.encoding.targets])
    predicted = model.predict(table).reshape(ROWS, -1)
    accuracy = 1e-5 if dtype == "float32" else 1e-9
    expected = {
        "rows": float(ROWS),
        "rms": math.sqrt((root_mean_squared_error(known, predicted, multioutput="raw_values") ** 2).mean()),
        "mae": mean_absolute_error(known, predicted),
        "r2": r2_score(known, predicted),
    }
    found = model.evaluate(table)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=accuracy)
    assert expected["rms"] > 1e5
    batch_rows(7)
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    pyarrow.csv.write_csv(table, tmp_path / "t.csv")
    for path in (tmp_path / "t.parquet", str(tmp_path / "t.csv")):
        assert model.evaluate(path) == found


def test_the_measures_do_not_depend_on_the_batches(tmp_path: Path, batch_rows: Callable[[int], None]) -> None:
    """Batches of very different means: the spread of the whole is not the sum of theirs."""
    model = _regression(1, "float64")
    table = _table(model).sort_by("price")
    whole = model.evaluate(table)
    known = np.asarray(table["price"])
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    for size in (1, 2, 13, ROWS):
        batch_rows(size)
        assert model.evaluate(tmp_path / "t.parquet") == whole
    assert whole["r2"] == pytest.approx(r2_score(known, model.predict(table)), rel=1e-9)


def test_a_target_that_never_changes_has_no_r2() -> None:
    """There is nothing to explain: NaN where it is the only one, left out of the mean among others."""
    table = _table(_regression(3, "float64"))
    constant = table.set_column(table.schema.get_field_index("price"), "price", pa.array([5e6] * ROWS))
    assert math.isnan(_regression(1, "float64").evaluate(constant)["r2"])
    model = _regression(3, "float64")
    others = [np.column_stack([table[name] for name in ("mass", "share")]), model.predict(table)[:, 1:]]
    assert model.evaluate(constant)["r2"] == pytest.approx(r2_score(*others), rel=1e-9)


def test_a_model_that_is_always_right() -> None:
    """Errors of exactly 0, R² and accuracy of exactly 1."""
    number = _regression(3, "float64")
    network = Network((3, 3), ("identity",))
    copy = Model(
        network, np.array([*np.eye(3).ravel(), 0, 0, 0]), number.encoding, "squared_error"
    )  # its outputs are its encoded inputs
    inputs = _inputs()
    targets = copy.predict(inputs)
    columns = {name: inputs[:, k] for k, name in enumerate(FEATURES)}
    table = pa.table(columns | {name: targets[:, k] for k, name in enumerate(number.encoding.targets)})
    found = copy.evaluate(table)
    assert found["rms"] == pytest.approx(0, abs=1e-6)  # a mean of 5e6 has steps of 1e-9
    assert found["r2"] == pytest.approx(1, abs=1e-12)
    kinds = MODELS["truth"]()
    right = pa.table(columns | {"kind": kinds.predict(inputs)})
    assert kinds.evaluate(right)["accuracy"] == 1


@pytest.mark.parametrize("case", MODELS)
def test_nothing_to_evaluate(case: str, tmp_path: Path) -> None:
    """No rows: refused, with the file where there is one."""
    model = MODELS[case]()
    table = _table(model).slice(0, 0)
    with pytest.raises(DataError, match=r"^table: no rows; expected at least one to evaluate$"):
        model.evaluate(table)
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet: no rows; expected at least one to evaluate$"):
        model.evaluate(tmp_path / "t.parquet")


def test_a_class_that_was_never_seen() -> None:
    """Refused in evaluating; predicting does not look at it."""
    model = MODELS["text labels"]()
    table = _table(model)
    kinds = table["kind"].to_pylist()
    kinds[9] = "purple"
    table = table.set_column(table.schema.get_field_index("kind"), "kind", pa.array(kinds))
    assert len(model.predict(table)) == ROWS
    with pytest.raises(
        DataError, match=r"table: column 'kind', row 10 .*: 'purple'; expected one of the classes 'blue'"
    ):
        model.evaluate(table)


def test_logits_of_any_size_are_measured() -> None:
    """±1e4, sure and wrong: a finite log loss, no warning from exp."""
    encoding = Encoding(("x",), (0.0,), (1.0,), ("kind",), "classification", (False, True))
    for outputs in (1, 2):
        network = Network((1, outputs), ("identity",))
        model = Model(network, np.array([1.0, *([0.0] * (2 * outputs - 1))]), encoding, "cross_entropy")
        flip = 1 if outputs == 1 else -1  # the first of two outputs speaks for False
        table = pa.table({"x": [1e4 * flip, -1e4 * flip], "kind": [False, False]})
        with np.errstate(all="raise", over="ignore", under="ignore"):
            found = model.evaluate(table)
        expected = {"rows": 2, "accuracy": 0.5, "log_loss": 5e3, "rms": math.sqrt(0.5)}
        assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    "rows", [{"a": [1.0, 2.0], "b": [1.0]}, {"a": [1.0, "x"]}, {"a": 5.0}, [[1.0], [2.0, 3.0]]], ids=str
)
def test_rows_that_are_no_table_are_refused(rows: object) -> None:
    """In dbp's own words, whichever library stumbled over them."""
    from dbp.models.model import _columns

    with pytest.raises(DataError, match="expected a table, a dict of columns, or an array"):
        _columns(rows)
