"""Where two jobs part, and why: their job files key by key, data, kernel and versions, then the first step with other bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dbp.errors import JobDirectoryError, ModelFileError
from dbp.evidence.history import History, read_history
from dbp.evidence.records import read_environment
from dbp.jobs.directory import JobDirectory
from dbp.jobs.job import Job
from dbp.models.model import load_model

Weight = Literal[
    "decides",  # other bits follow from it
    "may matter",  # the kernel fingerprint says whether it does
    "length only",  # it says where a run ends, and which parameters are kept; it changes no bit of a step
    "cannot matter",
]
_LENGTH = ("stopping", "training.max_steps")
_NO_BITS = ("host", "os", "cpu")  # the kernel computes the same bits on each
_ABSENT = "(none)"


@dataclass(frozen=True)
class Difference:
    """Something that is not the same in both."""

    what: str  # a dotted key of the job file, or of environment.json
    first: object
    second: object
    weight: Weight

    def to_json(self) -> dict[str, object]:
        """Return the difference as plain JSON."""
        return {"what": self.what, "first": self.first, "second": self.second, "weight": self.weight}


@dataclass(frozen=True)
class Parting:
    """The first step whose bits differ. Loss is that at the step's start, the digest that of the parameters after it."""

    step: int
    by: Literal["digest", "loss"]  # loss: where a digest is missing
    digests: tuple[str | None, str | None]
    losses: tuple[float | None, float | None]

    def to_json(self) -> dict[str, object]:
        """Return it as plain JSON."""
        return {"step": self.step, "by": self.by, "digests": list(self.digests), "losses": list(self.losses)}


@dataclass(frozen=True)
class Comparison:
    """Two jobs side by side."""

    jobs: tuple[str, str]
    differences: tuple[Difference, ...]
    steps: tuple[int, int]  # the last step of each
    common: int  # how many steps both have
    parting: Parting | None
    models: tuple[str | None, str | None]  # SHA-256 of their parameters

    @property
    def identical(self) -> bool:
        """Whether both made the same steps to the same bits, and have the same model."""
        return (
            self.parting is None and self.steps[0] == self.steps[1] == self.common and self.models[0] == self.models[1]
        )

    @property
    def causes(self) -> tuple[Difference, ...]:
        """What explains other bits: what decides; where nothing does, what may matter."""
        decisive = tuple(each for each in self.differences if each.weight == "decides")
        return decisive or tuple(each for each in self.differences if each.weight == "may matter")

    def verdict(self) -> str:
        """Return it in a sentence or two."""
        if self.parting is not None:
            found = f"the first step with other bits is step {self.parting.step}"
            if self.causes:
                names = ", ".join(each.what for each in self.causes)
                return f"{found}; what differs and can be the cause: {names}"
            return (
                f"{found}, and nothing that was recorded explains it: one of them was damaged or computed wrongly; "
                f"`dbp verify` and `dbp replay --step {self.parting.step}` of each tell which"
            )
        if self.common == 0:
            return "there is no step that both have"
        same = f"the same bits in all {self.common} steps that both have"
        if self.steps[0] != self.steps[1]:
            return f"{same}; one ends at step {self.steps[0]}, the other at step {self.steps[1]}"
        if self.steps[0] != self.common:
            return f"{same}, but lines are missing (`dbp verify`)"
        if self.models[0] != self.models[1]:
            return f"{same}, but not the same model"
        return same

    def to_json(self) -> dict[str, object]:
        """Return the comparison as plain JSON."""
        return {
            "jobs": list(self.jobs),
            "identical": self.identical,
            "verdict": self.verdict(),
            "differences": [each.to_json() for each in self.differences],
            "causes": [each.what for each in self.causes] if self.parting is not None else [],
            "steps": list(self.steps),
            "common_steps": self.common,
            "first_difference": None if self.parting is None else self.parting.to_json(),
            "models": list(self.models),
        }


@dataclass(frozen=True)
class _Side:
    job: Job
    environment: Mapping[str, Any]  # Any: JSON
    history: History
    model: str | None


def compare(first: JobDirectory, second: JobDirectory) -> Comparison:
    """Compare two job directories. JobFileError, JobDirectoryError or ModelFileError where one of them cannot be compared."""
    one, other = _side(first), _side(second)
    common = sorted(one.history.steps.keys() & other.history.steps.keys())
    return Comparison(
        (str(first.place), str(second.place)),
        (*_job_differences(one.job, other.job), *_environment_differences(one.environment, other.environment)),
        (one.history.last, other.history.last),
        len(common),
        next((parting for step in common if (parting := _parting(step, one.history, other.history))), None),
        (one.model, other.model),
    )


def one_run(directory: JobDirectory) -> Job:
    """Return the job of a directory that is one run. JobDirectoryError for one that holds several, JobFileError."""
    directory.fetch(directory.job_file)
    job = Job.from_file(directory.job_file)
    if job.has_members:
        raise JobDirectoryError(
            f"{directory.place}: stands for several runs; name one of them, such as {directory.member(1).place}"
        )
    return job


def _side(directory: JobDirectory) -> _Side:
    job = one_run(directory)
    directory.fetch(directory.metrics_file, directory.model_file)
    environment = read_environment(directory)
    if environment.facts is None:
        raise JobDirectoryError(f"{directory.place}: {environment.findings[0]}; `dbp verify` says what else is wrong")
    model = None
    if directory.model_file.is_file():
        try:
            model = load_model(directory.model_file).parameters_sha256
        except ModelFileError as error:
            raise ModelFileError(f"{error}; `dbp verify` says what else is wrong") from error
    return _Side(job, environment.facts, read_history(directory.metrics_file), model)


def _job_differences(first: Job, second: Job) -> Iterator[Difference]:
    """Yield all keys that differ. What decides the bits is what the job's fingerprint is made of."""
    decisive = {key for key, _, _ in _differing(first.decisive_values(), second.decisive_values())}
    told = set()
    for key, here, there in _differing(first.model_dump(mode="json"), second.model_dump(mode="json")):
        told.add(key)
        length = any(key == each or key.startswith(f"{each}.") for each in _LENGTH)
        weight: Weight = "decides" if key in decisive else "length only" if length else "cannot matter"
        yield Difference(key, here, there, weight)
    for key, here, there in _differing(first.decisive_values(), second.decisive_values()):
        if key not in told:
            yield Difference(key, here, there, "decides")


def _environment_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Difference]:
    for key, here, there in _differing(first, second):
        if key in ("data_fingerprint", "kernel_fingerprint"):
            weight: Weight = "decides"
        else:
            weight = "cannot matter" if key.split(".")[0] in _NO_BITS else "may matter"
        yield Difference(key, here, there, weight)


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[tuple[str, object, object]]:
    """Yield the dotted keys whose values differ, in the order of the first, then what only the second has."""
    here, there = dict(_leaves(first)), dict(_leaves(second))
    for key in [*here, *(key for key in there if key not in here)]:
        one, other = here.get(key, _ABSENT), there.get(key, _ABSENT)
        if one != other:
            yield key, one, other


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def _parting(step: int, first: History, second: History) -> Parting | None:
    digests = (first.digest(step), second.digest(step))
    losses = (first.steps[step].get("loss"), second.steps[step].get("loss"))
    by: Literal["digest", "loss"] = "loss" if None in digests else "digest"
    pair: tuple[object, object] = losses if by == "loss" else digests
    return None if pair[0] == pair[1] else Parting(step, by, digests, losses)
