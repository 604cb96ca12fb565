"""Named numpy arrays and JSON metadata in one safetensors file that proves itself whole.

A safetensors file is 8 bytes of header length, a JSON header (names, dtypes, shapes, offsets, a map of strings called
``__metadata__``) and the arrays' bytes. The format has no checksum: a flipped bit reads as another number. So the map holds a
SHA-256 of *every other byte of the file*: it is computed with 64 zeros in its own place. Any safetensors reader opens these files.

A reader trusts no number in a file: every size is checked against the file's real size before memory is asked for.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dbp.errors import InputError
from dbp.storage.atomic_files import Json, storage_error, write_chunks

# Any: an array's dtype and the types inside JSON are known only when the file has been read.
Array: TypeAlias = NDArray[Any]
Metadata: TypeAlias = dict[str, Any]

FORMAT = "dbp-arrays-1"
MAX_HEADER_BYTES = 1_000_000
MAX_ARRAYS = 10_000
_MAX_DIMENSIONS = 32
_DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1"}
_CODES = {np.dtype(text): code for code, text in _DTYPES.items()}
_ZEROS = "0" * 64
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ArrayFileError(InputError):
    """A file that does not hold arrays as dbp writes them, or is damaged. `reason` is the message without the path."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


@dataclass(frozen=True)
class _Entry:
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


# ---- writing


def write_arrays(
    path: Path,
    arrays: Mapping[str, NDArray[np.generic]],
    metadata: Mapping[str, Json],
    before_rename: Callable[[], None] | None = None,
) -> None:
    """Write `arrays` (any shape; float64, float32, int64, int32, uint8 or bool) and `metadata` to `path`, atomically.

    The bytes depend on the contents alone, not on the order of the names. For `before_rename` see `write_chunks`. Raises
    StorageError when the file cannot be written, ArrayFileError when there is more than a file may hold, TypeError / ValueError for
    what it cannot hold at all.
    """
    if len(arrays) > MAX_ARRAYS:
        raise ArrayFileError(path, f"{len(arrays):,} arrays cannot be written; expected at most {MAX_ARRAYS:,}")
    header: dict[str, object] = {
        "__metadata__": {
            "format": FORMAT,
            "metadata": json.dumps(metadata, allow_nan=False, sort_keys=True, ensure_ascii=False),
            "sha256": _ZEROS,
        }
    }
    chunks: list[memoryview] = []
    offset = 0
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        code, chunk = _encode(name, array)
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [offset, offset + chunk.nbytes]}
        chunks.append(chunk)
        offset += chunk.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)  # the arrays start at a multiple of 8 bytes, as in every safetensors file
    if len(text) > MAX_HEADER_BYTES:
        raise ArrayFileError(
            path, f"names and metadata take {len(text):,} bytes; expected at most {MAX_HEADER_BYTES:,}"
        )
    start = len(text).to_bytes(8, "little") + text
    digest = hashlib.sha256(start)
    for chunk in chunks:
        digest.update(chunk)
    start = _with_digest(start, _ZEROS, digest.hexdigest())
    write_chunks(path, [start, *chunks], before_rename)


def _encode(name: str, array: NDArray[np.generic]) -> tuple[str, memoryview]:
    code = _CODES.get(array.dtype.newbyteorder("<"))
    if code is None:
        raise TypeError(f"array {name!r} is of dtype {array.dtype}; expected one of {', '.join(map(str, _CODES))}")
    if not name or name == "__metadata__":
        raise ValueError(f"{name!r} cannot be the name of an array")
    flat = np.asarray(array, dtype=_DTYPES[code], order="C").reshape(-1)
    return code, flat.view(np.uint8).data


def _with_digest(start: bytes, old: str, new: str) -> bytes:
    """Replace the digest behind its key; at the key's first place, which only the file's own map can hold (it comes first)."""
    key = b'"sha256":"'
    return start.replace(key + old.encode(), key + new.encode(), 1)


# ---- reading


def read_arrays(path: Path, *, follow_symlinks: bool = True) -> tuple[dict[str, Array], Metadata]:
    """Return the arrays (fresh, writable, in native byte order) and the metadata of a file that `write_arrays` wrote.

    Raises ArrayFileError for a file that is missing, unreadable, of another kind, cut short or changed in any bit.
    """
    with _open(path, follow_symlinks) as file:
        size = os.fstat(file.fileno()).st_size
        start = _read_start(path, file, size)
        header = _parse_json(path, start[8:], "header")
        sha256, metadata = _own_map(path, header)
        entries = _entries(path, header, size - len(start))
        zeroed = _with_digest(start, sha256, _ZEROS)
        if zeroed == start:
            raise ArrayFileError(path, "damaged: its checksum is not where it belongs")
        digest = hashlib.sha256(zeroed)
        arrays: dict[str, Array] = {}
        for entry in entries:
            array = _read_array(path, file, entry)
            digest.update(array.reshape(-1).view(np.uint8).data)
            arrays[entry.name] = array
    if digest.hexdigest() != sha256:
        raise ArrayFileError(path, "damaged: its contents do not match their SHA-256")
    return {name: _native(path, array) for name, array in arrays.items()}, metadata


