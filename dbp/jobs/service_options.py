"""The `service` section of a job file: what a submitted job asks of its cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from dbp.section import Section

_ELSEWHERE = {
    "CPU": "each worker has one CPU; expected other resources (`workers` says how many workers)",
    "memory": "has a key of its own; expected service.memory_per_worker",
    "object_store_memory": "cannot be reserved; expected other resources",
}


def _usable(resources: dict[str, float]) -> dict[str, float]:
    for name, amount in resources.items():
        if name in _ELSEWHERE:
            raise ValueError(f"{name}: {_ELSEWHERE[name]}")
        if amount > 1 and amount != int(amount):
            raise ValueError(
                f"{amount} of {name}: more than 1 is counted whole; expected {int(amount)} or {int(amount) + 1}"
            )
    return resources


_Name = Annotated[str, Field(min_length=1)]
_Resources = Annotated[
    dict[_Name, Annotated[float, Field(gt=0, le=1e6)]],
    Field(json_schema_extra={"expected": "a section with an amount for each resource"}),
    AfterValidator(_usable),
]


class ServiceOptions(Section):
    """What a job needs on a cluster. Changes no bit; `dbp run` looks at none of it."""

    restarts: int = Field(
        default=3,
        ge=0,
        le=1000,
        description="How often a coordinator that died (its process killed, its node lost) is replaced by a new one, which goes on "
        "from the newest checkpoint. A run that fails by itself is not tried again.",
    )
    memory_per_worker: int | None = Field(
        default=None,
        ge=1,
        description="Bytes of memory to reserve for each worker on its node. null: none is reserved.",
    )
    resources: _Resources = Field(
        default={},
        description="Other resources of the cluster to reserve for each worker, by their names in Ray, such as `{big: 1}` for "
        "nodes started with it. Each worker has one CPU in any case.",
    )


class WorkerRange(Section):
    """How many workers a job may have, where that may change while it runs."""

    min: int = Field(ge=1, le=1024, description="Training waits for so many.")
    max: int = Field(ge=1, le=1024, description="So many take part where there is room.")

    @model_validator(mode="after")
    def _in_order(self) -> WorkerRange:
        if self.max < self.min:
            raise ValueError(f"max is {self.max}; expected at least min ({self.min})")
        return self


class WorkerThreads(Section):
    """Workers that are threads of the process that trains."""

    threads: int = Field(ge=1, le=1024, description="So many threads of one process, on one machine, without Ray.")


def _kind_of_workers(value: object) -> str:
    if isinstance(value, WorkerThreads) or (isinstance(value, Mapping) and "threads" in value):
        return "<threads>"
    return "<range>" if isinstance(value, Mapping | WorkerRange) else "<number>"


Workers: TypeAlias = Annotated[
    Annotated[int, Field(ge=0, le=1024), Tag("<number>")]
    | Annotated[WorkerRange, Tag("<range>")]
    | Annotated[WorkerThreads, Tag("<threads>")],
    Discriminator(_kind_of_workers),
]
