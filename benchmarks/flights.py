"""A real table end to end: how late flights arrive, by dbp, scikit-learn's MLP and a linear model, on the same rows. Prints JSON.

Every fifth day of 2013 is held out. scikit-learn gets what dbp makes of the table by itself: classes of text one-hot (rare ones
together), missing numbers by the median with an indicator, date parts, all standardised; the target, too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sklearn.compose import TransformedTargetRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import OneHotEncoder, StandardScaler

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from make_flights import flights, package_folder

import dbp

TEXT = ["carrier", "origin", "dest", "manufacturer"]
TARGET, TIME = "arr_delay", "time_hour"
HIDDEN = (64, 32)


def halves(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return the rows to learn from and those held out: every fifth day."""
    day = np.asarray(pc.day_of_year(table[TIME]))
    held_out = pa.array(day % 5 == 0)
    return table.filter(pc.invert(held_out)), table.filter(held_out)


def matrices(table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return texts (rows, 4), numbers (rows, n) with NaN for missing cells, and the target (rows,)."""
    texts = np.column_stack([np.array(pc.fill_null(table[name], "missing"), dtype=object) for name in TEXT])
    parts = [pc.month(table[TIME]), pc.day_of_week(table[TIME]), pc.hour(table[TIME])]
    plain = [table[name] for name in table.column_names if name not in (*TEXT, TARGET, TIME)]
    numbers = np.column_stack([column.cast(pa.float64()).to_numpy() for column in (*plain, *parts)])
    return texts, numbers, table[TARGET].to_numpy().astype(float)


def scikit_learn(train: pa.Table, test: pa.Table, seed: int) -> dict[str, dict[str, float]]:
    """Return RMS error and seconds of both models; their preparation counts once for each."""
    began = time.perf_counter()
    classes = OneHotEncoder(
        min_frequency=50, handle_unknown="infrequent_if_exist", sparse_output=False, dtype=np.float32
    )
    fill, scale = SimpleImputer(strategy="median", add_indicator=True), StandardScaler()
    texts, numbers, target = matrices(train)
    inputs = np.hstack([classes.fit_transform(texts), scale.fit_transform(fill.fit_transform(numbers))]).astype(
        np.float32
    )
    texts, numbers, known = matrices(test)
    unseen = np.hstack([classes.transform(texts), scale.transform(fill.transform(numbers))]).astype(np.float32)
    prepared = time.perf_counter() - began
    models = {
        "linear (ridge)": Ridge(1.0),
        "scikit-learn MLPRegressor (adam)": MLPRegressor(
            hidden_layer_sizes=HIDDEN, early_stopping=True, random_state=seed, activation="tanh"
        ),
    }
    found = {}
    for name, model in models.items():
        print(f"flights: {name}", file=sys.stderr, flush=True)
        began = time.perf_counter()
        fitted = TransformedTargetRegressor(model, transformer=StandardScaler()).fit(inputs, target)
        seconds = time.perf_counter() - began + prepared
        errors = fitted.predict(unseen) - known
        found[name] = {"rms": float(np.sqrt(np.mean(errors**2))), "seconds": seconds}
    return found


def with_dbp(folder: Path, seed: int, steps: int) -> dict[str, dict[str, float]]:
    """Return RMS error and seconds, from the call to the model: starting Ray and reading the table are in it."""
    values: dict[str, Any] = {
        "name": "flights",
        "data": {
            "train": str(folder / "train.parquet"),
            "validation": str(folder / "test.parquet"),
            "target": TARGET,
            "rare_below": 50,
            "unknown": "other",
            "dates": {TIME: ["month", "weekday", "hour"]},
            "impute": {"*": "median", "manufacturer": "class"},
            "missing_indicator": True,
        },
        "task": "regression",
        "network": {"hidden": list(HIDDEN)},
        "optimizer": {"name": "lbfgs"},
        "training": {"max_steps": steps, "l2_penalty": 1e-4, "seed": seed},
        "storage": str(folder / "runs"),
    }
    print("flights: dbp", file=sys.stderr, flush=True)
    began = time.perf_counter()
    result = dbp.train(dbp.Job.from_values(values))
    seconds = time.perf_counter() - began
    measures = result.model.evaluate(folder / "test.parquet")
    return {f"dbp (lbfgs, {steps} steps, 2 workers)": {"rms": float(measures["rms"]), "seconds": seconds}}


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    table = flights(package_folder())
    train, test = halves(table.slice(0, 5_000) if given.quick else table)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(train, folder / "train.parquet")
        pq.write_table(test, folder / "test.parquet")
        found = with_dbp(folder, given.seed, 10 if given.quick else 300)
        found |= scikit_learn(train, test, given.seed)
    spread = float(pc.stddev(test[TARGET]).as_py())  # the RMS error of the mean
    json.dump({"train": train.num_rows, "test": test.num_rows, "spread": spread, "found": found}, sys.stdout)


if __name__ == "__main__":
    main()
