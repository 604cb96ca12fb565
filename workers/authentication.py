"""The token that opens a Ray cluster: made, checked, and handed to Ray through the environment before Ray is imported.

Ray reads the token once per process: `RAY_AUTH_TOKEN`, the file named by `RAY_AUTH_TOKEN_PATH`, or `~/.ray/auth_token`. dbp only
names the file: the token itself stands in no argument, log or metadata.
"""

from __future__ import annotations

import os
import secrets
import sys
import warnings
from collections.abc import MutableMapping
from pathlib import Path

from dbp.errors import ServiceError
from dbp.jobs.service_config import Service
from dbp.storage.atomic_files import storage_error

_LONGEST_TOKEN = 4096
_SECRET = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class TokenWarning(UserWarning):
    """A token that others on this machine can read."""


def make_token(file: Path) -> None:
    """Write a new token to `file`, for its owner alone (0600), in place of any older one. StorageError if it cannot be done."""
    temporary = file.with_name(f".{secrets.token_hex(12)}.tmp")
    try:
        descriptor = os.open(temporary, _SECRET, 0o600)
        try:
            os.write(descriptor, secrets.token_urlsafe(32).encode("ascii"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise storage_error("be written", file, error) from error


def read_token(file: Path) -> str:
    """Return the token in `file`. ServiceError when it is missing, unreadable or no token; TokenWarning when others can read it."""
    try:
        with open(file, "rb") as stream:
            data = stream.read(_LONGEST_TOKEN + 1)
            mode = os.fstat(stream.fileno()).st_mode
    except FileNotFoundError as error:
        raise ServiceError(f"{file}: no such token file; expected the service's token, on one line") from error
    except OSError as error:
        raise ServiceError(f"{storage_error('be read', file, error)}; it should hold the service's token") from error
    token = data.decode("ascii", errors="replace").strip()
    if (
        not token
        or len(data) > _LONGEST_TOKEN
        or any(c.isspace() or not c.isprintable() for c in token)
        or "\ufffd" in token
    ):
        what = "empty" if not token else "not a token"
        raise ServiceError(f"{file}: {what}; expected the service's token, on one line")
    if mode & 0o077:
        warnings.warn(
            f"{file}: others on this machine can read this token (mode {mode & 0o777:04o}), and "
            f"whoever has it can run code as you; next: chmod 600 {file}",
            TokenWarning,
            stacklevel=2,
        )
    return token


def find_token(service: Service) -> str | None:
    """Return the token for `service` as Ray would find it, for requests of our own; None if there is none anywhere.

    Raises ServiceError for a token file that is named and cannot be used.
    """
    if service.token_file is not None:
        return read_token(service.token_file)
    if os.environ.get("RAY_AUTH_TOKEN"):
        return os.environ["RAY_AUTH_TOKEN"]
    if os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return read_token(Path(os.environ["RAY_AUTH_TOKEN_PATH"]))
    try:
        usual = Path.home() / ".ray" / "auth_token"
    except RuntimeError:
        return None
    return read_token(usual) if usual.exists() else None


def use_token(service: Service) -> None:
    """Tell Ray, in this process and its children, to use the service's token. To be called before Ray is imported.

    Without any token Ray is left as it is: the service will say whether it wants one. Raises ServiceError for a token file that
    cannot be used; warns (TokenWarning) when others can read it.
    """
    if find_token(service) is None:
        return
    if "ray" in sys.modules and os.environ.get("RAY_AUTH_MODE") != "token":
        raise RuntimeError("use_token: Ray is imported already, and it reads its authentication mode only then")
    set_token_environment(os.environ, service.token_file)


def set_token_environment(environment: MutableMapping[str, str], file: Path | None) -> None:
    """Name the token file, and that there is to be a token, in an environment for Ray. Without a file, what is there stays."""
    environment["RAY_AUTH_MODE"] = "token"
    if file is not None:
        environment.pop("RAY_AUTH_TOKEN", None)  # Ray would prefer it to the file
        environment["RAY_AUTH_TOKEN_PATH"] = str(file)
