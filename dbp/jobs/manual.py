"""Writes docs/job-file.md from the fields' own descriptions: ``python -m dbp.jobs.manual [FILE]`` (default: standard output)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from dbp.jobs.job import job_schema
from dbp.jobs.schema_text import Schema, branches, describe, name_of, resolve
from dbp.jobs.wording import show
from dbp.storage.atomic_files import write_text

EXAMPLE = """\
name: digits
data:
  train: digits.parquet
  validation: 0.2
  target: label
task: classification
network:
  hidden: [64, 32]
  activation: tanh
optimizer:
  name: gradient_descent
  learning_rate: 0.5
training:
  max_steps: 200
workers: 2
"""

_INTRODUCTION = f"""\
<!-- Written by `python -m dbp.jobs.manual docs/job-file.md` from the sections in dbp/jobs/: change it there. -->
# The job file

A job file is all dbp needs to know. This one is complete; every key it leaves out has a default:

```yaml
{EXAMPLE}```

`dbp validate JOB` reports everything wrong with a file at once, each problem with its key. On the command line
`--set training.max_steps=50` replaces a single value (read as YAML; it may be given several times).

The file is YAML 1.2 in UTF-8, at most 1 MB: `1e-3` is a number, `yes` and `no` are text. Unknown keys, keys given twice,
numbers with leading zeros, anchors, aliases, tags and merge keys are errors. Text is never taken for a number, nor a number for
text: quotes decide.
"""


def manual() -> str:
    """Return the whole manual page as Markdown."""
    root = job_schema()
    parts = [_INTRODUCTION, "## Top level\n", _table(root, root)]
    for key, field in root["properties"].items():
        parts += _sections(key, field, root)
    return "\n".join(parts)


def _sections(path: str, field: Schema, root: Schema) -> Iterator[str]:
    """Yield a heading and a table for each section that may stand at `path`, then those of the sections inside, once each."""
    sections = [branch for branch in branches(field, root) if "properties" in branch]
    inside: dict[str, Schema] = {}
    for section in sections:
        name = name_of(section)
        yield f"## `{path}`" + (f": {name}\n" if name else "\n")
        yield _table(section, root)
        inside |= section["properties"]
    for key, inner in inside.items():
        yield from _sections(f"{path}.{key}", inner, root)


def _table(section: Schema, root: Schema) -> str:
    return "\n".join(["| key | expects | default | meaning |", "|---|---|---|---|", *_rows(section, root), ""])


def _rows(section: Schema, root: Schema) -> Iterator[str]:
    required = section.get("required", ())
    for key, field in section["properties"].items():
        found = branches(field, root)
        plain = [branch for branch in found if "properties" not in branch and branch.get("type") != "null"]
        inner = len(plain) < len(found) and any("properties" in branch for branch in found)
        expects = f"a section: see `{key}` below" if inner else describe(found, root)
        if inner and plain:  # a plain value, or a section in its place
            expects, inner = f"{describe(plain, root)}, or {expects}", False
        yield f"| `{key}` | {_cell(expects)} | {_default(key, field, required, inner)} | {_cell(_meaning(field, root))} |"


def _meaning(field: Schema, root: Schema) -> str:
    """The field's description; a section without one of its own (pydantic drops it beside a reference) has its class's."""
    return str(field.get("description") or resolve(field, root).get("description", "")).partition("\n")[0]


def _default(key: str, field: Schema, required: list[str], inner: bool) -> str:
    if key in required:
        return "required"
    if key == "loss":
        return "by task"
    default = field.get("default")
    if inner:
        return f"`{default['name']}`" if isinstance(default, dict) and "name" in default else "its defaults"
    return f"`{default if isinstance(default, str) else show(default)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write_text(Path(sys.argv[1]), manual())
    else:
        sys.stdout.write(manual())
