"""From pydantic's errors to sentences: what stands in the job file, and what is expected there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dbp.errors import Problem
from dbp.jobs.schema_text import KINDS, Schema, alternatives, describe, find, name_of
from dbp.jobs.wording import did_you_mean, key_path, show

Path = tuple[str | int, ...]

_WRONG_TYPE = {
    "bool_type",
    "dict_type",
    "float_type",
    "int_from_float",
    "int_type",
    "list_type",
    "model_attributes_type",
    "model_type",
    "none_required",
    "string_type",
}
_MOST = 100  # problems that anyone reads
_UNION = {"union_tag_invalid", "union_tag_not_found"}


def problems_of(error: ValidationError, root: Schema, values: Mapping[str, object]) -> list[Problem]:
    """Return one problem per error, in order; errors of the whole job (its cross-field checks) are left out.

    `root` is the JSON schema, `values` what the user wrote.
    """
    translated: dict[Problem, None] = {}
    errors = error.errors(include_url=False)
    for details in errors[:_MOST]:
        path = _path(details["loc"], root, values)
        if path:
            translated[_problem(details, path, root, values)] = None
    if len(errors) > _MOST:
        translated[Problem("", f"and {len(errors) - _MOST:,} more problems")] = None
    return list(translated)


def _path(loc: tuple[int | str, ...], root: Schema, values: Mapping[str, object]) -> Path:
    """Leave out what is no key of the file: tags of unions, ``<list>``, and the names that tell sections apart."""
    path: Path = ()
    tag: str | None = None  # what pydantic puts into its path next, where sections are told apart by their name
    for key in loc:
        if key == tag or (isinstance(key, str) and key.startswith("<") and key.endswith(">")):
            tag = None
            continue
        path = (*path, key)
        found = find(root, path, values)
        tag = name_of(found[0]) if len(found) == 1 and _is_told_apart(path, root, values) else None
    return path


def _is_told_apart(path: Path, root: Schema, values: Mapping[str, object]) -> bool:
    """Whether several sections may stand at `path`, of which `name` picks one."""
    return len([name for name in map(name_of, alternatives(root, path, values)) if name is not None]) > 1


def dotted(path: Path) -> str:
    """Return ``network.hidden[0]`` for ``("network", "hidden", 0)``."""
    text = ""
    for key in path:
        text = key_path(text, key)
    return text


def _problem(details: ErrorDetails, path: Path, root: Schema, values: Mapping[str, object]) -> Problem:
    kind, seen = details["type"], details["input"]
    if kind == "extra_forbidden":
        return Problem(dotted(path), "unknown key" + _suggestion(path, root, values))
    if kind in _UNION and isinstance(seen, dict):
        found: list[Schema] = [{"enum": [name_of(schema) for schema in alternatives(root, path, values)]}]
        path, kind, seen = (*path, "name"), "literal_error" if "name" in seen else "missing", seen.get("name")
    else:
        found = find(root, path, values)
    expected = describe(found, root)
    return Problem(dotted(path), _message(kind, seen, expected, found, details))


def _message(kind: str, seen: object, expected: str, found: Sequence[Schema], details: ErrorDetails) -> str:
    if kind == "missing":
        return f"missing; expected {expected}"
    if kind == "value_error":
        return str(details["ctx"]["error"])
    if kind == "finite_number":
        return f"{show(seen)} is not allowed; expected {expected}, and finite"
    if kind == "literal_error":
        return f"{show(seen)} is not known; expected {expected}" + did_you_mean(str(seen), _words(found))
    if kind in _WRONG_TYPE or kind in _UNION:
        return _wrong_type(seen, expected, found)
    return f"{show(seen)} is not allowed; expected {expected}"


def _wrong_type(seen: object, expected: str, found: Sequence[Schema]) -> str:
    short = KINDS.get(str(found[0].get("type")), expected) if len(found) == 1 else expected
    message = f"{show(seen)} is not {short}"
    if expected.startswith("one of: "):
        message = f"{show(seen)} is not known"
    if short != expected or message.endswith("known"):
        message += f"; expected {expected}"
    return message + _quotes_hint(seen, found)


def _quotes_hint(seen: object, found: Sequence[Schema]) -> str:
    types = {schema.get("type") for schema in found}
    if isinstance(seen, str) and types & {"integer", "number", "boolean"}:
        try:
            float(seen)
        except ValueError:
            return ""
        return " (leave out the quotes)"
    if isinstance(seen, int | float) and any(
        schema.get("type") == "string" and "enum" not in schema for schema in found
    ):
        return " (put it in quotes to make it text)"
    return ""


def _words(found: Sequence[Schema]) -> list[str]:
    words = []
    for schema in found:
        words += [str(word) for word in schema.get("enum", [])]
        if "const" in schema:
            words.append(str(schema["const"]))
    return words


def keys_at(path: Path, root: Schema, values: Mapping[str, object]) -> list[str]:
    """Return the keys that a section may have."""
    return [key for schema in find(root, path, values) for key in schema.get("properties", {})]


def _suggestion(path: Path, root: Schema, values: Mapping[str, object]) -> str:
    key = str(path[-1])
    known = keys_at(path[:-1], root, values)
    if key in known:  # of another form of the section
        return "; expected it without the other keys there, or those without it"
    homes = [(), *((name,) for name in root["properties"])]
    elsewhere = [dotted((*home, key)) for home in homes if key in keys_at(home, root, values)]
    if elsewhere:
        return f'; did you mean "{elsewhere[0]}"?'
    return did_you_mean(key, known) or f"; expected one of: {', '.join(known)}"
