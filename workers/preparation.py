"""From a job to what can be trained: its data looked at, its columns encoded, its network built."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np

from dbp.data.column_plan import ColumnOptions, SplitRule
from dbp.data.dataset import Dataset
from dbp.data.encoding import Encoding
from dbp.data.statistics import ColumnSummary
from dbp.data.text_scan import Lookers
from dbp.data.weights import class_weights
from dbp.errors import JobFileError, Problem
from dbp.jobs.job import Job
from dbp.models.model import Model
from dbp.network.network import Network
from dbp.optimizers.levenberg_marquardt import MOST_PARAMETERS
from dbp.sums.messages import Part, SumTask, TrainingWork, Workload
from dbp.sums.partial_sum import PartialSum
from dbp.sums.pool import WorkerPool
from dbp.sums.shards import Shards, cut_into_shards
from dbp.training.observers import Observer
from dbp.workers.warm_start import adopt_encoding

MOST_CLASSES_EXPECTED = 1000


def open_dataset(
    job: Job, lookers: Lookers | None = None, foreseen: Callable[[Dataset], None] | None = None
) -> Dataset:
    """Open the job's tables and check what their metadata can tell. DataError. See `Dataset.open` for `lookers` and `foreseen`."""
    return Dataset.open(
        train=job.data.train,
        validation=job.data.validation,
        target=job.data.target,
        features=job.data.features,
        task=job.task,
        seed=job.training.seed,
        weight=job.data.weight,
        columns=_column_options(job),
        split=_split_rule(job),
        compact=job.data.compact,
        counts=job.loss == "poisson",
        lookers=lookers,
        foreseen=foreseen,
    )


def _column_options(job: Job) -> ColumnOptions:
    data = job.data
    impute = data.impute
    return ColumnOptions(
        drop=tuple(data.drop),
        categories=tuple(data.categories),
        rare_below=data.rare_below,
        unknown=data.unknown,
        most_categories=data.most_categories,
        dates=tuple((name, tuple(parts)) for name, parts in data.date_parts.items()),
        impute=tuple(impute.items()) if isinstance(impute, dict) else impute,
        missing_indicator=data.missing_indicator,
    )


def _split_rule(job: Job) -> SplitRule | None:
    asked = job.data.validation_split
    if asked is None:
        return None
    if asked.stratify:
        return SplitRule("stratify")
    return SplitRule("group", asked.group) if asked.group is not None else SplitRule("time", asked.time)


def check_size(job: Job, dataset: Dataset, workers: int) -> None:
    """Raise JobFileError where the job asks for more than the table's rows allow."""
    rows = dataset.training_rows
    problems = []
    if workers > rows:
        problems.append(
            Problem("workers", f"{workers} workers for {rows} training rows; expected at most one worker per row")
        )
    if job.training.batch != "full" and job.training.batch > rows:
        problems.append(
            Problem(
                "training.batch",
                f"{job.training.batch} is more than the {rows} training rows; use `full`, or at most {rows}",
            )
        )
    if problems:
        raise JobFileError(job.data.train, problems)


def check_weight(job: Job, part: Part, loaded: PartialSum) -> None:
    """Raise JobFileError where the rows of a part, all loaded, weigh nothing, or more than numbers can say."""
    if 0 < loaded.weight < math.inf:
        return
    keys = [f"data.{key}" for key in ("weight", "class_weights") if getattr(job.data, key) is not None]
    what = "0" if loaded.weight == 0 else "infinite"
    raise JobFileError(
        job.name,
        [
            Problem(
                " and ".join(keys),
                f"the weights of the {part} rows add up to {what} in {job.training.precision}; expected rows that count, and "
                "weights near 1",
            )
        ],
    )


def raw_workload(job: Job, dataset: Dataset) -> Workload:
    """Return what workers need to look at the columns."""
    # The outputs are not known yet, where classes are to be counted; the shards must not depend on what is known when.
    sizes = (dataset.expected_inputs, *job.network.hidden)
    shards: dict[Part, Shards] = {"train": cut_into_shards(dataset.training_rows, sizes)}
    if dataset.validation_rows:
        shards["validation"] = cut_into_shards(dataset.validation_rows, sizes)
    dataset.fingerprint()  # before anybody reads rows: whoever does so later must find the same ones
    return Workload(dataset, shards, job.training.seed, on_disk=job.data.cache == "disk")


class Fitted(NamedTuple):
    """What is learnt from looking at the columns."""

    encoding: Encoding
    class_weights: tuple[float, ...] = ()  # per class; (): none


