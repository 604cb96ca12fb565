"""What an examination says: checks, and for each what was found wrong, in words that name file, step, expected and found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["ok", "wrong", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be."""

    file: str  # below the job directory
    step: int | None
    expected: str
    found: str

    def __str__(self) -> str:
        where = self.file if self.step is None else f"{self.file}, step {self.step}"
        return f"{where}: expected {self.expected}; found {self.found}"

    def to_json(self) -> dict[str, object]:
        """Return the finding as plain JSON."""
        return {"file": self.file, "step": self.step, "expected": self.expected, "found": self.found}


@dataclass(frozen=True)
class Check:
    """One question, and its answer. `warnings` are what could not be asked, or proves nothing by itself."""

    name: str
    says: str  # what was looked at, in words
    findings: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """How the check ended."""
        return "wrong" if self.findings else "warning" if self.warnings else "ok"

    def to_json(self) -> dict[str, object]:
        """Return the check as plain JSON."""
        return {
            "check": self.name,
            "outcome": self.outcome,
            "says": self.says,
            "findings": [finding.to_json() for finding in self.findings],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Report:
    """All checks of a job directory."""

    job: str
    directory: str
    checks: tuple[Check, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything that is wrong, in the order of the checks."""
        return tuple(finding for check in self.checks for finding in check.findings)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything that is no proof of an error."""
        return tuple(warning for check in self.checks for warning in check.warnings)

    def to_json(self) -> dict[str, object]:
        """Return the report as plain JSON."""
        return {
            "job": self.job,
            "directory": self.directory,
            "valid": not self.findings,
            "checks": [check.to_json() for check in self.checks],
        }
