"""Writes deploy/constraints.txt: the version of everything that dbp needs at run time, as installed where this runs.

Run it in an environment whose tests have passed: python deploy/make_constraints.py > deploy/constraints.txt
"""

from __future__ import annotations

import platform
import re
from importlib.metadata import distribution

from packaging.requirements import Requirement

# Of the image, the wheel is built with it; the service may keep its jobs in an S3 bucket.
ROOTS = ("dbp[s3]", "setuptools")


def closure(roots: tuple[str, ...] = ROOTS) -> dict[str, str]:
    """Return name and version of the roots and of all that they need, dbp itself left out."""
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(root) for root in roots]
    while waiting:
        wanted = waiting.pop()
        name, extras = canonical(wanted.name), frozenset(wanted.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        package = distribution(wanted.name)
        found[name] = package.version.partition("+")[0]  # a local version is none that an index has
        for text in package.requires or ():
            needed = Requirement(text)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                waiting.append(needed)
    del found["dbp"]
    return found


def canonical(name: str) -> str:
    """Return a package's name as indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """Print the constraints."""
    python = ".".join(platform.python_version_tuple()[:2])
    print(f"# What dbp was tested with, for Python {python} on Linux. Made by deploy/make_constraints.py.")
    for name, version in sorted(closure().items()):
        print(f"{name}=={version}")


if __name__ == "__main__":
    main()
