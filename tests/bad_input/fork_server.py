"""Runs `dbp` commands in processes that are forked from one that has imported it: milliseconds for each in place of a second.

Reads one JSON object a line, {"arguments": [...], "folder": "...", "out": "...", "err": "..."}, and answers with the exit code.
The child is a process of its own with its own standard streams, and enters where the installed command does.
"""

from __future__ import annotations

import json
import os
import sys
import traceback

import dbp.cli.main
import dbp.workers.train


def run(request: dict[str, object]) -> int:
    """Be the command; never return to the caller's loop."""
    os.chdir(str(request["folder"]))
    for stream, descriptor in ((request["out"], 1), (request["err"], 2)):
        file = os.open(str(stream), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
    sys.argv = ["dbp", *map(str, request["arguments"])]  # type: ignore[call-overload]  # a list, from JSON
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


def main() -> None:
    answers = os.dup(1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(run(json.loads(line)))
        _, status = os.waitpid(child, 0)
        os.write(answers, f"{os.waitstatus_to_exitcode(status)}\n".encode())


main()
