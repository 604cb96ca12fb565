"""`dbp status`: where a job stands."""

from __future__ import annotations

from dbp.cli.options import DEFAULT_STORAGE, Insecure, JobName, Json, ServiceAddress, Storage, TokenFile
from dbp.cli.output import Mode, Output
from dbp.cli.service import Access, find_job
from dbp.jobs.view import describe


def status(
    job: JobName,
    storage: Storage = DEFAULT_STORAGE,
    address: ServiceAddress = None,
    token_file: TokenFile = None,
    insecure: Insecure = False,
    json: Json = False,
) -> None:
    """Show where a job stands."""
    found = find_job(job, storage, Access(address, token_file, insecure))
    view = found.client.status(found.id) if found.client else describe(found.local)
    output = Output(json=json)
    if output.mode is Mode.JSON:
        output.json(view.to_json())
        return
    fields: dict[str, object] = {
        "job": view.job,
        "directory": view.directory,
        "state": view.state,
        "step": view.progress,
        "loss": view.loss,
        "message": view.message,
    }
    if view.service is not None:
        fields["service"] = view.service
    if view.status is not None and view.status.runs is not None:
        fields = {("runs done" if name == "step" else name): value for name, value in fields.items()}
        fields["best run"] = view.status.runs.best
    if view.status is not None:
        fields |= {
            "workers": view.status.workers_in_words,
            "attempt": view.status.attempt,
            "started": view.status.started,
            "heartbeat": view.status.heartbeat,
        }
        if view.status.rule is not None:
            fields |= {"ended by": view.status.rule, "model of step": view.status.model_step}
    output.fields(fields)
