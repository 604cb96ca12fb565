"""Array files: any array comes back bit for bit; any change to the file is noticed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file, save_file

from dbp.storage.array_file import MAX_ARRAYS, ArrayFileError, read_arrays, write_arrays

DTYPES = ("float32", "float64", "int64", "int32", "uint8", "bool")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
names = st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__")
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)


@given(st.dictionaries(names, arrays, max_size=5), st.dictionaries(st.text(), json_values, max_size=4))
@settings(max_examples=200, deadline=None)
def test_arrays_and_metadata_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], metadata: dict[str, Any]
) -> None:
    """Every shape (0-d and empty too), dtype, NaN payload and JSON value; the order of names does not matter."""
    path = tmp_path_factory.mktemp("arrays") / "a.safetensors"
    write_arrays(path, values, metadata)
    found, found_metadata = read_arrays(path)
    assert found_metadata == metadata
    assert found.keys() == values.keys()
    for name, array in values.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()
        assert found[name].flags.writeable
    first = path.read_bytes()
    write_arrays(path, dict(reversed(values.items())), dict(reversed(metadata.items())))
    assert path.read_bytes() == first


def test_any_safetensors_reader_opens_the_file(tmp_path: Path) -> None:
    """The library of the format's authors is the independent reference."""
    values = {
        "w": np.arange(6.0).reshape(2, 3),
        "f": np.ones(3, np.float32),
        "b": np.array([True, False]),
        "0": np.int64(7),
    }
    values = {name: np.asarray(value) for name, value in values.items()}
    write_arrays(tmp_path / "a.safetensors", values, {"step": 3})
    loaded = load_file(tmp_path / "a.safetensors")
    for name, array in values.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


def test_views_and_foreign_byte_orders_are_stored_by_value(tmp_path: Path) -> None:
    """Strided, transposed and big-endian arrays come back contiguous and native, with equal values."""
    base = np.arange(24.0).reshape(4, 6)
    values = {"t": base.T, "s": base[::2, ::-3], "big": base.astype(">f8")}
    write_arrays(tmp_path / "a", values, {})
    found, _ = read_arrays(tmp_path / "a")
    for name, array in values.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].flags.c_contiguous
        assert found[name].dtype.isnative


def small_file(folder: Path) -> tuple[Path, bytes]:
    path = folder / "small.safetensors"
    values = {"w": np.array([1.5, -2.0], np.float32), "n": np.array(3), "b": np.array([True]), "e": np.empty((0, 2))}
    write_arrays(path, values, {"step": 50, "note": "é"})
    return path, path.read_bytes()


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    """All eight single-bit flips, and all bits at once, of every byte of the file."""
    path, good = small_file(tmp_path)
    for position in range(len(good)):
        for mask in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            bad = bytearray(good)
            bad[position] ^= mask
            path.write_bytes(bad)
            with pytest.raises(ArrayFileError):
                read_arrays(path)
    path.write_bytes(good)
    assert read_arrays(path)[1] == {"step": 50, "note": "é"}


def test_every_truncation_and_any_extra_byte_is_noticed(tmp_path: Path) -> None:
    path, good = small_file(tmp_path)
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(ArrayFileError):
            read_arrays(path)
    path.write_bytes(good + b"\0")
    with pytest.raises(ArrayFileError, match="too long: 17 bytes of arrays expected, 18 found"):
        read_arrays(path)


