"""environment.json, read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dbp.evidence.findings import Finding
from dbp.jobs.directory import JobDirectory
from dbp.storage.atomic_files import storage_error
from dbp.storage.records import read_record

_MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class Environment:
    """What the last attempt ran on; `facts` is None where the file is missing or damaged, and the findings say so."""

    facts: Mapping[str, Any] | None  # Any: JSON
    findings: tuple[Finding, ...] = ()


def read_environment(directory: JobDirectory) -> Environment:
    """Return a directory's environment. StorageError where the file is there and cannot be read."""
    file = directory.environment_file
    directory.fetch(file)
    try:
        facts = json.loads(read_record(file, _MOST_BYTES))
    except FileNotFoundError:
        return Environment(None, (Finding(file.name, None, "what the job ran on", "no such file"),))
    except OSError as error:
        raise storage_error("be read", file, error) from error
    except (ValueError, RecursionError) as error:
        return Environment(None, (Finding(file.name, None, "JSON", str(error)),))
    if not isinstance(facts, dict):
        return Environment(None, (Finding(file.name, None, "a JSON object", type(facts).__name__),))
    return Environment(facts)
