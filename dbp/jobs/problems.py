"""From pydantic's errors to sentences: what stands in the job file, and what is expected there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dbp.errors import Problem
from dbp.jobs.schema_text import KINDS, Schema, branches, describe, find
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


def problems_of(
    error: ValidationError, root: Schema, values: Mapping[str, object], names: Sequence[str]
) -> list[Problem]:
    """Return one problem per error, in order; errors of the whole job (its cross-field checks) are left out.

    `root` is the JSON schema, `values` what the user wrote, `names` the optimisers, which pydantic puts into its paths.
    """
    translated: dict[Problem, None] = {}
    errors = error.errors(include_url=False)
    for details in errors[:_MOST]:
        path = _path(details["loc"], names)
        if path:
            translated[_problem(details, path, root, values)] = None
    if len(errors) > _MOST:
        translated[Problem("", f"and {len(errors) - _MOST:,} more problems")] = None
    return list(translated)


def _path(loc: tuple[int | str, ...], names: Sequence[str]) -> Path:
    """Leave out what is no key of the file: tags of unions, ``<list>``, and the optimiser's name."""
    path = tuple(key for key in loc if not (isinstance(key, str) and key.startswith("<") and key.endswith(">")))
    if path[:1] == ("optimizer",) and len(path) > 1 and path[1] in names:
        path = (path[0], *path[2:])
    return path


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
    if kind in _UNION and path == ("optimizer",) and isinstance(seen, dict):
        path, kind, seen = ("optimizer", "name"), "literal_error" if "name" in seen else "missing", seen.get("name")
        found: list[Schema] = [{"enum": [str(name) for name in _names(root)]}]
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


def _names(root: Schema) -> Iterator[object]:
    for schema in branches(root["properties"]["optimizer"], root):
        yield schema["properties"]["name"].get("const")


def keys_at(path: Path, root: Schema, values: Mapping[str, object]) -> list[str]:
    """Return the keys that a section may have."""
    return [key for schema in find(root, path, values) for key in schema.get("properties", {})]


def _suggestion(path: Path, root: Schema, values: Mapping[str, object]) -> str:
    key = str(path[-1])
    known = keys_at(path[:-1], root, values)
    homes = [(), *((name,) for name in root["properties"])]
    elsewhere = [dotted((*home, key)) for home in homes if key in keys_at(home, root, values)]
    if elsewhere:
        return f'; did you mean "{elsewhere[0]}"?'
    return did_you_mean(key, known) or f"; expected one of: {', '.join(known)}"
