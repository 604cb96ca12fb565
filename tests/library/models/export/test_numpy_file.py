"""The Python file for numpy: alone in a process without dbp, a command line, and texts that stay data."""

from __future__ import annotations

import ast
import csv
import io

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from exported_models import TOLERANCES, deviation, import_file, outputs_of, run_alone
from hypothesis import given, settings
from hypothesis import strategies as st

import dbp
from dbp import Model, Network
from dbp.data.encoding import Encoding
from dbp.models.export.numpy_file import numpy_source
from dbp.models.export.portable import Portable


def model_of(features=("a", "b"), classes=("no", "yes"), loss="cross_entropy", dtype="float64", seed=0) -> Model:
    network = Network((len(features), 5, len(classes)), ("tanh", "identity"))
    theta = np.random.default_rng(seed).standard_normal(network.parameter_count).astype(dtype)
    mean, scale = (1.5,) * len(features), (2.0,) * len(features)
    return Model(network, theta, Encoding(features, mean, scale, ("kind",), "classification", classes), loss)


def write_csv(path, model: Model, rows: int = 5000) -> pa.Table:
    """Write more rows than the file takes at once, and a column that is no feature."""
    draw = np.random.default_rng(1)
    names = model.encoding.features
    table = pa.table({"id": [f"row, {i}" for i in range(rows)]} | {name: draw.standard_normal(rows) for name in names})
    pa.csv.write_csv(table, path)
    return table


def test_alone_it_predicts_a_table_of_csv(tmp_path):
    """Without dbp and pyarrow in reach; the columns of the table stay, `dbp predict`'s are added."""
    model = model_of()
    table = write_csv(tmp_path / "table.csv", model)
    model.export(tmp_path / "model.py", "numpy")
    done = run_alone(tmp_path / "model.py", "table.csv")
    assert done.returncode == 0, done.stderr
    out = pa.csv.read_csv(io.BytesIO(done.stdout.encode()))
    assert out.column_names == [*table.column_names, "prediction", "probability_no", "probability_yes"]
    assert out.select(table.column_names).equals(table)
    shares = np.column_stack([out["probability_no"], out["probability_yes"]])
    found = {"label": np.array(out["prediction"].to_pylist()), "probabilities": shares}
    assert deviation(model, table, found) <= TOLERANCES["float64"]


def test_the_process_of_these_tests_really_has_no_dbp(tmp_path):
    (tmp_path / "probe.py").write_text("import numpy\nimport dbp\n")
    assert "No module named 'dbp'" in run_alone(tmp_path / "probe.py").stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3,x\n", "column 'b', row 2: 'x'; expected a finite number"),
        ("a,b\n1,\n", "column 'b', row 1: missing; expected a finite number"),
        ("a,b\n1,1_000\n", "column 'b', row 1: '1_000'; expected a finite number"),
        ("a,b\n1,inf\n", "column 'b', row 1: 'inf'; expected a finite number"),
        ("a\n1\n", "0 columns 'b'; expected one"),
        ("a,b,b\n1,2,3\n", "2 columns 'b'; expected one"),
        ("a,b\n1,2,3\n", "a row of 3 cells; expected 2"),
        ("a,b,prediction\n1,2,3\n", "a column 'prediction', which the predictions need; expected a table without it"),
    ],
)
def test_what_dbp_would_refuse_is_refused_in_one_line(text, message, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    module = import_file(model_of().export(tmp_path / "model.py", "numpy")[0])
    with pytest.raises(SystemExit) as refused:
        module.main(module.model, ["model.py", str(tmp_path / "t.csv")])
    assert str(refused.value) == f"{tmp_path / 't.csv'}: {message}"


def test_rows_are_named_by_their_place_in_the_file(tmp_path):
    """Also behind the first rows that are taken at once."""
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 5000 + "1,x\n")
    module = import_file(model_of().export(tmp_path / "model.py", "numpy")[0])
    with pytest.raises(SystemExit, match="column 'b', row 5001: 'x'"):
        module.main(module.model, ["model.py", str(tmp_path / "t.csv")])


def test_numbers_are_read_as_dbp_reads_them(tmp_path):
    """Blanks, truth, exponents and whole numbers, from CSV and from Python values."""
    (tmp_path / "t.csv").write_text("a,b\n 1.5 ,true\n-2e-3,FALSE\n.5,true\n7,false\n")
    model = model_of()
    module = import_file(model.export(tmp_path / "model.py", "numpy")[0])
    table = pa.csv.read_csv(tmp_path / "t.csv")
    with open(tmp_path / "t.csv", newline="") as file:
        _, *rows = csv.reader(file)
    texts = dict(zip("ab", zip(*rows, strict=True), strict=True))
    np.testing.assert_allclose(module.outputs(texts), model.outputs(table), rtol=1e-12)
    values = {"a": [1.5, -2e-3, 0.5, 7], "b": np.array([True, False, True, False])}
    np.testing.assert_allclose(module.outputs(values), model.outputs(table), rtol=1e-12)
    with pytest.raises(ValueError, match="column 'a', row 1: 9007199254740993; expected a finite number"):
        module.outputs({"a": [2**53 + 1], "b": [1]})
    with pytest.raises(ValueError, match="column 'a', row 2: -9007199254740994; expected a finite number"):
        module.outputs({"a": np.array([1, -(2**53) - 2]), "b": [1, 1]})


HOSTILE = [
    '\'"""\'; import os; os._exit(3) #',
    '"""\nraise SystemExit(3)\n"""',
    "\\'); raise SystemExit(3) #",
    "\\",
    "a\nraise SystemExit(3)",
    "\r\u2028\u2029\x0c\x00raise SystemExit(3)",
    "{__import__('os')._exit(3)}%s",
    "日本 naïve \U0001f600",
    "",
]


def code_of(source: str) -> str:
    """Return a file's syntax tree without its texts and numbers."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            node.value = None
    return ast.dump(tree)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"]))), min_size=2, unique=True
    )
)
def test_no_text_of_a_model_becomes_code(texts):
    """Whatever names and classes a stranger's model has, the file has the same code, and says the same texts."""
    model = model_of(tuple(texts), tuple(texts))
    model = Model(model.network, model.parameters, model.encoding, model.loss, {"name": texts[0]})
    source = numpy_source(Portable.of(model))
    assert source.isascii()
    assert code_of(source) == code_of(numpy_source(Portable.of(model_of())))
    scope = {"__name__": "exported"}
    exec(compile(source, "exported.py", "exec"), scope)
    description = scope["DESCRIPTION"]
    assert [column["name"] for column in description["columns"]] == texts
    assert description["classes"] == texts
    assert description["model"] == texts[0]


def test_hostile_names_work_as_names(tmp_path):
    model = model_of(tuple(HOSTILE), tuple(name for name in HOSTILE if not name.endswith("\0")))
    module = import_file(model.export(tmp_path / "model.py", "numpy")[0])
    columns = {name: np.linspace(-2, 2, 50) * (place + 1) for place, name in enumerate(HOSTILE)}
    assert deviation(model, pa.table(columns), outputs_of(module.model, columns)) <= TOLERANCES["float64"]


def test_a_file_that_is_there_stays_when_the_new_one_cannot_be_written(tmp_path):
    with pytest.raises(dbp.InputError, match="no such file or folder"):
        model_of().export(tmp_path / "nowhere" / "model.py", "numpy")
    with pytest.raises(dbp.InputError, match=r"model\.txt: expected a name that ends in \.py for an export to numpy"):
        model_of().export(tmp_path / "model.txt", "numpy")
    assert list(tmp_path.iterdir()) == []
