"""Training that starts from a model (`network.start_from`): what must match, and what is taken from it.

Taken are the parameters *and the encoding of columns*: they mean something only together, so new rows are shifted and scaled as the
old ones were, and classes keep their outputs. All else that makes the function that the network computes must be the same in job
and model. The optimiser starts afresh.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dbp.data.column_plan import FeaturePlan
from dbp.data.column_rules import CategoryRule, DateRule
from dbp.data.dataset import Dataset
from dbp.data.encoding import Encoding
from dbp.errors import DataError, JobFileError, ModelFileError, Problem
from dbp.jobs.job import Job
from dbp.jobs.wording import show
from dbp.models.model import Model, load_model
from dbp.network.losses import WITH_OUTPUT_FUNCTION

_MOST_SHOWN = 5


def open_start(job: Job) -> Model | None:
    """Return the model to start from, None for a job that names none.

    JobFileError where it cannot be read, or is another than the one with ``network.start_sha256``.
    """
    path, known = job.network.start_from, job.network.start_sha256
    if path is None:
        return None
    try:
        model = load_model(path)
    except ModelFileError as error:
        raise _refused(job, f"{error}; expected a model file, such as runs/JOB/model.safetensors") from error
    if known is not None and known != model.parameters_sha256:
        raise _refused(
            job,
            f"{path}: its parameters have the SHA-256 {model.parameters_sha256[:12]}..., network.start_sha256 is "
            f"{known[:12]}...; expected that model (or leave network.start_sha256 out)",
        )
    with np.errstate(over="ignore"):
        finite = np.isfinite(start_parameters(job, model)).all()
    if not finite:
        raise _refused(job, f"{path}: has parameters that are no finite numbers of {job.training.precision}")
    return model


def _refused(job: Job, message: str) -> JobFileError:
    return JobFileError(job.name, [Problem("network.start_from", message)])


def start_parameters(job: Job, start: Model) -> NDArray[np.floating]:
    """Return the start vector (P,) in the job's precision."""
    return start.parameters.astype(job.training.precision)


def check_start(job: Job, dataset: Dataset, start: Model) -> None:
    """Raise JobFileError with everything in which job and model differ, apart from the classes, which nobody has read yet."""
    problems = [*_network_problems(job, start), *_column_problems(job, dataset, start.encoding)]
    if problems:
        raise JobFileError(job.name, problems)


def _differs(job: Job, path: str, here: object, there: object) -> Problem:
    return Problem(
        path,
        f"{show(here)} in the job, {show(there)} in the model it starts from ({job.network.start_from}); expected the same",
    )


def _network_problems(job: Job, start: Model) -> Iterator[Problem]:
    network, options = start.network, job.network
    if job.task != start.encoding.task:
        yield _differs(job, "task", job.task, start.encoding.task)
        return
    hidden = list(network.sizes[1:-1])
    if options.hidden != hidden:
        yield _differs(job, "network.hidden", options.hidden, hidden)
    elif options.activations[:-1] != network.activations[:-1]:
        yield _differs(job, "network.activation", options.activations[:-1], network.activations[:-1])
    if options.output_activation != network.activations[-1]:
        yield _differs(job, "network.output_activation", options.output_activation, network.activations[-1])
    classes = len(start.encoding.classes)
    by_default = (1 if classes == 2 else classes) or len(start.encoding.targets)
    outputs = options.outputs or by_default
    if outputs != network.sizes[-1]:
        yield _differs(job, "network.outputs", outputs, network.sizes[-1])
    # Outputs are logits with cross-entropy, logarithms with poisson, and the values themselves with every other loss.
    if WITH_OUTPUT_FUNCTION.get(job.loss) != WITH_OUTPUT_FUNCTION.get(start.loss):
        yield _differs(job, "loss", job.loss, start.loss)


