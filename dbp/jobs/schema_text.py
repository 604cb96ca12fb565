"""What a field of a job file may hold, in words: derived from the JSON schema, so that it cannot differ from the checks.

Used by the messages (`problems.py`) and by the manual (`manual.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from dbp.jobs.wording import show

Schema: TypeAlias = Mapping[str, Any]  # Any: JSON schema, as pydantic makes it

KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
    "array": "a list",
    "object": "a section of keys",
}


def resolve(schema: Schema, root: Schema) -> Schema:
    """Follow a ``$ref`` (or an allOf of one) to the definition it names."""
    while True:
        if "$ref" in schema:
            schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
        elif len(schema.get("allOf", ())) == 1:
            schema = schema["allOf"][0]
        else:
            return schema


def branches(schema: Schema, root: Schema) -> list[Schema]:
    """Return the alternatives of a schema, all `anyOf` and `oneOf` flattened; a plain schema is its only alternative."""
    schema = resolve(schema, root)
    inner = schema.get("anyOf") or schema.get("oneOf")
    if inner is None or "expected" in schema:
        return [schema]
    return [branch for part in inner for branch in branches(part, root)]


def find(root: Schema, path: Sequence[str | int], values: object) -> list[Schema]:
    """Return the alternatives for what stands at `path`; [] when the schema has no such place.

    `values` is what the user wrote: a ``name`` in it tells sections apart (the optimisers).
    """
    return _chosen(*_walk(root, path, values))


def alternatives(root: Schema, path: Sequence[str | int], values: object) -> list[Schema]:
    """Return what `find` does, but at the end of `path` all alternatives, whatever the name there."""
    return _walk(root, path, values)[0]


def _walk(root: Schema, path: Sequence[str | int], values: object) -> tuple[list[Schema], object]:
    found = branches(root, root)
    for key in path:
        found = [inner for schema in _chosen(found, values) for inner in _below(schema, key, root)]
        values = values.get(key) if isinstance(values, Mapping) and isinstance(key, str) else None
    return found, values


def _below(schema: Schema, key: str | int, root: Schema) -> list[Schema]:
    if isinstance(key, int):
        return branches(schema["items"], root) if "items" in schema else []
    inner = schema.get("properties", {}).get(key)
    if inner is None and isinstance(schema.get("additionalProperties"), Mapping):
        inner = schema["additionalProperties"]
    return branches(inner, root) if inner is not None else []


def _chosen(found: list[Schema], values: object) -> list[Schema]:
    """Of several sections told apart by `name`, keep the one named."""
    name = values.get("name") if isinstance(values, Mapping) else None
    named = [schema for schema in found if name is not None and name_of(schema) == name]
    return named or found


def name_of(schema: Schema) -> str | None:
    """Return the name that tells this section from its alternatives; None for any other schema."""
    name = schema.get("properties", {}).get("name", {}).get("const")
    return None if name is None else str(name)


def describe(found: Sequence[Schema], root: Schema) -> str:
    """Return what the alternatives allow, in words: ``a number greater than 0``, ``"full", or a whole number of at least 1``."""
    names = [name for name in map(name_of, found) if name is not None]
    if len(names) > 1:
        others = [schema for schema in found if name_of(schema) is None]
        texts = dict.fromkeys([f"a section with a name (one of: {', '.join(names)}) and its keys"])
        texts |= dict.fromkeys(_describe(schema, root) for schema in others)
    else:
        texts = dict.fromkeys(_describe(schema, root) for schema in found)
    return ", or ".join(texts)


def _describe(schema: Schema, root: Schema) -> str:
    if "expected" in schema:
        return str(schema["expected"])
    if "const" in schema:
        return show(schema["const"])
    if "enum" in schema:
        return "one of: " + ", ".join(str(value) for value in schema["enum"])
    kind = str(schema.get("type", "a value"))
    if kind in ("integer", "number"):
        return KINDS[kind] + _bounds(schema)
    if kind == "array":
        item = describe(branches(schema.get("items", {}), root), root)
        return f"{'a non-empty list' if schema.get('minItems') else 'a list'} (each item {item})"
    if kind == "object" and "properties" in schema:
        keys = schema["properties"]
        return f"a section with the key{'s' * (len(keys) > 1)} {', '.join(keys)}"
    return KINDS.get(kind, kind)


def _bounds(schema: Schema) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f" from {_number(schema['minimum'])} to {_number(schema['maximum'])}"
    parts = []
    if "exclusiveMinimum" in schema:
        parts.append(f"greater than {_number(schema['exclusiveMinimum'])}")
    if "minimum" in schema:
        parts.append(f"of at least {_number(schema['minimum'])}")
    if "exclusiveMaximum" in schema:
        parts.append(f"less than {_number(schema['exclusiveMaximum'])}")
    if "maximum" in schema:
        parts.append(f"of at most {_number(schema['maximum'])}")
    return " " + " and ".join(parts) if parts else ""


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else str(value)