def fit_columns(job: Job, dataset: Dataset, pool: WorkerPool, observer: Observer, start: Model | None = None) -> Fitted:
    """Look at every cell once, as a sharded sum, and return how columns are encoded: as in `start`, if there is one.

    DataError for cells that cannot be used, JobFileError for class weights of classes that are not there.
    """
    summaries = {"train": cast(ColumnSummary, pool.sum(SumTask("summarize", "train")))}
    if dataset.validation_rows:
        summaries["validation"] = cast(ColumnSummary, pool.sum(SumTask("summarize", "validation")))
    dataset.check(summaries["train"], summaries.get("validation"), adopted=start is not None)
    encoding = _encoding(job, dataset, summaries["train"], observer, start)
    try:
        weights = class_weights(job.data.class_weights, summaries["train"].labels, encoding.classes)
    except ValueError as error:
        raise JobFileError(job.name, [Problem("data.class_weights", str(error))]) from error
    return Fitted(encoding, weights)


def _encoding(job: Job, dataset: Dataset, summary: ColumnSummary, observer: Observer, start: Model | None) -> Encoding:
    if start is not None:
        counted = {job.data.targets[0]: summary.labels} if job.task == "classification" else summary.labels_of
        adopted, warnings = adopt_encoding(job, dataset, start, counted)
        for warning in warnings:
            observer.warning(warning)
        return adopted
    encoding = dataset.fitted_encoding(summary, job.data.standardize, job.standardizes_target)
    for warning in encoding.warnings:
        observer.warning(warning)
    return encoding


@dataclass(frozen=True)
class Prepared:
    """A network for a job's data, and how its columns are encoded."""

    network: Network
    fitted: Fitted

    @property
    def encoding(self) -> Encoding:
        """How columns are encoded."""
        return self.fitted.encoding

    def workload(self, job: Job, raw: Workload) -> Workload:
        """Return what workers need to train."""
        training = TrainingWork(
            self.network,
            job.loss,
            job.training.precision,
            self.encoding,
            job.huber_delta,
            self.fitted.class_weights,
            job.optimizer.needs_curvature,
        )
        return replace(raw, training=training)


def build_network(job: Job, encoding: Encoding) -> Network:
    """Return the network. JobFileError where `network.outputs` does not fit the target."""
    fitting = _fitting_outputs(job, encoding)
    outputs = job.network.outputs or fitting[0]
    if outputs not in fitting:
        what = (
            f"{len(encoding.classes)} classes" if job.task == "classification" else f"{len(encoding.targets)} targets"
        )
        expected = " or ".join(str(number) for number in fitting)
        more = (
            "more outputs than classes" if outputs > fitting[-1] and job.task == "classification" else "they do not fit"
        )
        raise JobFileError(
            job.name,
            [Problem("network.outputs", f"{outputs} outputs for {what}: {more}; expected {expected}, or leave it out")],
        )
    network = Network((encoding.width, *job.network.hidden, outputs), job.network.activations)
    if job.optimizer.needs_curvature and network.parameter_count > MOST_PARAMETERS:
        raise JobFileError(
            job.name,
            [
                Problem(
                    "optimizer.name",
                    f"{job.optimizer.name} sums a matrix of {network.parameter_count:,} x {network.parameter_count:,} numbers for "
                    f"this network; expected at most {MOST_PARAMETERS:,} parameters (128 MiB), or another method, such as lbfgs",
                )
            ],
        )
    return network


def _fitting_outputs(job: Job, encoding: Encoding) -> list[int]:
    """Return the numbers of outputs that fit the target, the default first."""
    if job.task != "classification":
        return [len(encoding.targets)]
    classes = len(encoding.classes)
    return [1, 2] if classes == 2 else [classes]


def largest_vector_bytes(job: Job, dataset: Dataset) -> int:
    """Return an upper bound of a parameter vector's size, before classes have been counted.

    Where features are categories, it is an estimate: twice as many classes as the table's first rows have.
    """
    categories = any(plan.kind == "category" for plan in dataset.plans)
    features = dataset.expected_inputs * (2 if categories else 1)
    outputs = job.network.outputs or (MOST_CLASSES_EXPECTED if job.task == "classification" else len(job.data.targets))
    sizes = (features, *job.network.hidden, outputs)
    length = Network(sizes, job.network.activations).parameter_count
    if job.optimizer.needs_curvature:  # more is refused once the classes are known
        length = min(length, MOST_PARAMETERS) * (1 + min(length, MOST_PARAMETERS))
    return length * np.dtype(job.training.precision).itemsize
