"""Which library reads a kind of store, and how it is set up: from the environment, and so that one alone tries requests again.

The libraries behind fsspec try a failed request again by themselves, six times for half a minute in the one for Google. Tries are
counted here (`dbp.storage.remote`), so those are switched off.
"""

from __future__ import annotations

import functools
import importlib
import os
from typing import Any

from dbp.errors import StorageError
from dbp.storage.failures import understand
from dbp.storage.uris import SCHEMES, WEB

_CONNECT_SECONDS, _READ_SECONDS = 5, 60


def open_filesystem(scheme: str) -> Any:  # Any: fsspec has no types
    """Return fsspec's file system for a scheme, set up from the environment. StorageError where its package is missing."""
    extra = SCHEMES.get(scheme)
    if extra is not None:
        _require_package(scheme, extra)
    try:
        return _open(scheme)
    except Exception as error:  # a profile that does not exist, a file of credentials that cannot be read
        raise StorageError(f"{scheme}://: cannot be used: {understand(error, scheme).reason}") from error


def bucket_exists(files: Any, scheme: str, bucket: str) -> bool:
    """Whether a store has a bucket. Other errors are the library's."""
    try:
        if scheme == "gs":
            # A list of its objects: who may read and write those may often not ask about the bucket itself.
            files.call("GET", "b/{}/o", bucket, maxResults=1)
        else:
            files.info(bucket)
    except FileNotFoundError:
        return False
    return True


def _open(scheme: str) -> Any:
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False}
    # One server per key: fsspec keeps a file system for each set of options, and must not confuse two servers.
    if scheme == "s3":
        options["endpoint_url"] = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
        options["config_kwargs"] = {
            "connect_timeout": _CONNECT_SECONDS,
            "read_timeout": _READ_SECONDS,
            "retries": {"total_max_attempts": 1},
        }
        files = fsspec.filesystem(scheme, **options)
        files.retries = 1
        return files
    if scheme == "gs":
        stand_in = os.environ.get("STORAGE_EMULATOR_HOST") or None
        if stand_in is not None:
            options["endpoint_url"] = stand_in if "://" in stand_in else f"http://{stand_in}"
            options["token"] = "anon"  # a stand-in is told no secret
        elif os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
            options["token"] = "google_default"  # and where these are no good, that is an error
        return _google()(requests_timeout=_web_timeout(), session_kwargs={"trust_env": True}, **options)
    if scheme in WEB:
        options["client_kwargs"] = {"timeout": _web_timeout(), "trust_env": True}
    return fsspec.filesystem(scheme, **options)


def _web_timeout() -> Any:
    from aiohttp import ClientTimeout

    # A large file may take as long as it takes.
    return ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS)


@functools.cache
def _google() -> type:
    """Return gcsfs's file system of plain buckets, each request made once.

    The one that fsspec would pick asks about each bucket's layout first, by another protocol and with another permission.
    """
    kind = importlib.import_module("gcsfs.core").GCSFileSystem
    once = {
        name: method.__wrapped__
        for name, method in vars(kind).items()
        if name in ("_request", "_get_file_request", "_get_file_concurrent") and hasattr(method, "__wrapped__")
    }
    return type("GoogleFileSystem", (kind,), once)


def _require_package(scheme: str, extra: str) -> None:
    module = {"s3": "s3fs", "gcs": "gcsfs"}[extra]
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise StorageError(
            f"{scheme}://: needs the package {module}, which is not installed; install it with: pip install 'dbp[{extra}]'"
        ) from error
