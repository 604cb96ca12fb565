"""Export to one Python file that needs numpy alone."""

from __future__ import annotations

import base64
from pathlib import Path

from dbp.models.export.portable import Portable
from dbp.models.export.source import bundle, json_literal
from dbp.storage.atomic_files import write_text


def write_numpy(portable: Portable, path: Path) -> list[Path]:
    """Write the file; return its path in a list. StorageError when it cannot be written."""
    write_text(path, numpy_source(portable))
    return [path]


def numpy_source(portable: Portable) -> str:
    """Return the text of the file."""
    little = portable.dtype.newbyteorder("<")
    raw = b"".join(array.astype(little).tobytes() for weights, bias, _ in portable.layers for array in (weights, bias))
    encoded = base64.b64encode(raw).decode("ascii")
    lines = "\n".join(encoded[start : start + 120] for start in range(0, len(encoded), 120))
    return bundle(
        "numpy_model",
        {
            """json.loads('{"precision": "float64"}')""": f"json.loads{json_literal(portable.description())}",
            'base64.b64decode("")': f'base64.b64decode("""\n{lines}\n""")',
        },
    )
