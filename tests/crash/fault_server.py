"""Does storage work, or runs `dbp`, in processes forked from one that has imported it, with `fault.c` loaded and armed.

Reads one JSON object a line; the child's standard streams are files; answers with how the child ended and how many calls it made
below the folder of the fault (0 where it was killed).
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from crash.protocols import checkpoint

import dbp.cli.main
import dbp.workers.train
from dbp.errors import StorageError
from dbp.storage.checkpoints import CheckpointStore
from dbp.sums.fingerprint import kernel_fingerprint
from dbp.training import saving

saving.sleep = lambda seconds: None  # the pauses between tries are for people's disks
SHIM = ctypes.CDLL(None)


def save(request: dict[str, Any]) -> int:
    """Save checkpoints; tell each that is acknowledged on standard output, each that failed on standard error."""
    store = CheckpointStore(Path(request["folder"]), request["keep"])
    for step in request["steps"]:
        try:
            store.save(checkpoint(step))
            os.write(1, f"{step}\n".encode())
        except StorageError as error:
            os.write(2, f"{error}\n".encode())
    return 0


def command(request: dict[str, Any]) -> int:
    """Be a `dbp` command."""
    sys.argv = ["dbp", *request["arguments"]]
    try:
        dbp.cli.main.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def child(request: dict[str, Any]) -> int:
    os.chdir(request["home"])
    for stream, descriptor in ((request["out"], 1), (request["err"], 2)):
        file = os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
        os.close(file)
    calls = os.open(request["calls"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    fault = request["fault"]
    os.environ.update(request["environment"])
    real_exit = os._exit  # the command line leaves by it, too

    def leave(code: int) -> None:
        kinds = [SHIM.fault_kind(call) for call in range(SHIM.fault_calls())]
        SHIM.fault_arm(b"", 0, 0, 0, 0, 0, 0)
        os.write(calls, json.dumps(kinds).encode())
        real_exit(code)

    os._exit = leave
    SHIM.fault_arm(
        os.fsencode(fault["folder"]),
        fault["kinds"],
        fault["at"],
        fault["mode"],
        fault["code"],
        fault["forever"],
        20_000,
    )
    return {"save": save, "command": command}[request["do"]](request)


def main() -> None:
    answers = os.dup(1)
    kernel_fingerprint()
    SHIM.fault_calls.restype = ctypes.c_long
    SHIM.fault_kind.argtypes = [ctypes.c_long]
    SHIM.fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_long, *[ctypes.c_int] * 3, ctypes.c_long]
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            code = child(json.loads(line))
            os._exit(code)
        _, status = os.waitpid(process, 0)
        os.write(answers, f"{os.waitstatus_to_exitcode(status)}\n".encode())


main()
