"""Tables that cannot be learnt from: file, column and row, what was seen, what was expected, and nothing made."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bad_input.conftest import Dbp
from bad_input.tables import LABELS, NUMBERS, write_csv, write_parquet

ROWS = "counted from 1, header not counted"
NUMBER = "expected a finite number"
CSV = {
    "a short row": ({17: "1,0.5"}, "row 17 (", "has 2 fields; expected 3"),
    "a long row": ({60: "1,0.5,low,9"}, "row 60 (", "has 4 fields; expected 3"),
    "nan in a feature": ({41: "1,nan,low"}, f"column 'x', row 41 ({ROWS}): missing; {NUMBER}"),
    "no cell": ({41: "1,,low", 50: "1,,low"}, "column 'x', row 41", f"missing; {NUMBER} (2 such cells)"),
    "infinity in a feature": ({9: "1,-inf,low"}, f"column 'x', row 9 ({ROWS}): -inf; {NUMBER}"),
    "text in a feature": ({60: "1,tall,low"}, f"column 'x', row 60 ({ROWS}): 'tall'; expected numbers"),
    "no label": ({5: "1,0.5,"}, "column 'label', row 5", "missing; expected a class label"),
    "a whole number too large": ({5: "9007199254740994,0.5,low"}, "column 'n', row 5", "within 2**53"),
    "an open quote": ({30: '1,0.5,"low'}, "row 30", "expected a closing quote"),
}


@pytest.mark.parametrize("case", CSV)
def test_a_bad_row(dbp: Dbp, job: Path, tmp_path: Path, case: str) -> None:
    """`dbp run` and `dbp validate --read-data` name the file, the column and the first such row."""
    changes, *words = CSV[case]
    write_csv(tmp_path / "table.csv", changes)
    dbp("run", "job.yaml").refuses("table.csv: ", *words)
    dbp("run", "job.yaml", "--set", "data.validation=0.5").refuses("table.csv: ", *words)
    dbp("validate", "job.yaml", "--read-data").refuses("table.csv: ", *words)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, None])
@pytest.mark.parametrize(("column", "task"), [("x", "classification"), ("x", "regression"), ("n", "regression")])
def test_no_finite_number_in_parquet(
    dbp: Dbp, job: Path, tmp_path: Path, value: float | None, column: str, task: str
) -> None:
    """NaN, infinity or nothing, in a feature or in the target (n, for the regression): column and first row."""
    write_parquet(tmp_path / "table.parquet", column, 44, value)
    target = ("--set", "data.target=n", "--set", "data.features=[x]") if task == "regression" else ()
    ran = dbp("run", "job.yaml", "--set", "data.train=table.parquet", "--set", f"task={task}", *target)
    shown = "missing" if value is None else str(value)
    ran.refuses(f"table.parquet: column {column!r}, row 44 ({ROWS}): {shown}; {NUMBER}")


def test_the_first_row_is_the_files(dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """With rows held out, the first bad row is one of the file's, whichever part it fell to; one line for both parts."""
    rows = range(11, 31)
    write_csv(tmp_path / "table.csv", dict.fromkeys(rows, "1,inf,low"))
    ran = dbp("run", "job.yaml", "--set", "data.validation=0.5")
    ran.refuses("column 'x', row 11 ", f"({len(rows)} such cells)")
    assert ran.err.count("column 'x'") == 1


def _truncated(place: Path) -> None:
    write_parquet(place)
    place.write_bytes(place.read_bytes()[:-100])


def _damaged(place: Path) -> None:
    write_parquet(place)
    data = bytearray(place.read_bytes())
    data[4:200] = bytes(196)
    place.write_bytes(data)


def _not_three_arrays(place: Path) -> None:
    np.savez(place, inputs=np.zeros((3, 2)))


def _many(place: Path, **files: Callable[[Path], object]) -> None:
    place.mkdir()
    for name, make in files.items():
        path = place / name.replace("__", "/").replace("_", ".", 1)
        path.parent.mkdir(exist_ok=True)
        make(path)


