"""The kernel fingerprint: a hash of one small fixed computation.

Every machine and instruction set should give the same one (native/lanes.h says why); a version of dbp whose arithmetic is
another, or a machine that computes wrongly, gives another. It is recorded in every checkpoint and compared when a job is resumed.
"""

from __future__ import annotations

import hashlib

from dbp.network.activations import ACTIVATION_NAMES
from dbp.network.network import Network
from dbp.seeds import generator
from dbp.sums.gradient import gradient_sum


def kernel_fingerprint() -> str:
    """Return 16 hex digits that depend on the results of this process's kernels, in both precisions."""
    digest = hashlib.sha256()
    hidden = tuple(name for name in ACTIVATION_NAMES if name != "threshold")
    network = Network((67, *(41 + 6 * k for k in range(len(hidden))), 5), (*hidden, "identity"))
    draw = generator(0, "kernel-fingerprint")
    inputs = draw.standard_normal((613, 67))
    classes = draw.integers(0, 5, size=613)
    for dtype in ("float32", "float64"):
        theta = network.initial_parameters(0, dtype)
        digest.update(gradient_sum(network, theta, inputs, classes, "cross_entropy").gradient.tobytes())
    return digest.hexdigest()[:16]
