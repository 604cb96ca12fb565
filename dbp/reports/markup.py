"""HTML made of elements: text and attributes are always escaped, so that nothing of a job can become markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

# What HTML does not allow in text, marks that change the direction of writing, and what shows as nothing at all.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_VOID = frozenset({"meta", "br", "input"})


class Markup(str):
    """Text that is HTML already. Only this module, and constants of dbp, make it."""

    __slots__ = ()


Child = str | int | float | None  # None is nothing; str is escaped unless it is Markup


def text(value: object) -> Markup:
    """Return a value as text of a page: escaped, characters that cannot be seen spelled out."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(_UNSEEN.sub(_spelled, str(value)), quote=True))


def tag(name: str, /, *children: Child, **attributes: object) -> Markup:
    """Return an element. Attributes that are None are left out; ``class_`` is class, and ``stroke_width`` stroke-width."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(parts: Iterable[Child]) -> Markup:
    """Return the parts one after the other."""
    return Markup("".join(text(part) for part in parts if part is not None))


def shortened(value: object, most: int) -> str:
    """Return the value as text of at most `most` characters, its end replaced by three dots where it is longer."""
    written = str(value)
    return written if len(written) <= most else written[: most - 1] + "…"


def number(value: float | None, digits: int = 4) -> str:
    """Return a number as people read it; a dash for one that is not there."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.{digits}g}"


def _spelled(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode("ascii")
