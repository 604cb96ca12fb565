"""All that a page shows, as plain values. What is not there is None, and a note says why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dbp.data.encoding import Encoding
from dbp.jobs.job import Job
from dbp.jobs.sweep_table import MemberResult
from dbp.jobs.view import JobView
from dbp.models.model import Model
from dbp.network.network import Network


@dataclass(frozen=True)
class Snapshot:
    """The error signal at one step's parameters: per layer, inputs first, the RMS of delta over the rows per neuron (N_l,)."""

    step: int
    label: str
    layers: tuple[NDArray[np.float64], ...]

    @property
    def per_layer(self) -> list[float]:
        """RMS over rows and neurons of each layer, inputs first."""
        return [float(np.sqrt(np.mean(np.square(layer)))) for layer in self.layers]


@dataclass(frozen=True)
class Weights:
    """The parameters that are drawn, and whose they are."""

    network: Network
    parameters: NDArray[np.floating]  # (P,)
    whose: str
    encoding: Encoding | None = None  # for the names of inputs and outputs


@dataclass(frozen=True)
class Column:
    """What the training rows hold in one column."""

    name: str
    role: str  # feature or target
    mean: float
    deviation: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class Category:
    """What the training rows hold in one column of classes."""

    name: str
    counts: tuple[tuple[object, int], ...]  # value and rows, the most frequent first; (): too many to count
    missing: int


@dataclass(frozen=True)
class Data:
    """The table as it is now; it is the one that the job was trained on."""

    training_rows: int
    validation_rows: int
    columns: tuple[Column, ...]  # (): more cells than are looked at
    classes: tuple[tuple[object, int], ...] = ()  # value and training rows
    note: str = ""
    categories: tuple[Category, ...] = ()


@dataclass(frozen=True)
class Confusion:
    """How often each class (row) was taken for each (column)."""

    classes: tuple[object, ...]
    counts: NDArray[np.int64]  # (classes, classes): known, predicted


@dataclass(frozen=True)
class Residuals:
    """Known values and predictions of one target, in its own units, (rows,)."""

    target: str
    known: NDArray[np.float64]
    predicted: NDArray[np.float64]


@dataclass(frozen=True)
class LabelCounts:
    """One label of several: how many rows have it, were given it, and both."""

    target: str
    label: object  # the class of the column that says that a row has it
    known: int
    predicted: int
    right: int


@dataclass(frozen=True)
class Outcome:
    """How the model does on rows it was not trained on."""

    rows: int  # looked at
    of: int  # there are
    confusion: Confusion | None = None
    residuals: tuple[Residuals, ...] = ()
    labels: tuple[LabelCounts, ...] = ()


@dataclass(frozen=True)
class Checksum:
    """A file of the job directory."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Facts:
    """A job."""

    view: JobView
    job: Job
    job_text: str
    steps: Sequence[Mapping[str, Any]] = ()  # Any: JSON of metrics.jsonl
    torn: int = 0
    environment: Mapping[str, Any] | None = None  # Any: JSON
    warnings: Sequence[str] = ()
    members: Sequence[MemberResult] = ()
    model: Model | None = None
    weights: Weights | None = None
    snapshots: Sequence[Snapshot] = ()
    signal_rows: int = 0  # 0: as many as the run took, where the table is gone
    recorded: int = 0  # snapshots that the run itself recorded
    training_rows: int = 0
    data: Data | None = None
    outcome: Outcome | None = None
    checksums: Sequence[Checksum] = ()
    notes: Mapping[str, str] = field(default_factory=dict)  # by section: why something is not there
    made: str = ""  # when, in UTC
    version: str = ""  # of dbp
