"""What a seed stands for: a problem, workers, checkpoints, and which faults there are (swarm testing).

Every seed switches a random subset of the kinds of faults on, each at a random rate: a mix of all of them at once would hide what
two of them do together, and the rare ones would never come first. `budget` is how many faults strike before the world calms down.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

# Kinds of faults, and the highest rate (per occasion) that a seed gives them.
KINDS: Mapping[str, float] = {
    "dies_at_call": 0.25,  # before a step: the process is gone when the call comes
    "dies_computing": 0.25,  # during
    "dies_after": 0.25,  # after: the answer is on its way, and may arrive after the news of the death
    "dies_starting": 0.35,  # while it starts, or loads its rows
    "dies_idle": 0.15,
    "massacre": 0.06,  # several workers at once, or all
    "hangs": 0.05,  # no answer until the transport's deadline; some come back to life later
    "cut_off": 0.1,  # the link breaks, the worker lives on; its answer may still arrive
    "slow": 0.4,  # up to 50 times as long
    "late": 0.3,  # the answer is delayed by other means
    "duplicate": 0.3,
    "second_death": 0.2,  # the death is reported twice
    "raises": 0.05,  # the call raises an error of the data's
    "joins_late": 0.8,  # one that is not waited for comes when training has long begun
    "never_starts": 0.03,  # the transport gives up
    "no_room": 0.3,  # the dead worker's place is gone
    "coordinator": 0.03,  # kill -9 at an event, at a system call, between step and checkpoint
    "power": 1.0,  # of kills: the machine goes down, and what was not synced may be lost
    "rot": 0.8,  # of kills: the newest checkpoint is damaged on disk
    "disk_write": 0.06,  # a system call of a save fails once
    "disk_read": 0.15,  # a system call of a load fails once
    "short_write": 0.2,
    "stop": 0.04,  # someone asks for a stop after the step under way
    "slow_save": 0.8,  # a checkpoint is written only steps after it was begun
}
LATER = "slow_save"
FOREVER = ("no worker has room", "every worker dies", "disk is full")  # faults that do not pass


@dataclass(frozen=True)
class Plan:
    """See the module."""

    seed: int
    problem: int  # number in `problems`
    workers: int
    required: int  # of them; fewer than all: the others come and go
    checkpoint_every: int  # steps
    keep: int  # checkpoints
    cached: bool  # whether sums that were computed before are looked up, instead of computed again
    rates: Mapping[str, float]
    budget: int
    forever: str = ""  # one of FOREVER, or none
    forever_from: int = 0  # the event, or the system call, from which on it lasts
    audit: float = 0.0  # the share of shards that are computed twice; no seed draws it (see `lying`)

    @classmethod
    def draw(cls, seed: int, problems: int) -> Plan:
        """Return the plan of a seed."""
        dice = random.Random(f"dbp plan {seed}")
        share = dice.choice((0.1, 0.25, 0.5))
        rates = {
            kind: most * dice.random() ** 2 for kind, most in KINDS.items() if kind != LATER and dice.random() < share
        }
        later = random.Random(
            f"dbp plan {seed} {LATER}"
        )  # dice of its own: it came later, and leaves the others' alone
        if later.random() < 0.5:
            rates[LATER] = KINDS[LATER] * later.random()
        if "coordinator" in rates and dice.random() < 0.5:  # kills that leave nothing behind are of little interest
            rates |= {"coordinator": dice.uniform(0.005, 0.03), "power": dice.random(), "rot": dice.random()}
        forever = dice.choice(FOREVER) if dice.random() < 0.05 else ""
        workers = dice.choice((1, 2, 2, 3, 3, 4, 5, 8))
        return cls(
            seed=seed,
            problem=dice.randrange(problems),
            workers=workers,
            required=dice.randint(1, workers) if dice.random() < 0.3 else workers,
            checkpoint_every=dice.choice((1, 1, 2, 2, 3, 5, 100)),
            keep=dice.choice((1, 1, 2, 3)),
            cached=dice.random() > 0.1,
            rates=rates,
            budget=1 + int(dice.expovariate(1 / 8)),
            forever=forever,
            forever_from=dice.randrange(200) if forever else 0,
        )

    def lying(self, rate: float) -> Plan:
        """Return the plan with a full audit, and workers whose answers are wrong by a bit, late, twice, or after a broken link."""
        extra = dict.fromkeys(("lies", "late", "duplicate", "cut_off"), rate)
        return replace(self, audit=1.0, rates={**self.rates, **extra}, budget=max(self.budget, 40))

    def without(self, kind: str) -> Plan:
        """Return the plan without one kind of fault."""
        return replace(self, rates={name: rate for name, rate in self.rates.items() if name != kind})

    def __str__(self) -> str:
        kinds = ", ".join(f"{name} {rate:.3f}" for name, rate in self.rates.items()) or "none"
        lasting = f"; for ever: {self.forever} from {self.forever_from} on" if self.forever else ""
        return (
            f"{self.required} to {self.workers} workers, a checkpoint every {self.checkpoint_every} steps, {self.keep} kept; "
            f"faults: {kinds}; at most {self.budget}{lasting}"
        )
