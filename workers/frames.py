"""Answers as lines of a log: base64 in frames, a SHA-256 at the end. Other lines of the log (Ray's own, warnings) are passed over.

dbp-frame 0 data <base64>
dbp-frame 0 end <number of bytes> <sha256>
dbp-frame 1 error <base64 of a message>
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator

from dbp.errors import ServiceError

_MARK = "dbp-frame"
_FRAME_BYTES = 48 << 10
_LINE = re.compile(rf"{_MARK} ([0-9]{{1,9}}) (data|end|error) (.+)")


class ReaderError(ServiceError):
    """What the reader on the cluster answered instead of a result."""


def frames(number: int, data: bytes) -> Iterator[str]:
    """Yield the lines, without line breaks, of an answer."""
    for start in range(0, len(data), _FRAME_BYTES):
        yield f"{_MARK} {number} data {base64.b64encode(data[start : start + _FRAME_BYTES]).decode()}"
    yield f"{_MARK} {number} end {len(data)} {hashlib.sha256(data).hexdigest()}"


def error_frame(number: int, message: str) -> str:
    """Return the line that says that there is no answer, and why."""
    return f"{_MARK} {number} error {base64.b64encode(message.encode()).decode()}"


def answers(log: str) -> list[bytes]:
    """Return the whole answers in a log, in order; what is still being written is left out.

    Raises ReaderError for an answer that says why there is none, ServiceError for one that was damaged on its way.
    """
    found: list[bytes] = []
    parts: list[bytes] = []
    for line in log.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is None or int(match[1]) != len(found):
            continue
        kind, rest = match[2], match[3]
        if kind == "end":
            found.append(_checked(b"".join(parts), rest))
            parts = []
            continue
        data = _decoded(rest)
        if kind == "error":
            raise ReaderError(data.decode(errors="replace"))
        parts.append(data)
    return found


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""  # the check at the end finds it


def _checked(data: bytes, rest: str) -> bytes:
    if rest.split() != [str(len(data)), hashlib.sha256(data).hexdigest()]:
        raise ServiceError(
            "what was read through the cluster was damaged on its way (its SHA-256 is another); try again"
        )
    return data
