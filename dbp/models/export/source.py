"""Python files put together from the modules in ``templates``: one text without imports of dbp, a model's values as literals."""

from __future__ import annotations

import ast
import json
from collections.abc import Collection, Mapping
from importlib.resources import files
from typing import Any

_TEMPLATES = "dbp.models.export.templates"


def bundle(module: str, replaced: Mapping[str, str] | None = None) -> str:
    """Return the text of a template, with the text of each template that it imports in the place of the import.

    `replaced` maps pieces of the text, each of which stands there once, to others.
    """
    head, imports, body = _parts(module)
    for inner in sorted(line for line in imports if line.startswith(f"from {_TEMPLATES}.")):
        imports.remove(inner)
        _, more, inner_body = _parts(inner.split()[1].removeprefix(f"{_TEMPLATES}."))
        imports |= more
        body = f"{inner_body}\n\n{body}"
    for old, new in (replaced or {}).items():
        if body.count(old) != 1:
            raise ValueError(f"{module}: {body.count(old)} times {old!r}; expected once")
        body = body.replace(old, new)
    return f"{head}\n\n{_import_lines(imports)}\n\n{body}\n"


_THIRD_PARTY = {"numpy", "torch", "safetensors"}


def _import_lines(statements: Collection[str]) -> str:
    """Return import statements sorted in three groups, with one line for each module."""
    names: dict[str, set[str]] = {}
    for statement in statements:
        module, _, listed = statement.partition(" import ")
        names.setdefault(module, set()).update(listed.split(", ") if listed else [])
    lines = [f"{module} import {', '.join(sorted(listed))}" if listed else module for module, listed in names.items()]
    groups: list[list[str]] = [[], [], []]
    for line in sorted(lines, key=lambda line: (line.startswith("from"), line)):
        module = line.split()[1]
        groups[0 if module == "__future__" else 2 if module.split(".")[0] in _THIRD_PARTY else 1].append(line)
    return "\n\n".join("\n".join(group) for group in groups if group)


def _parts(module: str) -> tuple[str, set[str], str]:
    """Return a template's docstring, its import statements, and the rest, as text."""
    text = (files(_TEMPLATES) / f"{module}.py").read_text(encoding="utf-8")
    head, *nodes = ast.parse(text).body
    kinds = (ast.Import, ast.ImportFrom)
    imports = {ast.unparse(node) for node in nodes if isinstance(node, kinds)}
    last = max(node.end_lineno or 0 for node in nodes if isinstance(node, kinds))
    lines = text.splitlines()
    return "\n".join(lines[: head.end_lineno]), imports, "\n".join(lines[last:]).strip("\n")


def json_literal(values: Mapping[str, Any]) -> str:
    """Return Python string literals in brackets that spell `values` as JSON: ASCII alone, whatever texts it holds.

    Names and classes come from a table, perhaps a stranger's. As JSON inside a string they are data; they cannot end the string,
    because `repr` escapes what could. Each key has a line of its own, and each entry of a list of objects.
    """
    lines = []
    for key, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            entries = [f"  {_json(entry)}" for entry in value]
            lines.append(f" {_json(key)}: [\n" + ",\n".join(entries) + "\n ]")
        else:
            lines.append(f" {_json(key)}: {_json(value)}")
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    return "\n".join(["(", *(f"    {line!r}" for line in text.splitlines(keepends=True)), ")"])


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False)
