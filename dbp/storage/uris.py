"""What counts as a URI of storage, and what it may say.

A URI names a place and nothing else: no user, password, port or option. Those come from the environment (``AWS_ENDPOINT_URL``,
``AWS_PROFILE``, ``GOOGLE_APPLICATION_CREDENTIALS``, ...), so that no job file can hold a secret or send data to another server.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from dbp.errors import StorageError

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/{2})/?(.*)", re.DOTALL)  # pathlib folds two slashes into one
_FILE = re.compile(r"file:/{1,3}(?=[^/]|$)", re.IGNORECASE)

# Which package's extra reads a scheme; None where nothing more is needed. The first four names are what messages offer.
SCHEMES: dict[str, str | None] = {"s3": "s3", "gs": "gcs", "file": None, "memory": None}
WEB = ("https", "http")  # tables are read from there, and nothing is kept there


@dataclass(frozen=True)
class Uri:
    """A place in an object store: scheme, bucket, and the key (or start of keys) below it, "" for the bucket itself."""

    scheme: str
    bucket: str
    key: str

    @property
    def path(self) -> str:
        """Bucket and key, as the store's library takes them; of the web, the whole address."""
        if self.is_web:
            return str(self)
        return self._place

    @property
    def is_web(self) -> bool:
        """Whether it is an address of a web server, which stands in the place of the bucket, with its port."""
        return self.scheme in WEB

    @property
    def _place(self) -> str:
        return f"{self.bucket}/{self.key}" if self.key else self.bucket

    def __str__(self) -> str:
        return f"{self.scheme}://{self._place}"


def is_uri(text: str | Path) -> bool:
    """Whether `text` is a URI rather than a path; ``file:`` counts as one."""
    return bool(_URI.match(str(text)) or _FILE.match(str(text)))


def is_remote(text: str | Path) -> bool:
    """Whether `text` is a URI of something other than this machine's file system."""
    return is_uri(text) and not _FILE.match(str(text))


def local_path(text: str | Path) -> Path:
    """Return the path that a path or a ``file:`` URI means. StorageError for one that names a host or another scheme."""
    shown = str(text)
    if not is_uri(shown):
        return Path(text)
    if is_remote(shown):
        raise StorageError(f"{shown}: is in an object store; expected a folder or file of this machine")
    rest = shown[5:].lstrip("/")
    if re.match(r"(?i)file://[^/]", shown) or "%" in rest or not rest:
        raise StorageError(
            f"{shown}: not understood; expected file:///absolute/path, without a host and without % signs"
        )
    return Path("/" + rest)


def parse_uri(text: str | Path, web: bool = False) -> Uri:
    """Return the parts of a remote URI. StorageError where it is of no known kind or says more than a place.

    With `web` it may be an address of the web, of a file that is only read.
    """
    shown = str(text)
    match = _URI.fullmatch(shown)
    if match is None:
        raise StorageError(f"{_safe(shown)}: not a URI; expected one such as s3://bucket/folder")
    scheme, rest = match[1].lower(), match[2].rstrip("/")
    web = web and scheme in WEB
    if scheme not in SCHEMES and not web:
        raise StorageError(
            f"{_safe(shown)}: storage of kind {scheme!r}; expected a folder or a URI that starts with "
            + ", ".join(f"{name}://" for name in SCHEMES)
        )
    if "@" in rest.partition("/")[0]:
        raise StorageError(
            f"{_safe(shown)}: holds a user or password; expected credentials in the environment only "
            "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS)"
        )
    parts = rest.split("/")
    if web and not re.fullmatch(r"[^:]+(:[0-9]{1,5})?", parts[0]):
        raise StorageError(f"{_safe(shown)}: names no server; expected {scheme}://server/folder/file")
    if not web and (not parts[0] or ":" in parts[0]):
        raise StorageError(
            f"{_safe(shown)}: names no bucket; expected {scheme}://bucket/folder "
            "(the server's address belongs into AWS_ENDPOINT_URL)"
        )
    if any(part in ("", ".", "..") for part in parts) or re.search(r"[?#*\[\]\x00-\x1f\x7f]|::", rest):
        raise StorageError(
            f"{_safe(shown)!r}: an odd name; expected {scheme}://bucket/folder "
            "without empty parts, '..', '?', '#', '*' or brackets"
        )
    return Uri(scheme, parts[0], "/".join(parts[1:]))


def split_pattern(text: str) -> tuple[str, str | None]:
    """Return the folder before the first wildcard (``*``, ``?``, ``[``) of a path or URI, and the pattern from there on.

    Without one: all of it, and None. A path that is there as it is spelt is no pattern, nor is an address of the web; and what
    stands behind a ``?`` in a URI may be a secret, so that is for `parse_uri` to refuse.
    """
    wild = re.search(r"[*?\[]", text)
    if wild is None:
        return text, None
    if is_remote(text):
        if re.search(r"[?#]", text) or text.partition(":")[0].lower() in WEB:
            return text, None
    elif os.path.lexists(local_path(text)):
        return text, None
    slash = text.rfind("/", 0, wild.start())
    return ("/" if slash == 0 else text[: max(slash, 0)]), text[slash + 1 :]


def parent_and_name(text: str | Path, web: bool = False) -> tuple[str, str]:
    """Return the folder of a remote URI and the name in it. StorageError where it names a bucket only. `web`: see `parse_uri`."""
    uri = parse_uri(text, web)
    folder, _, name = uri.key.rpartition("/")
    if not name:
        raise StorageError(f"{uri}: is a {'server' if uri.is_web else 'bucket'}; expected a folder or file in it")
    return str(Uri(uri.scheme, uri.bucket, folder)), name


def below(place: Path | str, name: str) -> Path | str:
    """Return where `name` is in a folder: a path in a path, a URI in a URI."""
    return place / name if isinstance(place, Path) else f"{place.rstrip('/')}/{name}"


def _safe(text: str) -> str:
    """Leave out what may be a password: before an @, behind a colon that no port follows, and behind a ? (signed addresses)."""
    text = re.sub(r"(//?)[^/]*@", r"\1...@", text)
    text = re.sub(r"(//?[^/:?]*):(?!\d{1,5}(?:/|$))[^/]*", r"\1:...", text)
    return re.sub(r"\?.*", "?...", text, flags=re.DOTALL)
