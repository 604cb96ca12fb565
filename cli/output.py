"""Where words go: results on standard output, talk on standard error; table, plain text or JSON is decided here, once.

    result   what the command was asked for; a program may read it
    talk     what a person is told on the way: progress, advice, warnings; never part of the result

A terminal gets a table, a pipe gets aligned plain text, `--json` gets JSON. In text that comes from files (names, messages) control
characters are spelled out before it is printed, so that no file can move the cursor or recolour the terminal.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Any

from dbp.errors import StorageError

# C0 and C1 control characters, the marks that change the direction in which a terminal writes, and what shows as nothing at all.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


class Mode(Enum):
    """How results are shown."""

    TABLE = "table"
    PLAIN = "plain"
    JSON = "json"


def prepare_streams() -> None:
    """Make both streams writable whatever the terminal's encoding, and present even if they were closed (`>&-`)."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (lives as long as the process)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def clean(text: object) -> str:
    """Return the text on one line, control characters spelled out: ``\\x1b`` for an escape."""
    return _UNPRINTABLE.sub(_spelled, str(text))


def _spelled(found: re.Match[str]) -> str:
    character = found.group()
    return " " if character in "\t\n" else character.encode("unicode_escape").decode("ascii")


def talk(text: str = "") -> None:
    """Tell the person something on standard error. Nobody listening (a closed pipe, a gone terminal) is no error."""
    with suppress(OSError, ValueError):
        sys.stderr.write("\n".join(clean(line) for line in text.split("\n")) + "\n")
        sys.stderr.flush()


def talk_warnings() -> None:
    """Let dbp's own warnings be told as any other advice, without the line of code that Python adds."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if category.__module__.startswith("dbp."):
            talk(f"warning: {message}")
        else:
            usual(message, category, *where, **more)

    warnings.showwarning = show


class QuietStream(io.TextIOBase):
    """Standard error for a library that draws: what cannot be written, because nobody is there any more, is dropped."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self._stream = sys.stderr
        self.encoding = getattr(sys.stderr, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write, or drop."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The stream's file number."""
        return self._stream.fileno()


class Output:
    """Writes a command's results in the mode that fits."""

    def __init__(self, *, json: bool = False) -> None:
        if json:
            self.mode = Mode.JSON
        else:
            self.mode = Mode.TABLE if sys.stdout.isatty() else Mode.PLAIN

    def json(self, value: object) -> None:
        """Write one JSON document; numbers that are not finite become null."""
        self.text(json.dumps(_plain(value), indent=2, allow_nan=False))

    def fields(self, fields: Mapping[str, object]) -> None:
        """Write one thing: a line for each of its fields."""
        width = max((len(name) for name in fields), default=0)
        for name, value in fields.items():
            self.text(f"{name:<{width}}  {_cell(value)}".rstrip())

    def rows(self, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Write many things of one kind: a table on a terminal, aligned columns in a pipe."""
        cells = [[_cell(value) for value in row] for row in rows]
        if self.mode is Mode.TABLE:
            _table(headings, cells, rows)
            return
        lines = [list(headings), *cells]
        widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
        for line in lines:
            self.text("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())

    def text(self, text: str) -> None:
        """Write lines, cleaned. Raises BrokenPipeError when the reader has gone, StorageError when it cannot be written."""
        self.drawn("\n".join(clean(line) for line in text.split("\n")))

    def drawn(self, text: str) -> None:
        """Write text that dbp made itself, colours and all, as it is. Raises as `text`."""
        with writing_results():
            sys.stdout.write(text + "\n")


@contextmanager
def writing_results() -> Iterator[None]:
    """Turn what can go wrong with standard output into an error that says so; a reader that has gone stays a BrokenPipeError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(
            f"standard output: {error.strerror or error}; expected a place that takes the result"
        ) from error


def flush_results() -> None:
    """Push out what is buffered, so that a full disk or a closed pipe is noticed while it can still be reported."""
    with writing_results():
        sys.stdout.flush()


def _table(headings: Sequence[str], cells: Sequence[Sequence[str]], rows: Sequence[Sequence[object]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, heading in enumerate(headings):
        numbers = bool(rows) and all(isinstance(row[column], (int, float, type(None))) for row in rows)
        table.add_column(heading, justify="right" if numbers else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    with writing_results():
        Console(markup=False, highlight=False).print(table)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{clean(name).replace('_', ' ')} {_cell(item)}" for name, item in value.items())
    return clean(value)


def _plain(value: object) -> object:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    raise TypeError(f"a result cannot hold a {type(value).__name__}")
