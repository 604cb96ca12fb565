"""The keys of `data` about columns: what is refused between them, and what counts for a job's identity."""

from __future__ import annotations

import pytest

from dbp.errors import JobFileError
from dbp.jobs.job import Job

TEXT = """\
name: columns
data: {train: t.csv, validation: 0.2, target: y}
task: classification
network: {hidden: [4]}
optimizer: {name: lbfgs}
"""
# Of the job above, from the version before these keys.
FINGERPRINT = "fdfba19c3b40a92de0e429ba92c02d03f181da6e6330ee079bcba3405d247450"


def _problems(*overrides: str) -> list[str]:
    with pytest.raises(JobFileError) as refusal:
        Job.from_text(TEXT, overrides=overrides)
    return [str(problem) for problem in refusal.value.problems]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.validation_split={}", "data.validation_split: 0 of group, time and stratify; expected exactly one"),
        ("data.validation_split={group: a, time: b}", "data.validation_split: 2 of group, time and stratify"),
        ("data.validation_split={group: y}", 'data.validation_split.group: column "y" is also the target'),
        ("data.validation_split={by: a}", "data.validation_split.by: "),
        ("data.unknown=other", "data.unknown: other, but no class is rare enough"),
        ("data.unknown=guess", "data.unknown: "),
        ("data.missing_indicator=true", "data.missing_indicator: true, but data.impute fills in nothing"),
        ("data.impute=average", "data.impute: "),
        ("data.impute={a: average}", "data.impute.a: "),
        ("data.impute=3", "data.impute: "),
        ("data.dates={a: [week]}", "data.dates.a[0]: "),
        ("data.dates={a: []}", "data.dates.a: "),
        ("data.dates=a", "data.dates: "),
        ("data.categories=[a, a]", 'data.categories: column "a" is named twice'),
        ("data.rare_below=-1", "data.rare_below: "),
        ("data.most_categories=1", "data.most_categories: "),
    ],
)
def test_what_does_not_fit_is_refused_under_its_key(override: str, words: str) -> None:
    """One problem, at the key as it is in the file."""
    problems = _problems(override)
    assert len(problems) == 1, problems
    assert problems[0].startswith(words), problems


def test_a_split_needs_a_share_and_stratifying_needs_classes() -> None:
    """All of it at once."""
    split = "data.validation_split={stratify: true}"
    assert "data.validation is none; expected a share" in _problems(split, "data.validation=null")[0]
    assert "data.validation is a table of its own" in _problems(split, "data.validation=v.csv")[0]
    assert "a regression has no classes" in _problems(split, "task=regression")[0]


def test_the_keys_count_where_they_say_something() -> None:
    """Jobs without them keep the fingerprint that they had before there were such keys: their checkpoints go on."""
    plain = Job.from_text(TEXT).fingerprint()
    assert plain == FINGERPRINT
    for nothing in (
        "data.drop=[]",
        "data.dates={}",
        "data.unknown=refuse",
        "data.most_categories=1000",
        "data.impute=null",
    ):
        assert Job.from_text(TEXT, overrides=[nothing]).fingerprint() == plain
    seen = {plain}
    for something in (
        "data.drop=[a]",
        "data.categories=[a]",
        "data.rare_below=2",
        "data.unknown=zeros",
        "data.most_categories=999",
        "data.dates=[a]",
        "data.dates={a: [hour]}",
        "data.impute=mean",
        "data.impute={a: mean}",
        "data.validation_split={group: a}",
        "data.validation_split={time: a}",
        "data.validation_split={stratify: true}",
    ):
        seen.add(Job.from_text(TEXT, overrides=[something]).fingerprint())
    assert len(seen) == 13
    spelt = Job.from_text(TEXT, overrides=["data.dates={a: [year, month, day, weekday]}"])
    assert spelt.fingerprint() == Job.from_text(TEXT, overrides=["data.dates=[a]"]).fingerprint()


def test_a_job_with_all_keys_reads_back_from_its_own_file() -> None:
    """As the job directory keeps it."""
    job = Job.from_text(
        TEXT,
        overrides=[
            "data.features=[a*, b]",
            "data.dates={when: [hour]}",
            "data.impute={a*: median, b: class}",
            "data.missing_indicator=true",
            "data.validation_split={time: when}",
            "data.rare_below=5",
            "data.unknown=other",
        ],
    )
    again = Job.from_text(job.to_yaml())
    assert again == job
    assert again.fingerprint() == job.fingerprint()
