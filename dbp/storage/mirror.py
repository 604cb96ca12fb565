"""A folder that is worked on locally and kept at a URI.

Two ways to the URI. `put` returns when the file is there: for what counts as saved (checkpoints, the model, the job file).
`soon` notes a file that a thread uploads every few seconds: status, metrics, log. If that fails again and again there is a
warning, and the work goes on; `flush`, at the end, brings what is left and raises StorageError where it cannot.

Files of lines only ever grow, and an object store replaces whole objects. So they are kept there in pieces of PIECE_BYTES,
cut at fixed places: ``metrics.jsonl``, ``metrics.jsonl.00001``, ... Only the last one is ever sent again, however long the
file. Put together they are the local file, byte for byte; a short one is one object of the same name.

Before anything is sent, `check` is asked: it raises LeaseLostError when a newer run owns the place, and then nothing is sent
any more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from dbp.errors import DbpError, JobFailedError, StorageError
from dbp.storage.atomic_files import storage_error, write_chunks
from dbp.storage.remote import Folder, MissingFileError

INTERVAL_S = 5.0
PIECE_BYTES = 4 << 20
WARN_AFTER = 3  # failed rounds
_MOST_PIECES = 99_999


class Mirror:
    """The files below `local`, kept in `remote`. One process writes; names are relative to both.

    `lines`: the names of files that only grow. `last`: the name of the file that is sent after all others, because it says
    that the others are complete.
    """

    def __init__(self, local: Path, remote: Folder, lines: frozenset[str], last: str) -> None:
        self.local, self.remote, self._lines, self._last = local, remote, lines, last
        self._sent: dict[str, int] = {}  # of files of lines: bytes that are at the URI
        self._changed: set[str] = set()
        self._check: Callable[[], None] = lambda: None
        self._sending = threading.RLock()
        self._noting = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def name(self, path: Path) -> str:
        """Return the name of a file below `local`."""
        return path.relative_to(self.local).as_posix()

    # ---- writing

    def put(self, path: Path, name: str | None = None) -> None:
        """Send a file, as `name` if given; it is at the URI when this returns. StorageError if it cannot be sent."""
        name = name or self.name(path)
        with self._sending:
            with self._noting:
                self._changed.discard(name)
            try:
                self._send(path, name)
            except DbpError:
                self._note(name)
                raise

    def soon(self, path: Path) -> None:
        """Have a file sent within some seconds."""
        self._note(self.name(path))

    def put_noted(self) -> None:
        """Send every file that was noted. StorageError for the first that cannot be sent; the rest stays noted."""
        with self._sending:
            with self._noting:
                names = sorted(self._changed, key=lambda name: (name == self._last, name))
            for name in names:
                self.put(self.local / name, name)

    def put_lines(self) -> None:
        """Send the files of lines that were noted."""
        with self._sending:
            with self._noting:
                names = sorted(self._changed & self._lines)
            for name in names:
                self.put(self.local / name, name)

    @property
    def complete(self) -> bool:
        """Whether all that was noted has been sent."""
        with self._noting:
            return not self._changed

    def _note(self, name: str) -> None:
        with self._noting:
            self._changed.add(name)

    def _send(self, path: Path, name: str) -> None:
        self._check()
        if name in self._lines:
            self._send_lines(path, name)
        else:
            self.remote.upload(path, name)

    def _send_lines(self, path: Path, name: str) -> None:
        sent = self._sent.get(name, 0)
        try:
            with open(path, "rb") as file:
                place = sent - sent % PIECE_BYTES
                file.seek(place)
                while (piece := file.read(PIECE_BYTES)) or place == sent == 0:
                    if place + len(piece) > sent or not sent:
                        self.remote.write(_piece(name, place // PIECE_BYTES), piece)
                    place += len(piece)
                    self._sent[name] = max(sent, place)
                    if len(piece) < PIECE_BYTES:
                        break
        except OSError as error:
            raise storage_error("be read", path, error) from error

    # ---- the thread

    def begin(self, check: Callable[[], None], warn: Callable[[str], None], interval: float | None = None) -> None:
        """Start sending what is noted, in the background. `check` is asked before each file, `warn` told of repeated failure."""
        self._check = check
        self._stop.clear()
        seconds = INTERVAL_S if interval is None else interval
        self._thread = threading.Thread(target=self._keep_sending, args=(warn, seconds), name="dbp-mirror", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop the thread. What is noted stays so: see `flush`."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def flush(self) -> None:
        """Stop the thread and send all that is left. LeaseLostError or StorageError if that cannot be done."""
        self.end()
        self.put_noted()

    def _keep_sending(self, warn: Callable[[str], None], seconds: float) -> None:
        failed = 0
        while not self._stop.wait(seconds):
            began = time.monotonic()
            try:
                self.put_noted()
                failed = 0
            except JobFailedError:
                return  # the lease is lost: the run finds out by itself, before its next checkpoint
            except DbpError as error:
                failed += 1
                if failed == WARN_AFTER:
                    warn(f"{error}; training goes on, and status and metrics at {self.remote.uri} are behind")
            seconds = max(seconds, 10 * (time.monotonic() - began))  # a slow store is not given all our time

    # ---- reading

    def fetch(self, path: Path) -> bool:
        """Bring a file here; return whether it is there. StorageError if it cannot be brought."""
        name = self.name(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error("be made", path.parent, error) from error
        try:
            if name in self._lines:
                self._sent[name] = self._fetch_lines(path, name)
            else:
                self.remote.download(name, path)
        except MissingFileError:
            return False
        return True

    def _fetch_lines(self, path: Path, name: str) -> int:
        pieces = [self.remote.read(name)]
        while len(pieces[-1]) == PIECE_BYTES and len(pieces) <= _MOST_PIECES:
            try:
                pieces.append(self.remote.read(_piece(name, len(pieces))))
            except MissingFileError:
                break
        write_chunks(path, pieces)
        return sum(map(len, pieces))


def size_of_lines(remote: Folder, name: str, names: Collection[str]) -> int:
    """Return the bytes of a file of lines at a URI, all pieces together; `names` are those in its folder. MissingFileError."""
    pieces = 1
    while _piece(name, pieces) in names:
        pieces += 1
    return (pieces - 1) * PIECE_BYTES + remote.size(_piece(name, pieces - 1))


def read_lines(remote: Folder, name: str, offset: int, length: int) -> bytes:
    """Return `length` bytes of a file of lines at a URI from `offset` on; fewer at its end. MissingFileError."""
    parts: list[bytes] = []
    end = offset + length
    while offset < end:
        number, start = divmod(offset, PIECE_BYTES)
        wanted = min(end - offset, PIECE_BYTES - start)
        try:
            parts.append(remote.read_part(_piece(name, number), start, wanted))
        except MissingFileError:
            if number == 0:
                raise
            break
        offset += len(parts[-1])
        if len(parts[-1]) < wanted:
            break
    return b"".join(parts)


def _piece(name: str, number: int) -> str:
    if number > _MOST_PIECES:
        raise StorageError(
            f"{name}: larger than {_MOST_PIECES * PIECE_BYTES:,} bytes; nothing of that length can be kept"
        )
    return name if number == 0 else f"{name}.{number:05d}"
