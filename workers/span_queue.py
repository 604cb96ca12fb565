"""Which of a table's spans are to be handed out, and which results came back before those ahead of them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from dbp.models.spans import Span


@dataclass
class SpanQueue:
    """Spans by number. Any may be handed out again; the first answer counts."""

    spans: list[Span]
    back: dict[int, Any] = field(default_factory=dict)
    first: int = 0  # that was not taken by `next_result`
    _waiting: list[int] = field(default_factory=list)  # a heap

    def __post_init__(self) -> None:
        self._waiting = list(range(len(self.spans)))

    def take(self, end: int) -> int | None:
        """Return the first span below `end` that is to be handed out; None where there is none."""
        while self._waiting and self._waiting[0] < end:
            span = heapq.heappop(self._waiting)
            if not self._answered(span):
                return span
        return None

    def again(self, spans: Iterable[int]) -> None:
        """Have spans handed out once more, but for those that were answered meanwhile."""
        for span in spans:
            if span not in self._waiting:
                heapq.heappush(self._waiting, span)

    def came(self, span: int, result: Any) -> None:
        """Keep a result, if it is the first for its span."""
        if not self._answered(span):
            self.back[span] = result

    def next_result(self) -> Any:
        """Take the result of the first span; KeyError where it did not come yet."""
        result = self.back.pop(self.first)
        self.first += 1
        return result

    def _answered(self, span: int) -> bool:
        return span < self.first or span in self.back
