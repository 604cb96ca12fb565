"""Every command with storage, tables and models at URIs."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from s3_server import S3

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
            (("run", job_file, "--storage", "gs://bucket/x"), {}, "pip install 'dbp[gcs]'"),
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
