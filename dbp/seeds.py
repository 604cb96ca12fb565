"""The only source of randomness in dbp: counter-based generators named by what they are for.

A generator is a pure function of (seed, purpose, counters): never of time, of a process or of how much was drawn before.
So the permutation of shard 7 in epoch 3 is the same whoever computes it, and whenever. The bit generator is Philox
(Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"); its key is a hash of the name, so that different names
never share a stream.
"""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """Return the generator named by `seed`, `purpose` and `counters` (e.g. epoch, shard)."""
    name = "/".join([str(int(seed)), purpose, *(str(int(counter)) for counter in counters)])
    key = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], dtype="<u8")
    return np.random.Generator(np.random.Philox(key=key))
