"""Answers that come back as lines of a log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbp.errors import ServiceError
from dbp.workers.frames import ReaderError, answers, error_frame, frames

NOISE = "2026-01-31 09:00:00 INFO something of Ray's\n"


@given(st.lists(st.binary(max_size=300_000), max_size=3))
def test_answers_come_back_as_they_were_whatever_else_is_in_the_log(wanted):
    log = NOISE
    for number, data in enumerate(wanted):
        log += "\n".join(frames(number, data)) + "\n" + NOISE
    assert answers(log) == wanted


def test_what_is_still_being_written_is_left_out():
    lines = list(frames(0, b"first")) + list(frames(1, b"x" * 200_000))
    assert answers("\n".join(lines[:-1])) == [b"first"]


@pytest.mark.parametrize("damage", ["swap", "drop", "cut"])
def test_damage_is_noticed(damage):
    lines = list(frames(0, b"".join(number.to_bytes(4, "big") for number in range(60_000))))
    if damage == "swap":
        lines[0], lines[1] = lines[1], lines[0]
    elif damage == "drop":
        del lines[1]
    else:
        lines[1] = lines[1][:-4]
    with pytest.raises(ServiceError, match="SHA-256"):
        answers("\n".join(lines))


def test_an_error_is_told_as_the_cluster_said_it():
    with pytest.raises(ReaderError, match="größe: no such folder"):
        answers(NOISE + error_frame(0, "größe: no such folder"))
