"""What travels with a job: small files do, in a zip that becomes the driver's working folder; large ones, folders and URIs stay.

Files are taken smallest first, as long as all of them together have at most `MOST_BYTES`. What stays must be visible on every
node of the service, at the same path; its driver looks before anything is started.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dbp.data.file_set import find_files, names_many
from dbp.errors import DataError, InputError, JobFileError, Problem
from dbp.jobs.job import Job
from dbp.jobs.job_file import parse_values, read_text
from dbp.jobs.strict_yaml import to_yaml
from dbp.jobs.submission import SUBMISSION_FILE, TRAVELLING, Submission
from dbp.storage.atomic_files import storage_error
from dbp.storage.uris import split_pattern

MOST_BYTES = 100_000_000
INPUTS = "inputs"
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say: the same files make the same bytes


@dataclass(frozen=True)
class Travelling:
    """A file that travels: which keys of the job name it, where it is, and where it will be below the working folder."""

    keys: tuple[str, ...]
    path: Path
    name: str
    size: int


@dataclass(frozen=True)
class Cargo:
    """What of a job's files travels, and what stays: (key, path or URI)."""

    travelling: tuple[Travelling, ...]
    staying: tuple[tuple[str, str], ...]

    @property
    def inputs(self) -> dict[str, str]:
        """For each key whose file travels, its place below the working folder."""
        return {key: file.name for file in self.travelling for key in file.keys}


def sort_files(job: Job, source: str, *, elsewhere: bool) -> Cargo:
    """Decide what travels. JobFileError, of `source`, for a file that cannot be read.

    A file that is not on this machine may be on the service's: it stays, if the service is `elsewhere`, and is refused otherwise.
    """
    problems: list[Problem] = []
    staying: list[tuple[str, str]] = []
    found: dict[Path, tuple[list[str], int]] = {}
    for key, text in _files_of(job):
        if _URI.match(text):
            staying.append((key, text))
            continue
        if key.startswith("data.") and names_many(text):
            if not elsewhere or os.path.isdir(text):
                _require_files(key, text, problems)
            staying.append((key, text))
            continue
        path = Path(text)
        size, problem = _measure(path)
        if size is not None:
            found.setdefault(path, ([], size))[0].append(key)
        elif elsewhere and not path.exists():
            staying.append((key, text))
        else:
            problems.append(Problem(key, f"{text}: {problem}"))
    if problems:
        raise JobFileError(source, problems)
    travelling: list[Travelling] = []
    left = MOST_BYTES
    for path, (keys, size) in sorted(found.items(), key=lambda item: (item[1][1], str(item[0]))):
        if size <= left:
            left -= size
            travelling.append(Travelling(tuple(keys), path, _place(path, travelling), size))
        else:
            staying += [(key, str(path)) for key in keys]
    return Cargo(tuple(travelling), tuple(staying))


def check_written_paths(file: Path, overrides: Sequence[str] = ()) -> None:
    """Refuse relative paths in a job file that lead to nothing: they start at its folder, so no other machine can have them."""
    values, _ = parse_values(read_text(file), str(file))
    overridden = {override.partition("=")[0].strip() for override in overrides}
    problems = []
    for key in TRAVELLING:
        section_name, _, name = key.partition(".")
        section = values.get(section_name)
        text = section.get(name) if isinstance(section, dict) else None
        if not isinstance(text, str) or key in overridden or _URI.match(text):
            continue
        there, _ = split_pattern(text) if section_name == "data" else (text, None)
        if not os.path.isabs(text) and not (file.parent / there).exists():
            problems.append(Problem(key, f"{file.parent / text}: no such file"))
    if problems:
        raise JobFileError(str(file), problems)


def _require_files(key: str, text: str, problems: list[Problem]) -> None:
    try:
        find_files(text)
    except DataError as error:
        problems.append(Problem(key, str(error)))


def _files_of(job: Job) -> list[tuple[str, str]]:
    values = job.model_dump(mode="python")
    found = []
    for key in TRAVELLING:
        section, _, name = key.partition(".")
        if isinstance(values[section][name], str):
            found.append((key, values[section][name]))
    return found


def _measure(path: Path) -> tuple[int | None, str]:
    """Return the size of a file that can be read, or what is wrong with it."""
    try:
        with open(path, "rb", opener=lambda name, _: os.open(name, os.O_RDONLY | os.O_NONBLOCK)) as file:
            facts = os.fstat(file.fileno())
    except FileNotFoundError:
        return None, "no such file"
    except IsADirectoryError:
        return None, "a folder; expected a file"
    except OSError as error:
        return None, str(storage_error("be read", path, error)).removeprefix(f"{path}: ")
    if stat.S_ISDIR(facts.st_mode):
        return None, "a folder; expected a file"
    return (facts.st_size, "") if stat.S_ISREG(facts.st_mode) else (None, "not a regular file")


def _place(path: Path, others: Sequence[Travelling]) -> str:
    """Return a name below the working folder that is plain, ends as the file's does, and is no other's."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", path.name).lstrip(".")[-80:] or "file"
    taken = {file.name for file in others}
    name, number = f"{INPUTS}/{plain}", 1
    while name in taken:
        number += 1
        name = f"{INPUTS}/{number}-{plain}"
    return name


def travelling_job(job: Job, cargo: Cargo) -> str:
    """Return the job file that travels: defaults filled in, travelling files named by their place in the working folder."""
    values = job.model_dump(mode="python")
    for key, place in cargo.inputs.items():
        section, _, name = key.partition(".")
        values[section][name] = place
    return to_yaml(values)


def pack(submission: Submission, job_file: str | None = None, files: Sequence[Travelling] = ()) -> bytes:
    """Return the zip of a working folder. InputError when a file cannot be read any more, or has grown."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        _add(archive, SUBMISSION_FILE, json.dumps(submission.to_json(), indent=2).encode())
        if job_file is not None:
            _add(archive, "job.yaml", job_file.encode())
        for file in files:
            _add(archive, file.name, _read(file))
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, _FIXED_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o600 << 16  # the owner's alone
    archive.writestr(entry, data)


def _read(file: Travelling) -> bytes:
    try:
        with open(file.path, "rb") as source:
            data = source.read(file.size + 1)
    except OSError as error:
        raise storage_error("be read", file.path, error) from error
    if len(data) != file.size:
        raise InputError(f"{file.path}: changes while it is read; expected a file that is whole")
    return data
