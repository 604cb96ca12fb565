"""A job that stands for several runs: `sweep` (a grid of values) and `training.restarts` (several starts), expanded into members.

    point     one combination of the grid's values; points are in the order in which the file lists keys and values, the last key
              changing fastest
    member    one run: a point and a start. A job like any other, that trained alone gives the same bits. Numbered from 1, the
              starts of one point one after the other

All of it is arithmetic on values. What may be swept is what leaves the rows as they are, and results that compare.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from dbp.errors import Problem
from dbp.jobs.job_file import put
from dbp.jobs.strict_yaml import YamlValue
from dbp.jobs.wording import printable, show

if TYPE_CHECKING:
    from dbp.jobs.job import Job

MOST_MEMBERS = 256
LARGEST_SEED = 2**63 - 1
_LONGEST = 60

Sweep = Annotated[
    dict[str, Annotated[list[Any], Field(min_length=1, json_schema_extra={"expected": "a non-empty list of values"})]],
    Field(min_length=1, json_schema_extra={"expected": "a section that lists values for dotted keys"}),
]
SWEEP_MEANING = (
    "Train once for each combination of values, such as `{optimizer.learning_rate: [0.1, 0.5], network.hidden: [[16], [64, 32]]}` "
    f"(the last key changes fastest; at most {MOST_MEMBERS} runs, with training.restarts), on the same workers and rows, and keep "
    "the best model. Keys that change the rows or how the loss is measured, or that change no bit, are refused."
)
RESTARTS_MEANING = (
    "Train so many times from different start weights (network.initializer_seed, by default `seed`, and the seeds that follow it) "
    "on the same rows and batches, and keep the model of the lowest validation loss (of the lowest objective where there are no "
    "validation rows)."
)
Changes = dict[str, YamlValue]  # dotted keys to values
Values = Mapping[str, object]

_ROWS = "changes the rows, which all runs of a sweep share; expected a job of its own for each"
_LOSS = "has runs measured in different ways, so that none is the best; expected a job of its own for each"
_REFUSED = {
    "data": _ROWS,
    "task": _ROWS,
    "training.seed": "holds out other rows in each run, so that validation losses would not compare; expected "
    "training.restarts, or network.initializer_seed: other start weights on the same rows",
    "network.start_from": "brings a model's encoding of columns, and all runs of a sweep share their rows; expected a job of "
    "its own for each",
    "network.start_sha256": "belongs to network.start_from, which all runs of a sweep share; expected it outside the sweep",
    "loss": _LOSS,
    "huber_delta": _LOSS,
    "training.restarts": "is how often each combination is trained; expected it outside the sweep",
    "name": "names the one job directory that all runs are kept in; expected it outside the sweep",
    "storage": "places the one job directory that all runs are kept in; expected it outside the sweep",
    "workers": "changes no bit, and all runs share the same workers; expected it outside the sweep",
    "audit": "changes no bit; expected it outside the sweep",
    "checkpoint": "changes no bit; expected it outside the sweep",
    "training.signals_every": "changes no bit; expected it outside the sweep",
    "service": "changes no bit; expected it outside the sweep",
    "sweep": "is the sweep itself; expected keys of the job",
}
_NEEDS_VALIDATION = ("training.l2_penalty", "training.reduction")


@dataclass(frozen=True)
class Member:
    """One run of a job that stands for several."""

    number: int  # from 1
    changes: Changes
    seed: int  # of its start weights
    job: Job
    label: str = ""  # what is special about it, in words


def members(job: Job) -> list[Member]:
    """Return the runs of a job; one, with number 1 and the job itself, where it stands for no others.

    JobFileError where a combination of values is no job.
    """
    if not job.has_members:
        return [Member(1, {}, job.start_seed, job)]
    found: list[Member] = []
    for changes in points(job.sweep):
        point = type(job).from_values(member_values(job.model_dump(mode="python"), changes), source=job.name)
        for restart in range(job.training.restarts):
            number = len(found) + 1
            seed = point.start_seed + restart
            words = [label(changes)] if changes else []
            words += [f"start {seed}"] if job.training.restarts > 1 else []
            found.append(Member(number, changes, seed, _restarted(point, restart), ", ".join(words)))
    return found


def _restarted(job: Job, restart: int) -> Job:
    """Return the job from the start weights of the `restart`-th seed after its own; 0: the job itself."""
    if restart == 0:
        return job
    network = job.network.model_copy(update={"initializer_seed": job.start_seed + restart})
    return job.model_copy(update={"network": network})


def points(sweep: Mapping[str, Sequence[YamlValue]] | None) -> list[Changes]:
    """Return the combinations of the grid; one without changes for no grid."""
    grid = sweep or {}
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def member_values(values: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """Return the values of a job file with a point's changes, for one run."""
    changed = copy.deepcopy({key: value for key, value in values.items() if key != "sweep"})
    if isinstance(changed.get("training"), dict):
        changed["training"].pop("restarts", None)
    for key, value in changes.items():
        put(changed, key.split("."), copy.deepcopy(value))
    return changed


