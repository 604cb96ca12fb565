"""The Python of docs/export.md runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from dbp import Model, Network
from dbp.data.encoding import Encoding

PAGE = Path(__file__).parents[4] / "docs" / "export.md"


def test_the_python_of_the_page_works(tmp_path):
    """All of it in one process, beside a model called flowers."""
    network = Network((2, 5, 3), ("tanh", "identity"))
    encoding = Encoding(("width", "height"), (5.0, 3.0), (1.0, 1.0), ("kind",), "classification", ("a", "b", "c"))
    model = Model(network, network.initial_parameters(0, "float32"), encoding, "cross_entropy")
    for name, to in (("flowers.onnx", "onnx"), ("flowers.py", "numpy"), ("flowers_torch.py", "torch")):
        model.export(tmp_path / name, to)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    rows = [[5.1, 3.5], [6.0, 2.2]]
    code = "\n".join(
        [*blocks, "print(label.tolist() == predict(rows).tolist() == model.predict(rows).tolist(), *label)"]
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", *model.predict(np.array(rows))]
