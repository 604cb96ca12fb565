"""Ctrl-C: the first stops the job after its step, with a checkpoint; the second stops at once.

SIGTERM (a system that shuts down) and SIGHUP (a terminal that closes) count as a Ctrl-C. A signal that was ignored when dbp was
started stays ignored: `nohup dbp run` outlives its terminal.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dbp.training.stopping import StopRequest

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FIRST = b"\nstopping after this step; a checkpoint is written; press Ctrl-C again to stop at once\n"


@contextmanager
def stop_on_signals(stop: StopRequest) -> Iterator[None]:
    """While the block runs, turn a first signal into a stop request and a second one into KeyboardInterrupt."""

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        _say(_FIRST)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _say(text: bytes) -> None:
    # Not sys.stderr: the signal may have arrived in the middle of a write to it, which does not allow a second one inside.
    try:
        os.write(2, text)
    except OSError:
        return
