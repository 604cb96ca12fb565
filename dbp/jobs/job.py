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
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationError, model_validator

from dbp.errors import JobFileError, Problem
from dbp.jobs.cross_checks import cross_problems, default_loss
from dbp.jobs.job_file import apply_overrides, parse_values, read_text, resolve_input_paths
from dbp.jobs.problems import problems_of
from dbp.jobs.stopping_options import StoppingOptions
from dbp.jobs.strict_yaml import YamlValue, to_yaml
from dbp.jobs.sweep import (
    LARGEST_SEED,
    MOST_MEMBERS,
    RESTARTS_MEANING,
    SWEEP_MEANING,
    Sweep,
    member_values,
    point_problems,
    points,
)
from dbp.network.activations import ActivationName
from dbp.network.initializers import Initializer, InitializerName
from dbp.network.losses import LossName
from dbp.optimizers.registry import OptimizerOptions
from dbp.section import Section

Task: TypeAlias = Literal["classification", "regression"]
Precision: TypeAlias = Literal["float32", "float64"]
Reduction: TypeAlias = Literal["mean", "sum"]

_MAX_UNITS = 1_000_000
_MAX_LAYERS = 1_000


def _kind(value: object) -> str | None:
    """The tag of the alternative that a value is meant for, by its type alone: one message instead of one per alternative."""
    if isinstance(value, str):
        return "<text>"
    if isinstance(value, list | tuple):
        return "<list>"
    if isinstance(value, Mapping):
        return "<map>"
    return "<number>" if isinstance(value, int | float) and not isinstance(value, bool) else None


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character; expected a path")
    return text


_PathText = Annotated[str, Field(min_length=1, json_schema_extra={"expected": "a path"}), AfterValidator(_no_nul)]
_Column = Annotated[str, Field(min_length=1, json_schema_extra={"expected": "the name of a column"})]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", json_schema_extra={"expected": "64 digits of 0-9 and a-f"})]
_Share = Annotated[float, Field(gt=0, lt=1)]
_Units = Annotated[int, Field(ge=1, le=_MAX_UNITS)]
_ByKind = Discriminator(_kind)
_Validation = Annotated[Annotated[_Share, Tag("<number>")] | Annotated[_PathText, Tag("<text>")], _ByKind]
_Columns = Annotated[list[_Column], Field(min_length=1)]
_Target = Annotated[Annotated[_Column, Tag("<text>")] | Annotated[_Columns, Tag("<list>")], _ByKind]
_Activation = Annotated[
    Annotated[ActivationName, Tag("<text>")] | Annotated[list[ActivationName], Tag("<list>")], _ByKind
]
_WeightPerClass = Annotated[
    dict[str, Annotated[float, Field(ge=0)]],
    Field(min_length=1, json_schema_extra={"expected": "a section with a weight for each class"}),
]
_ClassWeights = Annotated[
    Annotated[Literal["balanced"], Tag("<text>")] | Annotated[_WeightPerClass, Tag("<map>")], _ByKind
]
_Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
_Batch = Annotated[Annotated[Literal["full"], Tag("<text>")] | Annotated[int, Field(ge=1), Tag("<number>")], _ByKind]


class DataOptions(Section):
    """The tables, and which of their columns to learn from."""

    train: _PathText = Field(
        description="The table to learn from: a .parquet, .csv or .npz file (arrays x and y), by path or URI. A relative "
        "path starts at the folder of the job file."
    )
    validation: _Validation | None = Field(
        default=None,
        description="The rows to measure the network on, which it never learns from: a share of the training table "
        "(drawn by row, from the seed) or a table of its own. A relative path starts at the folder of the job file.",
    )
    target: _Target = Field(description="The column to predict, or a list of columns for several outputs (regression).")
    features: _Columns | None = Field(
        default=None,
        description="The columns to predict from. By default every column that is neither target nor weight.",
    )
    standardize: bool = Field(
        default=True,
        description="Shift and scale each feature to mean 0 and variance 1 over the training rows; the model remembers how.",
    )
    standardize_target: bool | None = Field(
        default=None,
        description="Do the same with the targets of a regression (predictions come back in the original unit). "
        "By default as `standardize`; never for classification.",
    )
    weight: _Column | None = Field(
        default=None,
        description="A column that says how much each row counts, 0 or more: it multiplies the row's error, and the mean is over "
        "the sum of the weights. It is no feature, and predictions do not need it.",
    )
    class_weights: _ClassWeights | None = Field(
        default=None,
        description="How much a row of each class counts: `balanced` (rows / (classes * rows of the class), so that rare classes "
        "count as much as frequent ones), or a section such as `{rare: 5, common: 1}` (1 for classes it does not name). "
        "Multiplied with `weight`.",
    )

    @property
    def targets(self) -> tuple[str, ...]:
        """The target columns, as a tuple also when there is one."""
        return (self.target,) if isinstance(self.target, str) else tuple(self.target)


