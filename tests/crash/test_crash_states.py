"""Checkpoints after a loss of power at any moment: what was acknowledged is there, and nothing torn is taken for whole.

`DBP_CRASH_STATES=all` (`make crash-states`) looks at many more states.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from crash.conftest import folder_in_memory
from crash.disk_model import Contents, State, key_of, rebuild
from crash.protocols import SAVES, SKIPS, Save, checkpoint
from crash.recording import Killed, Recording, Trouble

from dbp.errors import StorageError
from dbp.storage.atomic_files import remove_leftovers
from dbp.storage.checkpoints import CheckpointStore

ALL = os.environ.get("DBP_CRASH_STATES") == "all"
SUBSETS = 400 if ALL else 30
SAVED = 6 if ALL else 4
REPORT: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def _report() -> Iterator[None]:
    yield
    if ALL:
        print("\n".join(["", *REPORT]))


@pytest.fixture
def disk() -> Iterator[Path]:
    with folder_in_memory() as place:
        yield place


@pytest.fixture(autouse=True)
def _names_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary names are counted, not drawn, so that equal disks are recognised."""
    numbers = iter(range(10**9))
    monkeypatch.setattr("dbp.storage.atomic_files.secrets.token_hex", lambda length: f"{next(numbers):024x}")


@dataclass
class Findings:
    """What the real reader said of the states."""

    place: Path
    keep: int
    states: int = 0
    lost: list[str] = field(default_factory=list)  # acknowledged, and not there
    torn: list[str] = field(default_factory=list)  # has a checkpoint's name, and is none
    seen: dict[Any, tuple[int, list[str]]] = field(default_factory=dict)

    def look_at(self, state: State, what: str) -> None:
        self.states += 1
        key = key_of(state.contents)
        if key not in self.seen:
            self.seen[key] = self._read(state.contents, go_on=len(self.seen) % 10 == 0)
        newest, problems = self.seen[key]
        if problems:
            self.torn.append(f"{what}: {problems}")
        if newest < max(state.told, default=-1):
            self.lost.append(f"{what}: acknowledged {max(state.told)}, found {newest}")

    def _read(self, contents: Contents, go_on: bool) -> tuple[int, list[str]]:
        """Return the newest good step (-1: none) and what was wrong with checkpoints; in some states the job goes on."""
        job = self.place / "read"
        job.mkdir()
        try:
            rebuild(contents, job)
            store = CheckpointStore(job / "checkpoints", self.keep)
            problems: list[str] = []
            newest = store.newest(lambda path, reason: problems.append(reason))
            problems += [entry.problem for entry in store.listing() if entry.problem]
            step = -1 if newest is None else newest.step
            if newest is not None:
                assert (newest.arrays["parameters"] == step).all()
            if go_on and not problems:
                remove_leftovers(job / "checkpoints")
                store.save(checkpoint(step + 1))
                assert store.newest(lambda path, reason: problems.append(reason)).step == step + 1
                assert all(name.startswith("step-") for name in os.listdir(store.folder))
            return step, problems
        finally:
            shutil.rmtree(job)


def explore(
    disk: Path, save: Save, skip: str = "", trouble: Trouble | None = None, saved: int = SAVED, keep: int = 2
) -> tuple[Recording, Findings]:
    """Save checkpoints, one step again; meet the trouble, go on after it; look at every crash state from there on."""
    findings = Findings(disk, keep)
    recording = _record(disk, save, skip, trouble, saved, keep)
    first = 0 if trouble is None else trouble.call - 1  # before that it is as without the trouble
    for state in recording.crash_states(SUBSETS, first=first):
        findings.look_at(state, f"{trouble}, after {state.event} {recording.events[state.event].what}")
    return recording, findings


def _record(disk: Path, save: Save, skip: str, trouble: Trouble | None, saved: int, keep: int = 2) -> Recording:
    job = disk / "job"
    job.mkdir()
    recording = Recording(job, lambda what, path: what == skip)
    recording.trouble = trouble
    steps = [*range(1, saved + 1), saved]
    with recording.recording():
        try:
            _save_all(recording, CheckpointStore(job / "checkpoints", keep), save, steps)
        except Killed:
            recording.revive()
            _go_on(recording, job, save, keep)
    recording.check_complete()
    shutil.rmtree(job)
    return recording


