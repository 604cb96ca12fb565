"""docs/from-scikit-learn.md: its examples run, and its table has every parameter."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

from dbp.sklearn import MLPClassifier, MLPRegressor

PAGE = (Path(__file__).parents[2] / "docs" / "from-scikit-learn.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_examples_run_in_this_process_without_ray_and_leave_no_file(tmp_path):
    """One after the other in one process: importing scikit-learn takes seconds."""
    script = "\n".join(
        [*(f"exec({example!r}, {{}})" for example in EXAMPLES), "import sys; print('ray' in sys.modules)"]
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"
    assert list(tmp_path.iterdir()) == []
    assert len(EXAMPLES) == 3


def test_the_table_has_every_parameter_and_no_other():
    cells = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    named = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    parameters = {*inspect.signature(MLPClassifier).parameters, *inspect.signature(MLPRegressor).parameters}
    assert sorted(named) == sorted(parameters)


def test_importing_is_light_and_says_what_is_missing():
    light = "import sys, dbp.sklearn; print('sklearn' in sys.modules, 'ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", light], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    missing = "import sys; sys.modules['sklearn'] = None; import dbp.sklearn"
    done = subprocess.run([sys.executable, "-c", missing], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: dbp.sklearn needs scikit-learn, which is not installed; install it: pip install 'dbp[sklearn]'"
    )
