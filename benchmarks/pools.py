"""What a step costs beyond its arithmetic, and what a second worker gains: real Ray, real actors. Prints JSON."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.synchronize import Barrier
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
WARM_TURNS = 3
PATIENCE_S = 120  # a process that ended would leave the others waiting


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
    """Return what a second worker gains, and what a second process gains that has nothing to do with the first.

    All are there at once and take turns, step by step (who waits sleeps): a ratio is that of two steps within one or two
    seconds, so that a machine that is slower for a while does not count as a pool that is.
    """
    shape = Shape(SCALED.sizes, 2_000) if quick else SCALED
    theta = shape.network.initial_parameters(0)
    print(f"pool {shape.name}, 1 worker and 2 workers in turn", file=sys.stderr, flush=True)
    pools = {workers: ray_pool(workload(shape), workers) for workers in (1, 2)}
    steps: dict[str, Callable[[], object]] = {
        f"pool_{workers}": partial(pool.sum, SumTask("gradient", "train"), theta) for workers, pool in pools.items()
    }
    with apart(shape, 1) as steps["apart_1"], apart(shape, 2) as steps["apart_2"]:
        seconds = {name: [seconds_of(step) for _ in range(WARM_TURNS)][:0] for name, step in steps.items()}
        for _ in range(5 if quick else 60):
            for name, step in steps.items():
                seconds[name].append(seconds_of(step))
    for pool in pools.values():
        pool.close()
    found: dict[str, object] = {"network": shape.name, "rows": shape.rows, "turns": len(seconds["pool_1"])}
    for kind in ("pool", "apart"):
        one, two = seconds[f"{kind}_1"], seconds[f"{kind}_2"]
        ratios = [a / b for a, b in zip(one, two, strict=True)]
        found[kind] = {
            "one_ms": statistics.median(one) * 1e3,
            "two_ms": statistics.median(two) * 1e3,
            "gain": statistics.median(ratios),
            "quartiles": statistics.quantiles(ratios, n=4),
        }
    return found


def seconds_of(call: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@contextmanager
def apart(shape: Shape, processes: int) -> Iterator[Callable[[], object]]:
    """Give a step that plain processes share out among them: each sums over its rows, and nothing is told to anybody."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes + 1)
    part = Shape(shape.sizes, shape.rows // processes)
    started = [context.Process(target=_summing, args=(part, barrier), daemon=True) for _ in range(processes)]
    for process in started:
        process.start()

    def step() -> None:
        barrier.wait(PATIENCE_S)
        barrier.wait(PATIENCE_S)

    try:
        yield step
    finally:
        for process in started:
            process.kill()
            process.join()


def _summing(shape: Shape, barrier: Barrier) -> None:
    pool, theta = serial_pool(workload(shape)), shape.network.initial_parameters(0)
    while True:
        barrier.wait(PATIENCE_S)
        pool.sum(SumTask("gradient", "train"), theta)
        barrier.wait(PATIENCE_S)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--quick", action="store_true")
    quick = arguments.parse_args().quick
    with embedded_ray(4, 4 << 20):
        found = {"overhead": overhead(quick), "scaling": scaling(quick)}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
