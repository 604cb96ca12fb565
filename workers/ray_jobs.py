"""Ray Jobs, over HTTP: the engine that starts, stops and logs the drivers of submitted jobs.

These are the requests that Ray's own job client makes; it is not used here because it has no time limits, takes its token from
the process's environment and prints warnings. A server that lets anybody in is refused: Ray's jobs API runs code by design.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

from dbp.errors import ServiceError
from dbp.jobs.wording import printable, show
from dbp.workers.http_door import Answer, Door

RayStatus: TypeAlias = Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]
ENDED = ("STOPPED", "SUCCEEDED", "FAILED")
_STATUSES = ("PENDING", "RUNNING", *ENDED)
_PROBE_SECONDS = 4.0
_UPLOAD_SECONDS = 600.0


class TakenError(ServiceError):
    """The service knows a job of that id already."""


@dataclass(frozen=True)
class RayJob:
    """One driver that Ray Jobs was asked to start. Times are seconds since 1970, by the service's clock."""

    id: str
    status: RayStatus
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    submitted: float | None = None
    ended: float | None = None
    exit_code: int | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it never runs again."""
        return self.status in ENDED

    @classmethod
    def from_json(cls, value: object) -> RayJob | None:
        """Return the job in Ray's answer; None for what was not submitted (an interactive driver) or is not understood."""
        if not isinstance(value, dict):
            return None
        name, status, metadata = value.get("submission_id"), value.get("status"), value.get("metadata") or {}
        if not isinstance(name, str) or status not in _STATUSES or not isinstance(metadata, dict):
            return None
        code = value.get("driver_exit_code")
        return cls(
            id=name,
            status=status,
            message=str(value.get("message") or ""),
            metadata={str(key): str(text) for key, text in metadata.items()},
            submitted=_seconds(value.get("start_time")),
            ended=_seconds(value.get("end_time")),
            exit_code=code if isinstance(code, int) else None,
        )


def _seconds(milliseconds: object) -> float | None:
    return milliseconds / 1000 if isinstance(milliseconds, (int, float)) and milliseconds else None


