"""`dbp plot`: loss curves of one or several jobs."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from dbp.cli.options import DEFAULT_STORAGE, JobNames, Json, Storage
from dbp.cli.output import Mode, Output
from dbp.errors import InputError
from dbp.jobs.directory import JobDirectory

PICTURES = (".png", ".svg", ".pdf")
Picture = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="The picture: .png, .svg or .pdf. Default: loss.png in the job directory.",
        show_default=False,
    ),
]
Terminal = Annotated[bool, typer.Option("--terminal", help="Draw in the terminal; a picture only if -o asks for one.")]


def plot(
    jobs: JobNames,
    picture: Picture = None,
    terminal: Terminal = False,
    storage: Storage = DEFAULT_STORAGE,
    json: Json = False,
) -> None:
    """Draw the loss of one or several jobs against their steps."""
    from dbp.cli.curves import draw_picture, draw_text, read_curves

    directories = [JobDirectory.find(job, storage) for job in jobs]
    file = _picture(picture, terminal, directories)
    curves = [curve for directory in directories for curve in read_curves(directory)]
    if file is not None:
        draw_picture(curves, file)
    output = Output(json=json)
    if output.mode is Mode.JSON:
        lines = [{"label": curve.label, "steps": curve.steps, "losses": curve.losses} for curve in curves]
        output.json({"picture": file, "curves": lines})
        return
    if terminal:
        columns, lines_there = shutil.get_terminal_size((80, 24))
        colored = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        width, height = max(40, min(columns, 120)), max(12, min(lines_there - 3, 30))
        output.drawn(draw_text(curves, colored=colored, unicode=unicode, width=width, height=height))
    if file is not None:
        output.text(str(file))


def _picture(asked: Path | None, terminal: bool, directories: list[JobDirectory]) -> Path | None:
    """Return where the picture goes; None when none is wanted."""
    if asked is not None:
        if asked.suffix.lower() not in PICTURES:
            raise InputError(
                f"{asked}: cannot tell the kind of picture; expected a name that ends in {', '.join(PICTURES)}"
            )
        return asked
    if terminal:
        return None
    if len(directories) > 1:
        raise InputError(
            "several jobs have no common place for a picture; say where it goes with -o FILE.png, or use --terminal"
        )
    if directories[0].mirror is not None:
        raise InputError(f"{directories[0].place}: is not on this machine; say where the picture goes with -o FILE.png")
    return directories[0].path / "loss.png"
