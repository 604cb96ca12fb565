"""Model files that are damaged, made up, or none at all: always a ModelFileError that names the file."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbp import Model, Network, load_model
from dbp.data.encoding import Encoding
from dbp.errors import ModelFileError
from dbp.storage.array_file import read_arrays, write_arrays
from dbp.storage.checkpoints import Checkpoint, CheckpointStore


def _model() -> Model:
    encoding = Encoding(("a", "b"), (0.5, -1.0), (2.0, 0.25), ("y",), "classification", ("no", "yes"))
    network = Network((2, 3, 2), ("tanh", "identity"))
    return Model(network, network.initial_parameters(0), encoding, "cross_entropy", {"name": "small"})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a small model file."""
    path = tmp_path_factory.mktemp("whole") / "m.safetensors"
    _model().save(path)
    return path.read_bytes()


def _refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as refusal:
        load_model(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: ")
    assert "Traceback" not in message
    return message.removeprefix(f"{path}: ")


def _is_noticed_or_changes_nothing(path: Path) -> bool:
    """Whether the file is refused; a file that is read must hold the very same model."""
    try:
        found = load_model(path)
    except ModelFileError as error:
        return str(error).startswith(f"{path}: ")
    expected = _model()
    assert found.parameters.tobytes() == expected.parameters.tobytes()
    assert (found.network, found.encoding, found.loss, found.about) == (
        expected.network,
        expected.encoding,
        expected.loss,
        expected.about,
    )
    return False


def test_every_changed_byte_is_noticed(whole: bytes, tmp_path: Path) -> None:
    """One bit of each byte, and all of them: refused, without exception, by ModelFileError and no other error."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(whole)
    assert not _is_noticed_or_changes_nothing(path)
    passed = []
    for place in range(len(whole)):
        for flip in (1 << place % 8, 0xFF):
            damaged = bytearray(whole)
            damaged[place] ^= flip
            path.write_bytes(damaged)
            if not _is_noticed_or_changes_nothing(path):
                passed.append(place)
    assert passed == []


def test_every_shortened_file_is_noticed(whole: bytes, tmp_path: Path) -> None:
    """Cut anywhere, at either end, and with bytes behind it."""
    path = tmp_path / "m.safetensors"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert _is_noticed_or_changes_nothing(path)
    for more in (whole + b"\0", whole + whole, whole[1:], whole[8:]):
        path.write_bytes(more)
        _refusal(path)


@settings(deadline=None, max_examples=150)
@given(
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=6), st.integers(0, 6)), max_size=4)
)
def test_any_edit_is_noticed_or_changes_nothing(
    edits: list[tuple[float, bytes, int]], whole: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Bytes put in, taken out and replaced in several places."""
    path = tmp_path_factory.getbasetemp() / "edited.safetensors"
    changed = bytearray(whole)
    for share, new, length in edits:
        place = int(share * len(changed))
        changed[place : place + length] = new
    path.write_bytes(changed)
    assert _is_noticed_or_changes_nothing(path) == (bytes(changed) != whole)


@settings(deadline=None, max_examples=200)
@given(junk=st.binary(max_size=300) | st.integers(0, 400).map(lambda n: n.to_bytes(8, "little") + b"{" * n))
def test_random_bytes_are_no_model(junk: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Also those that begin like a safetensors file."""
    path = tmp_path_factory.getbasetemp() / "junk.safetensors"
    path.write_bytes(junk)
    _refusal(path)


def test_files_that_are_no_model(tmp_path: Path) -> None:
    """Nothing there, nothing in it, a folder, text, much noise: each told apart."""
    path = tmp_path / "m.safetensors"
    assert "no such file" in _refusal(path)
    path.touch()
    assert _refusal(path) == "the file is empty; expected a safetensors file"
    path.write_text("name: iris\n" * 20)
    assert "not a safetensors file of dbp" in _refusal(path)
    path.write_bytes(random.Random(0).randbytes(200_000))
    assert "not a safetensors file of dbp" in _refusal(path)
    path.unlink()
    path.mkdir()
    assert "folder" in _refusal(path)


def test_a_checkpoint_is_no_model(tmp_path: Path) -> None:
    """Though it holds the parameters of one, and is whole."""
    store = CheckpointStore(tmp_path / "checkpoints")
    path = store.save(Checkpoint(6, {"parameters": _model().parameters}, {"step": 6}))
    assert _refusal(path) == "not a model file of dbp (a checkpoint, perhaps?); expected format dbp-model-1"


# ---- whole files that dbp could have written, but for one entry of their description


def _write(path: Path, whole: bytes, arrays: dict[str, Any] | None = None, **changes: object) -> None:
    """Write the small model with other arrays, or other entries of its metadata (... leaves one out); the checksum is right."""
    source = path.with_name("source.safetensors")
    source.write_bytes(whole)
    own, metadata = read_arrays(source)
    metadata = {key: value for key, value in {**metadata, **changes}.items() if value is not ...}
    write_arrays(path, own if arrays is None else arrays, metadata)


def _other_encoding(**changes: object) -> dict[str, object]:
    value = {key: value for key, value in {**_model().encoding.to_json(), **changes}.items() if value is not ...}
    plain: dict[str, object] = json.loads(json.dumps(value))
    return plain


def _other_descriptions() -> Iterator[tuple[str, dict[str, object], str]]:
    """Yield a name, the changed entries, and words of the message."""
    encoding: object
    loss: object
    form: object
    description = "its description of the network cannot be used"
    for sizes in (
        [],
        [2],
        [2, 3],
        [2, 3, 3, 2],
        [2, 0, 2],
        [2, -3, 2],
        [2, 3.5, 2],
        [2, "3", 2],
        [2, None, 2],
        [2, [3], 2],
        "232",
        232,
        None,
        {"2": 3},
        [3, 3, 2],
        [2, 3, 3],
        ...,
    ):
        yield f"sizes {sizes}", {"sizes": sizes}, description
    for sizes in ([2, 4, 2], [2, 10**6, 2], [2, 10**30, 2], [2, 2, 2]):
        yield f"sizes {sizes}", {"sizes": sizes}, "parameters of shape (17,) and type float32; expected ("
    yield "one output more", {"encoding": _other_encoding(classes=["a", "b", "c"])}, "2 outputs for 3 classes"
    yield "one feature more", {"encoding": _other_encoding(features=["a"])}, "does not fit together"
    three = _other_encoding(features=["a", "b", "c"], mean=[0, 0, 0], scale=[1, 1, 1])
    yield "three features", {"encoding": three}, "2 inputs for 3 features"
    numbers = _other_encoding(task="regression", classes=[], target_mean=[0.0], target_scale=[1.0])
    yield "another task", {"encoding": numbers}, "2 outputs for 1 targets"
    for encoding in (None, [], "encoding", {}, _other_encoding(mean=3), _other_encoding(mean=...), ...):
        yield f"encoding {encoding}", {"encoding": encoding}, description
    number = {"kind": "number", "fill": None, "indicator": False}
    category = {"kind": "category", "classes": ["u"], "rare": [], "unknown": "zeros", "missing": "unknown"}
    for columns in (
        *(None, 3, "columns", {"a": 1}, [number], [number] * 3, [number, None], [number, {}], [number, {"kind": []}]),
        [number, category],  # which says nothing of missing values
        [number, {**number, "fill": 10**400}],
        [number, {**number, "indicator": True}],
        [number, {"kind": "date", "parts": ["week"], "zoned": False, "fill": None, "indicator": False}],
        [number, {**category, "takes_missing": False}],  # whose input would be shifted and scaled
    ):
        yield f"columns {columns}", {"encoding": {**_other_encoding(), "columns": columns}}, description
    pair = [number, {**category, "classes": ["u", "v"], "takes_missing": False}]
    wide = _other_encoding(columns=pair, mean=[0, 0, 0], scale=[1, 1, 1])
    yield "a wider column", {"encoding": wide}, "2 inputs for 3 inputs of its columns"
    for names in (["tanh"], ["tanh", "tanh", "tanh"], ["tanh", "swish"], [["tanh"], []], [None, 3], None, "tanh", ...):
        yield f"activations {names}", {"activations": names}, description
    for loss in ("hinge", None, [], {}, 3, ...):
        yield f"loss {loss}", {"loss": loss}, description
    for about in ("words", 7, [1, 2], True):
        yield f"about {about}", {"about": about}, description
    for form in ("dbp-model-0", None, 1, [], ...):
        yield f"format {form}", {"format": form}, "not a model file of dbp"


DESCRIPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    name: (changes, words) for name, changes, words in _other_descriptions()
}


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_a_description_that_cannot_be(case: str, whole: bytes, tmp_path: Path) -> None:
    """Every entry is looked at before it is used: sizes that do not fit, wrong types, names that are none, entries left out."""
    changes, words = DESCRIPTIONS[case]
    _write(tmp_path / "m.safetensors", whole, **changes)
    assert words in _refusal(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(16, np.float32), "parameters of shape (16,) and type float32; expected (17,) of float32 or float64"),
        (np.zeros(0, np.float32), "parameters of shape (0,)"),
        (np.zeros((17, 1), np.float32), "parameters of shape (17, 1)"),
        (np.zeros(17, np.int64), "type int64; expected (17,) of float32 or float64"),
        (np.zeros(17, bool), "type bool; expected (17,) of float32 or float64"),
    ],
)
def test_parameters_that_do_not_fit(array: Any, words: str, whole: bytes, tmp_path: Path) -> None:
    """Their shape and type, and what the network needs."""
    _write(tmp_path / "m.safetensors", whole, {"parameters": array})
    assert words in _refusal(tmp_path / "m.safetensors")


def test_a_file_without_parameters(whole: bytes, tmp_path: Path) -> None:
    """The description alone is no model."""
    _write(tmp_path / "m.safetensors", whole, {"weights": np.zeros(17)})
    assert "not a model file of dbp" in _refusal(tmp_path / "m.safetensors")


def test_what_is_about_a_model_may_be_left_out(whole: bytes, tmp_path: Path) -> None:
    """It is for people; parameters in the other precision are read as they are."""
    changes: dict[str, Any]
    for changes in ({"about": ...}, {"about": None}, {"about": {}}):
        _write(tmp_path / "m.safetensors", whole, {"parameters": np.ones(17)}, **changes)
        found = load_model(tmp_path / "m.safetensors")
        assert found.about == {}
        assert found.parameters.dtype == np.float64
        assert found.network == _model().network
