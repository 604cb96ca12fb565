"""What went wrong at an object store, in plain words, and whether asking again can help.

The libraries behind fsspec raise errors of their own. They are told apart by errno and by the names of their classes, so that none
of these libraries is imported here.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass

_MOST_CHARACTERS = 200
_HOPELESS = {
    errno.ENOSPC: "the store is full",
    errno.EDQUOT: "the quota is used up",
    errno.EROFS: "the store is read-only",
    errno.EPERM: "access denied",
    errno.EACCES: "access denied",
    errno.EINVAL: "the request was refused",
    errno.ENOSYS: "the store does not know this operation",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EMSGSIZE: "the file is too large for the store",
}
_UNREACHABLE = ("EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError", "ClientConnectorError")
_NO_CREDENTIALS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "DefaultCredentialsError",
    "CredentialRetrievalError",
)
_BAD_SETTINGS = ("ProfileNotFound", "ConfigParseError", "NoRegionError", "InvalidRegionError", "SSLError")


@dataclass(frozen=True)
class Failure:
    """Why a request failed."""

    reason: str
    worth_trying_again: bool


def understand(error: Exception, scheme: str) -> Failure:
    """Return what an error of the library of a scheme's store means."""
    names = {kind.__name__ for kind in type(error).__mro__}
    told = _first_line(error)
    if names & set(_NO_CREDENTIALS):
        return Failure(
            "no credentials; expected them in the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; "
            "GOOGLE_APPLICATION_CREDENTIALS for gs://)",
            False,
        )
    if names & set(_UNREACHABLE):
        return Failure(f"the server does not answer{_where(scheme)}", True)
    if names & set(_BAD_SETTINGS) or "ParamValidationError" in names:
        return Failure(f"{told}; expected other settings in the environment", False)
    if isinstance(error, PermissionError):
        return Failure(f"access denied ({told or 'no reason given'})", False)
    if isinstance(error, TimeoutError) or "FSTimeoutError" in names or "Timeout" in type(error).__name__:
        return Failure(f"the server took too long{_where(scheme)}", True)
    if isinstance(error, OSError) and error.errno in _HOPELESS:
        return Failure(f"{_HOPELESS[error.errno]} ({told})", False)
    if isinstance(error, OSError) and error.errno == errno.EBUSY:
        return Failure(f"the server is busy ({told})", True)
    if scheme == "gs" and (understood := _of_google(error, told)) is not None:
        return understood
    status = getattr(error, "status", None)  # of a web server
    if isinstance(status, int) and status >= 400:
        return _of_status(status, "")
    return Failure(told or type(error).__name__, True)


def _of_google(error: Exception, told: str) -> Failure | None:
    """Return what gcsfs means, which says much in words only."""
    kind, code = type(error).__name__, getattr(error, "code", None)
    if isinstance(error, OSError) and str(error).startswith("Forbidden: "):
        return Failure(f"access denied ({_line(str(error).partition(chr(10))[2]) or 'no reason given'})", False)
    if isinstance(error, ValueError) and str(error).startswith("Bad Request: "):
        return Failure(f"the request was refused ({_line(str(error).partition(chr(10))[2])})", False)
    if kind == "HttpError" and code == 401 and "Invalid Credentials" in told:
        return Failure(f"access denied ({told.removesuffix(', 401')})", True)  # a token that has run out is made anew
    if kind == "HttpError" and isinstance(code, int):
        return _of_status(code, told.removesuffix(f", {code}"))
    if kind == "ProxyError":
        return _of_status(502, "")
    if kind == "RefreshError":
        return Failure(f"the credentials are no good ({told})", _may_pass(error))
    return None


def _may_pass(error: Exception) -> bool:
    """Whether credentials could not be had for a reason that may pass: their server did not answer."""
    behind = (error.__cause__, *error.args)
    return bool(getattr(error, "retryable", False)) or any(type(each).__name__ == "TransportError" for each in behind)


def _of_status(status: int, told: str) -> Failure:
    if status in (401, 403):
        return Failure(f"access denied ({told or f'status {status}'})", False)
    if status in (429, 503) and told:
        return Failure(f"the server is busy ({told})", True)
    return Failure(
        f"the server answers with status {status}{f' ({told})' if told else ''}", status >= 500 or status in (408, 429)
    )


_SERVERS = {"s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), "gs": ("STORAGE_EMULATOR_HOST",)}


def _where(scheme: str) -> str:
    for name in _SERVERS.get(scheme, ()):
        if server := os.environ.get(name):
            shown = re.sub(r"//[^/@]*@", "//...@", server)[:_MOST_CHARACTERS]
            return f" ({name} is {shown})"
    return ""


def _first_line(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return _line(text)


def _line(text: str) -> str:
    line = (text.splitlines() or [""])[0]
    return "".join(character for character in line if character.isprintable())[:_MOST_CHARACTERS]
