"""The image: its file is sound, and its build steps and its user are tried out here, without Docker."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "Dockerfile"
CONSTRAINTS = ROOT / "deploy" / "constraints.txt"
NOBODY = 65534


def instructions() -> list[tuple[str, str]]:
    """The file's instructions, lines that go on joined."""
    text = re.sub(r"^\s*#.*\n", "", FILE.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def of_kind(kind: str) -> list[str]:
    return [rest for name, rest in instructions() if name == kind]


def stage(name: str) -> list[tuple[str, str]]:
    found, inside = [], False
    for kind, rest in instructions():
        if kind == "FROM":
            inside = rest.endswith(f"AS {name}")
        elif inside:
            found.append((kind, rest))
    return found


def environment_of(name: str) -> dict[str, str]:
    pairs = [pair for kind, rest in stage(name) if kind == "ENV" for pair in shlex.split(rest)]
    return dict(pair.split("=", 1) for pair in pairs)


def test_hadolint_has_nothing_to_say():
    done = subprocess.run([Path(sys.executable).parent / "hadolint", FILE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_bases_are_pinned_and_the_image_has_no_compiler():
    bases = dict(line.split("=") for line in of_kind("ARG"))
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-(slim-)?\w+(@sha256:[0-9a-f]{64})?", base) for base in bases.values())
    assert "-slim-" in bases["RUN_BASE"]
    assert of_kind("FROM") == ["${BUILD_BASE} AS build", "${RUN_BASE} AS run"]
    python = re.match(r"python:(3\.\d+)", bases["RUN_BASE"])[1]
    assert f"for Python {python} " in CONSTRAINTS.read_text()


def test_it_runs_as_another_user_than_root_and_knows_its_health():
    run = stage("run")
    assert of_kind("USER") == ["1000:1000"]
    kinds = [kind for kind, _ in run]
    assert "RUN" not in kinds[kinds.index("USER") :]
    assert kinds.count("HEALTHCHECK") == 1
    assert not of_kind("ADD")
    assert environment_of("run")["RAY_AUTH_MODE"] == "token"
    assert not re.search(r"TOKEN(?!_PATH)\w*=", " ".join(of_kind("ENV") + of_kind("ARG")))


def test_the_context_holds_what_is_copied_and_no_secret():
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [name for rest in of_kind("COPY") if "--from" not in rest for name in rest.split()[:-1]]
    assert sorted(copied) == sorted(kept)
    assert all((ROOT / name).exists() for name in kept)
    assert not any(fnmatch.fnmatch("deploy/token", pattern) for pattern in kept)


def test_the_constraints_pin_all_that_is_needed_and_fit_what_is_asked_for():
    pins = dict(line.split("==") for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("#"))
    spec = spec_from_file_location("make_constraints", ROOT / "deploy" / "make_constraints.py")
    make = module_from_spec(spec)
    spec.loader.exec_module(make)
    assert make.closure().keys() <= pins.keys()
    for text in distribution("dbp").requires:
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate({"extra": "s3"}):
            assert needed.specifier.contains(pins[make.canonical(needed.name)]), text


@dataclass(frozen=True)
class Image:
    """What the build stage makes, installed in a virtual environment for want of a container."""

    folder: Path
    user: int | None  # who may run it besides root; None: nobody, since the interpreter lies in a closed folder

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the image does: its environment, another user than root, a home of its own."""
        home = self.folder / "home"
        environment = {
            **environment_of("run"),
            "PATH": f"{self.folder / 'venv' / 'bin'}:{os.environ['PATH']}",
            "HOME": str(home),
            "RAY_TMPDIR": str(home),
            "MPLCONFIGDIR": str(home),
        }
        return subprocess.run(
            command,
            cwd=home,
            env=environment,
            user=self.user,
            group=self.user,
            capture_output=True,
            text=True,
            timeout=240,
        )


def interpreter() -> tuple[str, int | None]:
    """A Python of the image's version that another user may run, and that user; else the one of this test."""
    wanted = re.search(r"for Python (\S+) ", CONSTRAINTS.read_text())[1]
    if os.geteuid() == 0:
        for python in (f"/usr/local/bin/python{wanted}", f"/usr/bin/python{wanted}"):
            if (
                Path(python).exists()
                and subprocess.run([python, "-c", "import ensurepip"], capture_output=True).returncode == 0
            ):
                return python, NOBODY
    return sys.executable, None


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """Do what the build stage says, in the order in which it says it; the compiler is this machine's."""
    folder = Path(tempfile.mkdtemp(prefix="dbp-image-"))
    folder.chmod(0o755)
    python, user = interpreter()
    subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
    places = {"/source": folder / "source", "/wheels": folder / "wheels", "/install": folder / "venv"}

    def here(text: str) -> str:
        for place, path in places.items():
            text = text.replace(place, str(path))
        return text

    environment = {**os.environ, "PATH": f"{folder / 'venv' / 'bin'}:{os.environ['PATH']}"}
    for kind, rest in stage("build"):
        if kind == "ENV":
            environment |= {name: here(value) for name, value in environment_of("build").items()}
        elif kind == "COPY":
            *names, target = rest.split()
            for name in names:
                _copy(ROOT / name, places["/source"] / (target if len(names) == 1 else name))
        elif kind == "RUN":
            done = subprocess.run(
                ["sh", "-c", here(rest)], cwd=places["/source"], env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{rest}\n{done.stderr[-3000:]}"
    (folder / "home").mkdir()
    if user is not None:
        os.chown(folder / "home", user, user)
    yield Image(folder, user)
    shutil.rmtree(folder, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    else:
        shutil.copy(source, target)


@pytest.mark.long
def test_its_build_steps_make_a_dbp_with_the_pinned_versions(image):
    assert re.fullmatch(r"dbp \d+\.\d+\.\d+\S*\n", image.run("dbp", "--version").stdout)
    frozen = image.run("python", "-m", "pip", "freeze").stdout.lower().replace("_", "-").splitlines()
    pins = set(CONSTRAINTS.read_text().lower().replace("_", "-").splitlines())
    installed = {line for line in frozen if not re.match(r"(dbp|pip|setuptools)\b", line)}
    assert len(installed) > 50
    assert {line.replace(".", "-") for line in installed} <= {line.replace(".", "-") for line in pins}
    assert image.run("python", "-m", "pip", "check").returncode == 0


@pytest.mark.long
def test_a_job_runs_in_it_as_another_user_than_root(image):
    """With two workers on an embedded Ray, which makes a token for itself."""
    if image.user is None:
        pytest.skip("no Python of the image's version here that another user than root may run")
    home = image.folder / "home"
    rows = "\n".join(f"{i % 7},{i % 3},{(i % 7) * 0.5 - (i % 3)}" for i in range(60))
    (home / "table.csv").write_text(f"a,b,y\n{rows}\n")
    (home / "job.yaml").write_text(
        "name: tiny\ndata: {train: table.csv, target: y}\ntask: regression\nnetwork: {hidden: [4]}\n"
        "optimizer: {name: gradient_descent, learning_rate: 0.1}\ntraining: {max_steps: 5}\nstorage: runs\n"
    )
    done = image.run("dbp", "run", "job.yaml", "--id", "tiny", "--workers", "2", "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["state"] == "SUCCEEDED"
    assert (home / "runs" / "tiny" / "model.safetensors").stat().st_uid == NOBODY
