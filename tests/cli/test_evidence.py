"""verify, diff and replay as commands: tables, JSON, one line for each finding, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Dbp = Callable[..., Any]


def change_digest(directory: Path, step: int) -> None:
    path = directory / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[step - 1]["digest"] = "0123456789abcdef"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_verify(dbp: Dbp, trained: Path) -> None:
    ran = dbp("verify", "a-1")
    assert (ran.code, "wrong" in ran.out) == (0, False)
    assert ran.out.splitlines()[0].split() == ["CHECK", "OUTCOME", "SAYS"]
    change_digest(trained, 20)
    ran = dbp("verify", trained)
    assert ran.code == 1
    assert "digests      wrong" in ran.out
    wrong = [line for line in ran.err.splitlines() if line.startswith("wrong: ")]
    assert [line.partition(": expected")[0] for line in wrong] == [
        "wrong: checkpoints/step-00000020.safetensors, step 20",
        "wrong: model.safetensors, step 20",
    ]
    told = dbp("verify", "a-1", "--json")
    assert (told.code, told.json["valid"]) == (1, False)
    assert "Traceback" not in ran.err + told.err


def test_diff(dbp: Dbp, trained: Path, tmp_path: Path) -> None:
    ran = dbp("diff", "a-1", "a-1")
    assert (ran.code, ran.out) == (0, "the same bits in all 20 steps that both have\n")
    assert dbp("run", "small.yaml", "--id", "b-1", "--quiet", "--set", "optimizer.momentum=0.5").code == 0
    ran = dbp("diff", "a-1", "b-1")
    assert ran.code == 1
    assert "the first step with other bits is step 2" in ran.out
    assert "optimizer.momentum  0.0" in ran.out
    told = dbp("diff", "a-1", "b-1", "--json")
    assert (told.code, told.json["first_difference"]["step"], told.json["causes"]) == (1, 2, ["optimizer.momentum"])
    for arguments in (("a-1",), ("a-1", "nothing")):
        assert dbp("diff", *arguments).code == 2


def test_replay(dbp: Dbp, trained: Path) -> None:
    ran = dbp("replay", "a-1", "--step", "18")
    assert ran.code == 0
    assert ran.out == "steps 16 to 18, recomputed from the checkpoint of step 15: the same bits as recorded\n"
    change_digest(trained, 17)
    ran = dbp("replay", "a-1", "--step", "18", "--quiet")
    assert (ran.code, ran.err) == (1, "")
    assert "the first step with other bits than recorded is step 17" in ran.out
    told = dbp("replay", "a-1", "--step", "18", "--json")
    assert (told.code, told.json["first_difference"], told.json["from_step"]) == (1, 17, 15)
    refused = dbp("replay", "a-1", "--step", "18", "--from", "7")
    assert refused.code == 2
    assert "there are those of steps 10, 15, 20" in refused.err
