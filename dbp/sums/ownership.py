"""Which slot owns which shard of a part, from task to task.

A worker keeps the rows of its shards in memory, so a shard that changes its owner is read again. Owners are kept; where the slots
change, shards move only as far as the balance asks for: those of slots that have gone, and what slots that came are short of.
Neighbours stay together, because a worker sends one sum for each subtree that its shards fill.
"""

from __future__ import annotations

from collections.abc import Sequence


class Ownership:
    """The owners of `shards` shards. The slots that are asked about first get contiguous runs: where these shards are at home."""

    def __init__(self, shards: int) -> None:
        self._shards = shards
        self._home: list[int] = []
        self._owner: list[int] = []
        self._able: tuple[int, ...] = ()

    def among(self, able: Sequence[int]) -> Sequence[int]:
        """Return the owner of each shard, all of them among the slots `able` (at least one, in increasing order)."""
        if self._owner and self._able == tuple(able):
            return self._owner
        self._able = tuple(able)
        if not self._owner:
            self._home = [able[((shard + 1) * len(able) - 1) // self._shards] for shard in range(self._shards)]
            self._owner = list(self._home)
        if self._balanced(able):
            return self._owner
        share, more = divmod(len(self._owner), len(able))
        owned = {slot: [shard for shard, owner in enumerate(self._owner) if owner == slot] for slot in able}
        # The slots that own most keep one more than the others, where the shards don't divide.
        fullest = sorted(able, key=lambda slot: (-len(owned[slot]), slot))
        room = {slot: share + (place < more) - len(owned[slot]) for place, slot in enumerate(fullest)}
        moving = [shard for shard, owner in enumerate(self._owner) if owner not in owned]
        for slot in able:
            moving += self._given_up(owned[slot], slot, -room[slot])
        moving.sort()
        self._send_home(moving, room)
        for slot in able:
            for shard in moving[: max(room[slot], 0)]:
                self._owner[shard] = slot
            del moving[: max(room[slot], 0)]
        return self._owner

    def _balanced(self, able: Sequence[int]) -> bool:
        counts = dict.fromkeys(able, 0)
        for owner in self._owner:
            if owner not in counts:
                return False
            counts[owner] += 1
        return max(counts.values()) - min(counts.values()) <= 1

    def _given_up(self, owned: list[int], slot: int, count: int) -> list[int]:
        """The shards that a slot with too many gives up: first those that are at home elsewhere, and of those the last."""
        return (
            sorted(owned, key=lambda shard: (self._home[shard] != slot, shard))[len(owned) - count :]
            if count > 0
            else []
        )

    def _send_home(self, moving: list[int], room: dict[int, int]) -> None:
        """Give shards on the move to the slots where they are at home, as far as those have room; the others stay in `moving`."""
        for shard in list(moving):
            home = self._home[shard]
            if room.get(home, 0) > 0:
                room[home] -= 1
                self._owner[shard] = home
                moving.remove(shard)
