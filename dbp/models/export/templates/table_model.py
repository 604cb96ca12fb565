"""From columns to inputs, and from outputs to predictions: all but the network, which is a function handed in."""

from __future__ import annotations

import csv
import datetime
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
WHOLE = re.compile(r"[+-]?\d{1,19}", re.ASCII)
DATE = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d(:\d\d(:\d\d(\.\d{1,6})?)?)?)?", re.ASCII)
ZONE = re.compile(r"(?:Z|([+-])([01]\d|2[0-3])(?::?([0-5]\d))?)\Z", re.ASCII)  # behind the time of a date
MISSING = ("", "NA", "NaN", "nan", "null", "NULL", "N/A")  # in CSV
NO_PLACE = -2  # of a class that is refused
NO_DATE = np.datetime64("NaT", "us")
TRUTH = {"true": 1.0, "True": 1.0, "TRUE": 1.0, "false": 0.0, "False": 0.0, "FALSE": 0.0}
EXACT_WHOLE = 2**53
ROWS_AT_ONCE = 4096


class CellError(ValueError):
    """A value that cannot be used: its column, and its row, counted from 1."""

    def __init__(self, column: str, row: int, text: str) -> None:
        super().__init__(column, row, text)
        self.column, self.row, self.text = column, row, text

    def __str__(self) -> str:
        return f"column {self.column!r}, row {self.row}: {self.text}"


class TableModel:
    """Predictions from columns: a dict of names and sequences of values, or, of numbers alone, an array (rows, columns)."""

    def __init__(self, description: Mapping[str, Any], network: Callable[[np.ndarray], np.ndarray]) -> None:
        self.description = description
        self.network = network  # inputs (rows, inputs) -> raw outputs (rows, outputs), in the model's precision

    def inputs(self, columns: Any) -> np.ndarray:
        """Return the network's inputs (rows, inputs). ValueError for a missing column, CellError for a bad value."""
        described = self.description["columns"]
        if isinstance(columns, np.ndarray):
            if columns.ndim != 2 or columns.shape[1] != len(described):
                raise ValueError(f"an array of shape {columns.shape}; expected (rows, {len(described)})")
            others = [each["name"] for each in described if each["kind"] != "number"]
            if others:
                raise ValueError(
                    f"column {others[0]!r} is no number, so an array will not do; expected columns by name"
                )
            columns = {each["name"]: columns[:, place] for place, each in enumerate(described)}
        for each in described:
            if each["name"] not in columns:
                raise ValueError(f"no column {each['name']!r}")
        blocks = [ENCODERS[each["kind"]](each, columns[each["name"]]) for each in described]
        names = [each["name"] for each, block in zip(described, blocks, strict=True) for _ in range(block.shape[1])]
        if len({len(block) for block in blocks}) > 1:
            raise ValueError("columns of different lengths")
        with np.errstate(over="ignore"):
            rows = np.ascontiguousarray(np.concatenate(blocks, axis=1), dtype=self.description["precision"])
        bad = np.argwhere(~np.isfinite(rows))
        if len(bad):
            row, place = bad[0]
            raise CellError(names[place], int(row) + 1, f"a number too large for {rows.dtype}")
        return rows

    def outputs(self, columns: Any) -> np.ndarray:
        """Return the network's raw outputs (rows, outputs)."""
        return self.network(self.inputs(columns))

    def predict(self, columns: Any) -> np.ndarray:
        """Return classes (rows,), or numbers in the targets' own units: (rows,), or (rows, targets) where there are several.

        Of several labels, the class of each (rows, targets).
        """
        return self.decode(self.outputs(columns))

    def predict_probabilities(self, columns: Any) -> np.ndarray:
        """Return the probability of each class (rows, classes), in the order of ``description["classes"]``.

        Of several labels, that of each (rows, targets): of the second of its classes in ``description["labels"]``.
        """
        return self.probabilities(self.outputs(columns))

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Return the predictions that raw outputs stand for."""
        description = self.description
        if description["task"] == "classification":
            if outputs.shape[1] == 1:
                index = (outputs[:, 0] > (0.0 if description["loss"] == "cross_entropy" else 0.5)).astype(int)
            else:
                index = np.argmax(outputs, axis=1)
            return np.array(description["classes"])[index]
        if description["task"] == "multilabel":
            there = (outputs > 0).astype(int)
            columns = [np.array(pair)[there[:, place]] for place, pair in enumerate(description["labels"])]
            alike = len({column.dtype.kind for column in columns}) == 1
            return np.column_stack(columns if alike else [column.astype(object) for column in columns])
        wide = outputs.astype(np.float64)
        if description["loss"] == "poisson":
            with np.errstate(over="ignore"):
                wide = np.exp(wide)
        values = wide * description["target_scale"] + description["target_mean"]
        return values[:, 0] if values.shape[1] == 1 else values

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return the class probabilities that raw outputs stand for: softmax, or the logistic function of a single one.

        Of several labels, the logistic function of each.
        """
        if self.description["loss"] not in ("cross_entropy", "binary_cross_entropy"):
            raise ValueError("only a network trained with cross_entropy has class probabilities")
        wide = outputs.astype(np.float64)
        if self.description["task"] == "multilabel":
            with np.errstate(over="ignore"):
                return np.asarray(1 / (1 + np.exp(-wide)))
        if wide.shape[1] == 1:
            with np.errstate(over="ignore"):
                return np.hstack([1 / (1 + np.exp(wide)), 1 / (1 + np.exp(-wide))])
        powers = np.exp(wide - wide.max(axis=1, keepdims=True))
        shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
        return shares


