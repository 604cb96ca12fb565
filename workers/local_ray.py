"""An embedded Ray of our own, for as long as a job runs; or a connection to one that is there."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from dbp.errors import InputError
from dbp.workers.ray_address import answering_address

MEBIBYTE = 1 << 20
OBJECT_STORE_FLOOR = 80 * MEBIBYTE  # Ray accepts no less than 75 MiB

# One thread per worker: numpy's BLAS, which the kernel does not use, would start one per CPU and leave them idle.
WORKER_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

_clusters: list[str] = []  # the address that `cluster_ray` has connected this process to


@contextmanager
def embedded_ray(workers: int, vector_bytes: int = 0) -> Iterator[None]:
    """Start a Ray of this process with a CPU for each worker, and stop it at the end.

    `vector_bytes` is the size of a parameter vector: its channels live in the object store. A Ray that this process is
    connected to already is used and left alone.
    """
    if ray.is_initialized():
        yield
        return
    _quiet()
    store = OBJECT_STORE_FLOOR + 4 * workers * vector_bytes
    ray.init(
        num_cpus=workers,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=store,
        runtime_env={"env_vars": WORKER_ENVIRONMENT},
    )
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def cluster_ray(address: str) -> Iterator[None]:
    """Connect to the Ray cluster at `address` and disconnect at the end. InputError if there is none.

    Where this has connected to it already, that is used and left alone.
    """
    if _clusters == [address]:
        yield
        return
    found = answering_address(address)
    _quiet()
    try:
        ray.init(
            address=found,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": WORKER_ENVIRONMENT},
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"--address {address}: no Ray cluster answers there ({str(error).splitlines()[0]}); "
            "leave --address out to train on this machine"
        ) from error
    _clusters.append(address)
    try:
        yield
    finally:
        _clusters.remove(address)
        ray.shutdown()


def _quiet() -> None:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
