"""A job of several runs, expanded: which members there are, in which order, and what may not be swept."""

from __future__ import annotations

import pytest

from dbp.errors import JobFileError
from dbp.jobs.job import Job
from dbp.jobs.sweep import members

BASE = """\
name: m
data: {train: /d/t.csv, target: y}
task: regression
network: {hidden: [4]}
optimizer: {name: gradient_descent, learning_rate: 1}
"""
GRID = "sweep: {optimizer.learning_rate: [0.1, 0.5], network.hidden: [[16], [64, 32]]}\n"


def job(text: str, **replaced: str) -> Job:
    return Job.from_text(BASE + text)


def problems(text: str, base: str = BASE) -> list[str]:
    with pytest.raises(JobFileError) as error:
        Job.from_text(base + text)
    return [str(problem) for problem in error.value.problems]


def test_the_last_key_changes_fastest():
    found = [(m.number, m.job.optimizer.learning_rate, m.job.network.hidden) for m in members(job(GRID))]
    assert found == [(1, 0.1, [16]), (2, 0.1, [64, 32]), (3, 0.5, [16]), (4, 0.5, [64, 32])]


def test_every_combination_is_started_from_each_seed():
    found = members(job(GRID + "training: {restarts: 2, seed: 7}"))
    assert [(m.number, m.seed) for m in found] == [(n, 7 + (n - 1) % 2) for n in range(1, 9)]
    assert found[2].label == "optimizer.learning_rate=0.1, network.hidden=[64, 32], start 7"


def test_a_restart_changes_the_start_weights_alone():
    """Rows and batches stay those of training.seed; the first restart is the plain job."""
    first, second = members(job("training: {restarts: 2, seed: 7}"))
    assert first.job == job("training: {seed: 7}")
    assert second.job == job("training: {seed: 7}").model_copy(update={"network": second.job.network})
    assert (second.job.training.seed, second.job.network.initializer_seed) == (7, 8)


def test_a_member_is_the_job_that_one_would_write_by_hand():
    alone = Job.from_text(BASE.replace("[4]", "[64, 32]").replace("learning_rate: 1", "learning_rate: 0.5"))
    assert members(job(GRID))[3].job == alone


def test_a_plain_job_is_its_only_member():
    plain = job("")
    assert [member.job for member in members(plain)] == [plain]
    assert not plain.has_members


def test_a_job_with_a_sweep_survives_being_written():
    sweep = job(
        "sweep: {optimizer: [{name: gradient_descent, learning_rate: 0.1}], stopping.target_loss: [null, 1e-3]}"
    )
    assert Job.from_text(sweep.to_yaml()) == sweep


def test_fingerprints_of_plain_jobs_know_nothing_of_the_new_keys():
    """The seed of the start weights counts where it is another; sweep and restarts where they are there."""
    plain = job("")
    assert job("training: {restarts: 1}\nsweep: null").fingerprint() == plain.fingerprint()
    spelt = Job.from_text(BASE.replace("[4]", "[4], initializer_seed: 0"))
    other = Job.from_text(BASE.replace("[4]", "[4], initializer_seed: 1"))
    assert spelt.fingerprint() == plain.fingerprint()
    assert len({plain.fingerprint(), other.fingerprint(), job(GRID).fingerprint()}) == 3


def test_every_combination_is_checked_and_what_is_wrong_names_it():
    found = problems("sweep: {optimizer.learning_rate: [0, 0.1, -1], training.max_steps: [5, 0]}")
    assert found == [
        "sweep[1] (optimizer.learning_rate=0, training.max_steps=5): optimizer.learning_rate: 0 is not allowed; expected a "
        "number greater than 0 (and so in 1 more)",
        "sweep[2] (optimizer.learning_rate=0, training.max_steps=0): training.max_steps: 0 is not allowed; expected a whole "
        "number from 1 to 1,000,000,000 (and so in 2 more)",
        "sweep[5] (optimizer.learning_rate=-1, training.max_steps=5): optimizer.learning_rate: -1 is not allowed; expected a "
        "number greater than 0 (and so in 1 more)",
    ]


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("data.train", "changes the rows"),
        ("data", "changes the rows"),
        ("task", "changes the rows"),
        ("training.seed", "training.restarts"),
        ("training", "is a section with training.seed in it"),
        ("network", "is a section with network.start_from in it"),
        ("network.start_from", "encoding of columns"),
        ("loss", "measured in different ways"),
        ("training.l2_penalty", "expected data.validation"),
        ("training.restarts", "outside the sweep"),
        ("workers", "changes no bit"),
        ("checkpoint.every", "changes no bit"),
        ("storage", "one job directory"),
        ("name", "one job directory"),
        ("sweep.workers", "the sweep itself"),
    ],
)
def test_keys_that_runs_must_share_are_refused_with_the_reason(key, why):
    (problem,) = problems(f"sweep: {{{key}: [1]}}")
    assert problem.startswith(f"sweep.{key}: ")
    assert why in problem


def test_a_penalty_may_be_swept_where_there_are_validation_rows():
    """Their loss has no penalty, so it compares."""
    base = BASE.replace("target: y", "target: y, validation: 0.2")
    assert len(members(Job.from_text(base + "sweep: {training.l2_penalty: [0.0, 0.1]}"))) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sweep: {}", "sweep: {} is not allowed"),
        ("sweep: [1]", "sweep: [1] is not a section"),
        ("sweep: {training.max_steps: 5}", "sweep.training.max_steps: 5 is not a list"),
        ("sweep: {training.max_steps: []}", "sweep.training.max_steps: [] is not allowed"),
        ("sweep: {training.max_steps: [5, 5]}", "sweep.training.max_steps[1]: 5 is there twice"),
        ("sweep: {optimizer: [{}], optimizer.momentum: [0.1]}", "is also set by sweep.optimizer"),
        ("sweep: {optimizer.lr: [1]}", "optimizer.lr: unknown key"),
        (f"sweep: {{training.max_steps: {list(range(1, 258))}}}", "257 combinations; expected at most 256 runs"),
        ("training: {restarts: 65}\n" + GRID, "4 combinations of 65 starts each; expected at most 256 runs"),
        ("training: {restarts: 3, seed: 9223372036854775806}", "training.restarts: 3 seeds"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused(text, words):
    assert words in "\n".join(problems(text))


def test_restarts_from_one_model_are_refused():
    base = BASE.replace("[4]", "[4], start_from: /m.safetensors")
    (problem,) = problems("training: {restarts: 3}", base)
    assert problem.startswith("training.restarts: 3 starts from one model would be 3 times the same run")