def cells_of(values: Any, name: str) -> np.ndarray:
    """Return one column's values (rows,) as an array of numbers, dates, or objects."""
    if hasattr(values, "to_pylist"):  # a column of Arrow
        values = values.to_pylist()
    elif hasattr(values, "to_numpy"):  # of pandas or polars
        values = values.to_numpy()
    given = values if isinstance(values, np.ndarray) else np.array([*values, None], dtype=object)[:-1]
    if given.ndim != 1:
        raise ValueError(f"column {name!r}: shape {given.shape}; expected one value per row")
    return given


def is_missing(cell: Any) -> bool:
    """Whether a value is None or not a number, of any library."""
    try:
        return cell is None or bool(cell != cell)
    except TypeError:  # pandas.NA, of which nothing is true
        return True


def require(usable: np.ndarray, cells: np.ndarray, name: str, expected: str) -> None:
    """Raise CellError for the first row that is not usable."""
    if not usable.all():
        row = int(np.flatnonzero(~usable)[0])
        seen = "missing" if is_missing(cells[row]) else repr(cells.tolist()[row])[:80]
        raise CellError(name, row + 1, f"{seen}; expected {expected}")


def scaled(column: Mapping[str, Any], raw: np.ndarray, fill: Sequence[float] | None) -> np.ndarray:
    """Return numbers (rows, numbers) filled where they are missing (NaN), shifted and scaled; and the indicator."""
    if fill is not None:
        missing = np.isnan(raw[:, 0])
        raw = np.where(missing[:, None], np.array(fill), raw)
        if column["indicator"]:
            raw = np.column_stack([raw, missing.astype(np.float64)])
    with np.errstate(over="ignore"):
        inputs: np.ndarray = (raw - np.array(column["mean"])) / np.array(column["scale"])
    return inputs


def encode_number(column: Mapping[str, Any], values: Any) -> np.ndarray:
    """Return the inputs of a column of numbers, or of text that spells them."""
    fill, name = column["fill"], column["name"]
    cells = cells_of(values, name)
    if cells.dtype.kind in "biuf":
        raw = cells.astype(np.float64)
    else:
        raw = np.array([number(cell) for cell in cells.tolist()], dtype=np.float64)
    usable = np.isfinite(raw) if fill is None else ~np.isinf(raw)
    if cells.dtype.kind in "iu":
        usable &= np.abs(raw) <= EXACT_WHOLE
    require(usable, cells, name, "a finite number")
    return scaled(column, raw[:, None], None if fill is None else [fill])


def number(cell: Any) -> float:
    """Return a cell as a number; NaN for one that is missing, infinity for one that is no number."""
    if is_missing(cell):
        return np.nan
    if isinstance(cell, str):
        text = cell.strip(" \t")
        return TRUTH[text] if text in TRUTH else float(text) if NUMBER.fullmatch(text) else np.inf
    if isinstance(cell, int | np.integer) and abs(int(cell)) > EXACT_WHOLE:
        return np.inf
    try:
        return float(cell)
    except (TypeError, ValueError):
        return np.inf


