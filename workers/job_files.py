"""The files of a job directory that a person may fetch: what there is and their bytes, in a folder or at a URI.

Their names are the same in both: a file of lines that is kept at a URI in pieces is one file, and a checkpoint is named by its
step, whichever epoch's folder it lies in.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TypedDict

from dbp.errors import JobDirectoryError
from dbp.jobs.directory import JobDirectory
from dbp.jobs.holding import LINE_FILES
from dbp.jobs.wording import show
from dbp.storage.atomic_files import storage_error
from dbp.storage.mirror import read_lines, size_of_lines
from dbp.storage.mirrored_checkpoints import MirroredCheckpoints
from dbp.storage.remote import Folder, MissingFileError

# Paths below the job directory; nothing else is read or written by these names.
_RECORD = r"(?:job\.yaml|status\.json|metrics\.jsonl|environment\.json|log\.txt|sweep\.json)"
_MEMBER = r"members/[0-9]{3,6}"
_CHECKPOINT = r"checkpoints/step-([0-9]{8,18})\.safetensors"
_NAME = re.compile(rf"(?:{_MEMBER}/)?(?:{_RECORD}|model\.safetensors|{_CHECKPOINT})")
_FILE = re.compile(rf"{_RECORD}|model\.safetensors")


class FileFacts(TypedDict):
    """A file of a job directory."""

    name: str
    bytes: int


def check_name(name: str) -> str:
    """Return the path of a fetched file below a job directory. JobDirectoryError when it is none of those a job has."""
    if not _NAME.fullmatch(name):
        raise JobDirectoryError(f"{show(name)}: not a file of a job directory")
    return name


def list_files(directory: JobDirectory) -> list[FileFacts]:
    """Return the files that can be fetched, by name."""
    if directory.mirror is not None:
        return sorted(_listed_at_uri(directory, directory.mirror.remote), key=lambda file: file["name"])
    found: list[FileFacts] = []
    for folder, folders, names in os.walk(directory.path):
        folders.sort()
        for name in sorted(names):
            relative = os.path.relpath(os.path.join(folder, name), directory.path)
            facts = os.lstat(os.path.join(folder, name))
            if _NAME.fullmatch(relative) and stat.S_ISREG(facts.st_mode):
                found.append({"name": relative, "bytes": facts.st_size})
    return found


def read_file(directory: JobDirectory, name: str, offset: int, length: int) -> bytes:
    """Return `length` bytes of a file from `offset` on; fewer at its end. StorageError."""
    check_name(name)
    if directory.mirror is not None:
        return _read_at_uri(directory, directory.mirror.remote, name, offset, length)
    path = directory.path / name
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise storage_error("be read", path, error) from error


def _listed_at_uri(directory: JobDirectory, remote: Folder) -> list[FileFacts]:
    """The job's own files and checkpoints, and the files of its runs if it stands for several, without their checkpoints."""
    names = remote.names()
    found = _sizes(remote, names, "")
    for step, (folder, name) in _checkpoints(directory).items():
        try:
            found.append({"name": f"checkpoints/step-{step:08d}.safetensors", "bytes": folder.size(name)})
        except MissingFileError:
            continue  # retired just now
    if "members" in names:
        for number in remote.child("members").names():
            member = f"members/{number}"
            if re.fullmatch(_MEMBER, member):
                folder = remote.child(member)
                found += _sizes(folder, folder.names(), f"{member}/")
    return found


def _sizes(folder: Folder, names: list[str], prefix: str) -> list[FileFacts]:
    return [
        {
            "name": prefix + name,
            "bytes": size_of_lines(folder, name, names) if name in LINE_FILES else folder.size(name),
        }
        for name in names
        if _FILE.fullmatch(name)
    ]


def _read_at_uri(directory: JobDirectory, remote: Folder, name: str, offset: int, length: int) -> bytes:
    checkpoint = re.fullmatch(_CHECKPOINT, name)
    if checkpoint:
        place = _checkpoints(directory).get(int(checkpoint[1]))
        if place is None:
            raise MissingFileError(f"{remote.uri}/{name}: no such file")
        return place[0].read_part(place[1], offset, length)
    if name.rpartition("/")[2] in LINE_FILES:
        return read_lines(remote, name, offset, length)
    return remote.read_part(name, offset, length)


def _checkpoints(directory: JobDirectory) -> dict[int, tuple[Folder, str]]:
    store = directory.checkpoint_store()
    assert isinstance(store, MirroredCheckpoints)
    return store.places()
