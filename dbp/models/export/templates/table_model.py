"""From columns to inputs, and from outputs to predictions: all but the network, which is a function handed in."""

from __future__ import annotations

import csv
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
MISSING = ("", "NA", "NaN", "nan", "null", "NULL", "N/A")  # in text
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
        """Return classes (rows,), or numbers in the targets' own units: (rows,), or (rows, targets) where there are several."""
        return self.decode(self.outputs(columns))

    def predict_probabilities(self, columns: Any) -> np.ndarray:
        """Return the probability of each class (rows, classes), in the order of ``description["classes"]``."""
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
        values = outputs.astype(np.float64) * description["target_scale"] + description["target_mean"]
        return values[:, 0] if values.shape[1] == 1 else values

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return the class probabilities that raw outputs stand for: softmax, or the logistic function of a single one."""
        if self.description["loss"] != "cross_entropy":
            raise ValueError("only a network trained with cross_entropy has class probabilities")
        wide = outputs.astype(np.float64)
        if wide.shape[1] == 1:
            with np.errstate(over="ignore"):
                return np.hstack([1 / (1 + np.exp(wide)), 1 / (1 + np.exp(-wide))])
        powers = np.exp(wide - wide.max(axis=1, keepdims=True))
        shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
        return shares


def numbers(values: Any, name: str, missing_too: bool = False) -> np.ndarray:
    """Return numbers, or text that spells them, in float64 (rows,); a missing one is NaN."""
    given = values if isinstance(values, np.ndarray) else np.array(list(values), dtype=object)
    if given.ndim != 1:
        raise ValueError(f"column {name!r}: shape {given.shape}; expected one value per row")
    wide = given.astype(np.float64) if given.dtype.kind in "biuf" else np.array([number(cell) for cell in given])
    wide = wide.astype(np.float64)
    usable = np.isfinite(wide) | (np.isnan(wide) if missing_too else False)
    if given.dtype.kind in "iu":
        usable &= np.abs(wide) <= EXACT_WHOLE
    if not usable.all():
        row = int(np.flatnonzero(~usable)[0])
        raise CellError(name, row + 1, f"{given[row]!r}; expected a finite number")
    return wide


def number(cell: Any) -> float:
    """Return a cell as a number; NaN for one that is missing, infinity for one that is no number."""
    if cell is None:
        return np.nan
    if isinstance(cell, str):
        text = cell.strip(" \t")
        if text in MISSING:
            return np.nan
        return TRUTH[text] if text in TRUTH else float(text) if NUMBER.fullmatch(text) else np.inf
    if isinstance(cell, int | np.integer) and abs(int(cell)) > EXACT_WHOLE:
        return np.inf
    try:
        return float(cell)
    except (TypeError, ValueError):
        return np.inf


def encode_number(column: Mapping[str, Any], values: Any) -> np.ndarray:
    """Return (value - mean) / scale (rows, 1)."""
    return ((numbers(values, column["name"]) - column["mean"]) / column["scale"])[:, None]


ENCODERS = {"number": encode_number}


def predict_table(model: TableModel, path: str, out: Any) -> None:
    """Write the rows of a CSV file with predictions (and probabilities) as further columns."""
    description = model.description
    several = description["task"] == "regression" and len(description["targets"]) > 1
    added = [f"prediction_{name}" for name in description["targets"]] if several else ["prediction"]
    likely = description["loss"] == "cross_entropy"
    if likely:
        added += [f"probability_{word(value)}" for value in description["classes"]]
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
                outputs = model.outputs(dict(zip(header, zip(*batch, strict=True), strict=True)))
            except CellError as error:
                error.row += done
                raise
            done += len(batch)
            parts = [model.decode(outputs).reshape(len(batch), -1)]
            parts += [model.probabilities(outputs)] if likely else []
            cells = [[word(cell) for part in parts for cell in part[place].tolist()] for place in range(len(batch))]
            table.writerows([*row, *more] for row, more in zip(batch, cells, strict=True))


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
