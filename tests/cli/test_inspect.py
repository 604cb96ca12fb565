"""`dbp inspect` and `dbp init --from`: what they write trains at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import sklearn.datasets

import dbp


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("dbp"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def bundled(name: str) -> pa.Table:
    data = getattr(sklearn.datasets, f"load_{name}")()
    target = data.target_names[data.target] if name in ("iris", "wine") else data.target
    return pa.table(dict(zip(data.feature_names, data.data.T, strict=True)) | {"goal": target})


@pytest.mark.parametrize("name", ["iris", "digits", "wine", "breast_cancer", "diabetes"])
def test_a_suggested_job_trains_as_it_stands(tmp_path, name):
    (tmp_path / "data").mkdir()
    pyarrow.csv.write_csv(bundled(name), tmp_path / "data" / f"{name}.csv")
    done = run("init", "--from", f"data/{name}.csv", "--target", "goal", "jobs/first.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "next: look at it, then: dbp run jobs/first.yaml" in done.stderr
    job = dbp.Job.from_file(tmp_path / "jobs" / "first.yaml", ["training.max_steps=8", f"storage={tmp_path}/runs"])
    assert job.task == ("regression" if name == "diabetes" else "classification")
    assert job.name == "first"
    result = dbp.train(job, workers=0)
    assert result.summary.loss < result.history[0].loss


def test_a_table_with_everything_trains_as_it_stands(tmp_path):
    """Hostile names, text, holes, dates, a key, a class of one row."""
    draw = np.random.default_rng(0)
    rows = 300
    text = draw.choice(["red", "green", "blue", "rare"], rows, p=[0.5, 0.3, 0.19, 0.01])
    columns = {
        'a "quoted": #name\n- x': pa.array(draw.standard_normal(rows), mask=draw.random(rows) < 0.1),
        "yes": pa.array(text, mask=draw.random(rows) < 0.1),
        "2020": np.datetime64("2020-01-01T00:00:00") + draw.integers(0, 9000, rows).astype("timedelta64[h]"),
        "ключ_id": np.arange(rows),
        "odd": pa.array([{"x\ny: z": 1}] * rows),
        "goal": ["once", *draw.choice(["no", "maybe"], rows - 1)],
    }
    pq.write_table(pa.table(columns), tmp_path / "all.parquet")
    done = run("init", "--from", "all.parquet", "--target", "goal", ".", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    job = dbp.Job.from_file(tmp_path / "job.yaml", ["training.max_steps=5", f"storage={tmp_path}/runs"])
    assert job.data.drop == ["ключ_id", "odd"]
    model = dbp.train(job, workers=0).model
    assert set(model.encoding.features) == {'a "quoted": #name\n- x', "yes", "2020"}


@pytest.mark.parametrize(("targets", "task"), [("late,paid", "multilabel"), ("size,weight", "regression")])
def test_a_job_of_several_targets_trains_as_it_stands(tmp_path, targets, task):
    draw = np.random.default_rng(0)
    a, b = draw.standard_normal((2, 200))
    columns = {"a": a, "b": b, "late": a > 0, "paid": np.where(a + b > 0, "yes", "no"), "size": a - b, "weight": a * b}
    pyarrow.csv.write_csv(pa.table(columns), tmp_path / "t.csv")
    found = json.loads(run("inspect", "t.csv", "--target", targets, "--json", cwd=tmp_path).stdout)
    done = run("init", "--from", "t.csv", "--target", targets, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    job = dbp.Job.from_file(tmp_path / "job.yaml", ["training.max_steps=8", f"storage={tmp_path}/runs"])
    assert (job.task, list(job.data.targets)) == (task, targets.split(","))
    assert dbp.Job.from_text(found["job"], folder=tmp_path).data.targets == job.data.targets
    result = dbp.train(job, workers=0)
    assert result.summary.loss < result.history[0].loss


def test_inspect_shows_columns_remarks_memory_and_a_job(tmp_path):
    pq.write_table(bundled("iris"), tmp_path / "iris.parquet")
    plain = run("inspect", "iris.parquet", cwd=tmp_path)
    assert plain.returncode == 0, plain.stderr
    assert "150 rows, 5 columns" in plain.stdout
    assert "setosa (50), versicolor (50), virginica (50)" in plain.stdout
    assert "dbp inspect iris.parquet --target goal" in plain.stderr
    found = json.loads(run("inspect", "iris.parquet", "--target", "goal", "--json", cwd=tmp_path).stdout)
    assert found["rows"] == 150
    assert [column["kind"] for column in found["columns"]] == ["number"] * 4 + ["text"]
    assert found["memory_per_worker"]["1"] > 2**20
    assert "the rarest of 3 classes is 'setosa', with 50 rows" in " ".join(found["remarks"])
    dbp.Job.from_text(found["job"], folder=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["init", "--from", "t.csv"],
            "which column is to be predicted? expected --target with one of: a, label; perhaps 'label'",
        ),
        (["init", "--from", "t.csv", "--target", "lable"], "no column 'lable' (did you mean 'label'?)"),
        (["init", "--target", "label"], "--target: names a column of the table of --from"),
        (["init", "--from", "no.csv", "--target", "label"], "no.csv: no such file"),
        (["inspect", "no.csv"], "no.csv: no such file"),
        (["inspect", "t.csv", "--target", "b"], "no column 'b'"),
    ],
)
def test_mistakes_are_one_line(tmp_path, arguments, words):
    (tmp_path / "t.csv").write_text("a,label\n1,x\n2,y\n")
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "job.yaml").exists()
