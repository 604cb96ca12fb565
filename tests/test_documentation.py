"""What the documentation says is run or looked up."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(ROOT.glob("d*/**/*.md"))


def tutorial() -> list[str]:
    return re.findall(r"^```sh tutorial\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)


def test_the_tutorial_of_the_readme_works_as_it_stands(tmp_path):
    """All of its commands, one after the other, in an empty folder."""
    blocks = tutorial()
    assert len(blocks) >= 5
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert (tmp_path / "loss.png").stat().st_size > 5000
    assert (tmp_path / "predictions.parquet").exists()
    assert "training.max_steps (300) reached" in done.stdout


def test_the_python_of_the_readme_works(tmp_path, monkeypatch):
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    setup = tutorial()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-ec", setup[0] + setup[1]], check=True, env=environment, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-c", code.replace("workers=2", "workers=0")], capture_output=True, text=True, check=True
    )
    assert re.search(r"[0-9a-f]{64}", done.stdout)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_names_the_two_commands():
    text = (ROOT / "README.md").read_text()
    assert "make demo" in text
    assert "make test" in text


def test_every_command_is_in_the_readme_or_the_changelog():
    commands = {path.stem for path in (ROOT / "cli" / "commands").glob("[a-z]*.py")} - {"list_jobs"}
    text = (ROOT / "README.md").read_text() + (ROOT / "CHANGELOG.md").read_text()
    assert not {name for name in commands if name not in text}