def _column_problems(job: Job, dataset: Dataset, encoding: Encoding) -> Iterator[Problem]:
    if dataset.targets != encoding.targets:
        yield _differs(job, "data.target", dataset.targets, encoding.targets)
    here, there = set(dataset.features), set(encoding.features)
    if here != there:  # in any order: columns are found by name
        sides = [("in the job", here - there), ("in the model it starts from", there - here)]
        words = "; ".join(f"only {where} ({_listed(sorted(names))})" for where, names in sides if names)
        yield Problem("data.features", f"{words}; expected the features of {job.network.start_from}")
    else:
        yield from _rule_problems(job, dataset, encoding)
    for key, wanted, means, scales in _standardisation(job, encoding):
        if not wanted and _fitted(means, scales):
            yield Problem(
                key,
                f"false in the job, but {job.network.start_from} was trained with standardised columns, and its parameters need "
                "them; expected true",
            )


def _rule_problems(job: Job, dataset: Dataset, encoding: Encoding) -> Iterator[Problem]:
    """Yield where the job would make other inputs of a column than the model does."""
    rules = dict(zip(encoding.features, encoding.column_rules, strict=True))
    for plan in dataset.plans:
        rule = rules[plan.name]
        if plan.kind != rule.kind:
            key = "data.dates" if "date" in (plan.kind, rule.kind) else "data.categories"
            yield _other_inputs(job, key, plan, f"is a {plan.kind}", f"a {rule.kind}")
        elif isinstance(rule, CategoryRule):
            if job.data.unknown != rule.unknown:
                yield _differs(job, "data.unknown", job.data.unknown, rule.unknown)
            if plan.missing_class != rule.takes_missing:
                yield _other_filling(job, plan, rule.takes_missing)
        elif isinstance(rule, DateRule) and plan.parts != rule.parts:
            yield _other_inputs(job, "data.dates", plan, f"is {', '.join(plan.parts)}", ", ".join(rule.parts))
        elif (plan.fill is None) != (rule.fill is None):
            yield _other_filling(job, plan, rule.fill is not None)


def _other_filling(job: Job, plan: FeaturePlan, there: bool) -> Problem:
    words = ("refused", "taken")
    return _other_inputs(job, "data.impute", plan, f"has missing values {words[not there]}", words[there])


def _other_inputs(job: Job, key: str, plan: FeaturePlan, here: str, there: str) -> Problem:
    return Problem(
        key,
        f"column {plan.name!r} {here} in the job, {there} in the model it starts from ({job.network.start_from}); "
        "expected the same",
    )


def _standardisation(job: Job, encoding: Encoding) -> list[tuple[str, bool, Sequence[float], Sequence[float]]]:
    return [
        ("data.standardize", job.data.standardize, encoding.mean, encoding.scale),
        ("data.standardize_target", job.standardizes_target, encoding.target_mean, encoding.target_scale),
    ]


def _fitted(means: Sequence[float], scales: Sequence[float]) -> bool:
    return any(means) or any(scale != 1 for scale in scales)


def adopt_encoding(
    job: Job, dataset: Dataset, start: Model, labels: Mapping[str, Collection[object]]
) -> tuple[Encoding, list[str]]:
    """Return the model's encoding and what the user should know of it. `labels` are the classes among the training rows of each
    target that has classes.

    DataError for classes that the model does not know.
    """
    encoding, path, warnings = start.encoding, job.network.start_from, []
    multilabel = job.task == "multilabel"
    known = dict(zip(encoding.targets, encoding.labels if multilabel else [encoding.classes], strict=False))
    for target, seen in labels.items():
        unknown = sorted(set(seen) - set(known[target]), key=str)
        if unknown:
            raise DataError(
                f"{dataset.train}: target {target!r} has classes that the model it starts from ({path}) does not "
                f"know: {_listed(unknown)}; expected its classes {_listed(known[target])}"
            )
        missing = [label for label in known[target] if label not in seen]
        if missing:
            of = f"of target {target!r} " if multilabel else ""
            warnings.append(f"no training row has these classes {of}of the model it starts from: {_listed(missing)}")
    for key, wanted, means, scales in _standardisation(job, encoding):
        if wanted and not _fitted(means, scales):
            warnings.append(f"{key} is true, but columns are taken as they are, as {path} takes them")
    return encoding, warnings


def _listed(values: Collection[object]) -> str:
    shown = ", ".join(repr(value) for value in list(values)[:_MOST_SHOWN])
    return shown + (", ..." if len(values) > _MOST_SHOWN else "")
