"""The door of the local service: every port is on the loopback address and asks for the token. Real Ray, real requests."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from service_session import local_service

from dbp.jobs.processes import parent_and_session
from dbp.workers.service_processes import listening_ports, processes_of

__all__ = ["local_service"]

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}

# What Ray answers without a token, by design: signs of life, and the dashboard's page with its question for the token. Neither
# shows data. A path that is not listed here must be refused.
OPEN_PATHS = {
    "/",
    "/api/authentication_mode",
    "/api/healthz",
    "/api/local_raylet_healthz",
    "/api/gcs_healthz",
    "/favicon.ico",
}
PATHS = [
    *sorted(OPEN_PATHS),
    *("/metrics", "/api/version", "/api/jobs/", "/api/jobs/x", "/api/jobs/x/logs", "/api/job_agent/jobs/"),
    *("/api/packages/gcs/x.zip", "/nodes", "/nodes?view=summary", "/logical/actors", "/api/v0/actors", "/api/v0/logs"),
    *("/api/cluster_status", "/logs", "/logs/", "/events", "/timezone", "/task/traceback", "/worker/traceback"),
    *("/api/component_activities", "/api/serve/applications/", "/api/data/datasets/x", "/usage_stats_enabled"),
    *("/get_or_create_runtime_env", "/delete_runtime_env_if_possible", "/get_runtime_envs_info"),
]

BUSY_JOB = """
import ray, time
ray.init()
@ray.remote(num_cpus=1)
class Actor:
    def here(self):
        return True
actor = Actor.remote()
assert ray.get(actor.here.remote())
print("busy", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def busy(local_service, tmp_path_factory):
    """The service with a job at work, so that ports of drivers and workers are open, too."""
    script = tmp_path_factory.mktemp("busy") / "busy.py"
    script.write_text(BUSY_JOB)
    done = local_service.python(
        "import sys, time\n"
        "from dbp.jobs.service_config import find_service\n"
        "from dbp.workers.authentication import use_token\n"
        "service = find_service(); use_token(service)\n"
        "from ray.job_submission import JobSubmissionClient\n"
        "client = JobSubmissionClient(service.address)\n"
        f"client.submit_job(entrypoint='exec python {script}', submission_id='busy')\n"
        "while 'busy' not in client.get_job_logs('busy').split():\n"
        "    assert not client.get_job_status('busy').is_terminal(), client.get_job_logs('busy')\n"
        "    time.sleep(0.2)\n"
    )
    assert done.returncode == 0, done.stderr
    yield local_service
    request(f"{local_service.address}/api/jobs/busy/stop", method="POST", token=local_service.token)


def request(url: str, *, method: str = "GET", token: str | None = None) -> int | None:
    """Send a request and return the status; None if what answers does not speak HTTP."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, method=method, headers=headers, data=b"{}" if method != "GET" else None),
            timeout=10,
        ) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except Exception:
        return None


def grpc_methods() -> list[str]:
    """All methods of all of Ray's services, as its protocol files declare them."""
    import ray.core.generated as generated

    names = set()
    for module in pkgutil.iter_modules(generated.__path__):
        if module.name.endswith("_pb2"):
            try:
                descriptor = importlib.import_module(f"ray.core.generated.{module.name}").DESCRIPTOR
            except (ImportError, TypeError):
                continue
            for service in descriptor.services_by_name.values():
                names |= {f"/{service.full_name}/{method.name}" for method in service.methods}
    return sorted(names)


def test_the_jobs_api_answers_with_the_token_and_not_without(local_service):
    url = f"{local_service.address}/api/jobs/"
    assert request(url) == 401
    assert request(url, token="wrong") == 403
    assert request(url, method="POST") == 401
    assert request(url, token=local_service.token) == 200


def test_rays_own_client_needs_the_token_too(local_service):
    ask = (
        "from ray.job_submission import JobSubmissionClient\n"
        f"print(JobSubmissionClient({local_service.address!r}).list_jobs())\n"
    )
    without = local_service.python(ask)
    assert without.returncode != 0
    assert "401" in without.stderr or "nauthorized" in without.stderr or "uthentication" in without.stderr
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(local_service.token_file)}
    with_token = local_service.python(ask, **token)
    assert with_token.returncode == 0, with_token.stderr


def test_every_port_is_on_the_loopback_address(busy):
    ports = listening_ports(busy.record)
    assert (
        len(ports) >= 7
    )  # the GCS, the raylet's two, the dashboard, its agent's two, the runtime environments', workers
    strangers = {port: where for port, where in ports.items() if where[1] not in LOOPBACK}
    assert not strangers


