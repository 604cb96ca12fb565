"""The job: every field a job file may have, its limits, its default and its description.

The JSON schema of these classes is the source of the messages about wrong values and of docs/job-file.md.
Values are checked strictly: 1 is no text, "1" is no number, `yes` is not true.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import Field, ValidationError, model_validator

from dbp.errors import JobFileError, Problem
from dbp.jobs.cross_checks import cross_problems, default_loss
from dbp.jobs.job_file import apply_overrides, parse_values, read_text, resolve_input_paths
from dbp.jobs.problems import problems_of
from dbp.jobs.sections import CheckpointOptions, DataOptions, NetworkOptions, PathText, TrainingOptions
from dbp.jobs.service_options import ServiceOptions, WorkerRange, Workers, WorkerThreads
from dbp.jobs.stopping_options import StoppingOptions
from dbp.jobs.strict_yaml import YamlValue, to_yaml
from dbp.jobs.sweep import SWEEP_MEANING, Sweep, member_values, point_problems, points
from dbp.network.losses import LossName
from dbp.optimizers.registry import OptimizerOptions
from dbp.section import Section

Task: TypeAlias = Literal["classification", "multilabel", "regression"]


class Job(Section):
    """A training job. `from_file` and `from_text` report everything wrong with it at once."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
        description="A name for people; job ids start with it.",
        json_schema_extra={"expected": "1 to 63 letters, digits, dots, - or _, the first a letter or digit"},
    )
    data: DataOptions = Field(description="The tables, and which of their columns to learn from.")
    task: Task = Field(
        description="Whether the target is a class (classification), several labels that a row has or has not (multilabel), or "
        "numbers (regression)."
    )
    network: NetworkOptions = Field(description="The network's layers after the input.")
    loss: LossName = Field(
        default="squared_error",
        description="The error to minimise: half the squared error (the derivation's), the cross-entropy of class "
        "probabilities, that of each label by itself (binary_cross_entropy), or, for a regression, with outliers `huber` or "
        "`absolute_error`, of counts or rates `poisson` (half the Poisson deviance; the output is exponential). By default "
        "cross_entropy for classification, binary_cross_entropy for multilabel and squared_error for regression.",
    )
    huber_delta: float = Field(
        default=1.0,
        ge=1e-6,
        le=1e6,
        description="With loss: huber, the error up to which it is a square, and beyond which it is a line; in units of the target "
        "as the network sees it (standardised, by default).",
    )
    optimizer: OptimizerOptions = Field(description="The training method. Its other keys depend on its name.")
    training: TrainingOptions = Field(
        default=TrainingOptions(), description="How long, how precisely and from which start to train."
    )
    stopping: StoppingOptions = Field(
        default=StoppingOptions(),
        description="When to stop before training.max_steps, and which parameters to keep. Changes no bit of a step, so a job may "
        "be resumed with other rules; what was remembered for the old ones (losses, validations waited, seconds) stands for them.",
    )
    workers: Workers = Field(
        default=2,
        description="Worker processes; 0 computes in the calling process. Or `{min: 2, max: 16}`: training begins with `min`, and "
        "others join, up to `max`, when and as long as the cluster has room for them (on one machine: as many as it has CPUs). "
        "Or `{threads: 4}`: threads of the calling process, without Ray. On one machine they start at once and are the fastest; "
        "none of them can be lost alone. Changes no bit.",
    )
    audit: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="The share of the shards, chosen anew every ten steps, whose sums another worker computes, too, to compare the "
        "bits. A worker that computed wrongly is named and replaced, and its shards are computed again. 0.01 costs about 1 % of a "
        "step, and reading those rows. Changes no bit; without worker processes there is nobody to compare with.",
    )
    checkpoint: CheckpointOptions = Field(
        default=CheckpointOptions(), description="What to keep on disk, so that an interrupted job can go on."
    )
    storage: PathText = Field(
        default="runs",
        description="The folder or URI (s3://bucket/folder, gs://bucket/folder) below which the job directory is made. A relative "
        "path starts at the current folder. Servers and credentials come from the environment: see docs/storage.md.",
    )
    service: ServiceOptions = Field(
        default=ServiceOptions(),
        description="What a job needs on a cluster. Changes no bit; `dbp run` looks at none of it.",
    )
    sweep: Sweep | None = Field(default=None, description=SWEEP_MEANING)

    @property
    def required_workers(self) -> int:
        """The worker processes that training waits for; 0: the process that trains computes, with `threads`."""
        if isinstance(self.workers, WorkerThreads):
            return 0
        return self.workers if isinstance(self.workers, int) else self.workers.min

    @property
    def is_elastic(self) -> bool:
        """Whether workers beyond the required ones come and go."""
        return self.most_workers > self.required_workers

    @property
    def most_workers(self) -> int:
        """The worker processes that take part where there is room."""
        return self.workers.max if isinstance(self.workers, WorkerRange) else self.required_workers

    @property
    def threads(self) -> int:
        """The threads that compute in the process that trains, where there are no worker processes."""
        return self.workers.threads if isinstance(self.workers, WorkerThreads) else 1

    @model_validator(mode="before")
    @classmethod
    def _fill_in_loss(cls, values: object) -> object:
        if isinstance(values, Mapping) and values.get("loss") is None:
            return {**values, "loss": default_loss(values.get("task"))}
        return values

    @model_validator(mode="after")
    def _check_between_fields(self) -> Job:
        problems = cross_problems(self.model_dump())
        if problems:
            raise ValueError("; ".join(str(problem) for problem in problems))
        return self

    @classmethod
    def from_file(cls, path: str | Path, overrides: Sequence[str] = ()) -> Job:
        """Read a job file; `overrides` such as ``training.max_steps=50`` replace single values.

        Relative paths of data start at the file's folder, those in overrides too. Raises JobFileError with all problems.
        """
        path = Path(path)
        return cls.from_text(read_text(path), source=str(path), folder=path.parent, overrides=overrides)

    @classmethod
    def from_text(
        cls, text: str, source: str = "job", folder: str | Path | None = None, overrides: Sequence[str] = ()
    ) -> Job:
        """Read a job from YAML text. `source` names it in messages; data paths start at `folder` (default: the current one).

        Raises JobFileError with all problems.
        """
        values, problems = parse_values(text, source)
        problems += apply_overrides(values, overrides)
        return cls.from_values(values, source, folder, problems)

    @classmethod
    def from_values(
        cls,
        values: Mapping[str, YamlValue],
        source: str = "job",
        folder: str | Path | None = None,
        problems: Sequence[Problem] = (),
    ) -> Job:
        """Make a job of plain values, as a job file would hold them; `problems` are already known ones, reported along.

        Raises JobFileError with all problems.
        """
        copy = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
        resolve_input_paths(copy, Path.cwd() if folder is None else Path(folder))
        job, found = _validate(cls, copy)
        found = [*problems, *found]
        if job is None or found:
            raise JobFileError(source, found)
        return job

    def to_yaml(self) -> str:
        """Return the job as a job file, all defaults filled in and data paths absolute; `from_text` makes an equal job of it."""
        return to_yaml(self.model_dump(mode="python"))

    def fingerprint(self) -> str:
        """Return a SHA-256 (hex) of what determines the bits of the result, apart from the data itself: of `decisive_values`."""
        canonical = json.dumps(self.decisive_values(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def decisive_values(self) -> dict[str, Any]:
        """Return what determines the bits of the result, apart from the data itself, as plain values.

        Two jobs with one fingerprint train to the same bits on the same data. Left out are: name, workers, audit, storage,
        checkpoint, service, data.cache, data.compact and training.signals_every, which change no bit; the paths of tables, since
        data has a fingerprint of its own; and training.max_steps and stopping, which change no bit of a step, so that a finished
        run may be continued with more steps or other rules. Of a model to start from, what counts is network.start_sha256.
        Spelling does not count either: one activation for all layers equals a list that repeats it. Keys that came later count
        where they say something alone.
        """
        values = self.model_dump(exclude={"name", "workers", "audit", "storage", "checkpoint", "service", "stopping"})
        del values["data"]["train"], values["data"]["cache"], values["data"]["compact"]
        del values["training"]["max_steps"], values["training"]["signals_every"], values["network"]["output_activation"]
        del values["network"]["start_from"]
        if self.start_seed == self.training.seed:
            del values["network"]["initializer_seed"]
        if self.sweep is None:
            del values["sweep"]
        if self.training.restarts == 1:
            del values["training"]["restarts"]
        if isinstance(self.data.validation, str):
            values["data"]["validation"] = None
        values["data"]["target"] = self.data.targets
        _leave_out_defaults(values["data"], self.data)
        values["data"]["standardize_target"] = self.standardizes_target
        values["network"]["activation"] = self.network.activations
        return values

    def starting_from(self, parameters_sha256: str) -> Job:
        """Return the job with the identity of the model that it starts from: the job as run, of which the fingerprint counts."""
        network = self.network.model_copy(update={"start_sha256": parameters_sha256})
        return self.model_copy(update={"network": network})

    @property
    def start_seed(self) -> int:
        """The seed of the start weights."""
        return self.training.seed if self.network.initializer_seed is None else self.network.initializer_seed

    @property
    def has_members(self) -> bool:
        """Whether it stands for several runs: see `dbp.jobs.sweep`."""
        return self.sweep is not None or self.training.restarts > 1

    @property
    def standardizes_target(self) -> bool:
        """Whether targets are standardised: never classes and counts, else as asked for, by default as the features."""
        if self.task != "regression" or self.loss == "poisson":
            return False
        asked = self.data.standardize_target
        return self.data.standardize if asked is None else asked


_LATER_KEYS = (
    "validation_split",
    "drop",
    "categories",
    "rare_below",
    "unknown",
    "most_categories",
    "dates",
    "impute",
    "missing_indicator",
)


def _leave_out_defaults(values: dict[str, Any], data: DataOptions) -> None:
    """Take keys that came later out of a job's decisive values where they say nothing; a list of dates says what its map says."""
    for key in _LATER_KEYS:
        if getattr(data, key) == DataOptions.model_fields[key].default or not getattr(data, key):
            del values[key]
    if "dates" in values:
        values["dates"] = data.date_parts


@cache
def job_schema() -> dict[str, Any]:  # Any: JSON schema
    """Return the JSON schema of a job file."""
    return Job.model_json_schema()


def _validate(cls: type[Job], values: Mapping[str, YamlValue]) -> tuple[Job | None, list[Problem]]:
    """Return the job, or everything wrong with the values: of single fields, then between fields."""
    try:
        job = cls.model_validate(values)
    except ValidationError as error:
        found = problems_of(error, job_schema(), values)
    else:
        return job, _problems_of_points(job, values)
    told = {problem.path for problem in found}
    return None, [*found, *(problem for problem in cross_problems(values) if problem.path not in told)]


def _problems_of_points(job: Job, values: Mapping[str, YamlValue]) -> list[Problem]:
    """Return what is wrong with the combinations of a sweep whose job is right by itself."""
    if job.sweep is None:
        return []
    found = [(changes, _validate(type(job), member_values(values, changes))[1]) for changes in points(job.sweep)]
    return point_problems(found)
