"""`dbp up` and `dbp down` from the first to the last process: what is started ends, and nothing else does. Real Ray."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pexpect
import pytest
from service_session import DBP, dbp_in, home_environment, start_service

from dbp.jobs import local_service
from dbp.jobs.processes import Process, process
from dbp.workers.ray_head import USUAL_PORT, reserved_port
from dbp.workers.service_processes import end_processes, listening_ports, processes_of, send


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder of the test's own, for commands and for this process; whatever was started in it ends with the test."""
    for name, value in home_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    yield tmp_path
    recorded = local_service.recorded_service()
    if recorded is not None:
        end_processes(recorded, 0.0, print)
        shutil.rmtree(recorded.temporary, ignore_errors=True)


@pytest.fixture
def another_ray(tmp_path):
    """A Ray of somebody else on this machine; calling it runs a task there."""
    code = (
        "import ray, sys\n"
        "ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)\n"
        "print('up', flush=True)\n"
        "length = ray.remote(lambda text: len(text))\n"
        "for line in sys.stdin: print(ray.get(length.remote(line)), flush=True)\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    other = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**environment, "HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert other.stdout.readline() == "up\n"

    def works() -> bool:
        other.stdin.write("seven!\n")
        other.stdin.flush()
        return other.stdout.readline() == "7\n"

    yield works
    other.communicate(timeout=60)


def submit(service, code: str, job: str, wait_time: str = "3") -> None:
    """Hand over a job that runs Python code, and wait until its driver has written `started`."""
    script = service.folder / f"{job}.py"
    script.write_text(code)
    done = service.python(
        "import time\n"
        "from dbp.jobs.service_config import find_service\n"
        "from dbp.workers.authentication import use_token\n"
        "service = find_service(); use_token(service)\n"
        "from ray.job_submission import JobSubmissionClient\n"
        "client = JobSubmissionClient(service.address)\n"
        f"client.submit_job(entrypoint='exec python {script}', submission_id='ray-{job}', metadata={{'dbp_job': '{job}'}},\n"
        f"    runtime_env={{'env_vars': {{'RAY_JOB_STOP_WAIT_TIME_S': '{wait_time}'}}}})\n"
        f"while 'started' not in client.get_job_logs('ray-{job}').split():\n"
        f"    assert not client.get_job_status('ray-{job}').is_terminal(), client.get_job_logs('ray-{job}')\n"
        "    time.sleep(0.2)\n"
    )
    assert done.returncode == 0, done.stderr


POLITE = """
import pathlib, signal, sys, time
def leave(*_):
    time.sleep(1)
    pathlib.Path({marker!r}).write_text("saved")
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("started", flush=True)
time.sleep(600)
"""

DEAF = """
import os, signal, subprocess, sys, time
import ray
ray.init()
@ray.remote(num_cpus=1)
class Actor:
    def pid(self):
        return os.getpid()
actor = Actor.remote()
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True)
print(ray.get(actor.pid.remote()), child.pid, file=open({marker!r}, "w"), flush=True)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("started", flush=True)
time.sleep(600)
"""


def shared_memory_of(processes: list[Process]) -> set[str]:
    """The files in shared memory that processes have mapped, as far as they have names."""
    found = set()
    for each in processes:
        with suppress(FileNotFoundError, ProcessLookupError):  # an idle worker may have ended meanwhile
            for line in Path(f"/proc/{each.pid}/maps").read_text().splitlines():
                if "/dev/shm/" in line and not line.endswith("(deleted)"):
                    found.add(line.split()[-1])
    return found


def test_down_stops_all_that_up_and_its_jobs_started_and_nothing_else(home, another_ray):
    """With another Ray on the machine, the usual port in use, a job that writes a checkpoint when asked, and one that is deaf."""
    with socket.socket() as other_program:
        other_program.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other_program.bind(("127.0.0.1", 8265))
            other_program.listen()
        except OSError:
            pass  # somebody else uses it: as good
        service = start_service(home, "--cpus", 2)
    assert not service.address.endswith(":8265")
    assert another_ray()
    saved, pids = home / "saved", home / "pids"
    submit(service, POLITE.format(marker=str(saved)), "polite", wait_time="600")
    submit(service, DEAF.format(marker=str(pids)), "deaf", wait_time="600")
    record = service.record
    before = processes_of(record)
    actor, child = (process(int(pid)) for pid in pids.read_text().split())
    assert {actor, child, record.keeper} <= set(before)
    shared = shared_memory_of(before)

    done = service.run("down", "--wait", 3)

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"stopped the local service ({service.address})\n"
    assert "cut off: deaf did not end in 3 s" in done.stderr
    assert "dbp resume polite; dbp resume deaf" in done.stderr
    assert saved.read_text() == "saved"
    assert not [each for each in before if each.runs()]
    assert not processes_of(record)
    assert not record.temporary.exists()
    assert not [path for path in shared if Path(path).exists()]
    assert not service.token_file.exists()
    assert another_ray()

    again = service.run("down", "--json")
    assert again.returncode == 0
    assert json.loads(again.stdout) == {"was_up": False, "address": None, "stopped_jobs": [], "cut_jobs": []}
    assert service.run("down").stdout == "no local service is up\n"


@pytest.mark.long
def test_a_port_that_another_up_has_chosen_is_not_chosen_again():
    """Before either Ray listens there: of any number at once, each has its own, and what is given back is free again."""
    with reserved_port() as first:
        code = "import sys; from dbp.workers.ray_head import reserved_port\nwith reserved_port() as port: print(port)"
        others = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
        chosen = [int(other.communicate()[0]) for other in others]
        with reserved_port() as second:
            assert first not in (second, *chosen)
    with reserved_port() as again:
        assert again == first or first != USUAL_PORT


@pytest.mark.long
def test_two_users_start_in_the_same_second(tmp_path):
    """Two home folders, as of two users: both are up, each at its own address, and both end."""
    homes = [tmp_path / "one", tmp_path / "two"]
    for each in homes:
        each.mkdir()
    with ThreadPoolExecutor(2) as pool:
        ups = list(pool.map(lambda each: dbp_in(each, "up", "--json", "--cpus", 1), homes))
        assert [up.returncode for up in ups] == [0, 0], [up.stderr for up in ups]
        assert len({json.loads(up.stdout)["address"] for up in ups}) == 2
        downs = list(pool.map(lambda each: dbp_in(each, "down", "--wait", 0), homes))
    assert [down.returncode for down in downs] == [0, 0]


@pytest.mark.long
def test_after_a_crash_up_clears_up_and_starts_anew(home):
    """kill -9 of the keeper leaves processes and a record. The new one is started on a terminal, and outlives it."""
    first = start_service(home, "--cpus", 1, "--storage", "s3://bucket/runs")
    record = first.record
    assert record.storage == "s3://bucket/runs"
    send(record.keeper, signal.SIGKILL)
    await_end(record.keeper)
    assert local_service.running_service() is None
    terminal = pexpect.spawn(str(DBP), ["up", "--cpus", "1"], cwd=home, env=home_environment(home), timeout=240)
    terminal.expect("ended without `dbp down`")
    terminal.expect("next: dbp submit job.yaml")
    terminal.expect(pexpect.EOF)
    terminal.close()  # the terminal is gone, and all that belonged to it; the service lives on
    assert terminal.exitstatus == 0
    assert not processes_of(record)
    assert not record.temporary.exists()
    second = local_service.running_service()
    assert second is not None
    assert second.storage == str(home / "runs")
    assert second.mark != record.mark

    send(second.keeper, signal.SIGKILL)
    await_end(second.keeper)
    done = dbp_in(home, "down")
    assert done.returncode == 0, done.stderr
    assert "cleared up what the last one left" in done.stdout
    assert not processes_of(second)
    assert not second.temporary.exists()


def await_end(target: Process) -> None:
    until = time.monotonic() + 30
    while target.runs():
        assert time.monotonic() < until
        time.sleep(0.05)


def start_up(home: Path) -> subprocess.Popen[str]:
    """Begin `dbp up`, and return once it has recorded what it started."""

    def hear_ctrl_c() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    started = subprocess.Popen(
        [DBP, "up"], cwd=home, env=home_environment(home), stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c
    )
    until = time.monotonic() + 60
    while not local_service.state_file().exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    return started


def test_ctrl_c_undoes_what_was_begun(home):
    starting = start_up(home)
    record = local_service.recorded_service()
    starting.send_signal(signal.SIGINT)
    _, said = starting.communicate(timeout=60)
    assert starting.returncode == 130, said
    assert not processes_of(record)
    assert not record.temporary.exists()
    assert not local_service.state_file().exists()
    assert not local_service.token_file().exists()


def test_an_up_that_is_killed_half_way_is_cleared_up_by_down(home):
    starting = start_up(home)
    record = local_service.recorded_service()
    refused = dbp_in(home, "down")
    assert refused.returncode == 2
    assert "another `dbp up` or `dbp down` is at work here" in refused.stderr
    starting.kill()
    starting.communicate()
    done = dbp_in(home, "down")
    assert done.returncode == 0, done.stderr
    assert "cleared up" in done.stdout
    assert not processes_of(record)
    assert not record.temporary.exists()


def test_a_ray_that_does_not_start_is_told_in_one_line_with_its_log(home):
    broken = home / "broken" / "ray"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('this Ray is broken')\n")
    done = dbp_in(home, "up", PYTHONPATH=str(home / "broken"))
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "Ray did not start: RuntimeError: this Ray is broken" in line
    assert str(local_service.log_file()) in line
    assert "Traceback" not in done.stderr
    assert not local_service.state_file().exists()
    assert "Traceback" in local_service.log_file().read_text()


def test_a_state_folder_that_cannot_be_written_is_told_before_anything_starts(home):
    (home / "state").write_text("a file in the way")
    for command in ("up", "down"):
        done = dbp_in(home, command)
        assert done.returncode == 2
        assert "state/dbp: cannot be made: a part of the path is a file" in done.stderr
    (home / "state").unlink()  # for the fixture's last look


def test_options_that_make_no_sense_are_refused(home):
    (home / "taken").write_text("a file")
    for options, says in (
        (("--cpus", 0), "--cpus 0: expected 1 or more"),
        (("--cpus", "two"), "--cpus"),
        (("--storage", home / "taken"), "taken: cannot be made: something of that name is in the way"),
    ):
        done = dbp_in(home, "up", *options)
        assert done.returncode == 2
        assert says in done.stderr
    assert not local_service.state_file().exists()


def test_a_long_temporary_folder_is_no_hindrance(home, tmp_path):
    """Ray's sockets have paths of at most 107 characters; the service takes another folder where TMPDIR is too long."""
    from dbp.workers.local_service import _short_folder

    assert len(_short_folder()) <= 20


def test_listening_ports_of_a_service_that_is_gone_are_none(home):
    gone = local_service.LocalService(
        address="http://127.0.0.1:1",
        gcs_address="",
        token_file=home / "token",
        storage=str(home),
        cpus=1,
        keeper=Process(os.getpid(), 1),  # this number, but another birth
        mark="nobody",
        temporary=home / "gone",
        log=home / "log",
        boot="another run of the machine",
        started="",
    )
    assert listening_ports(gone) == {}
    assert processes_of(gone) == []
    end_processes(gone, 1.0, print)  # and this very process lives on
