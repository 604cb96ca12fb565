"""Write scikit-learn's bundled handwritten digits as a Parquet table: columns pixel_0 ... pixel_63 and label."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_digits


def write_digits(path: Path) -> None:
    """Write the table to `path`."""
    digits = load_digits()
    columns = {f"pixel_{pixel}": digits.data[:, pixel] for pixel in range(digits.data.shape[1])}
    pq.write_table(pa.table({**columns, "label": digits.target}), path)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "digits.parquet"
    write_digits(target)
    print(target)