class NetworkOptions(Section):
    """The network's layers after the input."""

    hidden: Annotated[list[_Units], Field(max_length=_MAX_LAYERS)] = Field(
        description="Units of each hidden layer, first to last. [] is a linear model."
    )
    activation: _Activation = Field(
        default="tanh",
        description="Activation of all hidden layers, or a list with one per hidden layer. `threshold` is known, but a job "
        "that trains with it is refused: its derivative is zero.",
    )
    output_activation: ActivationName = Field(
        default="identity",
        description="Activation of the output layer. With cross_entropy it must be identity: the softmax (or the logistic "
        "function, for one output) is part of the loss.",
    )
    outputs: _Units | None = Field(
        default=None,
        description="Units of the output layer. By default what the target needs: one per target column, or per class.",
    )
    initializer: InitializerName = Field(
        default="glorot",
        description="How start weights are drawn, uniformly in [-r, r]: `glorot` (r is the root of 6/(n_in+n_out), n_in and "
        "n_out the layer's inputs and units; for tanh and sigmoid), `he` (6/n_in; for relu), `lecun` (3/n_in), or `uniform` "
        "(r is initializer_range). Biases start at 0.",
    )
    initializer_range: float | None = Field(
        default=None,
        ge=1e-6,
        le=1e6,
        description="r of the initializer `uniform`, which needs it; null for the others.",
    )
    initializer_seed: _Seed | None = Field(
        default=None,
        description="The seed of the start weights alone. By default training.seed, which draws rows and batches too.",
    )
    start_from: _PathText | None = Field(
        default=None,
        description="A model file of dbp (`model.safetensors` of a job directory) to take the start parameters from, and how "
        "columns are standardised and classes numbered; new rows are encoded as its rows were. Network, task, columns and "
        "classes must be the model's. A relative path starts at the folder of the job file.",
    )
    start_sha256: _Sha256 | None = Field(
        default=None,
        description="The parameters SHA-256 of the model in `start_from`; another model is refused. `dbp run` fills it in, in "
        "the job directory's job.yaml.",
    )

    @property
    def activations(self) -> tuple[ActivationName, ...]:
        """One activation per layer after the input, the output layer included."""
        if isinstance(self.activation, list):
            return (*self.activation, self.output_activation)
        return (*[self.activation] * len(self.hidden), self.output_activation)

    @property
    def start_weights(self) -> Initializer:
        """How to draw the start vector of a job that starts from no model."""
        return Initializer(self.initializer, self.initializer_range)


class TrainingOptions(Section):
    """How long, how precisely and from which start to train."""

    max_steps: int = Field(default=200, ge=1, le=1_000_000_000, description="Stop after this many steps.")
    batch: _Batch = Field(
        default="full", description="Rows per step: `full` for all of them, or a number drawn anew for each step."
    )
    reduction: Reduction = Field(
        default="mean",
        description="Whether the objective is the mean error per row, or the sum (the derivation's E).",
    )
    seed: _Seed = Field(default=0, description="The source of all randomness: start values, held-out rows, batches.")
    restarts: int = Field(default=1, ge=1, le=MOST_MEMBERS, description=RESTARTS_MEANING)
    precision: Precision = Field(default="float32", description="Floating-point numbers to compute with.")
    validate_every: int = Field(default=10, ge=1, description="Measure on the validation rows every so many steps.")
    l2_penalty: float = Field(
        default=0.0, ge=0, description="lambda: lambda/2 times the sum of squared weights is added to the objective."
    )


class CheckpointOptions(Section):
    """What to keep on disk, so that an interrupted job can go on."""

    every: int = Field(default=50, ge=1, description="Write a checkpoint every so many steps (and at the end).")
    keep: int = Field(default=3, ge=1, description="How many of the newest checkpoints to keep.")


class Job(Section):
    """A training job. `from_file` and `from_text` report everything wrong with it at once."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
        description="A name for people; job ids start with it.",
        json_schema_extra={"expected": "1 to 63 letters, digits, dots, - or _, the first a letter or digit"},
    )
    data: DataOptions = Field(description="The tables, and which of their columns to learn from.")
    task: Task = Field(description="Whether the target is a class or a number.")
    network: NetworkOptions = Field(description="The network's layers after the input.")
    loss: LossName = Field(
        default="squared_error",
        description="The error to minimise: half the squared error (the derivation's), the cross-entropy of class "
        "probabilities, or, for a regression with outliers, `huber` or `absolute_error`. By default cross_entropy for "
        "classification and squared_error for regression.",
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
    workers: int = Field(
        default=2, ge=0, le=1024, description="Worker processes; 0 computes in the calling process. Changes no bit."
    )
    checkpoint: CheckpointOptions = Field(
        default=CheckpointOptions(), description="What to keep on disk, so that an interrupted job can go on."
    )
    storage: _PathText = Field(
        default="runs",
        description="The folder or URI (s3://bucket/folder, gs://bucket/folder) below which the job directory is made. A relative "
        "path starts at the current folder. Servers and credentials come from the environment: see docs/storage.md.",
    )
    sweep: Sweep | None = Field(default=None, description=SWEEP_MEANING)

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
        """Return a SHA-256 (hex) of what determines the bits of the result, apart from the data itself.

        Two jobs with one fingerprint train to the same bits on the same data. Left out are: name, workers, storage and
        checkpoint, which change no bit; the paths of tables, since the data has a fingerprint of its own; and
        training.max_steps and stopping, which change no bit of a step, so that a finished run may be continued with more
        steps or other rules. Of a model to start from, what counts is network.start_sha256. Spelling does not count either: one
        activation for all layers equals a list that repeats it. Keys that came later count where they say something alone.
        """
        values = self.model_dump(exclude={"name", "workers", "storage", "checkpoint", "stopping"})
        del values["data"]["train"], values["training"]["max_steps"], values["network"]["output_activation"]
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
        values["data"]["standardize_target"] = self.standardizes_target
        values["network"]["activation"] = self.network.activations
        canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

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
        """Whether targets are standardised: never for classification, else as asked for, by default as the features."""
        if self.task == "classification":
            return False
        asked = self.data.standardize_target
        return self.data.standardize if asked is None else asked


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
