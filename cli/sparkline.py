"""A curve in one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.-~=+*#"
_LOG_FROM = 30.0  # as for plots: largest over smallest, from which on a straight scale hides the end


def sparkline(values: Sequence[float], width: int, characters: str = BLOCKS) -> str:
    """Return the values, the mean of neighbours where there are more than `width`, as that many characters or fewer."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite or width < 1:
        return ""
    if min(finite) > 0 and max(finite) / min(finite) >= _LOG_FROM:
        finite = [math.log(value) for value in finite]
    count = min(width, len(finite))
    cuts = [round(place * len(finite) / count) for place in range(count + 1)]
    means = [sum(finite[a:b]) / (b - a) for a, b in pairwise(cuts)]
    low, high = min(means), max(means)
    top = len(characters) - 1
    if not math.isfinite(high - low) or high == low:
        return characters[0 if high == low else top] * count
    return "".join(characters[round((value - low) / (high - low) * top)] for value in means)
