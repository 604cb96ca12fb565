"""What loggers take from a step and from a job."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from dbp.errors import InputError
from dbp.jobs.job import Job
from dbp.training.observers import Plan, StepMetrics

METRICS = tuple(field.name for field in fields(StepMetrics) if field.name not in ("step", "digest"))


def numbers_of(metrics: StepMetrics) -> dict[str, float]:
    """Return a step's metrics by name: those that were measured and are finite."""
    found = {name: getattr(metrics, name) for name in METRICS}
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


def run_number(plan: Plan) -> int:
    """Return which of a job's runs it is; 1 where there is one."""
    return 1 if plan.run is None else plan.run.number


def values_of(job: Job) -> dict[str, str]:
    """Return the job's values by dotted key, as text."""
    return dict(_flat("", job.model_dump(mode="json")))


def _flat(prefix: str, values: Mapping[str, Any]) -> list[tuple[str, str]]:  # Any: JSON
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            found += _flat(f"{name}.", value)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            found.append((name, "[" + ", ".join(map(str, value)) + "]"))
        else:
            found.append((name, "" if value is None else str(value)))
    return found


def missing_extra(what: str, package: str, extra: str) -> InputError:
    """Return the error for a logger whose package is not installed."""
    return InputError(
        f"{what}: needs the package {package}, which is not installed; install it with: pip install 'dbp[{extra}]'"
    )
