"""Looks at every node of a cluster before a job begins there: is the same dbp installed, and are storage and data visible?

A tiny task on each node reports; comparing the reports is plain arithmetic. All nodes are looked at before anything is made; those
that join while the job waits, when the job has been given places on them.
"""

from __future__ import annotations

import platform
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dbp.data.file_set import find_files, names_many
from dbp.data.remote_file import RemoteFile
from dbp.errors import DbpError, InputError, NodeUnfitError, StorageError
from dbp.jobs.directory import check_storage
from dbp.jobs.job import Job
from dbp.jobs.submission import TRAVELLING
from dbp.storage.atomic_files import storage_error
from dbp.storage.remote import BRIEF, Folder, MissingFileError, open_folder
from dbp.storage.uris import is_remote, local_path
from dbp.sums.fingerprint import kernel_fingerprint

ANSWER_S = 120.0
_WITNESS_BYTES = 1000


@dataclass(frozen=True)
class NodeReport:
    """What one node says of itself."""

    node: str  # its address
    versions: Mapping[str, str]  # of what decides the bits, and of what must fit together
    problems: tuple[str, ...] = ()  # what of storage and data it cannot see, as sentences


@dataclass(frozen=True)
class Errand:
    """What a node is to look for: a file that the driver has just written into the storage, and the job's tables."""

    storage: str
    witness: str  # a file's name in the storage
    text: str  # what the file says
    files: tuple[str, ...]


def own_versions() -> dict[str, str]:
    """Return what is compared between nodes. Of Python the first two numbers: patches change no bit and speak to each other."""
    found = {"python": ".".join(platform.python_version_tuple()[:2]), "numpy": np.__version__, "ray": ray.__version__}
    try:
        found["dbp"] = version("dbp")
    except PackageNotFoundError:  # runs from a folder
        found["dbp"] = "unknown"
    return {**found, "the kernel fingerprint": kernel_fingerprint()}


def report(node: str, errand: Errand) -> NodeReport:
    """Look around on this node."""
    return NodeReport(node, own_versions(), tuple(_problems(errand)))


def _problems(errand: Errand) -> Iterable[str]:
    storage = errand.storage
    try:
        if open_folder(storage, BRIEF).read(errand.witness, _WITNESS_BYTES) != errand.text.encode():
            yield f"{storage} is another folder there (storage)"
        else:
            check_storage(storage)
    except MissingFileError:
        yield f"{storage} is not there, or another folder (storage)"
    except DbpError as error:
        yield f"{error} (storage)"
    yield from _unreadable(errand.files)


def _unreadable(files: Iterable[str]) -> Iterable[str]:
    for name in files:
        try:
            _look_at(name)
        except DbpError as error:
            yield str(error)


def _look_at(name: str) -> None:
    """Raise StorageError or DataError unless the file can be read here, or the folder or pattern of a table names some."""
    if names_many(name):
        find_files(name)
        return
    if is_remote(name):
        RemoteFile(name, BRIEF).size()
        return
    try:
        with open(local_path(name), "rb") as opened:
            opened.read(1)
    except OSError as error:
        raise storage_error("be read", Path(name), error) from error


@dataclass(frozen=True)
class Fitness:
    """What a node must have so that a worker can run there: the coordinator's versions, and sight of the tables.

    All nodes are looked at before a job begins (`NodeCheck`); one that joins later when a worker starts on it.
    """

    node: str  # the coordinator's, by its address
    versions: Mapping[str, str]
    files: tuple[str, ...]

    @classmethod
    def here(cls, files: Iterable[str]) -> Fitness:
        """Return what this process's node has."""
        return cls(str(ray.util.get_node_ip_address()), own_versions(), tuple(files))

    def check(self) -> None:
        """Raise NodeUnfitError where this process's node has not what it takes."""
        own = NodeReport(str(ray.util.get_node_ip_address()), own_versions(), tuple(_unreadable(self.files)))
        found = differences([NodeReport(self.node, self.versions), own])
        if found:
            raise NodeUnfitError(ray.get_runtime_context().get_node_id(), "; ".join(found))


