"""The situations that a run of all seeds must have been in: a fault that never fires tests nothing."""

from __future__ import annotations

from simulation.plan import FOREVER, KINDS

_CALLS = ("open", "write", "fsync of a file", "fsync of a folder", "close", "rename", "unlink", "mkdir", "listdir")
_NAMED_OTHERWISE = {"coordinator", "disk_write", "disk_read"}  # counted by where they strike

EXPECTED = (
    *(kind for kind in KINDS if kind not in _NAMED_OTHERWISE),
    *(f"coordinator killed: {when} {call}" for call in _CALLS for when in ("before", "after")),
    "coordinator killed: while a worker starts",
    "coordinator killed: while a call is sent",
    "coordinator killed: while it waits for an event",
    "coordinator killed: between a step and its checkpoint",
    "coordinator killed: after a checkpoint",
    "coordinator killed: while a checkpoint is under way",
    "a checkpoint fails steps after it was begun",
    *(f"disk_write fails: {call}" for call in _CALLS),
    *(f"disk_read fails: {call}" for call in ("open", "listdir")),
    *(f"{fault}, for ever" for fault in FOREVER),
    "newest checkpoint damaged",
    "all workers died at once",
    "died again while its replacement started",
    "given up at the deadline",
    "given up: frozen",
    "somebody is late",
    "one of those that come and go never comes",
    "a worker came back after it was given up",
    "second call of a worker in one task",
    "answer of a former task",
    "answer of a worker declared dead",
    "answer again",
    "answer out of order",
    "error of a former task",
    "error of a worker declared dead",
    "resumed from a checkpoint",
    "resumed after a failure",
    "resumed after a stop",
)
