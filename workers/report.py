"""Gathers what `dbp report` shows: the records of a job directory, and what its table and parameters say of each other now.

Only reads; a running job, too. Everything that cannot be had is told on the page, in a note.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dbp import __version__
from dbp.data.dataset import Dataset, Part
from dbp.data.encoding import Encoding
from dbp.errors import CheckpointError, DbpError, InputError
from dbp.evidence.records import read_environment
from dbp.jobs.clock import utc_now
from dbp.jobs.directory import JobDirectory
from dbp.jobs.job import Job
from dbp.jobs.metrics import read_metrics
from dbp.jobs.sweep_table import read_table
from dbp.jobs.view import describe
from dbp.models.model import Model, load_model
from dbp.network.network import Network
from dbp.reports.facts import Category, Checksum, Column, Data, Facts, Outcome, Snapshot, Weights
from dbp.reports.measures import chosen_steps, outcome
from dbp.storage.atomic_files import storage_error
from dbp.storage.checkpoints import Checkpoint
from dbp.storage.records import open_record
from dbp.sums.pool import serial_pool
from dbp.sums.signals import Probe, spread_rows
from dbp.training.observers import Observer
from dbp.training.signals import PROBE_ROWS, read_signals
from dbp.workers.job_checkpoints import PARAMETERS, Origin
from dbp.workers.preparation import build_network, fit_columns, open_dataset, raw_workload

MOST_SNAPSHOTS = 12  # computed for the page
MOST_RECORDED = 100
MOST_VALIDATION_ROWS = 20_000
MOST_CELLS = 20_000_000  # of the table that are looked at for its summary
_ROWS_AT_ONCE = 50_000
_MOST_WARNINGS = 100
_MOST_LOG_BYTES = 20_000_000
Array = NDArray[np.floating]


def gather(directory: JobDirectory, rows: int = 2000) -> Facts:
    """Return what there is to show. Error signals are measured over at most `rows` training rows.

    InputError where the job file cannot be used, StorageError where records cannot be read.
    """
    directory.fetch(directory.job_file, directory.metrics_file, directory.log_file, directory.table_file)
    gathering = _Gathering(directory, Job.from_file(directory.job_file), rows)
    history = read_metrics(directory.metrics_file)
    parts = gathering.parts()
    return Facts(
        view=describe(directory),
        job=gathering.job,
        job_text=directory.job_file.read_text(encoding="utf-8", errors="replace"),
        steps=history.steps,
        torn=history.torn,
        environment=gathering.environment,
        warnings=_warnings(directory),
        members=read_table(directory.table_file),
        model=gathering.model,
        weights=parts.weights,
        snapshots=parts.snapshots,
        signal_rows=parts.signal_rows,
        recorded=parts.recorded,
        training_rows=parts.data.training_rows if parts.data else 0,
        data=parts.data,
        outcome=parts.outcome,
        checksums=_checksums(directory),
        notes=gathering.notes,
        made=utc_now(),
        version=__version__,
    )


@dataclass
class _Parts:
    """What hangs on model, checkpoints and table."""

    weights: Weights | None = None
    snapshots: list[Snapshot] = field(default_factory=list)
    signal_rows: int = 0
    recorded: int = 0  # of the snapshots
    data: Data | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True)
class _Parameters:
    """Parameters of one step."""

    step: int
    label: str
    theta: Array


class _Gathering:
    """Looks at one job; what is missing is put into `notes`."""

    def __init__(self, directory: JobDirectory, job: Job, rows: int) -> None:
        self.directory, self.job, self.rows = directory, job, rows
        self.notes: dict[str, str] = {}
        self.environment = read_environment(directory).facts
        self.model = self._load_model()
        self.checkpoints = self._load_checkpoints()

    def parts(self) -> _Parts:
        """Return all that needs parameters or rows."""
        parts = _Parts()
        dataset = self._open_dataset()
        known = self._known(dataset)
        if known is not None:
            last = [*self._start(known[0]), *self._trained()][-1:]
            parts.weights = next((Weights(known[0], each.theta, each.label, known[1]) for each in last), None)
            parts.snapshots = self._recorded(known[0])
            parts.recorded = len(parts.snapshots)
        if dataset is None:
            return parts
        try:
            parts.data = self._data(dataset)
            if known is not None:
                self._measure(parts, dataset, *known)
        except InputError as error:  # the table was changed while it was read, or a cell cannot be used any more
            self._note(("data", "signals", "outcome"), str(error))
        return parts

    def _measure(self, parts: _Parts, dataset: Dataset, network: Network, encoding: Encoding) -> None:
        job = self.job
        dtype: np.dtype[np.floating] = np.dtype(job.training.precision)
        # Those that were recorded are over fewer rows: then the others are, too.
        rows = PROBE_ROWS if parts.recorded else self.rows
        probe = Probe(
            network, job.loss, job.huber_delta, *_rows(dataset, "train", dataset.training_rows, rows, encoding, dtype)
        )
        parts.signal_rows = probe.rows
        found = {each.step: each for each in parts.snapshots}
        for each in [*self._start(network), *self._trained()]:
            if each.step not in found or each.label.endswith("(model)"):
                found[each.step] = Snapshot(each.step, each.label, tuple(probe.sizes(each.theta)))
        parts.snapshots = [found[step] for step in sorted(found)]
        if not dataset.validation_rows:
            self.notes["outcome"] = "the job has no validation rows (data.validation)"
        elif self.model is None:
            self.notes["outcome"] = "there is no model yet"
        else:
            there = dataset.validation_rows
            inputs, targets = _rows(dataset, "validation", there, MOST_VALIDATION_ROWS, encoding, dtype)
            parts.outcome = outcome(self.model, inputs, targets, there)

    def _note(self, sections: tuple[str, ...], text: str) -> None:
        for section in sections:
            self.notes.setdefault(section, text)

    def _recorded(self, network: Network) -> list[Snapshot]:
        """Return the error signals that the run itself recorded."""
        self.directory.fetch(self.directory.signals_file)
        recorded = read_signals(self.directory.signals_file, tuple(network.sizes))
        steps = chosen_steps(sorted(recorded), MOST_RECORDED)
        return [Snapshot(step, f"step {step}", tuple(recorded[step])) for step in steps]

    def _load_model(self) -> Model | None:
        file = self.directory.model_file
        self.directory.fetch(file)
        if not file.exists():
            return None
        try:
            return load_model(file)
        except DbpError as error:
            self.notes["network"] = f"the model cannot be used: {error}"
            return None

    def _load_checkpoints(self) -> list[Checkpoint]:
        store = self.directory.checkpoint_store()
        found = []
        for step in chosen_steps(store.steps(), MOST_SNAPSHOTS):
            try:
                found.append(store.load(step))
            except CheckpointError as error:
                self.notes["checkpoints"] = f"a checkpoint is left out: {error}"
        return found

    def _known(self, dataset: Dataset | None) -> tuple[Network, Encoding] | None:
        """Return network and encoding of the model, of the newest checkpoint, or as the job itself would make them."""
        if self.model is not None:
            return self.model.network, self.model.encoding
        sections = ("network", "signals", "outcome")
        try:
            if self.checkpoints:
                encoding = Origin.of(self.checkpoints[-1]).fitted.encoding
            elif dataset is not None and not self.job.has_members and self.job.network.start_sha256 is None:
                with closing(serial_pool(raw_workload(self.job, dataset))) as pool:
                    encoding = fit_columns(self.job, dataset, pool, Observer()).encoding
            else:
                self._note(sections, "the job has neither a model nor a checkpoint")
                return None
            return build_network(self.job, encoding), encoding
        except InputError as error:
            self._note(sections, f"what the network is cannot be told: {error}")
            return None

    def _start(self, network: Network) -> list[_Parameters]:
        """Return the parameters before the first step, where job and seed alone say what they were."""
        if self.job.has_members or self.job.network.start_sha256 is not None:
            return []  # of several runs the best one's would be needed; a model to start from may be gone
        if any(each.step == 0 for each in self.checkpoints):
            return []
        job = self.job
        theta = network.initial_parameters(job.start_seed, job.training.precision, job.network.start_weights)
        return [_Parameters(0, "start", theta)]

    def _trained(self) -> list[_Parameters]:
        """Return the parameters of checkpoints and model, by step."""
        found = []
        model = self.model
        for checkpoint in self.checkpoints:
            theta = checkpoint.arrays.get(PARAMETERS)
            if theta is None or (model is not None and theta.shape != model.parameters.shape):
                self.notes["checkpoints"] = (
                    f"the checkpoint of step {checkpoint.step} is left out: it is of another network"
                )
                continue
            found.append(_Parameters(checkpoint.step, f"step {checkpoint.step}", theta))
        if model is not None:
            step = int(model.about.get("step", 0)) if str(model.about.get("step", 0)).isdigit() else 0
            found = [each for each in found if each.step != step]
            found.append(
                _Parameters(step, "model" if self.job.has_members else f"step {step} (model)", model.parameters)
            )
        return found

    def _open_dataset(self) -> Dataset | None:
        try:
            dataset = open_dataset(self.job)
            now, before = dataset.fingerprint(), (self.environment or {}).get("data_fingerprint")
        except DbpError as error:
            self._note(("data", "signals", "outcome"), f"the table cannot be read now: {error}")
            return None
        if before is not None and before != now:
            text = f"the table has changed since the job was trained (fingerprint {str(before)[:12]}, now {now[:12]})"
            self._note(("data", "signals", "outcome"), text)
            return None
        return dataset

    def _data(self, dataset: Dataset) -> Data:
        rows, held_out = dataset.training_rows, dataset.validation_rows
        width = len(dataset.features) + len(dataset.targets)
        if rows * width > MOST_CELLS:
            return Data(
                rows, held_out, (), note=f"columns are summarised up to {MOST_CELLS:,} cells; this table has more"
            )
        summary = dataset.summarize("train", 0, min(rows, _ROWS_AT_ONCE))
        for start in range(_ROWS_AT_ONCE, rows, _ROWS_AT_ONCE):
            summary = summary.add(dataset.summarize("train", start, min(rows, start + _ROWS_AT_ONCE)))
        columns = [
            Column(
                name,
                "target" if name in dataset.targets else "feature",
                *(float(value) for value in numbers),
            )
            for name, *numbers in zip(
                summary.names,
                summary.mean,
                np.sqrt(summary.m2 / np.maximum(summary.counts, 1)),
                summary.minimum,
                summary.maximum,
                strict=True,
            )
        ]
        classes = sorted(summary.labels.items(), key=lambda item: (-item[1], str(item[0])))
        categories = tuple(
            Category(
                name, tuple(sorted(found.counts.items(), key=lambda item: (-item[1], str(item[0])))), found.missing
            )
            for name, found in summary.vocabularies.items()
        )
        return Data(rows, held_out, tuple(columns), tuple(classes), categories=categories)


def _rows(
    dataset: Dataset, part: Part, there: int, most: int, encoding: Encoding, dtype: np.dtype[np.floating]
) -> tuple[Array, Array | NDArray[np.int32]]:
    """Return inputs and targets of at most `most` rows of a part, spread over it."""
    pieces = [dataset.encode(part, start, stop, encoding, dtype) for start, stop in spread_rows(there, most)]
    return np.concatenate([each.inputs for each in pieces]), np.concatenate([each.targets for each in pieces])


def _warnings(directory: JobDirectory) -> list[str]:
    """Return the warnings of the log, and how the attempts ended badly; the newest ones."""
    try:
        with open_record(directory.log_file) as file:
            lines = file.read(_MOST_LOG_BYTES).decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise storage_error("be read", directory.log_file, error) from error
    told = [line for line in lines if " warning: " in line or " FAILED: " in line]
    return told[-_MOST_WARNINGS:]


def _checksums(directory: JobDirectory) -> list[Checksum]:
    files = [directory.job_file, directory.environment_file, directory.metrics_file, directory.model_file]
    found = []
    for file in files:
        try:
            with open_record(file) as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
                found.append(Checksum(file.name, opened.tell(), digest))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise storage_error("be read", file, error) from error
    return found
