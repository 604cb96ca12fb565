"""Which service a command talks to: plain data, found without Ray.

The first that is there counts: the address given (`--address`), `DBP_ADDRESS`, the configuration file
(`$XDG_CONFIG_HOME/dbp/config.toml`), the local service that `dbp up` started.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dbp.errors import ServiceError
from dbp.jobs.local_service import config_folder, running_service
from dbp.jobs.wording import did_you_mean, printable, show
from dbp.storage.atomic_files import storage_error

_LONGEST_FILE = 1 << 20
_KEYS = ("address", "storage", "token_file")


@dataclass(frozen=True)
class Service:
    """A place to hand jobs to."""

    address: str  # of the jobs API: http://host:8265
    storage: str | None  # where jobs leave their directories unless they say otherwise: an absolute path or a URI
    token_file: Path | None  # None: wherever Ray looks (RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token)
    source: str  # who named it: "--address", "DBP_ADDRESS", the configuration file, or "dbp up"


@dataclass(frozen=True)
class Config:
    """The configuration file as it stands; what it does not say is None."""

    address: str | None = None
    storage: str | None = None
    token_file: Path | None = None


def find_service(address: str | None = None) -> Service | None:
    """Return the service to talk to, or None when nobody named one and none is up here.

    Token and storage of the configuration file go with the address that stands beside them, and with any address where none does:
    a token is never sent to a host that it was not meant for. Raises ServiceError for a malformed address or configuration.
    """
    config = read_config(config_file())
    named = _named(address, config)
    if named is None:
        local = running_service()
        if local is None:
            return None
        storage = config.storage if config.address is None and config.storage is not None else local.storage
        return Service(local.address, storage, local.token_file, "dbp up")
    url, source = named
    if config.address in (None, url) and (config.token_file or config.storage):
        return Service(url, config.storage, config.token_file or _local_token(url), source)
    local = running_service()
    if local is not None and local.address == url:
        return Service(url, local.storage, local.token_file, source)
    return Service(url, None, None, source)


def config_file() -> Path:
    """Return where the configuration file is, or would be."""
    return config_folder() / "config.toml"


def read_config(file: Path) -> Config:
    """Read a configuration file; an empty Config if there is none. ServiceError naming file and key for what is wrong in it."""
    try:
        with open(file, "rb") as stream:
            data = stream.read(_LONGEST_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return Config()
    except OSError as error:
        raise storage_error("be read", file, error) from error
    if len(data) > _LONGEST_FILE:
        raise ServiceError(f"{file}: larger than 1 MiB; expected a few lines: {', '.join(_KEYS)}")
    try:
        values = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ServiceError(
            f"{file}: not TOML: {printable(str(error))[:200]}; expected lines like {_EXAMPLE}"
        ) from error
    return _checked(values, file)


def service_address(text: str, source: str) -> str:
    """Return the address of a jobs API as a URL without a path; `host:port` is taken as http. ServiceError if it is not one."""
    said = text.strip()
    url = said if "://" in said else f"http://{said}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    wrong = f"{source}: {show(text)} is not the address of a service"
    expected = "expected the address of Ray's jobs API, like http://head-node:8265"
    if parts.scheme == "ray":
        raise ServiceError(f"{wrong}: ray:// is Ray's client port; {expected}")
    if parts.scheme not in ("http", "https") or not host or any(c.isspace() or not c.isprintable() for c in said):
        raise ServiceError(f"{wrong}; {expected}")
    if "@" in parts.netloc or parts.query or parts.fragment or parts.path not in ("", "/"):
        raise ServiceError(f"{wrong}: it has more than scheme, host and port; {expected}")
    if port is None and "://" not in said:
        raise ServiceError(f"{wrong}: it has no port; {expected}")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + ("" if port is None else f":{port}")


_EXAMPLE = 'address = "http://head-node:8265"'


def _named(address: str | None, config: Config) -> tuple[str, str] | None:
    if address is not None:
        return service_address(address, "--address"), "--address"
    if os.environ.get("DBP_ADDRESS"):
        return service_address(os.environ["DBP_ADDRESS"], "DBP_ADDRESS"), "DBP_ADDRESS"
    return None if config.address is None else (config.address, str(config_file()))


def _local_token(url: str) -> Path | None:
    local = running_service()
    return local.token_file if local is not None and local.address == url else None


def _checked(values: Mapping[str, object], file: Path) -> Config:
    for key, value in values.items():
        if key not in _KEYS:
            near = did_you_mean(key, _KEYS) or f"; expected one of: {', '.join(_KEYS)}"
            raise ServiceError(f"{file}: {printable(key)[:80]}: no such key{near}")
        if not isinstance(value, str) or not value.strip():
            raise ServiceError(f"{file}: {key}: expected a text in quotes, got {show(value)}")
    texts = {key: str(value).strip() for key, value in values.items()}
    address = texts.get("address")
    storage = texts.get("storage")
    token = texts.get("token_file")
    return Config(
        address=None if address is None else service_address(address, f"{file}: address"),
        storage=None if storage is None else _storage(storage, file),
        token_file=None if token is None else file.parent / _home(token, f"{file}: token_file"),
    )


def _storage(text: str, file: Path) -> str:
    if "://" in text:
        return text
    path = _home(text, f"{file}: storage")
    if not path.is_absolute():
        raise ServiceError(
            f"{file}: storage: expected an absolute folder, or a URI like s3://bucket/runs; got {show(text)}"
        )
    return str(path)


def _home(text: str, where: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ServiceError(f"{where}: {show(text)}: no home folder is known for ~; write the whole path") from error
