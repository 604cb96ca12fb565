"""What travels with a submitted job: one JSON file that says which job it is, where it is kept, and what is to be done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import TypeAdapter, ValidationError

from dbp.errors import InputError
from dbp.jobs.directory import JobDirectory, check_job_id
from dbp.jobs.wording import did_you_mean, show
from dbp.storage.atomic_files import Json, storage_error
from dbp.storage.records import open_record

SUBMISSION_FILE = "submission.json"
FORMAT = 1
TRAVELLING = ("data.train", "data.validation", "network.start_from")  # keys whose files may travel with a job
_MAX_BYTES = 1_000_000

Action: TypeAlias = Literal["train", "resume"]


@dataclass(frozen=True)
class Submission:
    """A job as it is handed to a cluster. `inputs` are paths inside the folder that travels, by the key of the job file."""

    job: str  # its id
    attempt: int
    action: Action
    storage: str  # a URI, or an absolute path
    overrides: list[str] = field(default_factory=list)  # of a resume: as `dbp resume --set`
    inputs: dict[str, str] = field(default_factory=dict)
    restarts: int | None = None  # None: service.restarts of the job
    dbp_version: str | None = None  # of who submitted it
    format: int = FORMAT

    def to_json(self) -> Mapping[str, Json]:
        """Return what the file holds."""
        return asdict(self)


@cache
def _adapter() -> TypeAdapter[Submission]:
    return TypeAdapter(Submission)


def read_handover(directory: JobDirectory) -> Mapping[str, object] | None:
    """Return what a job directory says of its being handed over; None for a job that no service runs, {} where it is damaged."""
    path = directory.path / SUBMISSION_FILE
    directory.fetch(path)
    try:
        with open_record(path) as file:
            value = json.loads(file.read(_MAX_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def read_submission(path: Path) -> Submission:
    """Return what the file says. InputError when there is none, or it is not one of this version's."""
    try:
        with open_record(path) as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InputError(str(storage_error("be read", path, error))) from error
    if len(data) > _MAX_BYTES:
        raise InputError(f"{path}: larger than {_MAX_BYTES:,} bytes; expected a submission of dbp")
    try:
        found = _adapter().validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(key) for key in first["loc"]) or "JSON"
        raise InputError(f"{path}: not a submission of dbp, or damaged: {place}: {first['msg']}") from None
    if found.format != FORMAT:
        raise InputError(
            f"{path}: has format {found.format}, and this version of dbp reads {FORMAT}; "
            "use the same version of dbp here and on the cluster"
        )
    check_job_id(found.job)
    for key, name in found.inputs.items():
        if key not in TRAVELLING:
            raise InputError(f"{path}: {show(key)} names no file that travels{did_you_mean(key, TRAVELLING)}")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"{path}: {show(name)} leads out of the folder that travels; expected a path inside it")
    return found
