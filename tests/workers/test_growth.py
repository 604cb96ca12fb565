"""How a job grows and gives way: arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbp.workers.growth import Claim, Group, Plan, Surroundings, claims_of, group_name, plan


def around(free: int, *claims: int) -> Surroundings:
    return Surroundings(
        frozenset(), free, tuple(Claim(f"job-{number}", places) for number, places in enumerate(claims))
    )


@pytest.mark.parametrize(
    ("seen", "there", "asked", "held", "doing"),
    [
        (around(0), 0, 0, 3, Plan(start=1)),  # asks for a CPU that is not there yet
        (around(0), 0, 1, 2, Plan()),  # and for no second one
        (around(4), 0, 0, 9, Plan(start=2)),
        (around(4), 0, 1, 9, Plan(start=1)),
        (around(99), 1, 0, 9, Plan(start=3)),  # it doubles at most
        (around(9), 5, 0, 2, Plan(start=2)),
        (around(9), 5, 0, 0, Plan()),
        (around(0, 2), 3, 0, 5, Plan(leave=2, claims=(Claim("job-0", 2),))),
        (around(1, 2), 3, 0, 5, Plan(leave=1, claims=(Claim("job-0", 2),))),
        (around(2, 2), 3, 0, 5, Plan(claims=(Claim("job-0", 2),))),  # Ray is about to give it its room
        (around(0, 4), 3, 0, 5, Plan()),  # nobody leaves for nothing, and nobody starts
        (around(0, 4), 3, 2, 5, Plan(withdraw=True)),
        (around(0, 4, 1), 3, 0, 5, Plan(leave=1, claims=(Claim("job-1", 1),))),
        (around(0, 1, 2), 3, 0, 5, Plan(leave=3, claims=(Claim("job-0", 1), Claim("job-1", 2)))),
    ],
)
def test_a_plan(seen: Surroundings, there: int, asked: int, held: int, doing: Plan) -> None:
    assert plan(seen, 2, there, asked, held) == doing


counts = st.integers(0, 20)


@given(counts, counts, counts, counts, st.lists(st.integers(1, 8), max_size=4))
def test_nobody_leaves_who_is_not_there_and_never_in_vain(free, there, asked, held, claims) -> None:
    doing = plan(around(free, *claims), 1, there, asked, held)
    assert 0 <= doing.leave <= there
    assert 0 <= doing.start <= held
    assert not (doing.start and claims)
    if doing.leave:
        assert free + doing.leave == sum(claim.places for claim in doing.claims)


@given(st.integers(1, 40), st.integers(0, 3))
def test_two_that_grow_at_once_get_about_as_much(cpus: int, lead: int) -> None:
    """Each looks in its turn, when what it asked for has started; one may have the first look."""
    have, free = [0, 0], cpus
    turn = lead % 2
    while free:
        got = min(plan(around(free), 1, have[turn], 0, 100).start, free)
        have[turn] += got
        free -= got
        turn = 1 - turn
    assert sum(have) == cpus
    assert max(have) <= 2 * min(have) + 2


def group(identity: str, name: str, where: list[str], state: str = "PENDING", **each: float) -> Group:
    return {
        "placement_group_id": identity,
        "name": name,
        "state": state,
        "bundles": {place: {"CPU": 1.0, **each} for place in range(len(where))},
        "bundles_to_node_id": dict(enumerate(where)),
    }


NODES = {"head": {"CPU": 0.0, "big": 1.0}, "one": {"CPU": 2.0}, "two": {"CPU": 2.0}}


def test_claims_are_those_of_other_submitted_jobs_that_the_cluster_could_hold() -> None:
    groups = [
        group("aa", "dbp own strictly", [""]),
        group("bb", "dbp z-1", [""] * 2),
        group("cc", "dbp a-1 strictly", [""] * 4),
        group("dd", "dbp too-large", [""] * 5),
        group("ee", "dbp special", [""], big=1.0),
        group("ff", "dbp has-room", ["one"], "CREATED"),
        group("gg", "someone else's", [""]),
    ]
    assert claims_of(groups, "aa", NODES) == (Claim("a-1", 4), Claim("z-1", 2))


def test_a_lost_place_is_a_claim_of_a_job_that_waits_for_it() -> None:
    """One without a range goes on with fewer workers, and would not use it."""
    where = ["one", "gone", ""]
    groups = [
        group("aa", group_name("a-1", strictly=True), where, "RESCHEDULING"),
        group("bb", group_name("b-1", strictly=False), where, "RESCHEDULING"),
    ]
    assert claims_of(groups, "zz", NODES) == (Claim("a-1", 2),)