def files_of(job: Job) -> dict[str, str]:
    """Return the files that a job reads, by key."""
    values = job.model_dump()
    found = {}
    for key in TRAVELLING:
        section, _, name = key.partition(".")
        if isinstance(values[section][name], str):
            found[key] = values[section][name]
    return found


def tables_of(job: Job) -> list[str]:
    """Return the tables that a job's workers read."""
    return [name for key, name in files_of(job).items() if key.startswith("data.")]


def differences(reports: Sequence[NodeReport]) -> list[str]:
    """Return what is wrong with the nodes, as sentences. The first report is the driver's, which the others are held against."""
    found = []
    first = reports[0]
    for other in reports[1:]:
        for name, here in first.versions.items():
            there = other.versions.get(name, "unknown")
            if there != here:
                what = (
                    f"{name} {there}"
                    if name != "the kernel fingerprint"
                    else f"{name} {there} (it computes other bits)"
                )
                found.append(f"node {other.node} has {what}; the driver's node {first.node} has {here}")
    for each in reports:
        found += [f"node {each.node}: {problem}" for problem in each.problems]
    return list(dict.fromkeys(found))


@dataclass
class NodeCheck:
    """Looks at nodes for one job, at each of them once."""

    storage: str
    files: tuple[str, ...]
    looked_at: set[str] = field(default_factory=set)  # node ids

    def look(self, only: Collection[str] | None = None) -> int:
        """Ask the nodes of the cluster, or `only` some of them, that were not asked before; return how many.

        InputError with everything that is wrong with them.
        """
        new = {
            node["NodeID"]: str(node["NodeManagerAddress"])
            for node in ray.nodes()
            if node["Alive"] and node["NodeID"] not in self.looked_at and (only is None or node["NodeID"] in only)
        }
        if not new:
            return 0
        errand, folder = _errand(self.storage, self.files)
        try:
            reports = [report(str(ray.util.get_node_ip_address()), errand), *_ask(new, errand)]
        finally:
            with suppress(StorageError):
                folder.remove(errand.witness)
        problems = differences(reports)
        if problems:
            advice = "dbp, ray, numpy and Python must be the same on all nodes, and storage and data visible from all of them"
            raise InputError(
                "\n".join([f"the cluster cannot run this job: {advice}", *(f"  {each}" for each in problems)])
            )
        self.looked_at |= new.keys()
        return len(new)


def _errand(storage: str, files: tuple[str, ...]) -> tuple[Errand, Folder]:
    check_storage(storage)
    folder = open_folder(storage, BRIEF)
    errand = Errand(storage, f".dbp-{secrets.token_hex(12)}.check", secrets.token_hex(16), files)
    folder.write(errand.witness, errand.text.encode())
    return errand, folder


def _ask(nodes: Mapping[str, str], errand: Errand) -> list[NodeReport]:
    asked = {}
    for node, address in nodes.items():
        strategy = NodeAffinitySchedulingStrategy(node, soft=False)
        task = ray.remote(report).options(num_cpus=0, max_retries=1, scheduling_strategy=strategy)
        asked[task.remote(address, errand)] = address
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_S)
    answers = []
    for ref in ready:
        try:
            answers.append(ray.get(ref))
        except RayError as error:
            answers.append(NodeReport(asked[ref], own_versions(), (_could_not_run(error),)))
    for ref in late:
        answers.append(NodeReport(asked[ref], own_versions(), (f"did not answer within {ANSWER_S:.0f} s",)))
    return sorted(answers, key=lambda answer: answer.node)


def _could_not_run(error: RayError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"a task could not run there; is dbp installed? ({lines[-1][:300] if lines else type(error).__name__})"
