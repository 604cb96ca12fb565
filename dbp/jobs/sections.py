"""The sections of a job file that describe what is trained on what: data, network, training and checkpoints.

Each field's limits, default and description are here; `job.py` puts the sections together and checks what holds between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag

from dbp.jobs.column_options import (
    DEFAULT_DATE_PARTS,
    MOST_CATEGORIES,
    DatePart,
    Dates,
    Entries,
    Entry,
    Impute,
    Unknown,
    ValidationSplit,
)
from dbp.jobs.sweep import LARGEST_SEED, MOST_MEMBERS, RESTARTS_MEANING
from dbp.network.activations import ActivationName
from dbp.network.initializers import Initializer, InitializerName
from dbp.section import Section

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


PathText = Annotated[str, Field(min_length=1, json_schema_extra={"expected": "a path"}), AfterValidator(_no_nul)]
_Column = Annotated[str, Field(min_length=1, json_schema_extra={"expected": "the name of a column"})]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", json_schema_extra={"expected": "64 digits of 0-9 and a-f"})]
_Share = Annotated[float, Field(gt=0, lt=1)]
_Units = Annotated[int, Field(ge=1, le=_MAX_UNITS)]
_ByKind = Discriminator(_kind)
_Validation = Annotated[Annotated[_Share, Tag("<number>")] | Annotated[PathText, Tag("<text>")], _ByKind]
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

    train: PathText = Field(
        description="The table to learn from, by path or URI: .parquet, .csv or .tsv (also .gz, .zst), .arrow, .feather, .npz "
        "(arrays x and y), .npy or .svm; or a folder or pattern (`data/*.parquet`, in quotes) of such files. See docs/formats.md. "
        "A relative path starts at the folder of the job file."
    )
    validation: _Validation | None = Field(
        default=None,
        description="The rows to measure the network on, which it never learns from: a share of the training table "
        "(drawn by row, from the seed) or a table of its own. A relative path starts at the folder of the job file.",
    )
    target: _Target = Field(
        description="The column to predict, or a list of columns for several outputs (regression, multilabel)."
    )
    validation_split: ValidationSplit | None = Field(
        default=None,
        description="How the rows of a share (`validation`) are chosen: whole groups, the latest rows, or the same share of each "
        "class. By default any rows, drawn from the seed.",
    )
    features: Annotated[Entries, Field(min_length=1)] | None = Field(
        default=None,
        description="The columns to predict from, by name or by pattern (`*`: any text, `?`: one character). By default every "
        "column that is neither target nor weight, and splits no rows.",
    )
    drop: Entries = Field(default=[], description="Columns, or patterns, to leave out of the features.")
    categories: Entries = Field(
        default=[],
        description="Columns, or patterns, to take as categories: each class becomes an input that is 1 in its rows, else 0. "
        "Text is a category by itself, and so is a column that Parquet keeps with a dictionary of values.",
    )
    rare_below: int = Field(
        default=0,
        ge=0,
        le=1_000_000_000,
        description="Classes of a category with fewer training rows than this share one input, `other`.",
    )
    unknown: Unknown = Field(
        default="refuse",
        description="What becomes of a class of a category that no training row has, in validation rows and in predictions: "
        "`refuse` it, take it for `other` (see rare_below), or leave all the category's inputs at 0 (`zeros`).",
    )
    most_categories: int = Field(
        default=1000,
        ge=2,
        le=MOST_CATEGORIES,
        description="The most classes that a category may have, rare ones included; a column with more is refused.",
    )
    dates: Dates = Field(
        default=[],
        description="Columns, or patterns, of dates or times to take as numbers: a list, or a section with the parts of each, such "
        "as `{sold_at: [weekday, hour]}`. Parts: year, month, day, weekday (0: Monday), hour, minute, day_of_year, timestamp "
        "(seconds since 1970); by default the first four. In UTC where the column has a time zone.",
    )
    impute: Impute | None = Field(
        default=None,
        description="What takes the place of a missing number or date: the `mean` or `median` of the training rows that have one, "
        "or `zero`; for all columns, or in a section for some, such as `{age: median, lab_*: mean, carrier: class}`. `class`, for "
        "categories, makes missing a class of its own; a pattern is for the columns that its rule suits. By default missing values "
        "are refused.",
    )
    missing_indicator: bool = Field(
        default=False,
        description="Add an input that is 1 where a value of the column was missing, else 0, for each column of numbers or dates "
        "that `impute` fills and that has missing values among the training rows.",
    )
    standardize: bool = Field(
        default=True,
        description="Shift and scale each feature to mean 0 and variance 1 over the training rows; the model remembers how.",
    )
    standardize_target: bool | None = Field(
        default=None,
        description="Do the same with the targets of a regression (predictions come back in the original unit). "
        "By default as `standardize`; never where targets are classes, or counts with loss: poisson.",
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

    cache: Literal["memory", "disk"] = Field(
        default="memory",
        description="Where a worker keeps its encoded rows: in `memory`, or in a file of its own on `disk`, in the folder of its "
        "environment's TMPDIR, which goes with the worker. For tables larger than memory: see docs/faults.md. Changes no bit.",
    )

    compact: bool = Field(
        default=False,
        description="Keep features in workers as the narrow numbers that the table has, 1 byte for uint8, int8 and true/false, 2 "
        "for float16, and encode them a shard at a time in every step: a quarter of the memory of float32, for some time. Refused "
        "where a feature is anything else. Changes no bit.",
    )

    @property
    def targets(self) -> tuple[str, ...]:
        """The target columns, as a tuple also when there is one."""
        return (self.target,) if isinstance(self.target, str) else tuple(self.target)

    @property
    def date_parts(self) -> dict[Entry, tuple[DatePart, ...]]:
        """The parts of each date column or pattern."""
        if isinstance(self.dates, dict):
            return {name: tuple(parts) for name, parts in self.dates.items()}
        return dict.fromkeys(self.dates, DEFAULT_DATE_PARTS)


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
        description="Activation of the output layer. With cross_entropy, binary_cross_entropy and poisson it must be "
        "identity: the softmax (logistic, exponential) function is part of the loss.",
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
    start_from: PathText | None = Field(
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
    signals_every: int | None = Field(
        default=None,
        ge=1,
        description="Record every so many steps how large the error signal is at each neuron (signals.jsonl, which `dbp report` "
        "draws; see docs/report.md). null: not at all. Changes no bit.",
        json_schema_extra={"expected": "a whole number of 1 or more, or null"},
    )
    l2_penalty: float = Field(
        default=0.0, ge=0, description="lambda: lambda/2 times the sum of squared weights is added to the objective."
    )


class CheckpointOptions(Section):
    """What to keep on disk, so that an interrupted job can go on."""

    every: int = Field(default=50, ge=1, description="Write a checkpoint every so many steps (and at the end).")
    keep: int = Field(default=3, ge=1, description="How many of the newest checkpoints to keep.")
