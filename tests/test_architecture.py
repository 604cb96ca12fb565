"""The arrows of the design go one way, importing dbp is light, and a wheel installs nothing but dbp."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOMES = {"dbp": ROOT / "dbp", "dbp.workers": ROOT / "workers", "dbp.cli": ROOT / "cli"}

# They look up what lives above them when it is first used.
DOORS = ("dbp", "dbp.sklearn")

# Inside the library: a room may import the rooms to its right in its line, and itself.
ROOMS = {
    "seeds": (),
    "section": (),
    "vectors": ("network",),
    "errors": (),
    "sklearn": (),  # a door to dbp.workers.estimators
    "storage": ("errors",),
    "network": ("errors", "seeds"),
    "optimizers": ("section", "vectors"),
    "data": ("errors", "seeds", "storage"),
    "jobs": ("errors", "section", "storage", "network", "optimizers"),
    "sums": ("errors", "seeds", "network", "data", "vectors"),
    "models": ("errors", "storage", "network", "data"),
    "evidence": ("errors", "storage", "jobs", "models", "vectors"),
    "loggers": ("errors", "storage", "jobs", "training"),
    "reports": ("errors", "jobs", "models", "network", "data"),
    "training": ("errors", "storage", "jobs", "network", "optimizers", "sums", "vectors"),
}


def modules() -> list[tuple[str, Path]]:
    found = []
    for package, folder in HOMES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found.append((".".join([package, *(part for part in parts if part != "__init__")]), path))
    return found


def imports(path: Path, at_run_time_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    if at_run_time_only:
        tree.body = [node for node in tree.body if not _is_type_checking(node)]
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; say the whole name"
            names.add(node.module)
    return names


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def layer(module: str) -> int:
    return 2 if module.startswith("dbp.cli") else 1 if module.startswith("dbp.workers") else 0


@pytest.mark.parametrize(("module", "path"), modules())
def test_imports_go_from_cli_to_workers_to_the_library(module, path):
    for name in imports(path):
        if name.startswith("dbp.") and module not in DOORS:
            assert layer(name) <= layer(module), f"{module} imports {name}"
        top = name.split(".")[0]
        assert top != "ray" or layer(module) == 1, f"{module} imports ray"
        assert top not in ("typer", "rich", "plotext", "matplotlib") or layer(module) == 2, f"{module} imports {top}"


@pytest.mark.parametrize(("module", "path"), [each for each in modules() if layer(each[0]) == 0 and each[0] != "dbp"])
def test_rooms_of_the_library_import_only_what_the_design_allows(module, path):
    room = module.split(".")[1]
    for name in imports(path, at_run_time_only=True):
        if name.startswith("dbp."):
            inner = name.removeprefix("dbp.")
            allowed = (room, *ROOMS[room])
            assert any(inner == each or inner.startswith(each + ".") for each in allowed), f"{module} imports {name}"


def test_importing_dbp_is_light():
    """No Ray, nothing of the command line, no tables; the issue's limit of half a second is for `make bench`, not a test."""
    code = "import sys, dbp; print([m for m in ('ray', 'typer', 'rich', 'pyarrow', 'scipy', 'torch', 'onnx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_facade_offers_its_names_and_no_others():
    import dbp

    for name in dbp.__all__:
        assert getattr(dbp, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = dbp.nonsense


def test_every_package_of_the_tree_is_installed():
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    assert listed == {name for name, path in modules() if path.name == "__init__.py"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (found,) = folder.glob("*.whl")
    return found


def test_a_wheel_holds_dbp_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        names = set(archive.namelist())
    assert {top for top in tops if not top.endswith(".dist-info")} == {"dbp"}
    assert {"dbp/py.typed", "dbp/workers/train.py", "dbp/cli/commands/run.py", "dbp/network/_kernel.so"} <= names


def test_a_wheel_serves_every_python_3_of_its_platform(wheel):
    """The kernel needs nothing of Python's: no headers to build, no ABI to match."""
    assert re.fullmatch(r"dbp-[\d.]+-py3-none-(linux|macosx)_\w+\.whl", wheel.name)


def test_a_wheel_runs_beside_a_users_own_workers_and_cli(wheel, tmp_path):
    """From a folder with its own workers.py and cli.py, as a user's project may have."""
    site, project = tmp_path / "site", tmp_path / "project"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    project.mkdir()
    for name in ("workers.py", "cli.py"):
        (project / name).write_text("raise SystemExit('the wrong module was imported')\n")
    code = "import dbp, dbp.workers.train, dbp.workers.ray_pool, dbp.cli.main; print(dbp.__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path[:0] = [{str(site)!r}, {str(project)!r}]; {code}"],
        cwd=project,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(site / "dbp" / "__init__.py")
