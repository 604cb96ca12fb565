"""No code of ours runs what it reads: the calls that could are listed, each with its reason, and there are no others."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("dbp", "workers", "cli", "deploy", "examples", "benchmarks")
SOURCES = sorted([ROOT / "setup.py", *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))])

MODULES = {
    "pickle",
    "cPickle",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "dill",
    "jsonpickle",
    "xmlrpc",
    "telnetlib",
}
CALLS = {
    *("eval", "exec", "compile", "__import__", "importlib.import_module", "runpy.run_path", "runpy.run_module"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "torch.load", "pandas.read_pickle"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "tempfile.mktemp"),
    *("shutil.unpack_archive", "tarfile.open", "os.chmod", "webbrowser.open"),
}
METHODS = {"extractall", "extract"}  # of archives, whatever the object is called
SHELL, OBJECTS = "shell=True", "allow_pickle=True"
FINDINGS: dict[tuple[str, str], str] = {
    (
        "workers/packing.py",
        "pickle",
    ): "messages between dbp's own processes, once both ends proved that they know the secret",
    ("dbp/storage/filesystems.py", "importlib.import_module"): "s3fs or gcsfs, by a fixed table of schemes",
    (
        "dbp/__init__.py",
        "importlib.import_module",
    ): "the facade's own names, from a fixed table: importing dbp stays light",
    ("dbp/sklearn.py", "importlib.import_module"): "its two names, from a fixed table",
    ("dbp/data/formats.py", "importlib.import_module"): "readers of tables, from a fixed table of endings",
}


def called(call: ast.Call) -> str:
    return ast.unparse(call.func)


def findings(path: Path) -> set[str]:
    """Return what of the above stands in a file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] in MODULES}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & CALLS | ({str(node.module)} if str(node.module).split(".")[0] in MODULES else set())
        elif isinstance(node, ast.Call):
            name = called(node)
            if name in CALLS:
                found.add(name)
            if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
                found.add(node.func.attr)
            for keyword in node.keywords:
                text = f"{keyword.arg}={ast.unparse(keyword.value)}"
                if keyword.arg in ("shell", "allow_pickle") and not text.endswith("=False"):
                    found.add(SHELL if keyword.arg == "shell" else OBJECTS)
            if name in ("np.load", "numpy.load") and not any(each.arg == "allow_pickle" for each in node.keywords):
                found.add(f"{name} that does not say allow_pickle=False")
    return found


def test_there_are_no_calls_but_those_with_a_reason() -> None:
    """And no reason is left over from a call that has gone."""
    assert len(SOURCES) > 200
    found = {(str(path.relative_to(ROOT)), name) for path in SOURCES for name in findings(path)}
    assert found == set(FINDINGS)


def test_messages_are_packed_without_a_file() -> None:
    """The one module with pickle opens nothing."""
    text = (ROOT / "workers/packing.py").read_text()
    names = {called(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)}
    assert "pickle.loads" in names
    assert not names & {"open", "Path", "os.open", "pickle.load"}


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("import pickle as p", "pickle"),
        ("from joblib import load", "joblib"),
        ("from yaml import load", "yaml.load"),
        ("eval('1')", "eval"),
        ("subprocess.run('ls', shell=True)", SHELL),
        ("subprocess.run('ls', shell=given)", SHELL),
        ("np.load(path)", "np.load that does not say allow_pickle=False"),
        ("np.load(path, allow_pickle=True)", OBJECTS),
        ("archive.extractall(folder)", "extractall"),
        ("tempfile.mktemp()", "tempfile.mktemp"),
    ],
)
def test_each_of_them_is_seen(tmp_path: Path, line: str, name: str) -> None:
    """A look that sees nothing would pass, too."""
    (tmp_path / "a.py").write_text(line + "\n")
    assert findings(tmp_path / "a.py") == {name}