def _go_on(recording: Recording, job: Path, save: Save = SAVES["real"], keep: int = 2) -> None:
    """As a new process does, after a kill or a loss of power."""
    remove_leftovers(job / "checkpoints")
    store = CheckpointStore(job / "checkpoints", keep)
    newest = store.newest(lambda path, reason: None)
    step = 0 if newest is None else newest.step
    _save_all(recording, store, save, [step + 1, step + 2])


def _save_all(recording: Recording, store: CheckpointStore, save: Save, steps: list[int]) -> None:
    for step in steps:
        try:
            save(store, checkpoint(step))
        except StorageError:
            continue  # as training does: it goes on to the next one
        recording.tell(step)


@pytest.mark.parametrize("keep", [1, 2])
def test_nothing_acknowledged_is_lost_and_nothing_torn_is_visible(disk: Path, keep: int) -> None:
    """The plain case: one process saves and the power goes."""
    recording, findings = explore(disk, SAVES["real"], keep=keep)
    assert findings.lost == findings.torn == []
    assert findings.states > 200
    REPORT.append(f"real, one process, keep={keep}: {len(recording.events)} events, {findings.states:,} states")


@pytest.mark.parametrize("code", [None, errno.EIO], ids=["killed", "a call fails"])
def test_a_kill_or_a_failed_call_first_and_then_the_loss_of_power(disk: Path, code: int | None) -> None:
    """At every call in turn; then a new process goes on (killed), or the same one does (a call failed)."""
    whole = _record(disk, SAVES["real"], "", None, SAVED)
    states = distinct = 0
    for call in range(1, whole.calls + 1):
        _, findings = explore(disk, SAVES["real"], trouble=Trouble(call, code))
        assert (findings.lost, findings.torn) == ([], [])
        states, distinct = states + findings.states, distinct + len(findings.seen)
    assert states > (5_000 if code is None else 1_000)
    what = "killed" if code is None else "a call fails"
    REPORT.append(f"real, {what} at each of {whole.calls} calls: {states:,} states, {distinct:,} disks")


@pytest.mark.parametrize("name", [*SKIPS, *[name for name in SAVES if name != "real"]])
def test_a_broken_protocol_is_caught(disk: Path, name: str) -> None:
    """The same exploration finds what each mistake costs: the tests above could fail."""
    skip = SKIPS.get(name, "")
    _, findings = explore(disk, SAVES.get(name, SAVES["real"]), skip, keep=1)
    assert findings.lost or findings.torn
    REPORT.append(f"{name}: {findings.states:,} states, {len(findings.lost):,} lost, {len(findings.torn):,} torn")


def test_a_second_loss_of_power_while_the_job_goes_on_from_the_first(disk: Path) -> None:
    """Whatever the first left: a new process cleans up, finds the newest, saves two more, and the power goes again."""
    _, first = explore(disk, SAVES["real"], saved=2)
    states = 0
    for start, (newest, _) in [*first.seen.items()][:: 1 if ALL else 3]:
        findings = Findings(disk, 2)
        job = disk / "job"
        job.mkdir()
        rebuild(dict(start), job)
        recording = Recording(job)
        with recording.recording():
            _go_on(recording, job)
        shutil.rmtree(job)
        for state in recording.crash_states(SUBSETS // 4):
            findings.look_at(State(state.event, (newest, *state.told), state.contents), "second loss")
        assert (findings.lost, findings.torn) == ([], [])
        states += findings.states
    REPORT.append(f"real, a second loss after {len(first.seen)} disks that the first left: {states:,} states")


def test_the_model_itself(tmp_path: Path) -> None:
    """Two blocks and a name that were not synced: eight disks, and one when all is."""
    job = tmp_path / "job"
    job.mkdir()
    recording = Recording(job)
    with recording.recording():
        descriptor = os.open(job / "a", os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, bytes([1]) * 5000)
        os.fsync(descriptor)
        os.close(descriptor)
        folder = os.open(job, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    recording.check_complete()
    written = [state.contents for state in recording.crash_states(50) if state.event == 1]
    found = {contents.get("a") for contents in written}
    assert found == {
        None,
        b"",
        bytes([1]) * 4096,
        b"\0" * 4096 + b"\1" * 904,
        b"\1" * 5000,
        b"\0" * 4096,
        b"\0" * 5000,
    } | {b"\1" * 4096 + b"\0" * 904}
    assert {state.contents.get("a") for state in recording.crash_states(50) if state.event == 2} == {
        None,
        b"\1" * 5000,
    }
    assert [state.contents for state in recording.crash_states(50) if state.event == 3] == [{"a": b"\1" * 5000}]
