"""Whether a service is there, is Ray, asks for the token, and takes ours: asked before anything is handed over, without Ray."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from urllib.parse import urlsplit

from dbp.errors import ServiceError
from dbp.jobs.service_config import Service
from dbp.workers.authentication import TokenWarning, find_token
from dbp.workers.jobs_http import Answer, ask

_REFUSED = (401, 403)
_LOOPBACK = ("localhost", "::1")


def check_service(service: Service, *, insecure: bool = False, timeout: float = 5.0) -> None:
    """Raise ServiceError unless the service answers as Ray's jobs API and lets us in, and would let in nobody without the token.

    `insecure` lets a service pass that asks for no token; that is told by a TokenWarning each time. A token that would travel
    unencrypted to another machine is told, too.
    """
    where = f"{service.address} ({service.source})"
    bare = ask(f"{service.address}/api/version", timeout=timeout)
    if bare is None:
        raise ServiceError(
            f"{where}: nothing answers there within {timeout:.0f} s; expected Ray's jobs API. {_NEXT[service.source == 'dbp up']}"
        )
    if _is_ray(bare):
        if not insecure:
            raise ServiceError(
                f"{where}: answers without a token: whoever reaches it can run code there, and read your data; next: start that "
                "Ray with RAY_AUTH_MODE=token, or, on a network that you trust, add --insecure"
            )
        warnings.warn(f"{where}: asks for no token: whoever reaches it can run code there", TokenWarning, stacklevel=2)
        return
    if bare.status not in _REFUSED:
        raise ServiceError(
            f"{where}: what answers there is not Ray's jobs API (status {bare.status}); next: check host and port"
        )
    token = find_token(service)
    if token is None:
        raise ServiceError(
            f"{where}: asks for a token, and there is none here; next: name a file with it as token_file in the configuration, "
            "or in RAY_AUTH_TOKEN_PATH"
        )
    if urlsplit(service.address).scheme == "http" and not _on_loopback(service.address):
        warnings.warn(f"{where}: the token travels unencrypted; better: https, or a tunnel", TokenWarning, stacklevel=2)
    answer = ask(f"{service.address}/api/version", token, timeout=timeout)
    if answer is not None and answer.status in _REFUSED:
        held = f"the token in {service.token_file}" if service.token_file is not None else "our token"
        raise ServiceError(f"{where}: does not take {held}; next: get the token of this service from whoever runs it")
    if answer is None or not _is_ray(answer):
        seen = "no answer" if answer is None else f"status {answer.status}"
        raise ServiceError(f"{where}: what answers there is not Ray's jobs API ({seen}); next: check host and port")


_NEXT = {True: "next: `dbp down`, then `dbp up`", False: "next: check the address, and that the cluster runs"}


def _is_ray(answer: Answer) -> bool:
    said = answer.json() if answer.status == 200 else None
    return isinstance(said, Mapping) and "ray_version" in said


def _on_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    return host in _LOOPBACK or host.startswith("127.")