def label(changes: Changes) -> str:
    """Return changes in words: ``optimizer.learning_rate=0.1, network.hidden=[16]``."""
    return ", ".join(f"{key}={spell(value)}" for key, value in changes.items())


def spell(value: YamlValue) -> str:
    """Return a value as YAML would have it on one line, cut to 60 characters."""
    if isinstance(value, dict):
        text = "{" + ", ".join(f"{printable(key)}: {spell(inner)}" for key, inner in value.items()) + "}"
    elif isinstance(value, list):
        text = "[" + ", ".join(spell(inner) for inner in value) + "]"
    else:
        text = printable(value) if isinstance(value, str) else show(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def sweep_problems(values: Values) -> Iterator[Problem]:
    """Yield what is wrong with `sweep` and `training.restarts`, given as the file has them; wrong types say nothing here."""
    sweep, training = values.get("sweep"), values.get("training")
    restarts = training.get("restarts", 1) if isinstance(training, Mapping) else 1
    restarts = restarts if type(restarts) is int and restarts >= 1 else 1
    if restarts > 1:
        yield from _restart_problems(values, restarts)
    if not isinstance(sweep, Mapping) or not all(isinstance(listed, list) for listed in sweep.values()):
        return
    data = values.get("data")
    validated = isinstance(data, Mapping) and data.get("validation") is not None
    for key, listed in sweep.items():
        yield from _key_problems(key, listed, sweep, validated)
    count = math.prod(len(listed) for listed in sweep.values())
    if count * restarts > MOST_MEMBERS:
        starts = f" of {restarts} starts each" if restarts > 1 else ""
        yield Problem("sweep", f"{count:,} combinations{starts}; expected at most {MOST_MEMBERS} runs")


def _restart_problems(values: Values, restarts: int) -> Iterator[Problem]:
    network, training = values.get("network"), values.get("training")
    if isinstance(network, Mapping):
        if isinstance(network.get("start_from"), str):
            yield Problem(
                "training.restarts",
                f"{restarts} starts from one model would be {restarts} times the same run; expected 1 with network.start_from",
            )
        seed = network.get("initializer_seed")
        if seed is None and isinstance(training, Mapping):
            seed = training.get("seed", 0)
        if type(seed) is int and seed + restarts - 1 > LARGEST_SEED:
            yield Problem(
                "training.restarts", f"{restarts} seeds from {seed:,} on; expected seeds of at most 2**63 - 1"
            )


def _key_problems(key: str, listed: Sequence[object], sweep: Values, validated: bool) -> Iterator[Problem]:
    path = f"sweep.{printable(key)}"
    for refused, reason in _REFUSED.items():
        if key == refused or key.startswith(f"{refused}."):
            yield Problem(path, reason)
        elif refused.startswith(f"{key}."):
            yield Problem(path, f"is a section with {refused} in it; expected single keys, such as {_EXAMPLES[key]}")
            break
    if key in _NEEDS_VALIDATION and not validated:
        yield Problem(
            path, "changes the objective that runs are compared by; expected data.validation, whose loss has no penalty"
        )
    for outer in sweep:
        if key.startswith(f"{outer}."):
            yield Problem(path, f"is also set by sweep.{printable(outer)}; expected one of them")
    spelt = [json.dumps(value, sort_keys=True, default=str) for value in listed]
    for place, text in enumerate(spelt):
        if text in spelt[:place]:
            yield Problem(f"{path}[{place}]", f"{spell(listed[place])} is there twice; expected each value once")  # type: ignore[arg-type]


_EXAMPLES = {"training": "training.max_steps", "network": "network.hidden"}


def point_problems(found: Sequence[tuple[Changes, Sequence[Problem]]]) -> list[Problem]:
    """Return what is wrong with points, in the grid's order; what several have in common is told once, of the first."""
    where: dict[Problem, list[int]] = {}
    for number, (_, problems) in enumerate(found, 1):
        for problem in problems:
            where.setdefault(problem, []).append(number)
    told = []
    for problem, numbers in where.items():
        also = f" (and so in {len(numbers) - 1} more)" if len(numbers) > 1 else ""
        told.append(Problem(point_path(numbers[0], found[numbers[0] - 1][0]), f"{problem}{also}"))
    return told


def point_path(number: int, changes: Changes) -> str:
    """Return what names a point in messages: ``sweep[3] (optimizer.learning_rate=0)``."""
    return f"sweep[{number}] ({label(changes)})" if changes else f"sweep[{number}]"