def raw(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


OWN = {"format": "dbp-arrays-1", "sha256": "0" * 64, "metadata": "{}"}


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"__metadata__": OWN, "w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


BAD_FILES = {
    "empty": (b"", "the file is empty; expected a safetensors file"),
    "short": (b"abc", "the file ends after 3 bytes"),
    "text": (b"name: digits\ntask: classification\n", "not a safetensors file of dbp: a header of "),
    "header too large": (raw(b"{}", length=2**63), "a header of 9,223,372,036,854,775,808 bytes; at most 1,000,000"),
    "header cut": (raw(b"{}", length=500), "cut short: a header of 500 bytes in a file of 10"),
    "no JSON": (raw(b"{]"), "its header is not JSON"),
    "deep JSON": (raw(b"[" * 200_000), "its header is not JSON"),
    "NaN": (raw(b'{"a": NaN}'), "its header is not JSON"),
    "a list": (raw([1]), "its header is not a JSON object"),
    "no UTF-8": (raw(b'{"\xff": 1}'), "its header is not JSON"),
    "twice": (raw(b'{"a": 1, "a": 2}'), "its header is not JSON"),
    "other format": (
        raw({"__metadata__": {"format": "pt"}}),
        "of format 'pt'; this version of dbp reads 'dbp-arrays-1'",
    ),
    "no checksum": (raw({"__metadata__": {"format": "dbp-arrays-1"}}), "its checksum or metadata is missing"),
    "bad metadata": (raw({"__metadata__": {**OWN, "metadata": "[]"}}), "its metadata is not a JSON object"),
    "dtype": (raw(entry("F16"), b"1234"), "array 'w' is of type 'F16'; expected one of F64, F32"),
    "no entry": (raw({"__metadata__": OWN, "w": 5}), "the entry of array 'w' makes no sense"),
    "negative": (raw(entry(shape=[-1])), "makes no sense"),
    "bool for a size": (raw(entry(shape=[True]), b"1234"), "makes no sense"),
    "float for a size": (raw(entry(shape=[1.0]), b"1234"), "makes no sense"),
    "huge": (raw(entry(shape=[2**40], offsets=[0, 2**42])), "cut short: 4,398,046,511,104 bytes of arrays expected, 0"),
    "overflow": (raw(entry(shape=[2**62, 2**62, 0], offsets=[0, 0])), "makes no sense"),
    "dimensions": (raw(entry(shape=[1] * 40), b"1234"), "makes no sense"),
    "gap": (raw(entry(offsets=[4, 8]), b"12345678"), "does not start where the one before it ends"),
    "reversed": (raw(entry(offsets=[4, 0]), b"1234"), "makes no sense"),
    "size": (raw(entry(offsets=[0, 8]), b"12345678"), "makes no sense"),
    "zeros for a checksum": (raw(entry(), b"1234"), "its checksum is not where it belongs"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_lie_are_refused_in_words(tmp_path: Path, name: str) -> None:
    """Each message names the file; no number in the file makes the reader ask for memory."""
    data, words = BAD_FILES[name]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(ArrayFileError) as caught:
        read_arrays(path)
    assert words in str(caught.value)
    assert str(caught.value) == f"{path}: {caught.value.reason}"


def test_a_file_of_another_program_is_named_as_such(tmp_path: Path) -> None:
    save_file({"w": np.ones(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ArrayFileError, match="a safetensors file, but not one that dbp wrote"):
        read_arrays(tmp_path / "other.safetensors")


def test_missing_files_folders_pipes_and_links(tmp_path: Path) -> None:
    """None of them hangs; links are followed unless the caller forbids it."""
    path, _ = small_file(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(path)
    for name, words in {"none": "no such file", "": "a folder, not a file", "pipe": "not a regular file"}.items():
        with pytest.raises(ArrayFileError, match=words):
            read_arrays(tmp_path / name)
    assert read_arrays(tmp_path / "link")[1]["step"] == 50
    with pytest.raises(ArrayFileError, match="symbolic links, or is one"):
        read_arrays(tmp_path / "link", follow_symlinks=False)


def test_a_lying_file_cannot_take_memory(tmp_path: Path) -> None:
    """Under a limit of memory, a header that promises 4 TB is refused without asking for any of it."""
    path = tmp_path / "bomb.safetensors"
    path.write_bytes(BAD_FILES["huge"][0])
    code = (
        "import resource, sys; from pathlib import Path; from dbp.storage.array_file import *\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))\n"
        "try: read_arrays(Path(sys.argv[1]))\n"
        "except ArrayFileError as error: print(error.reason)"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.startswith("cut short: 4,398,046,511,104 bytes")


def test_what_cannot_be_stored_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(TypeError, match="array 'x' is of dtype object"):
        write_arrays(path, {"x": np.array([None])}, {})
    with pytest.raises(TypeError, match="of dtype complex128"):
        write_arrays(path, {"x": np.ones(2, complex)}, {})
    with pytest.raises(ValueError, match="cannot be the name"):
        write_arrays(path, {"__metadata__": np.ones(2)}, {})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_arrays(path, {}, {"loss": float("nan")})
    with pytest.raises(ArrayFileError, match=r"names and metadata take .* bytes; expected at most 1,000,000"):
        write_arrays(path, {}, {"classes": "x" * 1_000_000})
    with pytest.raises(ArrayFileError, match=r"10,001 arrays cannot be written"):
        write_arrays(path, {str(i): np.ones(0) for i in range(MAX_ARRAYS + 1)}, {})
    assert os.listdir(tmp_path) == []


@given(st.binary(max_size=300) | st.binary(max_size=200).map(raw))
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_an_array_file_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "f"
    path.write_bytes(data)
    with pytest.raises(ArrayFileError):
        read_arrays(path)
