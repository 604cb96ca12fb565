"""Does a job directory agree with itself: history, checkpoints, model, status, data? It is only read, and may be of a running job.

What a running job replaces is read before what proves it: status, checkpoints and model first, then the metrics, which have every
step before anything else has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dbp.errors import CheckpointError, DbpError, InputError, JobDirectoryError, JobFileError, ModelFileError
from dbp.evidence.findings import Check, Finding, Report
from dbp.evidence.history import read_history
from dbp.evidence.records import read_environment
from dbp.evidence.signals_record import signals_check
from dbp.jobs.directory import JobDirectory
from dbp.jobs.job import Job
from dbp.jobs.status import Status, read_status
from dbp.jobs.sweep import members
from dbp.jobs.sweep_table import best_of, read_table
from dbp.models.model import Model, load_model
from dbp.storage.checkpoints import Checkpoint
from dbp.vectors import digest

FingerprintOf = Callable[[Job], str]  # of the job's tables as they are now; DbpError where they cannot be read


def verify(directory: JobDirectory, fingerprint_of: FingerprintOf) -> Report:
    """Examine a job directory, and those of its runs where it stands for several. StorageError where files cannot be read."""
    directory.fetch(directory.job_file)
    job, check = _job_check(directory)
    checks = [check]
    if job is not None and job.has_members:
        checks += _sweep_checks(directory, job, fingerprint_of)
    else:
        checks += _Examination(directory, job).checks()
        if job is not None:
            checks.append(_data_check(directory, job, fingerprint_of))
    return Report(directory.id, str(directory.place), tuple(checks))


def _job_check(directory: JobDirectory) -> tuple[Job | None, Check]:
    name = directory.job_file.name
    try:
        return Job.from_file(directory.job_file), Check("job file", f"{name} is a job file")
    except JobFileError as error:
        seen = "; ".join(str(problem) for problem in error.problems) or str(error)
        finding = Finding(name, None, "a job file", seen)
        return None, Check("job file", f"{name} cannot be used", (finding,))


def _data_check(directory: JobDirectory, job: Job, fingerprint_of: FingerprintOf) -> Check:
    tables = job.data.train + (f" and {job.data.validation}" if isinstance(job.data.validation, str) else "")
    environment = read_environment(directory)
    known = environment.facts.get("data_fingerprint") if environment.facts is not None else None
    if not isinstance(known, str):
        return Check("data", "no fingerprint of the data is known")
    try:
        now = fingerprint_of(job)
    except DbpError as error:
        return Check("data", "the tables were not compared", (), (f"{tables}: not here to be compared ({error})",))
    if now != known:
        name = directory.environment_file.name
        finding = Finding(name, None, f"data fingerprint {known[:16]}", f"{now[:16]}: {tables} changed since")
        return Check("data", "the tables are others", (finding,))
    return Check("data", f"{tables}: unchanged since the run")


@dataclass(frozen=True)
class _Kept:
    """Parameters that a file holds, and the step that they are from."""

    file: str
    step: int
    digest: str


class _Examination:
    """Of a directory that is one run; reads everything at once, in the order that the module says."""

    def __init__(self, directory: JobDirectory, job: Job | None) -> None:
        self._directory, self._job = directory, job
        directory.fetch(directory.status_file, directory.environment_file, directory.model_file)
        directory.fetch(directory.signals_file, directory.metrics_file)
        self._kept: list[_Kept] = []
        self._status, status_findings = self._read_status()
        self._environment = read_environment(directory)
        self._checkpoints = self._checkpoint_check()
        self._model = self._model_check()
        self._signals = read_history(directory.signals_file)
        self._history = read_history(directory.metrics_file)
        self._status_check = self._check_status(status_findings)

    def checks(self) -> list[Check]:
        """Return what was found, the records first."""
        return [
            self._history_check(),
            self._status_check,
            self._environment_check(),
            self._checkpoints,
            self._model,
            self._digest_check(),
            *self._signals_checks(),
        ]

    # ---- status and environment

    def _read_status(self) -> tuple[Status | None, tuple[Finding, ...]]:
        file = self._directory.status_file
        try:
            status = read_status(file)
        except JobDirectoryError as error:
            return None, (Finding(file.name, None, "a status file", _without_path(error, file)),)
        return status, ()

    def _check_status(self, found: tuple[Finding, ...]) -> Check:
        name, status, last = self._directory.status_file.name, self._status, self._history.last
        if status is None:
            if not found and last:
                found = (Finding(name, None, f"a status, after {last} steps", "no such file"),)
            return Check("status", "there is no usable status", found, () if found else ("training has not begun",))
        findings = list(found)
        says = f"{status.state} at step {status.step}"
        settled = status.state == "SUCCEEDED" and self._read_status()[0] == status
        if status.step > last or (settled and status.step != last):
            findings.append(
                Finding(name, status.step, f"step {last}, the last of metrics.jsonl", f"step {status.step}")
            )
        if status.state == "SUCCEEDED" and not self._directory.model_file.is_file():
            findings.append(
                Finding(self._directory.model_file.name, status.model_step, "the model of a done job", "no such file")
            )
        model = next((kept for kept in self._kept if kept.file == self._directory.model_file.name), None)
        if settled and model is not None and status.model_step is not None and model.step != status.model_step:
            findings.append(
                Finding(name, status.model_step, f"model_step {model.step}, as the model says", f"{status.model_step}")
            )
        return Check("status", says, tuple(findings))

    def _environment_check(self) -> Check:
        findings = self._environment.findings if self._history.last else ()
        kernel = (self._environment.facts or {}).get("kernel_fingerprint")
        says = f"kernel fingerprint {kernel}" if kernel else "no kernel fingerprint is known"
        return Check("environment", says, findings)

    # ---- checkpoints and model

    def _checkpoint_check(self) -> Check:
        store = self._directory.checkpoint_store()
        findings: list[Finding] = []
        warnings: list[str] = []
        good = 0
        for step in store.steps():
            name = f"checkpoints/{store.path(step).name}"
            try:
                checkpoint = store.load(step)
            except CheckpointError as error:
                if step in store.steps():  # a running job retires the oldest
                    reason = str(error).rpartition(f"{store.path(step).name}: ")[2]
                    findings.append(Finding(name, step, "a checkpoint whose checksum holds", reason))
                continue
            good += 1
            findings += self._facts_of(name, checkpoint)
            warnings += self._kernel_of(name, checkpoint)
            self._kept += _parameters_of(name, checkpoint)
        count = f"{good} checkpoint{'' if good == 1 else 's'} whose checksums hold"
        return Check(
            "checkpoints", count if good or findings else "there is none yet", tuple(findings), tuple(warnings)
        )

    def _facts_of(self, name: str, checkpoint: Checkpoint) -> list[Finding]:
        wanted = {"data_fingerprint": (self._environment.facts or {}).get("data_fingerprint")}
        if self._job is not None:
            wanted["job_fingerprint"] = self._job.fingerprint()
        return [
            Finding(name, checkpoint.step, f"{key} {value[:16]}", _short(checkpoint.metadata.get(key)))
            for key, value in wanted.items()
            if isinstance(value, str) and checkpoint.metadata.get(key) != value
        ]

    def _kernel_of(self, name: str, checkpoint: Checkpoint) -> list[str]:
        here, there = (
            (self._environment.facts or {}).get("kernel_fingerprint"),
            checkpoint.metadata.get("kernel_fingerprint"),
        )
        if here is None or here == there:
            return []
        return [f"{name}: written by a kernel with fingerprint {there}, the last attempt's is {here}: other last bits"]

    def _model_check(self) -> Check:
        file = self._directory.model_file
        if not file.is_file():
            return Check("model", "there is none yet")
        try:
            model = load_model(file)
        except ModelFileError as error:
            finding = Finding(file.name, None, "a model whose checksum holds", _without_path(error, file))
            return Check("model", "the model cannot be used", (finding,))
        self._kept += _parameters_of_model(file.name, model)
        findings = []
        wanted, seen = self._job.fingerprint() if self._job is not None else None, model.about.get("job_fingerprint")
        if wanted is not None and seen is not None and seen != wanted:
            findings.append(Finding(file.name, model.about.get("step"), f"job_fingerprint {wanted[:16]}", _short(seen)))
        return Check("model", f"SHA-256 of the parameters {model.parameters_sha256}", tuple(findings))

    # ---- history and digests

    def _history_check(self) -> Check:
        finished = self._status is not None and self._status.state == "SUCCEEDED"
        history = self._history
        says = f"steps 1 to {history.last}" if history.last else "no step yet"
        if history.attempts > 1:
            says += f", in {history.attempts} attempts"
        return Check("history", says, tuple(history.findings(finished)))

    def _signals_checks(self) -> list[Check]:
        """Return the check of the recorded error signals, where the job asks for them."""
        every = self._job.training.signals_every if self._job is not None else None
        if every is None:
            return []
        finished = self._status is not None and self._status.state == "SUCCEEDED"
        # What a checkpoint has was safe before it; the lines behind it may be lost with a killed run, which makes them again.
        checkpointed = max((kept.step for kept in self._kept), default=0)
        safe = self._history.last if finished else checkpointed
        return [signals_check(self._signals, self._history, every, safe, finished)]

    def _digest_check(self) -> Check:
        findings, compared, unknown = [], 0, []
        for kept in self._kept:
            if kept.step == 0:  # the start, before the first line
                continue
            told = self._history.digest(kept.step)
            if kept.step not in self._history.steps:
                findings.append(
                    Finding(self._history.file, kept.step, f"the step that {kept.file} is of", "no line of it")
                )
            elif told is None:
                unknown.append(kept.file)
            elif told != kept.digest:
                findings.append(
                    Finding(
                        kept.file,
                        kept.step,
                        f"digest {told}, as in {self._history.file}",
                        f"parameters of digest {kept.digest}",
                    )
                )
            else:
                compared += 1
        warnings = (f"{', '.join(unknown)}: {self._history.file} has no digests of these steps",) if unknown else ()
        says = f"{compared} of the parameters on disk are those of {self._history.file}"
        return Check("digests", says, tuple(findings), warnings)


def _parameters_of(name: str, checkpoint: Checkpoint) -> list[_Kept]:
    found = []
    arrays = checkpoint.arrays
    if "parameters" in arrays:
        found.append(_Kept(name, checkpoint.step, digest(arrays["parameters"])))
    if "stopping.best_parameters" in arrays and "stopping.best_step" in arrays:
        best: Any = arrays["stopping.best_step"]
        found.append(_Kept(name, int(np.ravel(best)[0]), digest(arrays["stopping.best_parameters"])))
    return found


def _parameters_of_model(name: str, model: Model) -> list[_Kept]:
    step = model.about.get("step")
    return [_Kept(name, step, digest(model.parameters))] if type(step) is int else []


def _sweep_checks(directory: JobDirectory, job: Job, fingerprint_of: FingerprintOf) -> list[Check]:
    """Return the checks of a job that stands for several runs: its table, and each run that has begun."""
    directory.fetch(directory.table_file, directory.model_file)
    name = directory.table_file.name
    try:
        results = read_table(directory.table_file)
    except JobDirectoryError as error:
        finding = Finding(name, None, "a table of runs", _without_path(error, directory.table_file))
        return [Check("runs", "the table of runs cannot be used", (finding,))]
    known = {result.number: result for result in results}
    findings, checks = [], []
    for member in members(job):
        home = directory.member(member.number)
        home.fetch(home.job_file)
        if not home.job_file.is_file():
            if member.number in known and known[member.number].done:
                findings.append(Finding(name, None, f"the directory of run {member.number}", "none"))
            continue
        home.fetch(home.model_file)
        findings += _same_model(
            name,
            home.model_file,
            f"run {member.number}",
            known[member.number].parameters_sha256 if member.number in known else None,
        )
        for check in _Examination(home, member.job).checks():
            checks.append(_of_member(check, member.number))
    best = best_of(results)
    if best is not None and directory.model_file.is_file():
        findings += _same_model(name, directory.model_file, f"the best run, {best.number}", best.parameters_sha256)
    done = sum(result.done for result in results)
    runs = Check("runs", f"{done} of {len(members(job))} runs are done", tuple(findings))
    first = directory.member(1)
    first.fetch(first.environment_file)
    return [runs, *checks, _data_check(first, job, fingerprint_of)]


def _same_model(table: str, file: Path, whose: str, sha256: str | None) -> list[Finding]:
    if sha256 is None or not file.is_file():
        return []
    try:
        seen = load_model(file).parameters_sha256
    except ModelFileError:
        return []  # told by the check of the model itself
    return [] if seen == sha256 else [Finding(table, None, f"the model of {whose}: {sha256[:16]}", seen[:16])]


def _of_member(check: Check, number: int) -> Check:
    folder = f"members/{number:03}"
    findings = tuple(replace(finding, file=f"{folder}/{finding.file}") for finding in check.findings)
    warnings = tuple(f"{folder}/{warning}" for warning in check.warnings)
    return replace(check, name=f"run {number}: {check.name}", findings=findings, warnings=warnings)


def _without_path(error: InputError, file: Path) -> str:
    return str(error).removeprefix(f"{file}: ")


def _short(value: object) -> str:
    return value[:16] if isinstance(value, str) else str(value)
