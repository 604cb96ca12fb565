"""The benchmarks run, and what they write is what docs/benchmarks.md shows. Their numbers are not judged here: machines differ."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KERNEL = {"network", "share", "torch_ratio", "torch_blocks_ratio", "shards_and_tree", "gigaflops_matmul", "seconds"}


def _run_module():
    spec = importlib.util.spec_from_file_location("benchmarks_run", ROOT / "benchmarks" / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.long
def test_all_of_it_runs_on_tiny_tables(tmp_path):
    """`make bench` in small: kernel twice, pools on a real Ray, JSON, and the tables into a page."""
    page = tmp_path / "page.md"
    page.write_text((ROOT / "docs" / "benchmarks.md").read_text())
    (tmp_path / "optimizers.md").write_text((ROOT / "docs" / "optimizers.md").read_text())
    command = [sys.executable, ROOT / "benchmarks" / "run.py", "--quick", "--out", tmp_path, "--markdown", page]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "latest.json").read_text())
    for table in (found["kernel"], found["kernel_avx2"]):
        assert table["rows"]
        assert all(set(row) >= KERNEL and 0 < row["share"] < 1.5 for row in table["rows"])
    assert found["kernel_avx2"]["instructions"] == "avx2"
    assert {row["calls"] for row in found["pools"]["overhead"]} == {"link", "ray"}
    assert found["pools"]["scaling"]["pool"]["gain"] > 0
    assert found["pools"]["scaling"]["apart"]["gain"] > 0
    assert all(0 < each["share"] < 1 for each in found["safety"]["jobs"])
    assert all(each["contenders"][name]["passes"] > 1 for each in found["training"] for name in each["ratios"])
    assert {row["method"] for row in found["methods"]} >= {"lbfgs", "levenberg_marquardt"}
    assert found["machine"]["cpu"]["model"] in page.read_text()
    assert "== kernel" in done.stdout


def test_the_page_has_a_place_for_every_table():
    """Each measured part between its marks, filled."""
    module = _run_module()
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    for name in ("machine", "kernel", "kernel-avx2", "overhead", "scaling", "safety", "training", "import"):
        begin, end = module.MARK.format(name), module.MARK.format(f"end of {name}")
        assert begin in text
        assert len(text.split(begin)[1].split(end)[0].strip()) > 20, name
