"""How values and keys of a job file are shown in messages: short, in YAML's spelling, and harmless to a terminal."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable

_LONGEST = 80


def printable(text: str) -> str:
    """Return `text` with control, direction and other invisible characters spelled out, so that it can be shown."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def show(value: object) -> str:
    """Return a value as a job file would spell it, cut to 80 characters."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else (".inf" if value > 0 else "-.inf")
    if isinstance(value, str):
        return f'"{_cut(printable(value))}"'
    if isinstance(value, list | tuple):
        shown = ", ".join(show(item) for item in value[:10])
        return f"[{_cut(shown)}{', ...' if len(value) > 10 else ''}]"
    if isinstance(value, dict):
        return "a section with the keys " + _cut(", ".join(printable(str(key)) for key in value)) if value else "{}"
    try:
        return _cut(repr(value))
    except ValueError:  # Python does not print whole numbers of more than 4,300 digits
        return "a number of thousands of digits"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def key_path(path: str, key: str | int) -> str:
    """Return the dotted path of `key` below `path`: ``network`` and ``hidden`` make ``network.hidden``, 0 ``[0]``."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    key = _cut(printable(key))
    return f"{path}.{key}" if path else key


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean "...?"`` with the nearest known word, or nothing when none is near."""
    near = difflib.get_close_matches(word[:200].lower(), list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""
