"""Job directories, checkpoints and model files that are not what they should be."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pyarrow.csv
import pytest
from bad_input.conftest import Dbp
from bad_input.tables import LABELS, NUMBERS, SHARES, write_csv

RUN = ("run", "job.yaml", "--quiet", "--id")


@pytest.fixture
def trained(dbp: Dbp, job: Path, tmp_path: Path) -> Path:
    """The directory of a finished job."""
    ran = dbp(*RUN, "a-1")
    assert ran.code == 0, ran.err
    return tmp_path / "runs/a-1"


def test_a_file_in_the_way_of_the_storage(dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """A storage folder below a file: the path and the reason, before any row is read."""
    for storage in ("table.csv", "table.csv/runs"):
        ran = dbp("run", "job.yaml", "--storage", storage)
        ran.refuses(f"{storage}: cannot take a job directory", "is a file, not a folder")
        assert "looking at" not in ran.err


def test_a_storage_folder_that_cannot_be_written(installed_dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """No permission (root's power to write anywhere is laid down first): the path and the reason."""
    drop = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")
    before = drop if os.geteuid() == 0 else ()
    if before and (
        shutil.which("setpriv") is None
        or subprocess.run([*before, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("root, and no setpriv to lay its powers down")
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed").chmod(0o555)
    for storage in ("closed", "closed/below"):
        ran = installed_dbp("run", "job.yaml", "--storage", storage, before=before)
        ran.refuses(f"{storage}: cannot take a job directory", "ermission denied")


def test_a_job_directory_that_exists(dbp: Dbp, trained: Path) -> None:
    """The same --id twice: refused with what to do instead; the first job's files stay as they are."""
    dbp(*RUN, "a-1").refuses("runs/a-1: the job directory exists already", "dbp resume a-1", "another --id")


@pytest.mark.parametrize("name", ["../a-2", "", ".hidden", "a/b", "a b"])
def test_an_id_that_cannot_be(dbp: Dbp, job: Path, name: str) -> None:
    """An id is a plain name: it never leads out of the storage folder."""
    dbp(*RUN, name).refuses("cannot be a job id; expected 1 to 100 letters")


def _copy_checkpoints(source: Path, target: Path) -> None:
    shutil.rmtree(target / "checkpoints")
    shutil.copytree(source / "checkpoints", target / "checkpoints")


def test_a_checkpoint_of_another_job(dbp: Dbp, trained: Path) -> None:
    """Checkpoints copied from a job with another learning rate: told apart before a step is made."""
    assert dbp(*RUN, "a-2", "--set", "optimizer.learning_rate=0.1").code == 0
    _copy_checkpoints(trained.parent / "a-2", trained)
    ran = dbp("resume", "a-1", "--set", "training.max_steps=9")
    ran.refuses("runs/a-1/checkpoints: these checkpoints are from another job than job.yaml beside them", "dbp run")


def test_data_that_changed(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """One cell of the table changed since: resuming would give what neither table gives."""
    write_csv(tmp_path / "table.csv", {60: "2,0.5,low"})
    dbp("resume", "a-1", "--set", "training.max_steps=9").refuses("the data has changed since", "restore the data")


def test_a_checkpoint_that_is_a_model(dbp: Dbp, trained: Path) -> None:
    """A model file under a checkpoint's name is passed over, with its name and the reason; the one before it serves."""
    shutil.copy(trained / "model.safetensors", trained / "checkpoints/step-00000007.safetensors")
    ran = dbp("resume", "a-1", "--set", "training.max_steps=9", "--json")
    assert ran.code == 0, ran.err
    assert "step-00000007.safetensors: not a checkpoint" in ran.err
    assert "using the one before it" in ran.err


def _edited(place: Path, data: bytes) -> None:
    place.write_bytes(data)


def _one_bit(place: Path) -> None:
    data = bytearray(place.read_bytes())
    data[-5] ^= 4
    place.write_bytes(data)


def _a_folder(place: Path) -> None:
    place.unlink()
    place.mkdir()


def _of_step_4(place: Path) -> None:
    shutil.copy(place.with_name("step-00000004.safetensors"), place)


CHECKPOINTS = {
    "one bit": (_one_bit, "damaged: its contents do not match their SHA-256"),
    "cut short": (lambda place: _edited(place, place.read_bytes()[:-9]), "cut short"),
    "too long": (lambda place: _edited(place, place.read_bytes() + b"\0"), "too long"),
    "empty": (lambda place: _edited(place, b""), "the file is empty"),
    "text": (lambda place: _edited(place, b"step: 6\nparameters: none\n"), "not a safetensors file of dbp"),
    "seven bytes": (lambda place: _edited(place, b"\x08" * 7), "the file ends after 7 bytes"),
    "a folder": (_a_folder, "a folder, not a file"),
    "of another step": (_of_step_4, "holds step 4, but its name says step 6"),
}


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_checkpoint_that_cannot_be_used(dbp: Dbp, trained: Path, case: str) -> None:
    """It is named, with the reason, and passed over; training goes on from the one before it, to the same bits."""
    spoil, words = CHECKPOINTS[case]
    spoil(trained / "checkpoints/step-00000006.safetensors")
    ran = dbp("resume", "a-1", "--set", "training.max_steps=9", "--json")
    assert ran.code == 0, ran.err
    assert "step-00000006.safetensors" in ran.err
    assert words in ran.err
    assert "Traceback" not in ran.err


def test_resuming_what_is_not_there(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """A wrong id: the nearest ones; a folder that is none of ours: what is missing in it."""
    (tmp_path / "empty").mkdir()
    dbp("resume", "a-2").refuses("no job of that id in runs", "did you mean a-1?")
    dbp("resume", "empty").refuses("empty: holds no job.yaml; expected a job directory")


NOT_MODELS = {
    "a table": (lambda place, job: shutil.copy(job.parent.parent / "table.csv", place), "not a"),
    "an empty file": (lambda place, job: place.touch(), "empty"),
    "half of one": (
        lambda place, job: place.write_bytes((job / "model.safetensors").read_bytes()[:300]),
        "m.safetensors",
    ),
    "a checkpoint": (
        lambda place, job: shutil.copy(job / "checkpoints/step-00000006.safetensors", place),
        "not a model file of dbp (a checkpoint, perhaps?)",
    ),
}


@pytest.mark.parametrize("case", NOT_MODELS)
def test_a_model_file_that_is_none(dbp: Dbp, trained: Path, tmp_path: Path, case: str) -> None:
    """Predicting and evaluating name the file and what is wrong with it; no output is begun."""
    make, words = NOT_MODELS[case]
    make(tmp_path / "m.safetensors", trained)
    dbp("predict", "m.safetensors", "table.csv", "-o", "out.csv").refuses("m.safetensors: ", words)
    dbp("evaluate", "m.safetensors", "table.csv").refuses("m.safetensors: ", words)


@pytest.mark.parametrize("case", NOT_MODELS)
def test_starting_from_what_is_no_model(dbp: Dbp, trained: Path, tmp_path: Path, case: str) -> None:
    """`run` and `validate` name the key, the file and what is wrong with it; nothing is made."""
    make, words = NOT_MODELS[case]
    make(tmp_path / "m.safetensors", trained)
    for command in ("run", "validate"):
        ran = dbp(command, "job.yaml", "--set", "network.start_from=m.safetensors")
        ran.refuses("network.start_from: ", "m.safetensors: ", words, "expected a model file")


def test_starting_from_a_model_of_another_network(dbp: Dbp, trained: Path) -> None:
    """A missing file; a folder; another number of units: both sides are named."""
    start = ("--set", "network.start_from=runs/a-1/model.safetensors")
    for command in ("run", "validate"):
        dbp(command, "job.yaml", "--set", "network.start_from=none").refuses(
            "network.start_from: ", "none: no such file"
        )
        dbp(command, "job.yaml", "--set", "network.start_from=runs").refuses("network.start_from: ", "runs: ")
        ran = dbp(command, "job.yaml", *start, "--set", "network.hidden=[5]")
        ran.refuses("network.hidden: [5] in the job, [4] in the model it starts from", "a-1/model.safetensors")
        ran = dbp(command, "job.yaml", *start, "--set", "network.outputs=2")
        ran.refuses("network.outputs: 2 in the job, 1 in the model it starts from")
    assert dbp("validate", "job.yaml", *start, "--read-data").code == 0


def test_a_model_with_one_bit_changed(dbp: Dbp, trained: Path) -> None:
    """A damaged parameter is noticed, not predicted with."""
    data = bytearray((trained / "model.safetensors").read_bytes())
    data[-3] ^= 1
    (trained / "model.safetensors").write_bytes(data)
    dbp("predict", "a-1", "table.csv").refuses("model.safetensors: ", "do not match their SHA-256")


def test_predicting_without_a_column(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """Every missing column is named, with the nearest ones of the table."""
    write_csv(tmp_path / "other.csv", header="n,xx,label")
    dbp("predict", "a-1", "other.csv", "-o", "out.csv").refuses("other.csv: no column 'x' (did you mean 'xx'?)")
    write_csv(tmp_path / "other.csv", header="a,b,c")
    dbp("predict", "a-1", "other.csv").refuses("other.csv: no column 'n', 'x'; the columns are: a, b, c")
    dbp("evaluate", "a-1", "other.csv").refuses("other.csv: no column 'n', 'x', 'label'")


def test_predicting_with_columns_in_another_order(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """Columns are found by name: other order, further columns, same predictions."""
    lines = [f"{label},{i},{x},{n}" for i, (n, x, label) in enumerate(zip(NUMBERS, SHARES, LABELS, strict=True))]
    (tmp_path / "other.csv").write_text("\n".join(["label,id,x,n", *lines]) + "\n")
    for table in ("table", "other"):
        assert dbp("predict", "a-1", f"{table}.csv", "-o", f"{table}-out.csv").code == 0
    results = [pyarrow.csv.read_csv(tmp_path / f"{table}-out.csv") for table in ("table", "other")]
    names = ["n", "x", "label", "prediction", "probability_high", "probability_low"]
    assert results[0].select(names).equals(results[1].select(names))
    assert dbp("evaluate", "a-1", "table.csv", "--json").out == dbp("evaluate", "a-1", "other.csv", "--json").out


CELLS = {
    "text": ({60: "2,tall,low"}, "column 'x'", "expected numbers"),
    "nothing": ({33: "2,,low"}, "column 'x', row 33 ", "missing; expected a finite number"),
    "infinity": ({33: "inf,1,low"}, "column 'n', row 33 ", "inf; expected a finite number"),
    "too large": ({33: "2,1e200,low"}, "column 'x', row 33 ", "1e+200; expected a number that float32 can hold"),
    "a ragged row": ({33: "2"}, "row 33 ", "has 1 field; expected 3"),
}


@pytest.mark.parametrize("case", CELLS)
def test_predicting_from_a_bad_cell(dbp: Dbp, trained: Path, tmp_path: Path, case: str) -> None:
    """`predict` and `evaluate` name file, column and row; no half-written table is left."""
    changes, *words = CELLS[case]
    write_csv(tmp_path / "other.csv", changes)
    dbp("predict", "a-1", "other.csv", "-o", "out.csv").refuses("other.csv: ", *words)
    dbp("evaluate", "a-1", "other.csv").refuses("other.csv: ", *words)


def test_evaluating_a_class_never_seen(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    """The row, the class and the classes there are."""
    write_csv(tmp_path / "other.csv", {12: "2,0.5,middle"})
    ran = dbp("evaluate", "a-1", "other.csv")
    ran.refuses("other.csv: column 'label', row 12 ", "'middle'; expected one of the classes 'high', 'low'")
