"""Saving while storage fails: how often, what is told, and what ends the run."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dbp.errors import LeaseLostError, StorageError, StorageFailedError
from dbp.training import saving
from dbp.training.coordinator import Progress
from dbp.training.saving import Saved, Saving


class Store:
    """Fails as it is told: one character a call, x for a failure."""

    def __init__(self, calls: str) -> None:
        self.calls = iter(calls)
        self.saved: list[int] = []

    def save(self, progress: Progress) -> Saved:
        if next(self.calls) == "x":
            raise StorageError("c: cannot be written: the disk is full")
        self.saved.append(progress.step)
        return Saved(progress.step, Path("c"), 0.5)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(saving, "sleep", found.append)
    return found


def ignored(what: object) -> None:
    pass


def at_once(call: Callable[[], Saved]) -> Future[Saved]:
    """Make the call here and now."""
    future: Future[Saved] = Future()
    try:
        future.set_result(call())
    except StorageError as error:
        future.set_exception(error)
    return future


def progress(step: int) -> Progress:
    state: Any = {}
    return Progress(step, np.zeros(1), state)


def test_failures_that_end_are_warnings(pauses: list[float]) -> None:
    """Two in a row, then one that works, then two more: training goes on throughout."""
    store, told = Store("xx.xx."), []
    kept = Saving(store, ignored, told.append, 0, at_once)
    for step in range(1, 7):
        kept.checkpoint(progress(step))
        kept.look()
    assert store.saved == [3, 6]
    assert kept.saved == 6
    assert pauses == []
    assert told[0] == (
        "checkpoint of step 1 not written: c: cannot be written: the disk is full; training goes on, there is none yet, "
        "and the next checkpoint is tried in its turn (1 failed in a row; 3 end the run)"
    )
    assert "(2 failed in a row" in told[1]
    assert "the one of step 3 is kept" in told[2]


def test_the_third_in_a_row_is_tried_harder_and_then_ends_the_run(pauses: list[float]) -> None:
    kept = Saving(Store("xx" + "xx."), ignored, ignored, 0, at_once)
    for step in (1, 2, 3):
        kept.checkpoint(progress(step))
        kept.look()
    assert (kept.saved, pauses) == (3, [0.5, 2.0])
    kept = Saving(Store("xx" + "xxx"), ignored, ignored, 7, at_once)
    kept.checkpoint(progress(8))
    kept.checkpoint(progress(9))
    with pytest.raises(StorageFailedError) as caught:
        kept.checkpoint(progress(10))
    assert str(caught.value) == (
        "c: cannot be written: the disk is full; the checkpoint of step 10 could not be written (3 checkpoints in a row "
        "failed), so the run ends; the one of step 7 is kept. See to the storage, then go on with `dbp resume`"
    )


def test_the_last_checkpoint_is_not_given_up_silently(pauses: list[float]) -> None:
    """It is tried three times; a step that is saved already is not saved again."""
    store = Store(".x." + "xxx")
    kept = Saving(store, ignored, ignored, 0, at_once)
    kept.checkpoint(progress(1))
    kept.surely(progress(1))
    kept.surely(progress(2))
    assert (store.saved, pauses) == ([1, 2], [0.5])
    with pytest.raises(StorageFailedError, match="the one of step 2 is kept"):
        kept.surely(progress(3))


# ---- beside training


class Slow:
    """A store whose saves end when they may, with an error where there is one; it notes how many were under way at once."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.error: Exception | None = None
        self.begun: list[int] = []
        self.threads: set[int] = set()
        self.now = self.most = 0

    def save(self, progress: Progress) -> Saved:
        self.now += 1
        self.most = max(self.most, self.now)
        self.begun.append(progress.step)
        self.threads.add(threading.get_ident())
        assert self.may_end.wait(20)
        self.now -= 1
        if self.error is not None:
            raise self.error
        return Saved(progress.step, Path(f"step-{progress.step}"), 0.1, ("an old one stays",))


def when_done(kept: Saving) -> None:
    for _ in range(2000):
        kept.look()
        if kept._under_way is None:
            return
        threading.Event().wait(0.01)
    raise AssertionError("it does not end")


def test_training_does_not_wait_for_a_checkpoint() -> None:
    """It hears of it with a later step, in its own thread."""
    store, told, warned = Slow(), [], []
    heard: list[int] = []

    def hear(saved: Saved) -> None:
        told.append((saved.step, saved.path.name))
        heard.append(threading.get_ident())

    with Saving(store, hear, warned.append, 0) as kept:
        kept.checkpoint(progress(1))
        kept.look()
        assert (kept.saved, told) == (-1, [])
        store.may_end.set()
        when_done(kept)
        assert (kept.saved, told, warned) == (1, [(1, "step-1")], ["an old one stays"])
    assert set(heard) == {threading.get_ident()}
    assert threading.get_ident() not in store.threads


