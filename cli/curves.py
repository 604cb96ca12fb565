"""Loss curves: read from job directories, drawn to a picture by matplotlib and in the terminal by plotext."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbp.cli.output import clean
from dbp.errors import JobDirectoryError
from dbp.jobs.directory import JobDirectory
from dbp.jobs.metrics import read_metrics

_LOG_FROM = 30.0  # largest loss over smallest, from which on a straight scale hides the end of the curve
_TERMINAL_POINTS = 2_000  # more points than a terminal has cells cost time and show nothing
_SYMBOLS = ("*", "o", "+", "x", "#", "@")
_COLORS = (4, 3, 2, 1, 5, 6)  # of the terminal: blue, yellow, green, red, magenta, cyan
_ASCII = str.maketrans(
    {"─": "-", "│": "|", "┌": "+", "┐": "+", "└": "+", "┘": "+", "┤": "+", "├": "+", "┬": "+", "┴": "+", "┼": "+"}
)


@dataclass(frozen=True)
class Curve:
    """One line of the plot."""

    label: str
    steps: tuple[int, ...]
    losses: tuple[float, ...]
    held_out: bool  # the validation loss


def read_curves(directory: JobDirectory) -> list[Curve]:
    """Return a job's training loss and, where there is one, its validation loss. JobDirectoryError when no step is recorded."""
    directory.fetch(directory.metrics_file)
    steps = read_metrics(directory.metrics_file).steps
    name = clean(directory.id)
    curves = [_curve(steps, "loss", name, False), _curve(steps, "validation_loss", f"{name} (validation)", True)]
    drawn = [curve for curve in curves if curve.steps]
    if not drawn:
        raise JobDirectoryError(
            f"{directory.place_of(directory.metrics_file)}: no step with a finite loss is recorded yet; expected at least one"
        )
    return drawn


def _curve(
    steps: Iterable[dict[str, Any]], key: str, label: str, held_out: bool
) -> Curve:  # Any: JSON of a metrics file
    points = [(entry["step"], entry[key]) for entry in steps if _is_number(entry.get(key))]
    return Curve(label, tuple(step for step, _ in points), tuple(float(loss) for _, loss in points), held_out)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def needs_log_scale(curves: Sequence[Curve]) -> bool:
    """Whether the losses span so much that only a logarithmic scale shows it all."""
    losses = [loss for curve in curves for loss in curve.losses]
    return min(losses) > 0 and max(losses) / min(losses) >= _LOG_FROM


def draw_picture(curves: Sequence[Curve], file: Path) -> None:
    """Write the curves to `file` (.png, .svg or .pdf), atomically. StorageError when it cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from dbp.storage.atomic_files import atomic_path

    figure = Figure(figsize=(8, 5), dpi=144, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    color, colors = -1, ("C0", "C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9")
    for curve in curves:
        color += not curve.held_out  # a job's two curves share a colour
        few = len(curve.steps) < 30
        axes.plot(
            curve.steps,
            curve.losses,
            label=curve.label.replace("$", r"\$"),  # no formulas from job names
            color=colors[max(0, color) % len(colors)],
            linestyle="--" if curve.held_out else "-",
            marker="." if few else None,
            linewidth=1.5,
        )
    if needs_log_scale(curves):
        axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(True, alpha=0.3)
    axes.legend()
    with atomic_path(file) as temporary:
        figure.savefig(temporary, format=file.suffix[1:].lower())


def draw_text(curves: Sequence[Curve], *, colored: bool, unicode: bool, width: int = 80, height: int = 22) -> str:
    """Return the curves drawn with characters, a legend below; each curve has its own colour, or its own character."""
    import plotext

    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, height)
    figure.theme("colorless")  # the terminal keeps its own background
    log = needs_log_scale(curves)
    figure.ruler("y").scale("log" if log else "linear")
    legend = []
    for index, curve in enumerate(curves):
        symbol, color = _SYMBOLS[index % len(_SYMBOLS)], _COLORS[index % len(_COLORS)]
        every = max(1, len(curve.steps) // _TERMINAL_POINTS)
        marker = plotext.marker("hd" if unicode else symbol, color) if colored else symbol
        signal = figure.signal(list(curve.steps[::every]), list(curve.losses[::every]), marker=marker)
        figure.draw(signal.lines())
        drawn_as = "▀▀" if colored and unicode else symbol * 2
        mark = f"\x1b[38;5;{color}m{drawn_as}\x1b[0m" if colored else drawn_as
        legend.append(f"  {mark} {curve.label}")
    first, last = min(curve.steps[0] for curve in curves), max(curve.steps[-1] for curve in curves)
    ticks = sorted({round(first + (last - first) * part / 4) for part in range(5)})
    figure.ruler("x").ticks(ticks, [str(step) for step in ticks])
    figure.label("step", "x")
    figure.title("loss (logarithmic scale)" if log else "loss")
    drawing = str(figure.build().string(colorless=not colored))
    if not colored:
        drawing = drawing.replace("\x1b[0m", "")
    text = "\n".join([*(line.rstrip() for line in drawing.splitlines()), *legend])
    return text if unicode else text.translate(_ASCII)
