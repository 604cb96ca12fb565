"""The sections of a page: each a function from facts to what stands below its heading."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dbp.jobs.sweep import spell
from dbp.jobs.sweep_table import best_of, ranked
from dbp.reports.charts import Series, line_chart, thinned
from dbp.reports.drawing import draw_weights, layout
from dbp.reports.facts import Category, Facts
from dbp.reports.markup import Markup, join, number, shortened, tag

MOST_COLUMNS = 60  # of the table that are listed
MOST_CLASSES = 60


def note(facts: Facts, section: str) -> Markup | None:
    """Return why something of a section is not there."""
    return tag("p", _sentence(facts.notes[section]), class_="note") if section in facts.notes else None


def summary(facts: Facts) -> Markup:
    """State, numbers, and how to do it again."""
    view, status = facts.view, facts.view.status
    last = facts.steps[-1] if facts.steps else {}
    best = best_of(facts.members)
    accuracy = _last(facts, "validation_accuracy")
    tiles = [
        ("steps", view.progress),
        ("loss", number(view.loss)),
        ("validation loss", number(_last(facts, "validation_loss"))),
        ("validation accuracy", None if accuracy is None else f"{accuracy:.2%}"),
        ("training rows", number(facts.training_rows) if facts.training_rows else number(last.get("rows"))),
        ("parameters", number(facts.weights.network.parameter_count) if facts.weights else None),
        ("attempts", number(status.attempt) if status else None),
        ("best run", number(best.number) if best else None),
    ]
    shown = [
        tag("div", tag("b", value), tag("span", name), class_="tile")
        for name, value in tiles
        if value not in (None, "–")
    ]
    pairs = {
        "state": f"{view.state}: {view.message}",
        "task": f"{facts.job.task}, {facts.job.loss}",
        "method": facts.job.optimizer.name,
        "started": view.started,
        "last heard of": status.heartbeat if status else None,
        "directory": str(view.directory),
    }
    return join([tag("div", *shown, class_="tiles"), _list(pairs), _reproduce(facts)])


def _reproduce(facts: Facts) -> Markup:
    where = shlex.quote(str(facts.view.directory))
    last = facts.steps[-1]["step"] if facts.steps else None
    lines = [f"dbp run {where}/job.yaml --storage again"]
    lines += [f"dbp verify {where}"]
    lines += [f"dbp replay {where} --step {last}"] if last and not facts.members else []
    told = (
        f"Another run of this job on the same data has the same bits: {facts.model.parameters_sha256} as the SHA-256 of its "
        "parameters, with any number of workers."
        if facts.model
        else "Another run of this job on the same data makes the same steps, with any number of workers."
    )
    job = tag("details", tag("summary", "The job file, all defaults filled in"), tag("pre", facts.job_text))
    return join([tag("h3", "Do it again"), tag("p", told), tag("pre", "\n".join(lines)), job])


def runs(facts: Facts) -> Markup | None:
    """The runs of a job with a sweep or restarts, the best first."""
    if not facts.members:
        return None
    keys = list(dict.fromkeys(key for each in facts.members for key in each.changes))
    best = best_of(facts.members)
    rows = []
    for each in ranked(facts.members):
        mark = " (best)" if best is not None and each.number == best.number else ""
        validation = (each.validation or {}).get("loss")
        rows.append(
            [
                f"{each.number}{mark}",
                *(spell(each.changes[key]) if key in each.changes else "–" for key in keys),
                str(each.seed),
                each.state,
                str(each.steps),
                number(each.loss),
                number(validation),
                each.directory,
            ]
        )
    head = ["run", *keys, "start", "state", "steps", "loss", "validation loss", "directory"]
    text = "Each run is a job directory of its own, with a report of its own: dbp report, and its directory."
    return join([tag("p", text), table(head, rows, left=(0, len(head) - 1))])


def curves(facts: Facts) -> Markup:
    """Loss, and what else was measured, against steps."""
    charts = [
        line_chart(title, series)
        for title, keys in (
            ("Loss", ("loss", "validation_loss")),
            ("Accuracy on the validation rows", ("validation_accuracy",)),
            ("Root mean square error", ("rms", "validation_rms")),
            ("Size of the gradient", ("gradient_norm",)),
            ("Seconds per step", ("seconds",)),
        )
        if (series := list(_series(facts.steps, keys)))
    ]
    if not charts:
        where = "its runs have them" if facts.members else "no step with a finite loss is recorded"
        return tag("p", f"There are no curves: {where}.", class_="note")
    torn = f" {facts.torn} lines of metrics.jsonl could not be read." if facts.torn else ""
    told = f"{len(facts.steps):,} step{'s' if len(facts.steps) > 1 else ''}. Loss and gradient are those at a step's start.{torn}"
    return join([tag("p", told, class_="soft"), tag("div", *charts, class_="charts")])


def network(facts: Facts) -> Markup:
    """The network with its weights."""
    if facts.weights is None:
        return note(facts, "network") or tag("p", "There are no parameters yet.", class_="note")
    plan = layout(facts.weights)
    shape = " – ".join(f"{size:,}" for size in facts.weights.network.sizes)
    told = [
        f"Layers of {shape} neurons, {facts.weights.network.parameter_count:,} parameters: {facts.weights.whose}. ",
        "Lines are weights: ",
        tag("span", "above zero", class_="plus"),
        ", ",
        tag("span", "below zero (dashed)", class_="minus"),
        "; the thicker, the larger among the lines of their layer. ",
        plan.abridged,
    ]
    return join([tag("p", *told, class_="soft"), draw_weights(facts.weights, plan), note(facts, "checkpoints")])


def data(facts: Facts) -> Markup:
    """What the table holds."""
    if facts.data is None:
        return note(facts, "data") or tag("p", "Nothing is known of the table.", class_="note")
    found = facts.data
    told = f"{found.training_rows:,} training rows, {found.validation_rows:,} validation rows. "
    told += "Of the training rows:" if found.columns else _sentence(found.note)
    parts: list[Markup | None] = [tag("p", told)]
    rows = [
        [each.name, each.role, *(number(value, 5) for value in (each.mean, each.deviation, each.minimum, each.maximum))]
        for each in found.columns[:MOST_COLUMNS]
    ]
    if rows:
        head = ["column", "is", "mean", "standard deviation", "least", "largest"]
        parts.append(table(head, rows, left=(0, 1)))
    if len(found.columns) > MOST_COLUMNS:
        parts.append(tag("p", f"and {len(found.columns) - MOST_COLUMNS:,} columns more.", class_="soft"))
    if found.categories:
        head = ["column", "values", "missing", "most frequent"]
        parts.append(table(head, [_category(each) for each in found.categories[:MOST_COLUMNS]], left=(0, 3)))
    if found.classes:
        parts += [tag("h3", f"Classes of {facts.job.data.targets[0]}"), _classes(facts, found.classes)]
    return join([*parts, note(facts, "data")])


def _category(each: Category) -> list[str]:
    named = ", ".join(f"{shortened(value, 30)} ({count:,})" for value, count in each.counts[:5])
    many = f"{len(each.counts):,}" if each.counts else "too many to count"
    return [each.name, many, f"{each.missing:,}", named]


def _classes(facts: Facts, classes: Sequence[tuple[object, int]]) -> Markup:
    total = sum(count for _, count in classes)
    rows = [[str(value), f"{count:,}", f"{count / total:.1%}"] for value, count in classes[:MOST_CLASSES]]
    more = len(classes) - MOST_CLASSES
    rest = tag("p", f"and {more:,} classes more.", class_="soft") if more > 0 else None
    return join([table(["class", "training rows", "share"], rows, left=(0,)), rest])


def environment(facts: Facts) -> Markup:
    """What the last attempt ran on."""
    if not facts.environment:
        where = "its runs have it" if facts.members else "it is not recorded"
        return tag("p", f"What the job ran on: {where}.", class_="note")
    return _list(dict(_flat("", facts.environment)))


def checksums(facts: Facts) -> Markup:
    """What identifies the result and its records."""
    known = facts.environment or {}
    digests = [entry["digest"] for entry in facts.steps if entry.get("digest")]
    pairs = {
        "parameters of the model (SHA-256)": facts.model.parameters_sha256 if facts.model else None,
        "job (fingerprint)": facts.job.fingerprint(),
        "data (fingerprint)": known.get("data_fingerprint"),
        "kernel (fingerprint)": known.get("kernel_fingerprint"),
        "parameters after the last step (digest)": digests[-1] if digests else None,
    }
    rows = [[each.name, f"{each.bytes:,}", each.sha256] for each in facts.checksums]
    return join([_list(pairs, code=True), table(["file", "bytes", "SHA-256"], rows, left=(0, 2))])


def warnings(facts: Facts) -> Markup:
    """What the log warns of."""
    if not facts.warnings:
        return tag("p", "The log has no warning.", class_="soft")
    return tag("ol", *(tag("li", line) for line in facts.warnings), class_="log")


def _series(steps: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Iterator[Series]:  # Any: JSON
    for key in keys:
        points = [(entry["step"], float(entry[key])) for entry in steps if _is_number(entry.get(key))]
        if points:
            xs, ys = thinned([x for x, _ in points], [y for _, y in points])
            yield Series(key.replace("_", " "), xs, ys, dashed=key.startswith("validation") and len(keys) > 1)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _last(facts: Facts, key: str) -> float | None:
    found = [entry[key] for entry in facts.steps if _is_number(entry.get(key))]
    return float(found[-1]) if found else None


def _list(pairs: Mapping[str, object], code: bool = False) -> Markup:
    parts = []
    for name, value in pairs.items():
        if value is not None:
            parts += [tag("dt", name), tag("dd", tag("code", str(value)) if code else str(value))]
    return tag("dl", *parts)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> Markup:
    """Return a table; columns at the places `left` hold words."""

    def line(name: str, cells: Sequence[str]) -> Markup:
        return tag(
            "tr", *(tag(name, cell, class_="left" if place in left else None) for place, cell in enumerate(cells))
        )

    body = tag("tbody", *(line("td", row) for row in rows))
    return tag("div", tag("table", tag("thead", line("th", head)), body), class_="scroll")


def _flat(prefix: str, values: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flat(f"{name} ", value)
        else:
            yield name, value


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + ("" if words.endswith(".") else ".") if words else ""
