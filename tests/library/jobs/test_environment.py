"""environment.json records what a job ran on, without importing anything heavy."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from dbp.jobs.environment import _cpu, collect_environment


def test_versions_cpu_instructions_and_fingerprints() -> None:
    found = json.loads(json.dumps(collect_environment("data-1", "kernel-1"), allow_nan=False))
    assert found["versions"]["python"] == platform.python_version()
    for name in ("dbp", "numpy", "pyarrow", "ray"):
        assert found["versions"][name] == version(name)
    assert (found["data_fingerprint"], found["kernel_fingerprint"]) == ("data-1", "kernel-1")
    assert found["cpu"]["model"]
    assert found["cpu"]["cores"] >= 1
    assert found["instructions"] in ("portable", "avx2", "avx512")


def test_the_flags_digest_depends_on_the_flags_and_not_on_their_order(tmp_path: Path) -> None:
    digests = []
    for flags in ("fpu avx2", "avx2 fpu", "fpu avx512f"):
        source = tmp_path / "cpuinfo"
        source.write_text(f"model name : Test CPU\nflags : {flags}\n\nmodel name : Other\nflags : x\n")
        facts = _cpu(source)
        assert facts["model"] == "Test CPU"
        digests.append(facts["flags_sha256"])
    assert digests[0] == digests[1] != digests[2]
    assert _cpu(tmp_path / "none")["flags_sha256"] is None


def test_ray_is_asked_for_its_version_without_being_imported() -> None:
    code = (
        "import sys; from dbp.jobs.environment import collect_environment as c; c('', ''); print('ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