def test_one_checkpoint_at_a_time_and_none_after_the_end() -> None:
    store, told = Slow(), []
    threading.Timer(0.1, store.may_end.set).start()
    with Saving(store, lambda saved: told.append(saved.step), ignored, 0) as kept:
        for step in (1, 2, 3):
            kept.checkpoint(progress(step))
        assert store.begun[:2] == [1, 2], "the one before was waited for"
        kept.surely(progress(3))
        assert told == [1, 2, 3]
    assert (store.most, store.now, store.begun) == (1, 0, [1, 2, 3])


def test_an_error_of_the_run_waits_for_the_checkpoint_under_way_and_is_told_first() -> None:
    store = Slow()
    store.error = LeaseLostError("another run has the job directory")
    threading.Timer(0.1, store.may_end.set).start()

    def run() -> None:
        with Saving(store, ignored, ignored, 0) as kept:
            kept.checkpoint(progress(1))
            raise ValueError("the run's own")

    with pytest.raises(ValueError, match="the run's own") as caught:
        run()
    assert store.now == 0
    assert caught.value.__notes__ == ["another run has the job directory"]


def test_what_is_no_trouble_with_storage_ends_the_run() -> None:
    store = Slow()
    store.error = LeaseLostError("another run has the job directory")
    store.may_end.set()
    with Saving(store, ignored, ignored, 0) as kept:
        kept.checkpoint(progress(1))
        with pytest.raises(LeaseLostError):
            when_done(kept)


def test_a_second_interrupt_leaves_and_the_first_waits() -> None:
    """An interrupt while a save is waited for does not lose it: whoever waits again finds how it ended."""
    store, told = Slow(), []

    class Interrupted:
        def __init__(self, future: Future[Saved]) -> None:
            self.future, self.interrupts = future, 1

        def done(self) -> bool:
            return self.future.done()

        def result(self, timeout: float | None = None) -> Saved:
            if self.interrupts:
                self.interrupts -= 1
                raise KeyboardInterrupt
            return self.future.result(timeout)

    threading.Timer(0.1, store.may_end.set).start()

    def run() -> None:
        with (
            ThreadPoolExecutor(1) as thread,
            Saving(
                *(store, lambda saved: told.append(saved.step), ignored, 0),
                lambda call: Interrupted(thread.submit(call)),
            ) as kept,
        ):
            kept.checkpoint(progress(1))
            kept.settle()

    with pytest.raises(KeyboardInterrupt):
        run()
    assert told == [1]


def test_an_interrupted_run_does_not_wait_for_a_storage_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "INTERRUPTED_S", 0.05)
    store, told = Slow(), []

    def run() -> None:
        with Saving(store, lambda saved: told.append(saved.step), ignored, 0) as kept:
            kept.checkpoint(progress(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        run()
    assert (store.now, told) == (1, [])
    assert caught.value.__notes__ == ["the checkpoint of step 1 was still being written; there is none yet"]
    store.may_end.set()


def test_a_save_that_was_begun_and_not_noted_has_ended_when_the_run_has() -> None:
    """An interrupt may come between the two."""
    store = Slow()
    threading.Timer(0.1, store.may_end.set).start()

    def run() -> None:
        with Saving(store, ignored, ignored, 0) as kept:
            kept._begin(lambda: store.save(progress(1)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert (store.begun, store.now) == ([1], 0)


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    with Saving(Store(".."), ignored, ignored, 0) as kept:
        kept.checkpoint(progress(1))
        kept.checkpoint(progress(2))
    assert threading.active_count() == before


def test_a_checkpoint_that_fails_while_the_run_ends_does_not_speak_of_the_next() -> None:
    told: list[str] = []
    with Saving(Store("x."), ignored, told.append, 0) as kept:
        kept.checkpoint(progress(1))
        kept.surely(progress(2))
    assert told == [
        "checkpoint of step 1 not written: c: cannot be written: the disk is full; there is none yet "
        "(1 failed in a row; 3 end the run)"
    ]


def test_a_run_in_a_thread_outlives_the_main_one() -> None:
    """Python's executors take no more work then."""
    script = """
import threading, time
from pathlib import Path
from dbp.training.saving import Saved, Saving
class Store:
    def save(self, progress):
        return Saved(1, Path(), 0.0)
def train():
    threading.main_thread().join()
    time.sleep(0.3)
    with Saving(Store(), lambda saved: print("saved"), print, 0) as kept:
        kept.checkpoint(type("P", (), {"step": 1}))
threading.Thread(target=train).start()
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout, ran.stderr) == ("saved\n", "")
