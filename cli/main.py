"""The entry point of `dbp`: registers the commands. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from dbp import __version__
from dbp.cli.commands import (
    cancel,
    checkpoints,
    delete,
    diff,
    down,
    evaluate,
    export,
    fetch,
    init,
    inspect,
    list_jobs,
    logs,
    plot,
    predict,
    replay,
    report,
    resume,
    run,
    status,
    submit,
    up,
    validate,
    verify,
    watch,
)
from dbp.cli.errors import exit_codes
from dbp.cli.output import prepare_streams, talk_warnings

app = typer.Typer(
    name="dbp",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dbp {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Train feed-forward networks on tables: the same bits for any number of workers."""


def _register(name: str, command: Callable[..., None]) -> None:
    app.command(name)(exit_codes()(command))


_register("inspect", inspect.inspect)
_register("init", init.init)
_register("validate", validate.validate)
_register("run", run.run)
_register("resume", resume.resume)
_register("up", up.up)
_register("down", down.down)
_register("submit", submit.submit)
_register("watch", watch.watch)
_register("logs", logs.logs)
_register("cancel", cancel.cancel)
_register("fetch", fetch.fetch)
_register("delete", delete.delete)
_register("list", list_jobs.list_jobs)
_register("status", status.status)
_register("checkpoints", checkpoints.checkpoints)
_register("verify", verify.verify)
_register("diff", diff.diff)
_register("replay", replay.replay)
_register("predict", predict.predict)
_register("evaluate", evaluate.evaluate)
_register("export", export.export)
_register("plot", plot.plot)
_register("report", report.report)


def main() -> None:
    """Run the command line; ends with SystemExit."""
    prepare_streams()
    talk_warnings()
    app()
