"""A clock for silence: how long others gave no sign while this process was there to hear one.

A process that is stopped (a suspended laptop, a paused virtual machine, Ctrl-Z) wakes up to clocks that jumped. Those it waits for
slept as well, or have called meanwhile and are heard a moment later: nobody was silent. So a gap between two looks counts as no
more than it would have been.
"""

from __future__ import annotations

import time


class ListeningClock:
    """`seconds` grow with each `tick`, by the time since the last one, but by no more than `longest`."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._last = time.monotonic()
        self.seconds = 0.0

    def tick(self) -> float:
        """Note that this process listens now; return the seconds in which it did."""
        now = time.monotonic()
        self.seconds += min(now - self._last, self._longest)
        self._last = now
        return self.seconds
