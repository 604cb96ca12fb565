"""The time of day, for people and names only: nothing dbp computes depends on it."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> str:
    """Return the time now as ISO 8601 in UTC, to the second: ``2026-01-31T09:05:00Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
