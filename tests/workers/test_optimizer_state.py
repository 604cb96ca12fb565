"""Checkpoints by hand: every array of every method's state left out in turn is one clear error, never a crash in the next step."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_jobs import small_job

from dbp.errors import CheckpointError
from dbp.storage.checkpoints import Checkpoint, CheckpointStore
from dbp.workers.job_checkpoints import STATE_PREFIX
from dbp.workers.train import resume, train

METHODS = ["gradient_descent", "adam", "adamw", "rprop", "conjugate_gradient", "scaled_conjugate_gradient", "lbfgs"]


@pytest.mark.parametrize("method", [*METHODS, "levenberg_marquardt"])
def test_a_state_that_lacks_an_array(tmp_path: Path, method: str) -> None:
    short = ("training.max_steps=6", "checkpoint={every: 6, keep: 1}", "network.hidden=[3]")
    momentum = ", learning_rate: 0.1, momentum: 0.5" if method == "gradient_descent" else ""
    train(small_job(tmp_path, *short, f"optimizer={{name: {method}{momentum}}}"), job_id="a", workers=0)
    home = tmp_path / "runs/a"
    store = CheckpointStore(home / "checkpoints")
    whole = store.load(6)
    names = [name for name in whole.arrays if name.startswith(STATE_PREFIX)]
    assert names
    for name in names:
        arrays = {each: array for each, array in whole.arrays.items() if each != name}
        store.save(Checkpoint(6, arrays, whole.metadata))
        with pytest.raises(CheckpointError, match=r"checkpoint of step 6: .*(is missing|has gaps)"):
            resume(home, overrides=["training.max_steps=9"], workers=0)
    store.save(whole)
    assert resume(home, overrides=["training.max_steps=9"], workers=0).summary.step == 9
