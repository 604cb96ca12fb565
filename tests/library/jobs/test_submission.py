"""What travels with a submitted job comes back as written, or is refused in plain words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dbp.errors import InputError
from dbp.jobs.submission import Submission, read_submission
from dbp.storage.atomic_files import write_json

GIVEN = Submission("a-1", 1, "train", "/runs", inputs={"data.train": "inputs/t.csv"}, restarts=3, dbp_version="0.1.0")


def test_a_submission_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "submission.json"
    for given in (GIVEN, Submission("a-1", 2, "resume", "s3://bucket/runs", overrides=["workers=4"])):
        write_json(path, given.to_json())
        assert read_submission(path) == given


def test_what_the_job_says_itself_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "submission.json"
    path.write_text('{"job": "a-1", "attempt": 1, "action": "train", "storage": "/runs", "something": "new"}')
    found = read_submission(path)
    assert (found.overrides, found.inputs, found.restarts) == ([], {}, None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"job": "../a"}, "cannot be a job id"),
        ({"job": 7}, "not a submission of dbp, or damaged: job: "),
        ({"action": "delete"}, "not a submission of dbp, or damaged: action: "),
        ({"format": 2}, "has format 2, and this version of dbp reads 1"),
        ({"inputs": {"data.target": "x"}}, '"data.target" names no file that travels; did you mean'),
        ({"inputs": {"data.train": "/etc/passwd"}}, '"/etc/passwd" leads out of the folder that travels'),
        ({"inputs": {"data.train": "inputs/../../t.csv"}}, "leads out of the folder that travels"),
    ],
)
def test_a_submission_of_another_kind_is_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = tmp_path / "submission.json"
    path.write_text(json.dumps({**GIVEN.to_json(), **change}))
    with pytest.raises(InputError) as caught:
        read_submission(path)
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"x"'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "submission.json"
    with pytest.raises(InputError, match=r"submission\.json: cannot be read: no such file"):
        read_submission(path)
    path.write_text(text)
    with pytest.raises(InputError, match=r"submission\.json: not a submission of dbp, or damaged"):
        read_submission(path)
