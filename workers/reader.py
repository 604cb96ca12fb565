"""The small job that reads a storage for a client who cannot reach it: ``python -m dbp.workers.reader`` on the cluster.

Its question is JSON in base64 in an environment variable (a name in a command line would be shell code), its answer frames in its
log (see `frames.py`). When it is stopped, or nobody has come for a minute, it empties its log: files of gigabytes pass through it.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType
from typing import TypeAlias

from dbp.errors import DbpError
from dbp.workers import reading
from dbp.workers.cluster_reading import VARIABLE
from dbp.workers.frames import error_frame, frames

PATIENCE_SECONDS = 60.0
WATCH_SECONDS = 300.0
_WATCH_EVERY_SECONDS = 1.0

Arguments: TypeAlias = Mapping[str, object]


def _json(ask: Callable[..., object]) -> Callable[..., bytes]:
    return lambda **arguments: json.dumps(ask(**arguments)).encode()


_QUESTIONS: Mapping[str, Callable[..., bytes]] = {
    "describe_jobs": _json(reading.describe_jobs),
    "checkpoints": _json(reading.checkpoints),
    "survey": _json(reading.survey),
    "remove": _json(reading.remove),
}


def main() -> None:
    """Answer the question in the environment and wait to be stopped."""
    signal.signal(signal.SIGTERM, _leave)
    question = json.loads(base64.b64decode(os.environ[VARIABLE]))
    name, arguments = question["ask"], question["arguments"]
    if name == "watch":
        _watch(arguments)
    elif name == "parts":
        for number, (file, offset, length) in enumerate(arguments["parts"]):
            place = (arguments["storage"], arguments["job"], file, offset, length)
            _print(number, lambda place=place: reading.part(*place))  # type: ignore[misc]
    else:
        _print(0, lambda: _QUESTIONS[name](**arguments))
    time.sleep(PATIENCE_SECONDS)
    _leave(0, None)


def _watch(arguments: Mapping[str, object]) -> None:
    storage, job, offset = str(arguments["storage"]), str(arguments["job"]), int(str(arguments["offset"]))
    until = time.monotonic() + WATCH_SECONDS
    number = 0
    while time.monotonic() < until:
        seen = reading.glimpse(storage, job, offset)
        offset = seen["offset"]
        data = json.dumps(seen).encode()
        _print(number, lambda data=data: data)  # type: ignore[misc]
        number += 1
        time.sleep(_WATCH_EVERY_SECONDS)


def _print(number: int, answer: Callable[[], bytes]) -> None:
    try:
        lines = frames(number, answer())
    except DbpError as error:
        lines = iter([error_frame(number, str(error))])
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _leave(_: int, __: FrameType | None) -> None:
    with suppress(OSError):  # a pipe: nothing is kept
        os.ftruncate(1, 0)  # the log is ours alone
    os._exit(0)


if __name__ == "__main__":
    main()
