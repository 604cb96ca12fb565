"""Saving while storage fails: how often, what is told, and what ends the run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dbp.errors import StorageError, StorageFailedError
from dbp.training import saving
from dbp.training.coordinator import Progress
from dbp.training.saving import Saving


class Store:
    """Fails as it is told: one character a call, x for a failure."""

    def __init__(self, calls: str) -> None:
        self.calls = iter(calls)
        self.saved: list[int] = []

    def save(self, progress: Progress) -> None:
        if next(self.calls) == "x":
            raise StorageError("c: cannot be written: the disk is full")
        self.saved.append(progress.step)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(saving, "sleep", found.append)
    return found


def progress(step: int) -> Progress:
    state: Any = {}
    return Progress(step, np.zeros(1), state)


def test_failures_that_end_are_warnings(pauses: list[float]) -> None:
    """Two in a row, then one that works, then two more: training goes on throughout."""
    store, told = Store("xx.xx."), []
    kept = Saving(store, told.append, 0)
    for step in range(1, 7):
        kept.checkpoint(progress(step))
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
    kept = Saving(Store("xx" + "xx."), lambda text: None, 0)
    for step in (1, 2, 3):
        kept.checkpoint(progress(step))
    assert (kept.saved, pauses) == (3, [0.5, 2.0])
    kept = Saving(Store("xx" + "xxx"), lambda text: None, 7)
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
    kept = Saving(store, lambda text: None, 0)
    kept.checkpoint(progress(1))
    kept.surely(progress(1))
    kept.surely(progress(2))
    assert (store.saved, pauses) == ([1, 2], [0.5])
    with pytest.raises(StorageFailedError, match="the one of step 2 is kept"):
        kept.surely(progress(3))
