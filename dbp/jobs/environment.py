"""What a job ran on: versions, CPU type and the kernel's instructions. Recorded in every job directory."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dbp.network.compiled import instruction_set
from dbp.storage.atomic_files import Json

_PACKAGES = ("dbp", "numpy", "pyarrow", "ray")


def collect_environment(data_fingerprint: str, kernel_fingerprint: str) -> dict[str, Json]:
    """Return what environment.json records; the caller gives the two fingerprints, which take reading and computing."""
    versions: dict[str, Json] = {"python": platform.python_version()}
    versions.update({name: _version(name) for name in _PACKAGES})
    return {
        "versions": versions,
        "cpu": _cpu(Path("/proc/cpuinfo")),
        "instructions": instruction_set(),
        "host": socket.gethostname(),
        "os": platform.platform(),
        "data_fingerprint": data_fingerprint,
        "kernel_fingerprint": kernel_fingerprint,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu(source: Path) -> dict[str, Json]:
    """Model name and a digest of the flags: what instructions there are."""
    facts: dict[str, str] = {}
    try:
        for line in source.read_text(errors="replace").splitlines():
            key, colon, value = line.partition(":")
            if colon:
                facts.setdefault(key.strip(), value.strip())  # the first core stands for all
    except OSError:
        pass  # not Linux
    flags = facts.get("flags") or facts.get("Features")
    digest = hashlib.sha256(" ".join(sorted(flags.split())).encode()).hexdigest()[:16] if flags else None
    return {
        "model": facts.get("model name") or platform.processor() or platform.machine(),
        "machine": platform.machine(),
        "flags_sha256": digest,
        "cores": os.cpu_count(),
    }
