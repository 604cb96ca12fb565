"""Plain HTTP requests to Ray's jobs API, for what must work without importing Ray, which takes seconds.

Is it there, does it ask for the token, which jobs run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

_LONGEST = 16 << 20
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")  # Ray's words for a job that will not change any more


class _NoRedirects(HTTPRedirectHandler):
    """A token goes to the address it is for, and nowhere that this one points to."""

    def redirect_request(self, *_: object) -> None:
        """Follow none."""
        return


@dataclass(frozen=True)
class Answer:
    """What an address answered."""

    status: int
    body: bytes

    def json(self) -> object:
        """The body as JSON; None if it is not."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True)
class RayJob:
    """A submitted job as Ray lists it."""

    submission_id: str
    status: str
    job: str  # dbp's id of it; Ray's where dbp did not submit it

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self.status in ENDED


def ask(url: str, token: str | None = None, *, method: str = "GET", timeout: float = 5.0) -> Answer | None:
    """Send a request without a body and return the answer, or None where nothing that speaks HTTP answers in time."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    opener = build_opener(ProxyHandler({}), _NoRedirects())  # no proxy either: it would see the token
    try:
        request = Request(url, method=method, headers=headers)
        with opener.open(request, timeout=timeout) as answer:
            return Answer(answer.status, answer.read(_LONGEST))
    except HTTPError as error:
        with error:
            return Answer(error.code, b"")
    except (OSError, ValueError, EOFError):
        return None
    except Exception as error:  # http.client's own: a bad status line, a broken chunk
        if type(error).__module__ != "http.client":
            raise
        return None


def jobs_of(address: str, token: str | None) -> list[RayJob] | None:
    """Return the jobs that were submitted to the service, or None where it does not say."""
    answer = ask(f"{address}/api/jobs/", token)
    listed = answer.json() if answer is not None and answer.status == 200 else None
    if not isinstance(listed, list):
        return None
    jobs = []
    for each in listed:
        if isinstance(each, dict) and each.get("submission_id"):
            metadata = each.get("metadata")
            name = metadata.get("dbp_job") if isinstance(metadata, dict) else None
            submission = str(each["submission_id"])
            jobs.append(RayJob(submission, str(each.get("status")), str(name or submission)))
    return jobs


def stop_job(address: str, token: str | None, submission_id: str) -> bool:
    """Ask Ray to stop a job (a TERM to its driver, time to end, a KILL); return whether it took the request."""
    answer = ask(f"{address}/api/jobs/{submission_id}/stop", token, method="POST", timeout=10.0)
    return answer is not None and answer.status == 200
