"""What a URI of storage may say: a place, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dbp.errors import StorageError
from dbp.storage.remote import open_folder
from dbp.storage.uris import is_remote, is_uri, local_path, parent_and_name, parse_uri


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("s3://bucket", ("s3", "bucket", "")),
        ("s3://bucket/", ("s3", "bucket", "")),
        ("S3://bucket/a/b/", ("s3", "bucket", "a/b")),
        (Path("s3://bucket/a"), ("s3", "bucket", "a")),
        ("gs://bucket/a b.csv", ("gs", "bucket", "a b.csv")),
        ("memory://x/y", ("memory", "x", "y")),
    ],
)
def test_a_uri_has_a_scheme_a_bucket_and_a_key(text, parts):
    uri = parse_uri(text)
    assert (uri.scheme, uri.bucket, uri.key) == parts
    assert is_uri(text)
    assert is_remote(text)


@pytest.mark.parametrize("text", ["runs", "/runs", "./a:b", "a b/c", "C", "x:y"])
def test_paths_are_no_uris(text):
    assert not is_uri(text)
    assert local_path(text) == Path(text)


def test_a_file_uri_is_a_path():
    assert local_path("file:///a/b") == local_path(Path("file:///a/b")) == Path("/a/b")
    assert is_uri("file:///a")
    assert not is_remote("file:///a")
    for odd in ("file://host/a", "file:///a%20b", "file:///"):
        with pytest.raises(StorageError, match="expected file:///absolute/path"):
            local_path(odd)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ftp://b/x", "storage of kind 'ftp'; expected a folder or a URI that starts with s3://, gs://"),
        ("https://b/x", "storage of kind 'https'"),
        ("simplecache::s3://b/x", "not a URI"),
        ("s3://key:secret@b/x", "expected credentials in the environment only"),
        ("s3://b/../c", "an odd name"),
        ("s3://b//c", "an odd name"),
        ("s3://b/c?endpoint=http://evil", "an odd name"),
        ("s3://b/c*", "an odd name"),
        ("s3://127.0.0.1:9000/b", "names no bucket"),
        ("s3:///b", "not a URI"),
    ],
)
def test_what_a_uri_may_not_say(text, words):
    with pytest.raises(StorageError) as caught:
        parse_uri(text)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_folder_of_a_file():
    assert parent_and_name("s3://b/a/c.csv") == ("s3://b/a", "c.csv")
    assert parent_and_name("s3://b/c.csv") == ("s3://b", "c.csv")
    with pytest.raises(StorageError, match="is a bucket; expected a folder or file in it"):
        parent_and_name("s3://b")


@pytest.mark.parametrize(("scheme", "module", "extra"), [("s3", "s3fs", "s3"), ("gs", "gcsfs", "gcs")])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, scheme, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(StorageError) as caught:
        open_folder(f"{scheme}://bucket/runs")
    assert str(caught.value) == (
        f"{scheme}://: needs the package {module}, which is not installed; install it with: pip install 'dbp[{extra}]'"
    )