def test_no_port_answers_a_web_request_without_the_token(busy):
    """Fails when a new version of Ray opens a port, or a path, that asks for no token."""
    speaks_http = set()
    for port in listening_ports(busy.record):
        for path in PATHS:
            for method in ("GET", "POST"):
                status = request(f"http://127.0.0.1:{port}{path}", method=method)
                if status is None:
                    continue
                speaks_http.add(port)
                refused = status in (401, 403, 404, 405)
                assert refused or ((method, status) == ("GET", 200) and path in OPEN_PATHS), (
                    port,
                    method,
                    path,
                    status,
                )
    assert len(speaks_http) == 3  # the dashboard, its agent, the runtime environments'


def test_no_port_answers_a_remote_call_without_the_token(busy):
    """Every method of every service that Ray declares, at every port, without a token and with a wrong one."""
    import grpc

    methods = grpc_methods()
    assert len(methods) > 100
    guarded = set()
    for port in listening_ports(busy.record):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=2)
            except grpc.FutureTimeoutError:
                continue  # no gRPC there
            for method in methods:
                for metadata in ((), (("authorization", "Bearer wrong"),)):
                    call = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
                    with pytest.raises(grpc.RpcError) as caught:
                        call(b"", timeout=10, metadata=metadata)
                    code = caught.value.code()
                    assert code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED), (
                        port,
                        method,
                        code,
                    )
                    if code == grpc.StatusCode.UNAUTHENTICATED:
                        guarded.add(port)
    assert len(guarded) >= 6  # the GCS, the raylet's two, the agent's, and at least one worker's and one driver's


def test_a_process_without_the_token_cannot_join(busy):
    join = (
        f"import ray; ray.init(address={busy.record.gcs_address!r}, log_to_driver=False); "
        "print('joined', ray.cluster_resources()['CPU'])"
    )
    alone = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
    with ThreadPoolExecutor(2) as pool:  # the refused one tries for ten seconds
        first = pool.submit(busy.python, join, **{**alone, "RAY_AUTH_MODE": "disabled"})
        second = pool.submit(busy.python, join, **alone, RAY_AUTH_TOKEN_PATH=str(busy.token_file))
        without, right = first.result(), second.result()
    assert without.returncode != 0
    assert "joined" not in without.stdout
    assert right.stdout.split() == ["joined", "2.0"], right.stderr


def test_the_token_is_for_its_owner_alone_and_stands_nowhere_else(busy):
    assert busy.token_file.stat().st_mode & 0o777 == 0o600
    assert busy.token_file.parent.stat().st_mode & 0o777 == 0o700
    assert busy.record.temporary.stat().st_mode & 0o777 == 0o700
    token = busy.token.encode()
    assert len(token) >= 43
    for each in processes_of(busy.record):
        assert token not in Path(f"/proc/{each.pid}/cmdline").read_bytes()
    files = [busy.state_file, busy.record.log, *(path for path in busy.record.temporary.rglob("*") if path.is_file())]
    assert len(files) > 20
    for path in files:
        assert token not in path.read_bytes(), path
    listed = urllib.request.Request(f"{busy.address}/api/jobs/", headers={"Authorization": f"Bearer {busy.token}"})
    with urllib.request.urlopen(listed) as answer:
        assert token not in answer.read()


def test_all_processes_are_found_as_ours_and_no_others(busy):
    found = {each.pid for each in processes_of(busy.record)}
    assert busy.record.keeper.pid in found
    assert len(found) >= 8
    sessions = {facts[1] for pid in found if (facts := parent_and_session(pid)) is not None}
    assert len(sessions) > 1  # Ray gives the driver of a job one of its own: found all the same
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert bystander.pid not in {each.pid for each in processes_of(busy.record)}
    finally:
        bystander.communicate(b"\n")


def test_a_second_up_says_so_and_changes_nothing(local_service):
    before = local_service.record
    done = local_service.run("up", "--cpus", 1)
    assert done.returncode == 0, done.stderr
    assert local_service.address in done.stdout
    assert "up already" in done.stderr
    assert local_service.record == before
    again = local_service.run("up", "--json")
    assert json.loads(again.stdout) == {**json.loads(again.stdout), "address": local_service.address, "new": False}


def test_a_request_for_the_jobs_takes_no_proxy(local_service, monkeypatch):
    """A proxy of the environment must not get to see the token."""
    from dbp.workers.jobs_http import jobs_of

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert jobs_of(local_service.address, local_service.token) is not None
