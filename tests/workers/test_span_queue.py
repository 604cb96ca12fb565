"""Spans that are handed out, lost and computed twice: each has one result, in order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dbp.workers.span_queue import SpanQueue


@given(st.data(), st.integers(1, 12))
def test_every_span_has_its_first_answer_once(data: st.DataObject, count: int) -> None:
    """Against a list of all answers, whatever is handed out again, and whenever."""
    queue = SpanQueue([(number, number + 1) for number in range(count)])
    out: list[int] = []  # handed out and neither answered nor lost
    first: dict[int, int] = {}
    results = []
    for turn in range(1000):
        if len(results) == count:
            break
        action = data.draw(st.sampled_from(["answer", "again", "copy"])) if out else "take"
        if action == "take" or data.draw(st.booleans()):
            span = queue.take(queue.first + 3)
            if span is not None:
                assert span not in first
                assert span < queue.first + 3
                out.append(span)
                continue
        if not out:
            continue
        span = out[data.draw(st.integers(0, len(out) - 1))]
        if action == "answer":
            out.remove(span)
            first.setdefault(span, turn)
            queue.came(span, turn)
        else:
            queue.again([span])
            if action == "again":
                out.remove(span)
        while queue.first in queue.back:
            results.append(queue.next_result())
    assert results == [first[number] for number in range(len(results))]
