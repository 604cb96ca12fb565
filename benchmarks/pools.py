"""What a step costs beyond its arithmetic, and what a second worker gains: real Ray, real actors. Prints JSON."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path

from measuring import median_seconds
from shapes import SHAPES, MadeUpRows, Shape

os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
)  # the workers read MadeUpRows

from dbp.sums.messages import SumTask, TrainingWork, Workload
from dbp.sums.pool import TransportPool, serial_pool
from dbp.sums.shards import Shards, cut_into_shards
from dbp.workers.local_ray import embedded_ray
from dbp.workers.ray_pool import CallStyle, ray_pool

FEW_ROWS = 64
SMALL = tuple(Shape(sizes, FEW_ROWS) for sizes in ((20, 45, 1), (20, 300, 12), (100, 900, 10), (784, 512, 256, 10)))
SCALED = SHAPES[0]


def workload(shape: Shape) -> Workload:
    """Return the work; tiny tables are cut into 8 shards all the same, so that every worker has a part in the step."""
    source = MadeUpRows(shape.sizes[0], shape.sizes[-1])
    training = TrainingWork(shape.network, "squared_error", "float32", encoding=None)
    shards = cut_into_shards(shape.rows, shape.sizes) if shape.rows > FEW_ROWS else Shards(shape.rows, 8)
    return Workload(source, {"train": shards}, 0, training)


def step_seconds(pool: TransportPool, shape: Shape, steps: int) -> float:
    """Return the median seconds of a step: parameters out, sums back, added up."""
    theta = shape.network.initial_parameters(0)
    pool.sum(SumTask("load", "train"), None)
    return median_seconds(lambda: pool.sum(SumTask("gradient", "train"), theta), steps)


def on_ray(shape: Shape, workers: int, calls: CallStyle, steps: int) -> float:
    print(f"pool {shape.name}, {workers} workers, {calls}", file=sys.stderr, flush=True)
    pool = ray_pool(workload(shape), workers, calls)
    try:
        return step_seconds(pool, shape, steps)
    finally:
        pool.close()


def overhead(quick: bool) -> list[dict[str, object]]:
    """Return a row per network size, number of workers and way of calling. 64 rows: next to no arithmetic."""
    rows: list[dict[str, object]] = []
    for shape in SMALL[:2] if quick else SMALL:
        alone = step_seconds(serial_pool(workload(shape)), shape, 50)
        for calls in ("link", "ray"):
            for workers in (2,) if quick else (1, 2, 4):
                seconds = on_ray(shape, workers, calls, 60 if quick else 300)
                row = {"parameters": shape.network.parameter_count, "workers": workers, "calls": calls}
                beyond = seconds - alone / min(workers, os.cpu_count() or 1)
                rows.append(row | {"step_ms": seconds * 1e3, "serial_ms": alone * 1e3, "beyond_ms": beyond * 1e3})
    return rows


def scaling(quick: bool) -> dict[str, object]:
    """Return what two workers gain over one. Pools take turns."""
    shape = Shape(SCALED.sizes, 2_000) if quick else SCALED
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(1 if quick else 5):
        for workers, measured in seconds.items():
            measured.append(on_ray(shape, workers, "link", 5 if quick else 12))
    one, two = (statistics.median(values) for values in seconds.values())
    ratios = [a / b for a, b in zip(seconds[1], seconds[2], strict=True)]
    return {
        "network": shape.name,
        "rows": shape.rows,
        "one_worker_ms": one * 1e3,
        "two_workers_ms": two * 1e3,
        "speedup": statistics.median(ratios),
        "speedups": ratios,
    }


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--quick", action="store_true")
    quick = arguments.parse_args().quick
    with embedded_ray(4, 4 << 20):
        found = {"overhead": overhead(quick), "scaling": scaling(quick)}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
