"""How long calls take, learnt from the answers; and from when on one counts as late.

A call is late when it has taken several times as long as its fellows' calls, by the number of shards. Then its shards are computed
elsewhere too, and the first answer wins. So the bound may be tight: a machine that hiccups only makes others do some work twice.
"""

from __future__ import annotations

from collections import deque

from dbp.sums.messages import Part, TaskKind

SEVERAL = 3.0  # times as long as the fellows
HICCUP_S = 0.5  # beyond that: what a busy machine may take for nothing
READING_S = 30.0  # the same where rows are read, which takes longer the first time, and longer for one than for another
REMEMBERED = 32  # answers

_READING = ("summarize", "load")


class Pace:
    """What the last answers of each kind took."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[TaskKind, Part], deque[float]] = {}  # per shard

    def took(self, kind: TaskKind, part: Part, shards: int, seconds: float, first_time: bool) -> None:
        """Note an answer; one for which rows were read tells nothing of those that come after."""
        if first_time and kind not in _READING:
            return
        self._seconds.setdefault((kind, part), deque(maxlen=REMEMBERED)).append(seconds / shards)

    def limit(self, kind: TaskKind, part: Part, shards: int, first_time: bool) -> float | None:
        """Return after how many seconds a call for some shards is late; None while nothing is known of its kind.

        `first_time` where rows may have to be read for it.
        """
        known = self._seconds.get((kind, part))
        if not known:
            return None
        slack = READING_S if first_time or kind in _READING else HICCUP_S
        return slack + SEVERAL * shards * sorted(known)[len(known) // 2]  # their median