@contextmanager
def _open(path: Path, follow_symlinks: bool) -> Iterator[BufferedReader]:
    # O_NONBLOCK: opening a pipe must not wait for a writer.
    flags = os.O_RDONLY | os.O_NONBLOCK | (0 if follow_symlinks else os.O_NOFOLLOW)
    try:
        with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ArrayFileError(path, "not a regular file")
            yield file
    except FileNotFoundError as error:
        raise ArrayFileError(path, "no such file") from error
    except IsADirectoryError as error:
        raise ArrayFileError(path, "a folder, not a file") from error
    except OSError as error:
        reason = str(storage_error("be read", path, error)).removeprefix(f"{path}: ")
        raise ArrayFileError(path, reason) from error


def _read_start(path: Path, file: BufferedReader, size: int) -> bytes:
    """Return the 8 bytes of length and the header, as they stand in the file."""
    if size == 0:
        raise ArrayFileError(path, "the file is empty; expected a safetensors file")
    length_bytes = file.read(8)
    if len(length_bytes) < 8:
        raise ArrayFileError(path, f"the file ends after {size} bytes; expected a safetensors file")
    length = int.from_bytes(length_bytes, "little")
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise ArrayFileError(
            path, f"not a safetensors file of dbp: a header of {length:,} bytes; at most {MAX_HEADER_BYTES:,} expected"
        )
    if length > size - 8:
        raise ArrayFileError(path, f"cut short: a header of {length:,} bytes in a file of {size:,}")
    header = file.read(length)
    if len(header) < length:
        raise ArrayFileError(path, "cut short while it was read")
    return length_bytes + header


def _parse_json(path: Path, text: str | bytes, what: str) -> dict[str, Any]:
    def constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        values = dict(items)
        if len(values) < len(items):
            raise ValueError("a name stands there twice")
        return values

    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        value = json.loads(decoded, object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise ArrayFileError(path, f"not a safetensors file of dbp, or damaged: its {what} is not JSON") from error
    if not isinstance(value, dict):
        raise ArrayFileError(path, f"not a safetensors file of dbp, or damaged: its {what} is not a JSON object")
    return value


def _own_map(path: Path, header: dict[str, Any]) -> tuple[str, Metadata]:
    own = header.get("__metadata__")
    if not isinstance(own, dict) or "format" not in own:
        raise ArrayFileError(path, "a safetensors file, but not one that dbp wrote")
    if own["format"] != FORMAT:
        raise ArrayFileError(path, f"of format {str(own['format'])[:40]!r}; this version of dbp reads {FORMAT!r}")
    sha256, metadata = own.get("sha256"), own.get("metadata")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256) or not isinstance(metadata, str):
        raise ArrayFileError(path, "damaged: its checksum or metadata is missing")
    return sha256, _parse_json(path, metadata, "metadata")


def _entries(path: Path, header: dict[str, Any], data_bytes: int) -> list[_Entry]:
    """Check every array's dtype, shape and place against the bytes the file really has; return them in file order."""
    if len(header) - 1 > MAX_ARRAYS:
        raise ArrayFileError(path, f"{len(header) - 1:,} arrays; expected at most {MAX_ARRAYS:,}")
    entries = [_entry(path, name, facts) for name, facts in header.items() if name != "__metadata__"]
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    position = 0
    for entry in entries:
        if entry.begin != position:
            raise ArrayFileError(
                path, f"damaged: array {entry.name[:80]!r} does not start where the one before it ends"
            )
        position = entry.end
    if position != data_bytes:
        state = "cut short" if position > data_bytes else "too long"
        raise ArrayFileError(path, f"{state}: {position:,} bytes of arrays expected, {data_bytes:,} found")
    return entries


def _entry(path: Path, name: str, facts: object) -> _Entry:
    damaged = ArrayFileError(path, f"damaged: the entry of array {name[:80]!r} makes no sense")
    if not isinstance(facts, dict) or set(facts) != {"dtype", "shape", "data_offsets"}:
        raise damaged
    code, shape, offsets = facts["dtype"], facts["shape"], facts["data_offsets"]
    if not isinstance(code, str) or not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise damaged
    if code not in _DTYPES:
        raise ArrayFileError(
            path, f"array {name[:80]!r} is of type {code[:20]!r}; expected one of {', '.join(_DTYPES)}"
        )
    dtype = np.dtype(_DTYPES[code])
    # The zeros are left out of the second product: numpy refuses (0, 2**62) though it needs no memory.
    largest = math.prod(size for size in shape if size) * dtype.itemsize
    if len(shape) > _MAX_DIMENSIONS or largest >= 2**63 or offsets[1] - offsets[0] != math.prod(shape) * dtype.itemsize:
        raise damaged
    return _Entry(name, dtype, tuple(shape), offsets[0], offsets[1])


def _are_sizes(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _read_array(path: Path, file: BufferedReader, entry: _Entry) -> Array:
    try:
        array = np.empty(entry.shape, entry.dtype)
    except MemoryError as error:
        raise ArrayFileError(path, f"array {entry.name[:80]!r} needs more memory than there is") from error
    view = array.reshape(-1).view(np.uint8).data
    if file.readinto(view) != view.nbytes:
        raise ArrayFileError(path, "cut short while it was read")
    return array


def _native(path: Path, array: Array) -> Array:
    if array.dtype == np.bool_ and array.size and int(array.reshape(-1).view(np.uint8).max()) > 1:
        raise ArrayFileError(path, "damaged: a bool that is neither 0 nor 1")
    return array.astype(array.dtype.newbyteorder("="), copy=False)