def encode_category(column: Mapping[str, Any], values: Any) -> np.ndarray:
    """Return the inputs of a column of classes: 1 for a row's own, else 0."""
    family = FAMILIES[column["family"]]
    places = dict(zip(column["classes"], column["places"], strict=True))
    cells = cells_of(values, column["name"])
    found = np.empty(len(cells), dtype=int)
    for row, cell in enumerate(cells.tolist()):
        if is_missing(cell):
            place = column["missing"]
        else:
            value = family(cell)
            place = None if value is None else places.get(value, column["unknown"])
        found[row] = NO_PLACE if place is None else place
    shown = ", ".join(map(repr, column["classes"][:8])) + (", ..." if len(places) > 8 else "")
    require(found != NO_PLACE, cells, column["name"], f"one of {shown}")
    return (found[:, None] == np.arange(column["width"])).astype(np.float64)


def as_text(cell: Any) -> Any:
    """Return a text; None for what is none."""
    return cell if isinstance(cell, str) else None


def as_truth(cell: Any) -> Any:
    """Return true or false, also where it is spelt; None for what is neither."""
    if isinstance(cell, str):
        return bool(TRUTH[cell]) if cell in TRUTH else None
    return bool(cell) if isinstance(cell, bool | np.bool_) else None


def as_whole(cell: Any) -> Any:
    """Return a number, also where it is spelt; None for what is none. One that is not whole is no class."""
    if isinstance(cell, str):
        text = cell.strip(" \t")
        return int(text) if WHOLE.fullmatch(text) else float(text) if NUMBER.fullmatch(text) else None
    is_number = isinstance(cell, int | float | np.integer | np.floating) and not isinstance(cell, bool)
    return cell if is_number else None


FAMILIES: dict[str, Callable[[Any], Any]] = {"text": as_text, "truth": as_truth, "whole": as_whole}


def encode_date(column: Mapping[str, Any], values: Any) -> np.ndarray:
    """Return the inputs of a column of dates: their parts."""
    name, zoned, fill = column["name"], column["zoned"], column["fill"]
    cells = cells_of(values, name)
    if cells.dtype.kind == "M":
        moments, usable = instants(cells), np.ones(len(cells), dtype=bool)
    else:
        read = [moment(cell, zoned) for cell in cells.tolist()]
        usable = np.array([each is not None for each in read], dtype=bool)
        moments = np.array([NO_DATE if each is None else each for each in read], dtype="M8[us]")
    if fill is None:
        usable &= ~np.isnat(moments)
    require(usable, cells, name, "a date and time with its zone" if zoned else "a date such as 2026-11-25 08:30:00")
    raw = np.column_stack([part_of(moments, part) for part in column["parts"]])
    return scaled(column, np.where(np.isnat(moments)[:, None], np.nan, raw), fill)


