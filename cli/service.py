"""Which job, and on which service: what the commands that look after submitted jobs share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dbp.cli.output import talk
from dbp.errors import InputError, JobDirectoryError, ServiceError
from dbp.jobs.directory import JobDirectory, Place
from dbp.jobs.submission import read_handover

if TYPE_CHECKING:
    from dbp.workers.client import Client


@dataclass(frozen=True)
class Access:
    """What a command was told about the service."""

    address: str | None = None
    token_file: Path | None = None
    insecure: bool = False

    def client(self) -> Client:
        """Return the client. ServiceError, with the ways out, when no service is known or it does not let us in."""
        from dbp.workers.client import Client

        return Client(self.address, self.token_file, self.insecure, on_warning=_warn)

    def client_if_any(self) -> Client | None:
        """Return the client; None when nobody named a service and none is up. ServiceError when it does not answer."""
        from dbp.jobs.service_config import find_service

        return None if find_service(self.address) is None else self.client()


@dataclass(frozen=True)
class Found:
    """A job: of a service (`client`), or in a directory of this machine that no service is asked about."""

    id: str
    client: Client | None
    directory: JobDirectory | None

    @property
    def local(self) -> JobDirectory:
        """The directory of a job that is no service's. JobDirectoryError otherwise."""
        if self.directory is None:
            raise JobDirectoryError(f"{self.id}: has no directory on this machine")
        return self.directory


def find_job(text: str, storage: Place, access: Access) -> Found:
    """Return the job that `text` names: on the service that was named, else in a directory here, else on the service there is.

    A directory here that was submitted is the service's word, where that knows the job. Raises JobDirectoryError that suggests ids.
    """
    if access.address is not None:
        return Found(text, access.client(), None)
    try:
        directory = JobDirectory.find(text, storage)
    except JobDirectoryError as missing:
        return _find_on_service(text, storage, access, missing)
    if read_handover(directory) is not None:
        try:
            client = access.client_if_any()
            if client is not None and client.knows(directory.id):
                return Found(directory.id, client, directory)
        except ServiceError as error:
            talk(f"warning: the service does not answer, what its storage says is shown ({error})")
    return Found(directory.id, None, directory)


def directory_to_read(text: str, storage: Place, access: Access) -> JobDirectory:
    """Return the job directory that `text` names, also that of a service whose storage this machine reaches.

    JobDirectoryError that suggests ids, or `dbp fetch`.
    """
    found = find_job(text, storage, access)
    if found.directory is not None or found.client is None:
        return found.local
    place = found.client.status(found.id).directory
    try:
        return JobDirectory.open(place)
    except InputError as error:
        raise JobDirectoryError(
            f"{found.id}: its directory is not within reach of this machine ({error}); "
            f"`dbp fetch {found.id} -o DIR` brings its records here, then name DIR"
        ) from error


def _find_on_service(text: str, storage: Place, access: Access, missing: JobDirectoryError) -> Found:
    from dbp.jobs.directory import list_job_directories

    try:
        client = access.client_if_any()
        if client is None:
            raise missing
        if client.knows(text):
            return Found(text, client, None)
    except ServiceError as error:
        missing.add_note(f"and the service does not answer: {error}")
        raise missing from None
    except JobDirectoryError:  # no possible id, but perhaps a folder's name: the first message says it better
        raise missing from None
    from dbp.workers.client import UnknownJobError

    known = [directory.id for directory in list_job_directories(storage)] + [view.job for view in client.list()]
    known = list(dict.fromkeys(known))  # a submitted job may have its directory here
    raise UnknownJobError(text, f"in {storage} or at {client.address}", known) from None


def submitted_from(directory: JobDirectory) -> str | None:
    """Return the address of the service that a job directory belongs to; None where it is this machine's alone."""
    handover = read_handover(directory)
    return None if handover is None else str(handover.get("address", ""))


def wanted_step(text: str | None) -> int | str | None:
    """Return what `--step` means. InputError for what is neither a number, `best` nor `last`."""
    if text is None or text in ("best", "last"):
        return text
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    raise InputError(f"--step {text}: expected a number, best or last")


def _warn(text: str) -> None:
    talk(f"warning: {text}")
