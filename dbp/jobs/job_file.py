"""From a file on disk to plain values: reads the text, applies ``--set`` overrides, finds the data beside the file."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from dbp.errors import JobFileError, Problem
from dbp.jobs.strict_yaml import YamlValue, parse_yaml
from dbp.jobs.wording import printable, show
from dbp.storage.atomic_files import storage_error

MAX_BYTES = 1_000_000
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def read_text(path: Path) -> str:
    """Return the text of a job file; JobFileError when it is missing, a folder, too large, or not UTF-8."""
    source = str(path)
    try:
        # O_NONBLOCK: opening a pipe must not wait for a writer.
        with open(path, "rb", opener=lambda name, _: os.open(name, os.O_RDONLY | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _refused(source, "not a regular file; expected a job file")
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _refused(source, "no such file; `dbp init` writes a job file to start from") from None
    except IsADirectoryError:
        raise _refused(source, "a folder, not a file; expected a job file") from None
    except OSError as error:
        raise _refused(source, str(storage_error("be read", path, error)).removeprefix(f"{path}: ")) from error
    except ValueError:  # a NUL byte in the path
        raise _refused(printable(source), "not a path") from None
    if len(data) > MAX_BYTES:
        raise _refused(source, f"larger than {MAX_BYTES:,} bytes; is this a job file?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"line {line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise _refused(source, message) from None


def _refused(source: str, message: str) -> JobFileError:
    return JobFileError(source, [Problem("", message)])


def parse_values(text: str, source: str) -> tuple[dict[str, YamlValue], list[Problem]]:
    """Return the keys of a job file and what is wrong with them as YAML.

    Raises JobFileError when the text cannot be read to its end, is empty, or is not a mapping.
    """
    value, problems = parse_yaml(text)
    if isinstance(value, dict):
        return value, problems
    if not problems:
        what = "the file is empty" if value is None else f"{_kind(value)} stands there"
        problems = [Problem("", f"{what}; expected keys and values, such as `name: my-job`")]
    raise JobFileError(source, problems)


def _kind(value: YamlValue) -> str:
    return "a list" if isinstance(value, list) else f"only {show(value)}"


def apply_overrides(values: dict[str, YamlValue], overrides: Sequence[str]) -> list[Problem]:
    """Put each ``a.b=value`` into `values` (in place), the value read as YAML; return what is wrong with them.

    Whether the job file knows the keys is checked with all others, when the job is made.
    """
    problems = []
    for override in overrides:
        path, equals, text = override.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not equals or not all(keys):
            message = f"{show(override)} is not a setting; expected key=value, such as training.max_steps=50"
            problems.append(Problem("--set", message))
            continue
        value, wrong = parse_yaml(text)
        problems += [Problem(f"--set {printable(path)}", str(problem)) for problem in wrong]
        if not wrong and not put(values, keys, value):
            message = "there are no keys below this one" + (f"; expected {keys[0]}=..." if len(keys) == 2 else "")
            problems.append(Problem(f"--set {printable(path)}", message))
    return problems


def put(values: dict[str, YamlValue], keys: Sequence[str], value: YamlValue) -> bool:
    """Set the value below these keys (in place), sections made as needed; False where there can be no such key."""
    section = values
    for key in keys[:-1]:
        inner = section.setdefault(key, {})
        if inner is None:
            inner = section[key] = {}
        if not isinstance(inner, dict):
            return False
        section = inner
    section[keys[-1]] = value
    return True


def resolve_input_paths(values: dict[str, YamlValue], folder: Path) -> None:
    """Make relative paths of what is read absolute (in place): they start at `folder`, where the job file is. URIs stay."""
    for name, key in (("data", "train"), ("data", "validation"), ("network", "start_from")):
        section = values.get(name)
        text = section.get(key) if isinstance(section, dict) else None
        if isinstance(section, dict) and isinstance(text, str) and text and not _URI.match(text):
            section[key] = os.path.abspath(folder / text)
