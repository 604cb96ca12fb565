"""Every command with storage, tables and models at URIs."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
from gcs_server import Google
from s3_server import S3

from dbp.storage.remote import open_folder

Dbp = Callable[..., Any]


def test_a_job_from_run_to_predictions_in_a_bucket(dbp: Dbp, job_file: Path, tmp_path: Path, s3: S3) -> None:
    s3.client.upload_file(str(tmp_path / "table.csv"), s3.bucket, "data/table.csv")
    runs, table = f"{s3.url}/runs", f"{s3.url}/data/table.csv"
    here = dbp("run", job_file, "--id", "here", "--json", "--quiet").json
    ran = dbp("run", job_file, "--id", "a", "--json", "--quiet", "--storage", runs, "--set", f"data.train={table}")
    assert ran.code == 0, ran.err
    told = ran.json
    assert told["parameters_sha256"] == here["parameters_sha256"]
    assert (told["directory"], told["model"]) == (f"{runs}/a", f"{runs}/a/model.safetensors")
    assert not (tmp_path / "runs" / "a").exists()

    (listed,) = dbp("list", "--storage", runs, "--json").json
    assert (listed["job"], listed["state"], listed["directory"]) == ("a", "SUCCEEDED", f"{runs}/a")
    assert dbp("status", "a", "--storage", runs, "--json").json["step"] == 20
    assert dbp("status", f"{runs}/a", "--json").json["state"] == "SUCCEEDED"
    checkpoints = dbp("checkpoints", "a", "--storage", runs, "--json").json
    assert [(each["step"], each["valid"]) for each in checkpoints] == [(10, True), (15, True), (20, True)]
    assert checkpoints[0]["path"] == f"{runs}/a/checkpoints/e00000001/step-00000010.safetensors"

    for model in (("a", "--storage", runs), (f"{runs}/a",), (f"{runs}/a/model.safetensors",)):
        assert dbp("evaluate", model[0], table, *model[1:], "--json").json["rows"] == 60
    assert dbp("predict", f"{runs}/a", table, "-o", "there.csv").code == 0
    assert dbp("predict", "here", "table.csv", "-o", "here.csv").code == 0
    assert (tmp_path / "there.csv").read_text() == (tmp_path / "here.csv").read_text()
    assert dbp("plot", "a", "--storage", runs, "-o", "loss.png").out == "loss.png\n"

    done = dbp("resume", "a", "--storage", runs, "--json")
    assert "a is done already" in done.err
    assert done.json["parameters_sha256"] == here["parameters_sha256"]
    more = dbp("resume", f"{runs}/a", "--json", "--quiet", "--set", "training.max_steps=40")
    longer = dbp("resume", "here", "--json", "--quiet", "--set", "training.max_steps=40")
    assert more.json["parameters_sha256"] == longer.json["parameters_sha256"]


def test_what_is_typed_next_is_the_uri(dbp: Dbp, job_file: Path, s3: S3) -> None:
    ran = dbp("run", job_file, "--id", "a", "--storage", f"{s3.url}/runs")
    assert f"model       {s3.url}/runs/a/model.safetensors" in ran.out
    assert f"dbp predict {s3.url}/runs/a TABLE" in ran.err


def test_refusals_are_one_clear_line(dbp: Dbp, job_file: Path, s3: S3) -> None:
    runs = f"{s3.url}/runs"
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{nobody.getsockname()[1]}"}
        cases = [
            (
                ("run", job_file, "--storage", "s3://no-such-bucket-here/x"),
                {},
                "there is no bucket 'no-such-bucket-here'",
            ),
            (("run", job_file, "--storage", "s3://u:canary@b/x"), {}, "expected credentials in the environment only"),
            (
                ("run", job_file, "--storage", runs),
                away,
                "the server does not answer (AWS_ENDPOINT_URL is http://127.0.0.1:",
            ),
            (("list", "--storage", runs), away, "the server does not answer"),
            (("status", "a", "--storage", runs), {}, f"no job of that id in {runs}"),
            (("status", f"{runs}/a"), {}, f"{runs}/a: holds no job.yaml; expected a job directory"),
            (("resume", f"{runs}/a"), {}, f"{runs}/a: holds no job.yaml"),
            (("run", job_file, "--set", f"data.train={s3.url}/tabel.csv"), {}, f"{s3.url}/tabel.csv: no such file"),
            (("evaluate", f"{runs}/m.safetensors", "table.csv"), {}, f"{runs}/m.safetensors: no such file"),
            (("predict", "a", "table.csv", "-o", f"{runs}/p.csv"), {}, "expected a file of this machine"),
        ]
        for arguments, changes, words in cases:
            ran = dbp(*arguments, env=changes)
            assert (ran.code, ran.out) == (2, ""), ran
            assert words in ran.err, ran.err
            assert "Traceback" not in ran.err
            assert "canary" not in ran.err


def test_an_empty_bucket_has_no_jobs(dbp: Dbp, s3: S3) -> None:
    assert dbp("list", "--storage", s3.url, "--json").json == []


def test_a_job_at_google_with_workers_that_goes_on(dbp: Dbp, job_file: Path, tmp_path: Path, gcs: Google) -> None:
    """Workers read their rows there, too: they find the store by the environment. Parquet files, then text."""
    whole = pyarrow.csv.read_csv(tmp_path / "table.csv")
    (tmp_path / "table").mkdir()
    for part, start in enumerate((0, 25, 50)):
        pq.write_table(whole.slice(start, 25), tmp_path / f"table/part-{part}.parquet")
    bucket = open_folder(gcs.url)
    for name in ("table.csv", "table/part-0.parquet", "table/part-1.parquet", "table/part-2.parquet"):
        bucket.upload(tmp_path / name, f"data/{name}")
    here = dbp("run", job_file, "--id", "here", "--json", "--quiet").json
    runs, table = f"{gcs.url}/runs", f"{gcs.url}/data/table"
    half = ("--set", "workers=2", "--set", "training.max_steps=12", "--set", f"data.train={table}")
    stopped = dbp("run", job_file, "--id", "a", "--json", "--quiet", "--storage", runs, *half)
    assert stopped.code == 0, stopped.err
    more = ("--set", "training.max_steps=20", "--set", "workers=0", "--set", f"data.train={gcs.url}/data/table.csv")
    done = dbp("resume", f"{runs}/a", "--json", "--quiet", *more[:4])
    assert done.code == 0, done.err
    assert done.json["parameters_sha256"] == here["parameters_sha256"]
    text = dbp("run", job_file, "--id", "b", "--json", "--quiet", "--storage", runs, *more)
    assert text.json["parameters_sha256"] == here["parameters_sha256"]
    assert [job["state"] for job in dbp("list", "--storage", runs, "--json").json] == ["SUCCEEDED"] * 2
    assert dbp("evaluate", f"{runs}/a", table, "--json").json["rows"] == 60


def test_what_is_in_a_google_bucket_is_inspected(dbp: Dbp, tmp_path: Path, gcs: Google) -> None:
    np.save(tmp_path / "t.npy", np.arange(30.0).reshape(10, 3))
    open_folder(gcs.url).upload(tmp_path / "t.npy", "t.npy")
    assert dbp("inspect", f"{gcs.url}/t.npy", "--json").json["rows"] == 10
    missing = dbp("inspect", f"{gcs.url}/u.npy")
    assert (missing.code, missing.out) == (2, "")
    assert f"{gcs.url}/u.npy: no such file; did you mean t.npy?" in missing.err
