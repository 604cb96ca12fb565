"""Files without a name are closed with the tables that own them, in circles too: else Python warns of them, some time later."""

from __future__ import annotations

import gc
import gzip
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from s3_server import S3

from dbp.data.open_table import open_table
from dbp.data.remote_file import RemoteFile
from dbp.data.table_file import LocalFile
from dbp.data.unpacked import UnpackedFile
from dbp.storage.remote import open_folder


def compressed_text(folder: Path, store: S3) -> object:
    with gzip.open(folder / "t.csv.gz", "wt") as file:
        file.write("a,b\n" + "1,2\n" * 1000)
    owner = UnpackedFile(LocalFile(folder / "t.csv.gz", "t.csv.gz"), ".gz")
    assert owner.local().stat().st_size == 4 + 4 * 1000
    return owner


def compressed_arrays(folder: Path, store: S3) -> object:
    np.savez_compressed(folder / "t.npz", x=np.eye(4), y=np.arange(4))
    owner = open_table(folder / "t.npz")
    assert sum(batch.num_rows for batch in owner.batches(0, 4, ["x0", "y"])) == 4
    return owner


def copy_of_a_remote_file(folder: Path, store: S3) -> object:
    (folder / "t").write_bytes(b"data")
    open_folder(store.url).upload(folder / "t", "t")
    owner = RemoteFile(f"{store.url}/t")
    assert owner.local().read_bytes() == b"data"
    return owner


@pytest.mark.parametrize("make", [compressed_text, compressed_arrays, copy_of_a_remote_file])
def test_a_file_is_closed_with_its_owner(make: Callable[[Path, S3], object], tmp_path: Path, s3: S3) -> None:
    circle = [make(tmp_path, s3)]
    circle.append(circle)
    heard: list[str] = []
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("always")
        patch.setattr(warnings, "showwarning", lambda message, *rest: heard.append(str(message)))
        patch.setattr(sys, "unraisablehook", lambda args: heard.append(str(args.exc_value)))
        del circle
        gc.collect()
    assert [text for text in heard if "dbp-table" in text or "name=" in text] == []
