"""What holds for every command: exit codes, where words go, closed pipes, odd terminals."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Dbp = Callable[..., Any]
DbpEach = Callable[..., list[Any]]
Start = Callable[..., "subprocess.Popen[str]"]

COMMANDS = (
    *("init", "validate", "run", "resume", "list", "status", "checkpoints", "predict", "evaluate", "plot"),
    *("up", "down", "submit", "watch", "logs", "cancel", "fetch", "delete"),
)


def test_help_names_every_command(dbp: Dbp) -> None:
    """Each with a line on what it does."""
    ran = dbp("--help")
    assert ran.code == 0
    assert all(re.search(rf"^  {command} +[A-Z]", ran.out, re.MULTILINE) for command in COMMANDS)


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    """ray, pyarrow, matplotlib and rich stay out until a command needs them."""
    code = (
        "import sys; import dbp.cli.main; "
        "print([name for name in ('ray', 'pyarrow', 'matplotlib', 'plotext', 'rich', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version(dbp: Dbp) -> None:
    """The version goes to standard output."""
    from dbp import __version__

    assert dbp("--version").out == f"dbp {__version__}\n"


def test_every_command_has_help(dbp_each: DbpEach) -> None:
    """Help is a result: stdout, 0. Every command but init and watch, which have no one result, takes --json."""
    for command, ran in zip(COMMANDS, dbp_each([(command, "-h") for command in COMMANDS]), strict=True):
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.startswith(f"Usage: dbp {command}")
        assert ("--json" in ran.out) == (command not in ("init", "watch"))


def test_an_unknown_option(dbp: Dbp) -> None:
    """Bad input: stderr, 2."""
    ran = dbp("run", "--no-such-option")
    assert (ran.code, ran.out) == (2, "")
    assert "--no-such-option" in ran.err


def test_no_command_and_an_unknown_command(dbp: Dbp) -> None:
    """Both exit with 2; the unknown one is told the nearest."""
    assert dbp().code == 2
    ran = dbp("statuss", "x")
    assert (ran.code, ran.out) == (2, "")
    assert "'status'" in ran.err


def _with_a_bug(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import dbp.jobs.directory as d\n"
        "def broken(storage): raise RuntimeError('first\\nsecond')\n"
        "d.list_job_directories = broken\n"
        "from dbp.cli.main import main; main()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, "list"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_a_bug_says_so_and_leaves_a_log(tmp_path: Path) -> None:
    """Exit code 1; the first line says it is a bug, the traceback is in the log that is named, not on the terminal."""
    (tmp_path / "tmp").mkdir()
    done = _with_a_bug(tmp_path, TMPDIR=str(tmp_path / "tmp"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == "this is a bug in dbp, not a mistake of yours: RuntimeError: first"
    assert "Traceback" not in done.stderr
    [log] = (tmp_path / "tmp").glob("dbp-bug-*.log")
    assert str(log) in done.stderr
    assert "Traceback" in log.read_text()
    assert "arguments: ['list']" in log.read_text()


def test_a_bug_without_a_place_for_the_log(tmp_path: Path) -> None:
    """Then the traceback goes to standard error: it must not be lost."""
    folder = tmp_path / "full"
    folder.mkdir()
    code = "import tempfile; tempfile.tempdir = '/nonexistent/folder'\n"
    script = (
        code + "import dbp.jobs.directory as d\nd.list_job_directories = None\nfrom dbp.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script, "list"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1
    assert "TypeError: 'NoneType' object is not callable" in done.stderr
    assert "no log file could be written" in done.stderr


def test_a_closed_pipe_is_quiet(start: Start) -> None:
    """`dbp --help | head -1`, `dbp list --json | head -0`: no complaint, no traceback."""
    for arguments in (["--help"], ["list", "--json"]):
        reader, writer = os.pipe()
        os.close(reader)
        process = start(*arguments, stdout=writer)
        os.close(writer)
        assert process.communicate()[1] == ""
        assert process.returncode in (0, 1)  # typer itself says 1 for its help


def test_a_full_disk_behind_standard_output(start: Start) -> None:
    """Results that could not be written are an error, never silently lost."""
    with open("/dev/full", "w") as full:
        process = start("list", "--json", stdout=full)
        error = process.communicate()[1]
    assert process.returncode == 2
    assert error.startswith("error: standard output: No space left on device")


def test_closed_standard_streams(tmp_path: Path, dbp: Dbp) -> None:
    """A daemon may have closed them: no crash."""
    script = Path(sys.executable).with_name("dbp")
    done = subprocess.run(["sh", "-c", f"{script} list --json >&- 2>&- <&-"], cwd=tmp_path)
    assert done.returncode == 0


@pytest.mark.parametrize(
    "settings", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"NO_COLOR": "1"}, {"TERM": "dumb"}]
)
def test_odd_terminals(dbp: Dbp, settings: dict[str, str]) -> None:
    """A terminal that knows ASCII only, or no colours, gets text it can show."""
    ran = dbp("status", "größe-✓", env=settings)
    assert ran.code == 2
    assert "no job of that id" in ran.err
    assert "Traceback" not in ran.err


def test_instructions_that_the_machine_does_not_have_are_a_mistake_of_the_user(dbp: Dbp, tmp_path: Path) -> None:
    """And so is a kernel that is not there: exit code 2, what to do, no talk of a bug."""
    (tmp_path / "t.csv").write_text("x,y\n" + "1,2\n2,3\n" * 9)
    text = (
        "{name: a, task: regression, data: {train: t.csv, target: y}, network: {hidden: [2]}, optimizer: {name: lbfgs}}"
    )
    (tmp_path / "job.yaml").write_text(text)
    for variable, words in (("DBP_INSTRUCTIONS", "expected one that this machine has"), ("DBP_KERNEL", "install dbp")):
        environment = {**os.environ, variable: "/nowhere"}
        command = [Path(sys.executable).parent / "dbp", "run", "job.yaml", "--workers", "0"]
        ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert (ran.returncode, "Traceback" in ran.stderr, "bug" in ran.stderr) == (2, False, False), ran.stderr
        assert words in ran.stderr
    assert not (tmp_path / "runs").exists()
