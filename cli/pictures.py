"""Pictures of an evaluation, drawn by matplotlib: confusion matrix and calibration of classes, residuals of numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dbp.cli.output import clean
from dbp.errors import InputError
from dbp.models.evaluation import Calibration, ClassEvaluation, Evaluation, LabelEvaluation, NumberEvaluation
from dbp.storage.uris import is_uri

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Draw: TypeAlias = Callable[["Figure"], None]

_CELL_TEXTS = 20  # classes up to which each cell of the matrix says its number
_NAMED = 60  # classes up to which the axes name them
_CURVES = 10  # classes up to which each has its own calibration curve
_FEW_ROWS = 10  # a class's share among fewer says little
_TARGETS = 6  # targets that are drawn
_LABELS = 50  # labels that are drawn
_LABEL_LENGTH = 24


def check_folder(folder: Path) -> None:
    """Raise InputError where pictures cannot be put, before anything is computed."""
    if is_uri(folder):
        raise InputError(f"{folder}: is a URI; expected a folder of this machine for the pictures")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; expected a folder for the pictures")


def draw_pictures(found: Evaluation, folder: Path, title: str) -> list[Path]:
    """Draw what there is to see into a folder, which is made; return the files. StorageError when one cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from dbp.storage.atomic_files import atomic_path, make_folders, storage_error

    try:
        make_folders(folder)
    except OSError as error:
        raise storage_error("be made", folder, error) from error
    files = []
    for name, size, draw in _pictures(found):
        figure = Figure(figsize=size, dpi=144, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        figure.suptitle(f"{_text(title, 80)}: {_in_words(found)}", fontsize="medium")
        file = folder / f"{name}.png"
        with atomic_path(file) as temporary:
            figure.savefig(temporary, format="png")
        files.append(file)
    return files


def _pictures(found: Evaluation) -> list[tuple[str, tuple[float, float], Draw]]:
    if isinstance(found, NumberEvaluation):
        height = 4.2 * min(len(found.targets), _TARGETS)
        return [("residuals", (10.0, height), lambda figure: _residuals(figure, found))]
    if isinstance(found, LabelEvaluation):
        height = 1.5 + 0.45 * min(len(found.labels), _LABELS)
        return [("labels", (8.0, height), lambda figure: _labels(figure, found))]
    if not isinstance(found, ClassEvaluation):
        return []
    side = min(4.5 + 0.45 * len(found.classes), 14.0)
    drawn: list[tuple[str, tuple[float, float], Draw]] = [
        ("confusion", (side + 1.0, side), lambda figure: _confusion(figure, found))
    ]
    if found.calibration is not None:
        curves = found.calibration
        drawn.append(("calibration", (6.5, 7.0), lambda figure: _calibration(figure, curves)))
    return drawn


def _in_words(found: Evaluation) -> str:
    rows = f"{found.rows:,} row{'s' if found.rows != 1 else ''}"
    if isinstance(found, LabelEvaluation):
        return f"{rows}, all labels right in {found.accuracy:.1%}"
    return f"{rows}, accuracy {found.accuracy:.1%}" if isinstance(found, ClassEvaluation) else rows


def _labels(figure: Figure, found: LabelEvaluation) -> None:
    """How well each label is found, the first on top."""
    axes = figure.add_subplot()
    shown = found.labels[:_LABELS]
    places = np.arange(len(shown))
    for number, name in enumerate(("precision", "recall", "f1")):
        values = np.nan_to_num([getattr(each, name) for each in shown])
        axes.barh(places + 0.27 * (number - 1), values, height=0.25, label="F1" if name == "f1" else name)
    names = [_text(f"{each.target} = {each.label}", _LABEL_LENGTH) for each in shown]
    axes.set_yticks(places, names, fontsize="small")
    axes.set(xlim=(0, 1), ylim=(len(shown) - 0.5, -0.5))
    axes.grid(True, axis="x", alpha=0.3)
    axes.legend(fontsize="small", loc="lower left")
    more = len(found.labels) - len(shown)
    if more:
        figure.supxlabel(f"{more} more labels are not drawn", fontsize="small", color="0.4")


def _confusion(figure: Figure, found: ClassEvaluation) -> None:
    """Colours are shares of the true class, so that rare classes are seen as well; cells say how many rows."""
    from matplotlib.colors import PowerNorm
    from matplotlib.ticker import PercentFormatter

    axes = figure.add_subplot()
    counts = np.array(found.confusion, dtype=np.float64)
    sums = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, sums, out=np.zeros_like(counts), where=sums > 0)
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1))  # few errors are to be seen, too
    figure.colorbar(
        image, ax=axes, label="share of the true class", shrink=0.8, ticks=[0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1]
    ).ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    labels = [_text(str(each.label), _LABEL_LENGTH) for each in found.classes]
    if len(labels) <= _NAMED:
        small: dict[str, Any] = {"fontsize": "small" if len(labels) <= _CELL_TEXTS else "xx-small"}
        long = max(map(len, labels)) * len(labels) > 60
        turned: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if long else {}
        axes.set_xticks(range(len(labels)), labels, **small, **turned)
        axes.set_yticks(range(len(labels)), labels, **small)
    if len(labels) <= _CELL_TEXTS:
        for row, column in np.ndindex(counts.shape):
            color = "white" if shares[row, column] > 0.4 else "black" if counts[row, column] else "0.6"
            size = "medium" if len(labels) <= 8 else "x-small"
            axes.text(
                column, row, _count(float(counts[row, column])), ha="center", va="center", color=color, fontsize=size
            )
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")


