"""`dbp diff`: where do two jobs part, and why?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from typer import Argument

from dbp.cli.errors import FAILED, answer
from dbp.cli.options import DEFAULT_STORAGE, Insecure, Json, ServiceAddress, Storage, TokenFile
from dbp.cli.output import Mode, Output
from dbp.cli.service import Access, directory_to_read

if TYPE_CHECKING:
    from dbp.evidence.differences import Comparison

First = Annotated[str, Argument(metavar="JOB", help="A job id, a job directory or its URI.", show_default=False)]
Second = Annotated[str, Argument(metavar="OTHER", help="The job to compare it with.", show_default=False)]


def diff(
    job: First,
    other: Second,
    storage: Storage = DEFAULT_STORAGE,
    address: ServiceAddress = None,
    token_file: TokenFile = None,
    insecure: Insecure = False,
    json: Json = False,
) -> None:
    """Compare two jobs: keys, data, versions and kernel, then every step's bits. Only reads.

    Exit code 0 when they made the same steps to the same bits, 1 when they differ.
    """
    from dbp.evidence.differences import compare

    access = Access(address, token_file, insecure)
    found = compare(directory_to_read(job, storage, access), directory_to_read(other, storage, access))
    output = Output(json=json)
    if output.mode is Mode.JSON:
        output.json(found.to_json())
    else:
        if rows := _rows(found):
            output.rows(("WHAT", "FIRST", "SECOND", "WEIGHT"), rows)
        output.text(found.verdict())
    if not found.identical:
        answer(FAILED)


def _rows(found: Comparison) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = [
        (each.what, _shown(each.first), _shown(each.second), each.weight) for each in found.differences
    ]
    if found.parting is not None:
        step, (here, there) = found.parting.step, found.parting.losses
        rows.append(
            (f"step {step}: digest", *found.parting.digests, "differs" if found.parting.by == "digest" else None)
        )
        rows.append((f"step {step}: loss", _exact(here), _exact(there), "differs" if here != there else "the same"))
    if found.models[0] != found.models[1]:
        rows.append(("model: SHA-256", *(sha256 and sha256[:16] for sha256 in found.models), "differs"))
    return rows


def _exact(loss: float | None) -> str | None:
    return None if loss is None else repr(loss)


def _shown(value: object) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