class RayJobs:
    """The jobs API at `address`, entered with `token`. `insecure` accepts a server that asks for none."""

    def __init__(self, address: str, token: str | None, *, insecure: bool = False) -> None:
        self._door = Door(address)
        self._token = token
        self.address = self._door.address
        self._check(insecure)

    @property
    def in_clear(self) -> bool:
        """Whether what is sent can be read on the way."""
        return not self._door.secure and not self.is_loopback

    @property
    def is_loopback(self) -> bool:
        """Whether the address is this machine's own (which may be the end of a tunnel)."""
        return self._door.host in ("localhost", "::1") or self._door.host.startswith("127.")

    def _check(self, insecure: bool) -> None:
        """Knock without the token, then with it."""
        knock = self._door.ask("GET", "/api/version", seconds=_PROBE_SECONDS, most=1 << 20)
        if knock.status == 200:
            self._check_version(knock)
            if not insecure:
                raise ServiceError(
                    f"{self.address}: lets anybody in: it asks for no token, and whoever reaches it can run code there; expected a "
                    "Ray with RAY_AUTH_MODE=token (`dbp up` starts one). To use it all the same: --insecure"
                )
            return
        if knock.status not in (401, 403):
            raise self._not_ray(f"it answers {knock.status} to GET /api/version")
        if self._token is None:
            raise ServiceError(
                f"{self.address}: asks for a token, and there is none; give it with --token-file FILE, `token_file` in the "
                "configuration, or RAY_AUTH_TOKEN_PATH"
            )
        answer = self._ask("GET", "/api/version", seconds=_PROBE_SECONDS)
        if answer.status != 200:
            raise self._not_ray(f"it answers {answer.status} to GET /api/version")
        self._check_version(answer)

    def _check_version(self, answer: Answer) -> None:
        try:
            version = json.loads(answer.body)["ray_version"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise self._not_ray("GET /api/version names no ray_version") from None
        self.version = printable(str(version))[:40]

    def _not_ray(self, seen: str) -> ServiceError:
        return ServiceError(
            f"{self.address}: something answers there, but it is not a Ray dashboard ({seen}); expected the address of one, "
            "such as http://host:8265"
        )

    def _ask(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/json", seconds: float = 30.0
    ) -> Answer:
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        if body is not None:
            headers["Content-Type"] = kind
        answer = self._door.ask(method, path, body, headers, seconds)
        if answer.status == 401:
            raise ServiceError(f"{self.address}: asks for a token, and there is none; give it with --token-file FILE")
        if answer.status == 403:
            raise ServiceError(
                f"{self.address}: does not accept the token; expected the token of that service. Look at --token-file, "
                "`token_file` in the configuration, RAY_AUTH_TOKEN and RAY_AUTH_TOKEN_PATH"
            )
        return answer

    def _json(self, method: str, path: str, value: object = None) -> Any:  # Any: JSON of a server
        body = None if value is None else json.dumps(value).encode()
        answer = self._ask(method, path, body)
        if answer.status != 200:
            raise self._failed(answer, f"{method} {path.split('?')[0]}")
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError):
            raise self._not_ray(f"{method} {path.split('?')[0]} is answered with something that is not JSON") from None

    def _failed(self, answer: Answer, request: str) -> ServiceError:
        lines = [line for line in answer.body.decode(errors="replace").splitlines() if line.strip()]
        reason = printable(lines[-1].strip())[:300] if lines else "no reason given"
        return ServiceError(f"{self.address}: Ray answers {answer.status} to {printable(request)}: {reason}")

    def jobs(self) -> list[RayJob]:
        """Return all submitted jobs that Ray remembers."""
        found = self._json("GET", "/api/jobs/")
        if not isinstance(found, list):
            raise self._not_ray("GET /api/jobs/ is no list")
        return [job for value in found if (job := RayJob.from_json(value)) is not None]

    def job(self, name: str) -> RayJob | None:
        """Return the job of that submission id; None when Ray knows none."""
        answer = self._ask("GET", f"/api/jobs/{quote(name, safe='')}")
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._failed(answer, f"GET /api/jobs/{name}")
        try:
            return RayJob.from_json(json.loads(answer.body))
        except (ValueError, RecursionError):
            raise self._not_ray("GET /api/jobs/... is answered with something that is not JSON") from None

    def submit(
        self, name: str, entrypoint: str, runtime_env: Mapping[str, object], metadata: Mapping[str, str]
    ) -> None:
        """Start a job. TakenError when there is, or was, one of that submission id."""
        wanted = {
            "entrypoint": entrypoint,
            "submission_id": name,
            "runtime_env": dict(runtime_env),
            "metadata": dict(metadata),
        }
        answer = self._ask("POST", "/api/jobs/", json.dumps(wanted).encode())
        if answer.status != 200:
            if b"already exists" in answer.body:
                raise TakenError(f"{self.address}: has a job {show(name)} already; expected an id that is new there")
            raise self._failed(answer, "POST /api/jobs/")

    def stop(self, name: str) -> None:
        """Ask a job to stop; one that has ended stays as it is."""
        self._json("POST", f"/api/jobs/{quote(name, safe='')}/stop", {})

    def delete(self, name: str) -> None:
        """Have Ray forget a job that has ended; one that it does not know is forgotten already."""
        answer = self._ask("DELETE", f"/api/jobs/{quote(name, safe='')}")
        if answer.status not in (200, 404):
            raise self._failed(answer, f"DELETE /api/jobs/{name}")

    def log(self, name: str) -> str:
        """Return all that a job's driver has printed so far."""
        found = self._json("GET", f"/api/jobs/{quote(name, safe='')}/logs")
        text = found.get("logs") if isinstance(found, dict) else None
        return text if isinstance(text, str) else ""

    def upload(self, package: bytes) -> str:
        """Hand over a zip file that becomes a job's working folder; return its name there."""
        name = f"_ray_pkg_{hashlib.sha256(package).hexdigest()[:32]}.zip"
        path = f"/api/packages/gcs/{name}"
        self._ask("GET", path)  # as Ray's client does: keeps the package until a job refers to it
        answer = self._ask("PUT", path, package, "application/zip", _UPLOAD_SECONDS)
        if answer.status != 200:
            raise self._failed(answer, "PUT of the job's files")
        return f"gcs://{name}"

    def nodes(self) -> list[Mapping[str, float]]:
        """Return what each living node has: ``{"CPU": 2.0, "memory": ..., ...}``."""
        found = self._json("GET", "/api/v0/nodes?detail=true&limit=10000")
        try:
            nodes = found["data"]["result"]["result"]
            return [
                {str(name): float(amount) for name, amount in (node.get("resources_total") or {}).items()}
                for node in nodes
                if node.get("state") == "ALIVE"
            ]
        except (KeyError, TypeError, ValueError, AttributeError):
            return []  # a Ray that says it in another way: the driver checks it again