def _calibration(figure: Figure, curves: tuple[Calibration, ...]) -> None:
    """Above, how often it was true, against the probability; below, how many rows lie there."""
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="0.5", linestyle=":", label="as sure as right")
    whatever, *each = curves
    main = each[0] if len(each) == 1 else whatever
    of = "the predicted class" if main is whatever else f"class {_text(str(main.of), _LABEL_LENGTH)}"
    for number, curve in enumerate(each if 1 < len(each) <= _CURVES else []):
        style: dict[str, Any] = {"color": f"C{number}", "marker": ".", "markersize": 5, "linewidth": 1.0, "alpha": 0.5}
        _draw_curve(upper, curve, f"class {_text(str(curve.of), _LABEL_LENGTH)}", style, _FEW_ROWS)
    _draw_curve(upper, main, of, {"color": "black", "marker": "o", "markersize": 5, "linewidth": 2.0}, 0)
    upper.set_ylabel("share for which it was true")
    upper.set(xlim=(0, 1), ylim=(-0.02, 1.02))
    upper.grid(True, alpha=0.3)
    title = f"classes: bins of {_FEW_ROWS} rows or more" if 1 < len(each) <= _CURVES else None
    upper.legend(fontsize="small", loc="upper left", title=title, title_fontsize="small")
    lows, highs = ([getattr(one, end) for one in main.bins] for end in ("low", "high"))
    lower.bar(lows, [one.rows for one in main.bins], width=np.subtract(highs, lows), align="edge", edgecolor="white")
    lower.set_ylabel("rows")
    lower.set_xlabel(f"probability of {of}")
    lower.grid(True, axis="y", alpha=0.3)


def _draw_curve(axes: Axes, curve: Calibration, label: str, style: dict[str, Any], least: float) -> None:
    bins = [one for one in curve.bins if one.rows >= least]
    axes.plot([one.probability for one in bins], [one.share for one in bins], label=label, **style)


def _residuals(figure: Figure, found: NumberEvaluation) -> None:
    """For each target: predicted against true values, and how the residuals are spread."""
    targets = found.targets[:_TARGETS]
    grid = figure.subplots(len(targets), 2, squeeze=False)
    for k, (left, right) in enumerate(grid):
        target, true, predicted = targets[k], found.points.true[:, k], found.points.predicted[:, k]
        name = _text(target.target, _LABEL_LENGTH)
        for axes, ends in ((left, "both"), (right, "x")):
            axes.ticklabel_format(axis=ends, scilimits=(-3, 4))
            axes.locator_params(axis=ends, nbins=6)
        _scatter(left, true, predicted)
        left.set(xlabel=f"true {name}", ylabel=f"predicted {name}")
        left.set_title(f"R2 {target.r2:.4g}, RMS error {target.rms:.4g}", fontsize="medium")
        _histogram(right, predicted - true, target.rms)
        right.set(xlabel=f"{name}: predicted - true", ylabel="rows")
        right.set_title(f"mean {target.mean_error:.4g}, largest {target.max_error:.4g}", fontsize="medium")
    drawn, more = len(found.points.true), len(found.targets) - len(targets)
    words = [] if drawn == found.rows else [f"drawn: {drawn:,} rows, spread evenly over the table"]
    words += [f"{more} more target{'s are' if more > 1 else ' is'} not drawn"] if more else []
    if words:
        figure.supxlabel("; ".join(words), fontsize="small", color="0.4")


def _scatter(axes: Axes, true: NDArray[np.float64], predicted: NDArray[np.float64]) -> None:
    """Points, or their density where they would cover each other."""
    if len(true) > 2_000:
        axes.hexbin(true, predicted, gridsize=60, cmap="viridis", bins="log", mincnt=1, linewidths=0.1)
    else:
        axes.scatter(true, predicted, s=10, alpha=0.5, linewidths=0)
    if len(true):
        low, high = float(min(true.min(), predicted.min())), float(max(true.max(), predicted.max()))
        axes.plot([low, high], [low, high], color="C3", linewidth=1.2, label="predicted = true")
        axes.legend(fontsize="small", loc="upper left")
    axes.grid(True, alpha=0.3)


def _histogram(axes: Axes, residuals: NDArray[np.float64], rms: float) -> None:
    bins = int(np.clip(2 * len(residuals) ** (1 / 3), 10, 80))  # Rice's rule
    middle, reach = float(residuals.max() + residuals.min()) / 2, float(np.ptp(residuals)) / 2
    reach = max(reach, rms / 4) or 0.5  # errors that are all alike are a bar, too
    axes.hist(residuals, bins=bins, range=(middle - reach, middle + reach), color="C0", alpha=0.85)
    axes.axvline(0, color="C3", linewidth=1.2)
    for side in (-rms, rms):
        axes.axvline(side, color="0.4", linestyle="--", linewidth=1.0, label=None if side is rms else "± RMS error")
    axes.legend(fontsize="small")
    axes.grid(True, axis="y", alpha=0.3)


def _count(value: float) -> str:
    if value != int(value):
        return f"{value:.3g}"
    return f"{int(value):,}" if value < 100_000 else f"{value:.2g}"


def _text(text: str, length: int) -> str:
    """Return text of a file as it may stand in a picture: on one line, not endless, and no formula."""
    plain = clean(text)
    plain = plain if len(plain) <= length else plain[: length - 1] + "…"
    return plain.replace("$", r"\$")
