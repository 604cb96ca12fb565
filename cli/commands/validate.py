"""`dbp validate`: check a job file and its data before anything is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dbp.cli.options import JobFile, Json, Overrides
from dbp.cli.output import Mode, Output, talk
from dbp.errors import InputError, JobFileError, Problem
from dbp.jobs.sweep import Member, members

if TYPE_CHECKING:
    from dbp.jobs.job import Job

ReadData = Annotated[bool, typer.Option("--read-data", help="Read every row as well: finds cells that cannot be used.")]


def validate(job: JobFile, overrides: Overrides = None, read_data: ReadData = False, json: Json = False) -> None:
    """Check a job file and the tables it names; starts nothing."""
    from dbp.jobs.job import Job

    output = Output(json=json)
    try:
        summary = _summary(Job.from_file(job, overrides or ()), read_data)
    except InputError as error:
        if output.mode is Mode.JSON:
            problems = error.problems if isinstance(error, JobFileError) else (Problem("data", str(error)),)
            output.json(
                {"valid": False, "problems": [{"path": item.path, "message": item.message} for item in problems]}
            )
        raise
    if output.mode is Mode.JSON:
        output.json({"valid": True, **summary})
    else:
        output.fields({name.replace("_", " "): _words(name, value) for name, value in summary.items()})


def _words(name: str, value: object) -> object:
    if value is None:
        return "known when the data is read"
    if name == "memory_per_worker" and isinstance(value, int):
        return f"{value / 2**20:,.0f} MiB"
    return value


def _summary(job: Job, read_data: bool) -> dict[str, object]:
    """Return what the job amounts to. Outputs and parameters are None where they hang on what nobody has counted yet."""
    from dbp.network.network import Network
    from dbp.workers.memory_check import memory_warnings, need_of
    from dbp.workers.pools import open_pool
    from dbp.workers.preparation import build_network, check_size, fit_columns, open_dataset, raw_workload
    from dbp.workers.sweep import check_members
    from dbp.workers.warm_start import check_start, open_start

    start = open_start(job)
    dataset = open_dataset(job)
    runs = members(job)

    def check(member: Member) -> None:
        check_size(member.job, dataset, job.required_workers or job.threads)
        if start is not None:
            check_start(member.job, dataset, start)

    check_members(job, runs, check)
    outputs = job.network.outputs or (len(job.data.targets) if job.task == "regression" else None)
    network = (
        None
        if outputs is None or any(plan.kind == "category" or plan.indicator for plan in dataset.plans)
        else Network((dataset.expected_inputs, *job.network.hidden, outputs), job.network.activations)
    )
    if read_data:
        from dbp.cli.progress import Warnings

        warnings = Warnings()
        with open_pool(raw_workload(job, dataset), 0, None, 0, warnings.warning) as pool:
            encoding = fit_columns(job, dataset, pool, warnings, start).encoding
            check_members(job, runs, lambda member: build_network(member.job, encoding))
            network = build_network(runs[0].job, encoding)
    need = need_of(job, dataset, raw_workload(job, dataset), job.required_workers, job.threads)
    for text in memory_warnings(job, need):
        talk(f"warning: {text}")
    return {
        "job": job.name,
        "task": job.task,
        "rows": dataset.training_rows,
        "validation_rows": dataset.validation_rows,
        "features": len(dataset.features),
        "outputs": network.sizes[-1] if network else outputs,
        "parameters": network.parameter_count if network else None,
        "steps": job.training.max_steps,
        "workers": job.workers if isinstance(job.workers, int) else job.workers.model_dump(),
        "memory_per_worker": need.most,
        **({"runs": len(runs)} if job.has_members else {}),
    }