def instants(cells: np.ndarray) -> np.ndarray:
    """Return dates of numpy in whole microseconds; what is finer is cut off."""
    if np.datetime_data(cells.dtype) == ("ns", 1):
        whole = cells.astype(np.int64)
        cut = np.where(whole < 0, -(-whole // 1000), whole // 1000).astype("M8[us]")
        return np.where(np.isnat(cells), NO_DATE, cut)
    return cells.astype("M8[us]")


def moment(cell: Any, zoned: bool) -> Any:
    """Return a cell as a date of numpy in microseconds (in UTC where it has a zone); None for what is no date."""
    if is_missing(cell):
        return NO_DATE
    if isinstance(cell, str):
        return spelt_moment(cell, zoned)
    if isinstance(cell, datetime.datetime):
        if (cell.tzinfo is not None) != zoned:
            return None
        return np.datetime64(cell.astimezone(datetime.UTC).replace(tzinfo=None) if zoned else cell, "us")
    return np.datetime64(cell, "us") if isinstance(cell, datetime.date) and not zoned else None


def spelt_moment(text: str, zoned: bool) -> Any:
    """Return a date that is spelt, with a time zone or without one; None for what is none."""
    zone = ZONE.search(text) if zoned else None
    date = text[: zone.start()] if zone else text
    try:
        if not DATE.fullmatch(date) or bool(zone) != zoned or (zone and len(date) == 10):
            return None
        ahead = 0
        if zone and zone[0] != "Z":
            ahead = int(zone[1] + "1") * (int(zone[2]) * 60 + int(zone[3] or 0))
        return np.datetime64(date, "us") - np.timedelta64(ahead, "m")
    except ValueError:
        return None


def part_of(moments: np.ndarray, part: str) -> np.ndarray:
    """Return a part of dates as numbers. weekday counts from Monday, 0; day_of_year from 1; timestamp is in seconds since 1970."""
    days, months, years = (moments.astype(f"M8[{unit}]") for unit in "DMY")
    since_midnight = (moments - days).astype(np.int64)
    match part:
        case "year":
            return years.astype(np.int64) + 1970
        case "month":
            return (months - years).astype(np.int64) + 1
        case "day":
            return (days - months).astype(np.int64) + 1
        case "weekday":
            return (days.astype(np.int64) + 3) % 7  # 1970 began on a Thursday
        case "hour":
            return since_midnight // 3_600_000_000
        case "minute":
            return since_midnight // 60_000_000 % 60
        case "day_of_year":
            return (days - years).astype(np.int64) + 1
        case "timestamp":
            return moments.astype(np.int64) / 1e6
    raise ValueError(f"no part {part!r} of a date")


ENCODERS = {"number": encode_number, "category": encode_category, "date": encode_date}


def predict_table(model: TableModel, path: str, out: Any) -> None:
    """Write the rows of a CSV file with predictions (and probabilities) as further columns."""
    description = model.description
    added = added_columns(description)
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = (row for row in csv.reader(file) if row)
        header = next(rows, [])
        for name in [*(each["name"] for each in description["columns"]), *header]:
            if header.count(name) != 1:
                raise ValueError(f"{header.count(name)} columns {name!r}; expected one")
        for name in added:
            if name in header:
                raise ValueError(f"a column {name!r}, which the predictions need; expected a table without it")
        table = csv.writer(out, lineterminator="\n")
        table.writerow([*header, *added])
        done = 0
        for batch in batches(rows, len(header)):
            try:
                known = [[None if cell in MISSING else cell for cell in row] for row in batch]
                outputs = model.outputs(dict(zip(header, zip(*known, strict=True), strict=True)))
            except CellError as error:
                error.row += done
                raise
            done += len(batch)
            parts = added_parts(model, outputs)
            cells = [[word(cell) for part in parts for cell in part[place].tolist()] for place in range(len(batch))]
            table.writerows([*row, *more] for row, more in zip(batch, cells, strict=True))


def added_columns(description: Any) -> list[str]:
    """Return the names of the columns that predictions are written to."""
    if description["task"] == "multilabel":
        groups = zip(description["targets"], description["labels"], strict=True)
        return [
            name
            for target, pair in groups
            for name in (f"prediction_{target}", *(f"probability_{target}_{word(value)}" for value in pair))
        ]
    several = description["task"] == "regression" and len(description["targets"]) > 1
    added = [f"prediction_{name}" for name in description["targets"]] if several else ["prediction"]
    if description["loss"] == "cross_entropy":
        added += [f"probability_{word(value)}" for value in description["classes"]]
    return added


def added_parts(model: TableModel, outputs: np.ndarray) -> list[np.ndarray]:
    """Return what is written of raw outputs (rows, outputs), as parts (rows, some of the columns)."""
    predicted = model.decode(outputs).reshape(len(outputs), -1)
    if model.description["task"] == "multilabel":
        with np.errstate(over="ignore"):
            against = 1 / (1 + np.exp(outputs.astype(np.float64)))
        chances = model.probabilities(outputs)
        places = [slice(place, place + 1) for place in range(outputs.shape[1])]
        return [part[:, place] for place in places for part in (predicted, against, chances)]
    return [predicted, *([model.probabilities(outputs)] if model.description["loss"] == "cross_entropy" else [])]


def batches(rows: Iterable[list[str]], width: int) -> Iterator[list[list[str]]]:
    """Yield some rows at a time, each as wide as the header."""
    source = iter(rows)
    while batch := list(itertools.islice(source, ROWS_AT_ONCE)):
        for row in batch:
            if len(row) != width:
                raise ValueError(f"a row of {len(row)} cells; expected {width}")
        yield batch


def word(value: Any) -> str:
    """Return a value as it stands in CSV."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def main(model: TableModel, arguments: Sequence[str]) -> None:
    """The command line: a CSV file in, CSV with predictions on standard output."""
    if len(arguments) != 2:
        raise SystemExit(f"usage: {arguments[0]} TABLE.csv > PREDICTIONS.csv")
    try:
        predict_table(model, arguments[1], sys.stdout)
    except (ValueError, OSError, csv.Error) as error:
        raise SystemExit(f"{arguments[1]}: {error}") from None
