"""The other end of `fault_server.py`: `Faults.save` and `Faults.dbp` do something in a process of its own that meets a fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KINDS = ("open", "write", "fsync", "close", "rename", "unlink", "mkdir", "rmdir", "link", "truncate")
MODES = {"nothing": 0, "kill": 1, "kill halfway": 2, "fail": 3, "short": 4, "wait": 5}


@dataclass(frozen=True)
class Fault:
    """What happens at the `at`th call (from 1) of `kind` ("": any) below the folder, and, `forever`, at all after it."""

    mode: str = "nothing"
    at: int = 0
    kind: str = ""
    code: int = 0
    forever: bool = False

    def to_json(self, folder: Path) -> dict[str, Any]:
        kinds = 1 << KINDS.index(self.kind) if self.kind else (1 << len(KINDS)) - 1
        return {**asdict(self), "folder": os.path.abspath(folder), "kinds": kinds, "mode": MODES[self.mode]}


@dataclass(frozen=True)
class Done:
    """How a process ended. `calls`: the kind of each call below the folder; () where it was killed."""

    code: int
    out: str
    err: str
    calls: tuple[str, ...]


class Faults:
    """Talks to the server. `home` is where its children's streams are kept, and where commands are called."""

    def __init__(self, shim: Path, home: Path) -> None:
        self.home = home
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTEST"))}
        environment |= {"LD_PRELOAD": str(shim), "PYTHONPATH": str(HERE.parent), "OPENBLAS_NUM_THREADS": "1"}
        environment |= dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"), "/nonexistent")
        self._server = subprocess.Popen(
            [sys.executable, HERE / "fault_server.py"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def save(self, folder: Path, steps: list[int], fault: Fault = Fault(), keep: int = 2) -> Done:
        """Save checkpoints of these steps in a new process; `out` has those that were acknowledged."""
        return self._ask(folder.parent, fault, do="save", folder=str(folder), steps=steps, keep=keep)

    def dbp(self, *arguments: object, below: Path, fault: Fault = Fault(), **environment: str) -> Done:
        """Run a `dbp` command; the fault is met below a folder."""
        return self._ask(below, fault, environment, do="command", arguments=[str(each) for each in arguments])

    def _ask(self, below: Path, fault: Fault, environment: dict[str, str] | None = None, **request: Any) -> Done:
        files = {name: str(self.home / f".{name}") for name in ("out", "err", "calls")}
        request |= {"fault": fault.to_json(below), "home": str(self.home), "environment": environment or {}, **files}
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        code = int(self._server.stdout.readline())
        out, err, calls = (Path(file).read_text() for file in files.values())
        return Done(code, out, err, tuple(KINDS[kind] for kind in json.loads(calls or "[]")))

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()
        if self._server.stdout is not None:
            self._server.stdout.close()
