"""The audit step of .ci/run: fails on known holes in deploy/constraints.txt, and says in one line where it could not be asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "build" / "audit" / "report.json"
LIMIT_S = 400.0


def judged(report: dict[str, Any] | None) -> tuple[int, list[str]]:
    """Return the exit code and what to say; `report` is pip-audit's, None where there is none."""
    packages = [] if report is None else report["dependencies"]
    holes = [
        f"{each['name']} {each['version']}: {hole['id']}"
        + (f" (mended in {', '.join(hole['fix_versions'])})" if hole.get("fix_versions") else "")
        for each in packages
        for hole in each.get("vulns", ())
    ]
    if holes:
        return 1, [
            f"known holes in {len(holes)} places; mend them in pyproject.toml and deploy/constraints.txt:",
            *holes,
        ]
    unknown = [each["name"] for each in packages if "skip_reason" in each]
    if len(unknown) == len(packages):
        return 0, ["not audited: the database cannot be reached"]
    if unknown:
        return 0, [f"audited: no known holes; not in the database: {', '.join(unknown)}"]
    return 0, [f"audited: no known holes in {len(packages)} packages"]


def main() -> int:
    """Run `make audit`, and print what it means."""
    REPORT.unlink(missing_ok=True)
    try:
        subprocess.run(
            ["make", "audit", f"AUDIT=--format json --output {REPORT.relative_to(ROOT)}"],
            cwd=ROOT,
            capture_output=True,
            timeout=LIMIT_S,
        )
        report = json.loads(REPORT.read_text())
    except (OSError, ValueError, subprocess.TimeoutExpired):
        report = None
    code, said = judged(report)
    print("\n".join(said))
    return code


if __name__ == "__main__":
    sys.exit(main())
