"""The sections on what the network learns from and how well: error signals, and the validation rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dbp.reports.charts import Cell, Series, grid, line_chart, scatter
from dbp.reports.drawing import draw_signals, layout, shades
from dbp.reports.facts import Confusion, Facts, LabelCounts, Residuals, Snapshot
from dbp.reports.markup import Markup, join, number, tag
from dbp.reports.sections import note, table

MOST_CONFUSED = 20  # classes of the matrix that are drawn
MOST_POINTS = 500
MOST_LABELS = 100
VANISHING, EXPLODING = 1e-3, 1e3


def signals(facts: Facts) -> Markup:
    """The error signal travelling back: how large it is in each layer and at each neuron, at several steps."""
    found = facts.snapshots
    if not found or facts.weights is None:
        return note(facts, "signals") or tag("p", "No error signal could be computed.", class_="note")
    rows = f"{facts.signal_rows:,} training rows" if facts.signal_rows else "the training rows that the run took"
    if facts.training_rows > facts.signal_rows:
        rows += f" (of {facts.training_rows:,}, spread evenly)"
    how = f"{facts.recorded} of them recorded by the run" if facts.recorded else "computed for this page"
    told = (
        "The error enters at the outputs and travels back, layer by layer, to the inputs: the signal of a neuron is the "
        f"derivative of the error by its output. Shown is its root mean square over {rows}, at "
        f"{len(found)} set{'s' if len(found) > 1 else ''} of parameters, {how}. Where it shrinks on its way, front "
        "layers learn slowly; where it grows, steps overshoot."
    )
    start = (
        None
        if facts.snapshots[0].step == 0
        else tag("p", "The parameters before the first step are not among them.", class_="soft")
    )
    parts = [
        tag("p", told, class_="soft"),
        start,
        *map(_verdict, _ends(found)),
        tag("h3", "By layer"),
        _by_layer(found),
    ]
    charts = _over_steps(found)
    plan = layout(facts.weights)
    parts += [charts, tag("h3", "By neuron"), _slider(found), draw_signals(found, plan, facts.weights.network)]
    shade = "The darker, the larger among the neurons of that step, on a logarithmic scale. "
    return join([*parts, tag("p", shade, plan.abridged, class_="soft"), note(facts, "signals")])


def _ends(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    return [snapshots[0]] if len(snapshots) == 1 else [snapshots[0], snapshots[-1]]


def _verdict(each: Snapshot) -> Markup:
    """Say how the signal at the first hidden layer (or the inputs) compares with that at the outputs."""
    sizes = each.per_layer
    first = 1 if len(sizes) > 2 else 0
    where = "the first hidden layer" if first else "the inputs"
    if not all(map(math.isfinite, sizes)):
        return tag("p", f"{each.label}: the signal is no finite number in some layer.", class_="warned")
    if not sizes[-1] > 0:
        return tag("p", f"{each.label}: there is no error at the outputs.")
    ratio = sizes[first] / sizes[-1]
    told = f"{each.label}: at {where} the signal is {number(ratio, 3)} times that at the outputs"
    if ratio < VANISHING:
        return tag("p", f"{told}: it vanishes on its way.", class_="warned")
    if ratio > EXPLODING:
        return tag("p", f"{told}: it explodes on its way.", class_="warned")
    return tag("p", f"{told}.")


def _layer_names(count: int) -> list[str]:
    return ["inputs", *(f"layer {layer}" for layer in range(1, count - 1)), "outputs"]


def _by_layer(snapshots: Sequence[Snapshot]) -> Markup:
    shade, names = shades(snapshots), _layer_names(len(snapshots[0].layers))
    order = list(reversed(range(len(names))))  # as the error travels
    cells = [
        [
            Cell(
                shade(each.per_layer[layer]),
                number(each.per_layer[layer], 2),
                f"{names[layer]}, {each.label}: {number(each.per_layer[layer])}",
            )
            for each in snapshots
        ]
        for layer in order
    ]
    columns = ["model" if each.label.endswith("(model)") else each.label for each in snapshots]
    title, head = "error signal by layer and step", "the error travels down"
    picture = grid(title, [names[layer] for layer in order], columns, cells, head)
    return tag("div", picture, class_="heat")


def _over_steps(snapshots: Sequence[Snapshot]) -> Markup | None:
    """Return a line per layer against steps; None where there are too few."""
    names = _layer_names(len(snapshots[0].layers))
    lines = []
    for layer, name in reversed(list(enumerate(names))):
        points = [(each.step, each.per_layer[layer]) for each in snapshots if 0 < each.per_layer[layer] < math.inf]
        if len(points) > 2:
            lines.append(Series(name, tuple(step for step, _ in points), tuple(size for _, size in points)))
    return tag("div", line_chart("Size of the error signal", lines), class_="charts") if lines else None


def _slider(snapshots: Sequence[Snapshot]) -> Markup | None:
    if len(snapshots) < 2:
        return None
    last = len(snapshots) - 1
    labels = [f"{each.label}: {_range(each)}" for each in snapshots]
    bar = tag("input", type="range", id="when", min=0, max=last, step=1, value=last, data_labels="\n".join(labels))
    return tag("label", "parameters of ", bar, tag("output", labels[-1], id="when-label"), class_="slide")


def _range(each: Snapshot) -> str:
    values = np.concatenate(each.layers)
    return f"{number(float(values.min()), 2)} to {number(float(values.max()), 2)}"


def outcome(facts: Facts) -> Markup:
    """How the model does on the validation rows."""
    found = facts.outcome
    if found is None:
        return note(facts, "outcome") or tag("p", "Nothing was predicted.", class_="note")
    rows = f"{found.rows:,} validation rows" + (f" (of {found.of:,}, spread evenly)" if found.rows < found.of else "")
    if found.confusion is not None:
        return _confusion(found.confusion, rows)
    told = tag("p", f"{rows}, which the model was not trained on.", class_="soft")
    if found.labels:
        return join([told, _labels(found.labels)])
    return join([told, tag("div", *map(_residuals, found.residuals), class_="charts")])


def _confusion(found: Confusion, rows: str) -> Markup:
    totals = found.counts.sum(axis=1)
    total, right = int(totals.sum()), int(np.trace(found.counts))
    kept = sorted(np.argsort(-totals, kind="stable")[:MOST_CONFUSED].tolist())
    names = [str(found.classes[place]) for place in kept]
    cells = [
        [
            Cell(
                float(found.counts[row, column]) / max(1, int(totals[row])),
                f"{found.counts[row, column]:,}" if found.counts[row, column] else "·",
                f"{name} taken for {names[place]}: {found.counts[row, column]:,} of {totals[row]:,}",
            )
            for place, column in enumerate(kept)
        ]
        for row, name in zip(kept, names, strict=True)
    ]
    told = f"{rows}: {right:,} right ({right / total:.2%}). Rows of the matrix are the known classes, columns the predictions; "
    told += "shades are shares of a row."
    if len(kept) < len(found.classes):
        told += f" Drawn are {len(kept)} of {len(found.classes)} classes, those with the most rows."
    picture = grid("confusion matrix", names, names, cells, "known ↓ predicted →")
    return join([tag("p", told, class_="soft"), picture])


def _labels(found: Sequence[LabelCounts]) -> Markup:
    head = ["target", "label", "rows that have it", "rows it was predicted for", "both", "precision", "recall"]
    rows = [
        [each.target, str(each.label), *(f"{count:,}" for count in (each.known, each.predicted, each.right))]
        + [f"{each.right / whole:.1%}" if whole else "-" for whole in (each.predicted, each.known)]
        for each in found[:MOST_LABELS]
    ]
    more = len(found) - MOST_LABELS
    return join(
        [table(head, rows, left=(0, 1)), tag("p", f"and {more:,} labels more.", class_="soft") if more > 0 else None]
    )


def _residuals(found: Residuals) -> Markup:
    finite = np.isfinite(found.predicted)
    lost = len(finite) - int(finite.sum())
    without = f" {lost:,} predictions are no finite numbers and are left out." if lost else ""
    if not finite.any():
        return tag("p", f"{found.target}: no prediction is a finite number.", class_="warned")
    known, predicted = found.known[finite], found.predicted[finite]
    errors = predicted - known
    root, mean, largest = np.sqrt(np.mean(np.square(errors))), errors.mean(), np.abs(errors).max()
    places = np.unique(np.linspace(0, len(errors) - 1, MOST_POINTS).astype(int))
    picture = scatter(f"{found.target}", known[places].tolist(), predicted[places].tolist(), "known", "predicted")
    some = f"; {len(places)} of {len(errors):,} rows are drawn" if len(places) < len(errors) else ""
    told = f"RMS error {number(float(root))}, mean error {number(float(mean))}, largest {number(float(largest))}{some}.{without}"
    return tag("div", picture, tag("p", told))
