"""Export to torch: a state dict in one .safetensors file, and a Python file beside it that loads and uses it.

The Python file is the same for every model: whatever a model's texts say, they are data in the other file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dbp.models.export.portable import Portable
from dbp.models.export.source import bundle
from dbp.storage.array_file import write_arrays
from dbp.storage.atomic_files import write_text


def write_torch(portable: Portable, path: Path) -> list[Path]:
    """Write `path` (.py) and the same with .safetensors; return both. StorageError when one cannot be written.

    The arrays are ``0.weight`` (outputs, inputs), ``0.bias`` (outputs,), ``2.weight``, ...: a torch.nn.Sequential of linear layers,
    each followed by its activation.
    """
    numbers = path.with_suffix(".safetensors")
    state = {}
    for place, (weights, bias, _) in enumerate(portable.layers):
        state[f"{2 * place}.weight"] = np.ascontiguousarray(weights.T)
        state[f"{2 * place}.bias"] = np.ascontiguousarray(bias)
    write_arrays(numbers, state, dict(portable.description()))
    write_text(path, bundle("torch_model"))
    return [path, numbers]
