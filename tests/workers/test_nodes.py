"""What nodes say of themselves, and that a difference is named with its node."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dbp.errors import InputError
from dbp.workers.nodes import Errand, NodeCheck, NodeReport, differences, own_versions, report


@pytest.fixture
def errand(tmp_path: Path) -> Errand:
    (tmp_path / "witness").write_text("seen")
    (tmp_path / "table.csv").write_text("a,b\n")
    return Errand(str(tmp_path), "witness", "seen", (str(tmp_path / "table.csv"),))


def test_nodes_that_agree_have_nothing_to_say(errand: Errand) -> None:
    here = report("10.0.0.1", errand)
    assert set(here.versions) == {"dbp", "ray", "numpy", "python", "the kernel fingerprint"}
    assert here.problems == ()
    assert differences([here, replace(here, node="10.0.0.2")]) == []


@pytest.mark.parametrize(
    ("name", "there", "sentence"),
    [
        ("dbp", "0.0.9", "node 10.0.0.2 has dbp 0.0.9; the driver's node 10.0.0.1 has "),
        ("numpy", "1.0", "node 10.0.0.2 has numpy 1.0; the driver's node 10.0.0.1 has "),
        ("ray", "2.0", "node 10.0.0.2 has ray 2.0; "),
        ("python", "3.9", "node 10.0.0.2 has python 3.9; "),
        (
            "the kernel fingerprint",
            "0" * 16,
            "node 10.0.0.2 has the kernel fingerprint 0000000000000000 (it computes other bits); the driver's node 10.0.0.1 has ",
        ),
    ],
)
def test_another_version_is_named_with_its_node(errand: Errand, name: str, there: str, sentence: str) -> None:
    here = report("10.0.0.1", errand)
    other = NodeReport("10.0.0.2", {**here.versions, name: there})
    (found,) = differences([here, replace(here, node="10.0.0.3"), other])
    assert found == f"{sentence.partition(';')[0]}; the driver's node 10.0.0.1 has {here.versions[name]}"
    assert found.startswith(sentence)


def test_a_version_that_is_not_told_is_a_difference(errand: Errand) -> None:
    here = report("10.0.0.1", errand)
    assert differences([here, NodeReport("10.0.0.2", {})])[0].startswith("node 10.0.0.2 has python unknown; ")


def test_storage_and_data_that_are_not_there_are_named(errand: Errand, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    here = report("10.0.0.1", replace(errand, storage=str(nowhere), files=(str(nowhere / "t.csv"),)))
    assert differences([here]) == [
        f"node 10.0.0.1: {nowhere} is not there, or another folder (storage)",
        f"node 10.0.0.1: {nowhere}/t.csv: cannot be read: no such file or folder",
    ]
    other = report("10.0.0.2", replace(errand, text="another"))
    assert differences([here, other])[-1] == f"node 10.0.0.2: {tmp_path} is another folder there (storage)"


def test_every_node_of_a_real_cluster_is_asked(local_ray, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a\n")
    check = NodeCheck(str(tmp_path / "runs"), (str(tmp_path / "table.csv"),))
    assert check.look(only=["another"]) == 0
    assert check.look() == 1
    assert check.look() == 0  # once each
    assert list((tmp_path / "runs").iterdir()) == []
    with pytest.raises(InputError) as caught:
        NodeCheck(str(tmp_path / "runs"), (str(tmp_path / "nothing.csv"),)).look()
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(
        "the cluster cannot run this job: dbp, ray, numpy and Python must be the same on all nodes"
    )
    assert "nothing.csv: cannot be read: no such file or folder" in lines[1]


def test_versions_are_those_of_this_process() -> None:
    import numpy as np

    assert own_versions()["numpy"] == np.__version__
