"""Job files that cannot be run: what is said about each, and that nothing is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from bad_input.conftest import Dbp

RATE = "optimizer.learning_rate"
ZERO = "its derivative is zero"
SETTINGS = {
    "unknown key": ("wrokers=3", "job.yaml: 1 problem", 'wrokers: unknown key; did you mean "workers"?'),
    "unknown key inside": ("training.max_step=3", "training.max_step: unknown key", '"max_steps"'),
    "text for a number": ("training.max_steps=many", 'training.max_steps: "many"', "expected a whole number from 1"),
    "a share for a count": ("training.max_steps=1.5", "training.max_steps: 1.5", "expected a whole number from 1"),
    "a number for a truth": ("data.standardize=1", "data.standardize: 1 is not true or false"),
    "a list for a section": ("training=[1]", "training: "),
    "rate zero": (f"{RATE}=0", f"{RATE}: 0 is not allowed; expected a number greater than 0"),
    "rate negative": (f"{RATE}=-0.5", f"{RATE}: -0.5 is not allowed; expected a number greater than 0"),
    "rate nan": (f"{RATE}=.nan", f"{RATE}: .nan is not allowed; expected a number greater than 0, and finite"),
    "rate infinite": (f"{RATE}=.inf", f"{RATE}: .inf is not allowed", "finite"),
    "hidden zero": ("network.hidden=[0]", "network.hidden[0]: 0 is not allowed; expected a whole number from 1"),
    "hidden negative": ("network.hidden=[4, -1]", "network.hidden[1]: -1 is not allowed"),
    "threshold": ("network.activation=threshold", 'network.activation: "threshold" cannot be trained', ZERO),
    "threshold in a layer": ("network.activation=[threshold]", "network.activation[0]", ZERO),
    "threshold at the end": ("network.output_activation=threshold", "network.output_activation", ZERO),
    "unknown activation": ("network.activation=tanhh", '"tanhh"', '"tanh"'),
    "unknown task": ("task=clasification", 'task: "clasification"', 'did you mean "classification"?'),
    "share of one": ("data.validation=1.0", "data.validation: 1.0", "less than 1"),
    "workers negative": ("workers=-1", "workers: -1", "expected a whole number from 0"),
    "patience without rows": ("stopping.patience=3", "stopping.patience: 3 needs validation rows", "data.validation"),
    "best of no rows": ("stopping.keep=best", "stopping.keep: best needs validation rows", "data.validation"),
    "no time at all": ("stopping.max_seconds=0", "stopping.max_seconds: 0 is not allowed", "greater than 0, or null"),
    "a name that is a path": ("name=../small", 'name: "../small"', "expected 1 to 63 letters"),
    "a name for a shell": ("name='a;id'", 'name: "a;id"', "expected 1 to 63 letters"),
    "a password for the storage": ("storage='s3://u:canary@b/x'", "storage: s3://...@b/x: holds a user or password"),
    "two to the sixty-fourth": ("training.max_steps=18446744073709551616", "training.max_steps: 18446744073709551616"),
    "seed negative": ("training.seed=-1", "training.seed: -1", "from 0"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_value_that_cannot_be(dbp: Dbp, job: Path, case: str) -> None:
    """`dbp run` and `dbp validate` say the same: the key, what was seen, what was expected."""
    setting, *words = SETTINGS[case]
    dbp("run", "job.yaml", "--set", setting).refuses(*words)
    dbp("validate", "job.yaml", "--set", setting).refuses(*words)


TEXTS = {
    "a list": ("- name: small\n- data: x\n", "a list", "expected"),
    "a word": ("hello\n", '"hello"', "expected"),
    "nothing": ("", "empty"),
    "an open bracket": ("name: small\nnetwork: {hidden: [4}\n", "line 2"),
    "a tab": ("name: small\ndata:\n\ttrain: x\n", "line 3"),
    "a key twice": ("name: small\nworkers: 0\nworkers: 2\n", "workers: given twice, on lines 2 and 3; expected once"),
    "an alias": ("name: &n small\ndata: *n\n", "line 1"),
    "a tag": ("name: !!python/object/apply:os.system [ls]\n", "line 1"),
    "an anchor alone": ("name: &n small\n", "line 1, column 7", "anchors (&name) are not allowed"),
    "a merge key": ("name: small\ndata:\n  <<: {train: x}\n", "line 3, column 3", "merge keys (<<) are not allowed"),
    "two documents": ("name: small\n---\nname: other\n", "line 2, column 1", "a second document; expected only one"),
    "a NUL": ("name: a\0b\n", "is not allowed in YAML"),
    "an escape": ("name: a\x1b[31m\n", "is not allowed in YAML"),
    "a deep nest": ("name: " + "[" * 50 + "]" * 50 + "\n", "nested deeper than 20 levels"),
    "a leading zero": ("name: small\nworkers: 010\n", "workers: line 2", "could mean two numbers"),
    "a number of 500 digits": (
        "name: small\nworkers: " + "9" * 500 + "\n",
        "workers: line 2",
        "a number of 500 characters",
    ),
    "a megabyte": ("# " + "x" * 1_000_000, "larger than 1,000,000 bytes"),
    "not UTF-8": (b"name: caf\xe9\n", "UTF-8"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_text_that_is_no_job(dbp: Dbp, job: Path, case: str) -> None:
    """The file is named, and the line where there is one to blame."""
    text, *words = TEXTS[case]
    job.write_bytes(text if isinstance(text, bytes) else text.encode())
    dbp("run", "job.yaml").refuses("error: job.yaml: ", *words)


def test_all_problems_come_at_once(dbp: Dbp, job: Path) -> None:
    """Five mistakes, five lines, each beginning with its key."""
    settings = ("wrokers=3", f"{RATE}=0", "network.hidden=[0]", "training.batch=0", "network.activation=threshold")
    ran = dbp("run", "job.yaml", *(word for setting in settings for word in ("--set", setting)))
    ran.refuses("job.yaml: 5 problems")
    keys = {line.strip().partition(": ")[0] for line in ran.err.splitlines()[1:] if line.strip()}
    assert keys == {"wrokers", RATE, "network.hidden[0]", "training.batch", "network.activation"}


def test_the_installed_command_agrees(installed_dbp: Dbp, job: Path) -> None:
    """One by the script that users run, beginning to end."""
    installed_dbp("run", "job.yaml", "--workers", "0", "--set", f"{RATE}=.nan").refuses(f"{RATE}: .nan is not allowed")


def test_a_job_file_that_is_not_there(dbp: Dbp, job: Path) -> None:
    """Its name, and that there is no such file."""
    for command in ("run", "validate"):
        dbp(command, "jib.yaml").refuses("jib.yaml", "no such file")