def _two_kinds(place: Path) -> None:
    _many(place, a_csv=write_csv, b_tsv=write_csv)


def _two_tables(place: Path) -> None:
    _many(place, a_csv=write_csv, b_csv=lambda path: write_csv(path, header="n,x,lable"))


def _notes(place: Path) -> None:
    _many(place, a_csv=write_csv, notes_txt=lambda path: path.write_text("by hand"))


def _key(place: Path) -> None:
    (place / "n=1").mkdir(parents=True)
    write_csv(place / "n=1" / "a.csv")


def _damaged_middle(place: Path) -> None:
    _many(place, a_parquet=write_parquet, b_parquet=_damaged, c_parquet=write_parquet)


def _cut_gzip(place: Path) -> None:
    write_csv(place)
    place.write_bytes(gzip.compress(place.read_bytes())[:-20])


def _queries(place: Path) -> None:
    place.write_text("1 1:2\n0 qid:7 1:3\n")


FILES: dict[str, tuple[str, Callable[[Path], object], tuple[str, ...]]] = {
    "missing": ("tabel.csv", lambda place: None, ("no such file; did you mean table.csv?",)),
    "missing folder": ("no/table.csv", lambda place: None, ("no such file", "no folder")),
    "empty": ("empty.csv", lambda place: place.touch(), ("the file is empty; expected a table",)),
    "empty parquet": ("empty.parquet", lambda place: place.touch(), ("the file is empty; expected a table",)),
    "header only": ("head.csv", lambda place: place.write_text("n,x,label\n"), ("no rows; expected at least one",)),
    "header, no line end": ("head.csv", lambda place: place.write_text("n,x,label"), ("no rows",)),
    "blank lines": ("blank.csv", lambda place: place.write_text("\n\n"), ("expected a header",)),
    "a folder": ("folder.csv", lambda place: place.mkdir(), ("the folder holds no tables (there is no file)",)),
    "a folder of two kinds": (
        "many",
        _two_kinds,
        ("many/b.tsv: is .tsv, and a.csv is .csv; expected files of one kind",),
    ),
    "a folder of two tables": ("many", _two_tables, ("many/b.csv: no column 'label'", "a.csv has it")),
    "a folder with notes": ("many", _notes, ("many/notes.txt: is no table",)),
    "a folder whose key is a column": ("many", _key, ("many/n=1/a.csv: 'n' is a column, and a key",)),
    "a damaged file in a folder": ("many", _damaged_middle, ("many/b.parquet: damaged near row 1",)),
    "a pattern that matches nothing": (
        "t*.parquet",
        lambda place: None,
        ("no file matches", "there is job.yaml, table.csv"),
    ),
    "a pattern without its folder": ("no/*.csv", lambda place: None, ("there is no folder",)),
    "gzip cut short": ("cut.csv.gz", _cut_gzip, ("truncated, damaged, or not compressed by gzip",)),
    "gzip that is csv": ("plain.csv.gz", write_csv, ("not compressed by gzip",)),
    "zstd that is csv": ("plain.tsv.zst", write_csv, ("not compressed by zstd",)),
    "arrow that is csv": ("table.arrow", write_csv, ("not an Arrow IPC file",)),
    "npy that is csv": ("table.npy", write_csv, ("not a .npy file",)),
    "libsvm that is csv": ("table.svm", write_csv, ("row 1", "expected a number as the label")),
    "libsvm of queries": ("table.svm", _queries, ("row 2", "'qid:7': groups of a ranking are not known")),
    "unknown ending": ("table.xlsx", lambda place: place.touch(), ("ending '.xlsx'", ".parquet, .csv, .tsv, .arrow")),
    "truncated parquet": ("cut.parquet", _truncated, ("truncated, or not a Parquet file",)),
    "damaged parquet": ("bad.parquet", _damaged, ("damaged near row 1",)),
    "parquet that is csv": ("table.parquet", write_csv, ("not a Parquet file",)),
    "npz that is csv": ("table.npz", write_csv, ("no .npz archive",)),
    "npz with other arrays": ("other.npz", _not_three_arrays, ("arrays inputs; expected x",)),
    "latin-1": ("old.csv", lambda place: place.write_bytes(b"n,label\n1,\xe9\n"), ("'label', row 1", "UTF-8")),
    "latin-1 header": ("old.csv", lambda place: place.write_bytes(b"n,\xe9\n1,2\n"), ("header", "UTF-8")),
    "a column twice": ("twice.csv", lambda place: place.write_text("n,n\n1,2\n"), ("column 'n' is there twice",)),
    "target only": ("one.csv", lambda place: place.write_text("label\na\nb\n"), ("no column but the target label",)),
    "a URI": ("ftp://bucket/table.csv", lambda place: None, ("storage of kind 'ftp'; expected",)),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_no_table(dbp: Dbp, job: Path, tmp_path: Path, case: str) -> None:
    """The same words for the training table, and for the validation table, from `run` and from `validate`."""
    name, make, words = FILES[case]
    make(tmp_path / name)
    for command in ("run", "validate"):
        extra = ("--read-data",) if command == "validate" else ()
        dbp(command, "job.yaml", "--set", f"data.train={name}", *extra).refuses(name, *words)
    if case != "target only":
        dbp("run", "job.yaml", "--set", f"data.validation={name}").refuses(name, *words)


COLUMNS = {
    "target": ("data.target=lable", "no column 'lable' (did you mean 'label'?); the columns are: n, x, label"),
    "feature": ("data.features=[x, nn]", "no column 'nn' (did you mean 'n'?)"),
    "nothing near": ("data.target=weight", "no column 'weight'; the columns are: n, x, label"),
    "text as a quantity": (
        "data.target=n",
        "data.weight=label",
        "column 'label', row 1 ",
        "'low'; expected numbers; leave",
    ),
    "no pattern fits": (
        "data.features=['z*']",
        "'z*' fits no column; expected a pattern for some of: n, x",
    ),
    "drop of no column": ("data.drop=[nn]", "no column 'nn' (did you mean 'n'?)"),
    "category of no feature": ("data.categories=[label]", "'label' is none of the features"),
    "numbers as dates": ("data.dates=[x]", "column 'x' holds double; expected dates"),
    "a mean of classes": ("data.categories=[n]", "data.impute={n: mean}", "'n' is a category, which has no mean"),
    "a class of numbers": ("data.impute={x: class}", "'x' is a number, and `class` is for categories"),
    "shares as classes": ("data.target=x", "data.features=[n]", "column 'x', row 2 ", "expected a class label"),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_columns_that_do_not_fit(dbp: Dbp, job: Path, case: str) -> None:
    """Named, with the nearest names that there are."""
    settings = [word for word in COLUMNS[case] if word.startswith("data.")]
    words = [word for word in COLUMNS[case] if word not in settings]
    ran = dbp("run", "job.yaml", *(word for setting in settings for word in ("--set", setting)))
    ran.refuses("table.csv: ", *words)


def test_a_validation_table_with_other_columns(dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """The column that is missing, the nearest that is there, and which table it is."""
    (tmp_path / "other.csv").write_text("n,xx,label\n1,0.5,low\n")
    ran = dbp("run", "job.yaml", "--set", "data.validation=other.csv")
    ran.refuses("other.csv: no column 'x' (did you mean 'xx'?); the columns are: n, xx, label")


def test_one_class_only(dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """There is nothing to tell apart."""
    write_csv(tmp_path / "table.csv", {row: f"{row},{row / 7},low" for row in range(1, 61)})
    dbp("run", "job.yaml").refuses("table.csv: target 'label' has one class only ('low'); expected at least two")


def test_a_class_among_the_validation_rows_only(dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """A class that cannot be learnt is not silently counted as wrong."""
    write_csv(tmp_path / "other.csv", {3: "1,0.5,middle"})
    ran = dbp("run", "job.yaml", "--set", "data.validation=other.csv")
    ran.refuses("other.csv: target 'label'", "no training row has: 'middle'")


def test_fewer_rows_than_workers(dbp: Dbp, job: Path) -> None:
    """Before Ray is started."""
    for setting in (("--workers", "61"), ("--set", "workers=61")):
        dbp("run", "job.yaml", *setting).refuses(
            "table.csv", "workers: 61 workers for 60 training rows; expected at most"
        )


def test_a_batch_larger_than_the_table(dbp: Dbp, job: Path) -> None:
    """The number of rows there are, and what would do."""
    dbp("run", "job.yaml", "--set", "training.batch=61").refuses("training.batch: 61 is more than the 60 training rows")


def test_more_outputs_than_classes(dbp: Dbp, job: Path) -> None:
    """And fewer outputs than classes: both by number."""
    words = "network.outputs: 3 outputs for 2 classes: more outputs than classes; expected 1 or 2"
    dbp("run", "job.yaml", "--set", "network.outputs=3").refuses(words)
    dbp("validate", "job.yaml", "--read-data", "--set", "network.outputs=3").refuses(words)
    fewer = ("--set", "data.target=n", "--set", "data.features=[x]", "--set", "network.outputs=2")
    dbp("run", "job.yaml", *fewer).refuses("network.outputs: 2 outputs for 7 classes", "expected 7")


def test_a_constant_column_works(dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """It standardises to exactly 0, whatever its value, so its weights stay as they began; a warning names it."""
    from dbp.models.model import load_model

    write_csv(tmp_path / "table.csv", {n: f"0.1,{n / 7},{LABELS[n - 1]}" for n in range(1, 61)})
    ran = dbp("run", "job.yaml", "--id", "a-1")
    assert ran.code == 0, ran.err
    assert "column 'n' has one value only (0.1), so nothing can be learnt from it" in ran.err
    model = load_model(tmp_path / "runs/a-1/model.safetensors")
    assert model.encoding.encode_features(np.array([[0.1, 3.0]]), np.dtype("float64"))[0, 0] == 0.0
    start = model.network.initial_parameters(0, "float32")
    np.testing.assert_array_equal(model.parameters[:4], start[:4])  # the weights from n to the hidden layer
    assert not np.array_equal(model.parameters[4:8], start[4:8])


def test_a_diverging_loss(dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """Exit code 1, FAILED with step and advice, and the last good checkpoint kept, valid and finite."""
    from dbp.storage.checkpoints import CheckpointStore

    regression = ("task=regression", "data.target=n", "data.features=[x]", "loss=squared_error")
    diverges = ("network.hidden=[]", "optimizer.learning_rate=1e8", "training.max_steps=50", "checkpoint.every=1")
    settings = [word for setting in (*regression, *diverges) for word in ("--set", setting)]
    ran = dbp("run", "job.yaml", "--id", "a-1", *settings)
    status = json.loads((tmp_path / "runs/a-1/status.json").read_text())
    assert (ran.code, status["state"], "Traceback" in ran.err) == (1, "FAILED", False), ran.err
    assert "Try a smaller optimizer.learning_rate" in status["message"]
    entries = CheckpointStore(tmp_path / "runs/a-1/checkpoints").listing()
    assert [entry.problem for entry in entries] == [None] * len(entries)
    newest = CheckpointStore(tmp_path / "runs/a-1/checkpoints").load(entries[-1].step)
    assert np.isfinite(newest.arrays["parameters"]).all()
    assert f"at step {entries[-1].step + 1}" in ran.err
    assert not (tmp_path / "runs/a-1/model.safetensors").exists()


def test_a_rate_of_1e30(installed_dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """The loss of the second step is no number: exit code 1, the step, advice; by the installed command."""
    settings = ("task=regression", "data.target=n", "data.features=[x]", "optimizer.learning_rate=1e30")
    ran = installed_dbp("run", "job.yaml", "--id", "a-1", *(w for s in settings for w in ("--set", s)))
    assert ran.code == 1, ran.err
    assert "failed: " in ran.err
    assert "at step 2" in ran.err
    assert "Try a smaller optimizer.learning_rate" in ran.err
    assert "Traceback" not in ran.err
    assert NUMBERS.max() == 6  # the targets are small: it is the rate that is at fault
