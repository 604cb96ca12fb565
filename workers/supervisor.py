"""Keeps a job's coordinator alive: reserves room, starts a coordinator in it, and another one when it dies.

Runs in the driver, the process that Ray starts for a submitted job. It computes nothing and keeps nothing: all that a new
coordinator needs is in the job directory. Who may be replaced, and how often, is decided in `Restarts`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from dbp.errors import DbpError, JobDirectoryError
from dbp.jobs.directory import JobDirectory
from dbp.jobs.job import Job
from dbp.training.stopping import StopRequest
from dbp.training.waiting import Waiting
from dbp.workers.coordinator_actor import Coordinator, Ended, News, Order, ended_by
from dbp.workers.growth import group_name
from dbp.workers.home import TAKE_OVER_S, Home
from dbp.workers.listening import ListeningClock
from dbp.workers.placement import Need, Room, wait_for_room

SETTLE_S = 40.0  # so long a lease may take to run out whose holder ended and could not say so
LOOK_S = 0.5  # how often signals are looked for
LONGEST_LOOK_S = 3.0  # a look that takes longer was interrupted by a sleep of this process
SILENT_S = 120.0  # a coordinator that has not answered for so long hangs; it answers also while a step is under way
START_S = 300.0  # the same for one that starts

NODE_LOST, PLACE_LOST = "its node was lost", "its place was lost"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Died:
    """A coordinator ended without a result. `by_itself`: not because it waits for more workers, or before it had begun."""

    reason: str
    by_itself: bool = True


def outlived(ended: Ended | Died, room_is_whole: bool) -> Ended | Died:
    """Take a run whose workers went with their nodes for dead: it did not fail by itself, and may be made good elsewhere."""
    if isinstance(ended, Ended) and ended.short:
        return Died(ended.message, by_itself=False)
    if isinstance(ended, Ended) and ended.deserted and not room_is_whole:
        return Died(ended.message)
    return ended


@dataclass
class Restarts:
    """Counts the coordinators that died, up to a limit. No I/O."""

    limit: int
    deaths: int = 0

    def after(self, death: Died, stopping: bool, job: str) -> Ended | str:
        """Return how the job ends by a death, or the sentence with which it goes on."""
        self.deaths += death.by_itself
        safe = f"what it had reached is kept; go on with `dbp resume {job}`"
        if stopping and not death.by_itself:
            return Ended("STOPPED", f"stopped on request while it waited for workers; {safe}")
        if stopping:
            return Ended(
                "STOPPED", f"stopped on request; the coordinator died before its checkpoint ({death.reason}); {safe}"
            )
        if not death.by_itself:
            return f"training pauses ({death.reason}); it goes on where it was when there is room"
        if self.deaths > self.limit:
            times = "once" if self.deaths == 1 else f"{self.deaths} times"
            return Ended(
                "FAILED",
                f"the coordinator died {times}, and service.restarts is {self.limit}; the last time: {death.reason}; {safe}",
            )
        return (
            f"the coordinator died ({death.reason}); a new one goes on from the newest checkpoint "
            f"(restart {self.deaths} of {self.limit})"
        )


@dataclass
class Supervisor:
    """Runs one job to its end. `order` makes the coordinator's order for a room, `check` looks at the nodes of one (InputError)."""

    home: Home
    job: Job  # with the overrides of this attempt
    order: Callable[[Room], Order]
    restarts: int
    stop: StopRequest
    say: Say
    check: Callable[[Collection[str]], object] = lambda nodes: None
    _told: str = field(default="", init=False)

    def run(self) -> Ended:
        """Return how the job ended; status.json says the same. A KeyboardInterrupt ends it at once, and goes on from here.

        JobDirectoryError where another process has the job.
        """
        try:
            return self._run()
        except JobDirectoryError:
            raise
        except Exception as error:
            with suppress(DbpError):  # what could not be written is in the log
                self._settle(ended_by(error), force=False)
            raise

    def _run(self) -> Ended:
        restarts = Restarts(self.restarts)
        need = Need.of(self.job)
        room = Room.reserve(need, group_name(self.home.id, need.strictly))
        try:
            death: str | None = None
            while True:
                if not self._wait(room, death):
                    return Ended("STOPPED", _STOPPED_WAITING)
                self.check(set(room.nodes().values()))
                ended = outlived(self._coordinate(room), room.is_whole())
                if isinstance(ended, Ended):
                    self._settle(ended, force=False)
                    return ended
                after = restarts.after(ended, self.stop.is_set(), self.home.id)
                self.say(after if isinstance(after, str) else f"{after.state}: {after.message}")
                if isinstance(after, Ended):
                    self._settle(after, force=True)
                    return after
                death = after
        finally:
            room.release()

    def ended_at_once(self) -> Ended:
        """Write down that the job was broken off; its coordinator is gone, or goes with the room."""
        ended = Ended("STOPPED", f"stopped at once; go on from the newest checkpoint with `dbp resume {self.home.id}`")
        self._settle(ended, force=True)
        return ended

    def _settle(self, ended: Ended, force: bool) -> None:
        """Have the status say how the job ended, if no coordinator was left to write it.

        `force`: the last one is known to be dead.
        """
        status = None if ended.replaced else self.home.status()
        if ended.replaced or (status is not None and status.state not in ("PENDING", "RUNNING")):
            return
        with (
            self.home.owned(TAKE_OVER_S if force else SETTLE_S, force=force) as directory,
            self._waiting(directory, ended.message, status.attempt if status else None) as waiting,
        ):
            waiting.ended(ended.state, ended.message)

    def _wait(self, room: Room, death: str | None) -> bool:
        """Wait for room, with the job PENDING; False when it was stopped meanwhile.

        After a `death` the job is claimed by force: a coordinator that is cut off and lives finds that before it writes again.
        """
        with (
            self.home.owned(TAKE_OVER_S if death else 0.0, force=death is not None, warn=self._warn) as directory,
            self._waiting(directory, "waits for room") as waiting,
        ):
            if death:
                waiting.log(f"warning: {death}")

            def tell(sentence: str) -> None:
                if not self._told:
                    self.say(sentence)
                self._told = sentence
                waiting.waits_for(sentence)

            if wait_for_room(room, tell, self.stop.is_set):
                waiting.waits_for("a coordinator starts")
                return True
            waiting.ended("STOPPED", _STOPPED_WAITING)
            return False

    @contextmanager
    def _waiting(self, directory: JobDirectory, message: str, attempt: int | None = None) -> Iterator[Waiting]:
        waiting = Waiting(directory, self.job, message, attempt)
        try:
            yield waiting
        finally:
            waiting.close()

    def _warn(self, text: str) -> None:
        self.say(f"warning: {text}")

    def _coordinate(self, room: Room) -> Ended | Died:
        """Start a coordinator and listen to it until it ends."""
        places = room.places()
        if not places:
            return Died("its place was lost before it began")
        options = room.coordinator_options(places[0], computes=self.job.required_workers == 0)
        actor = ray.remote(max_restarts=0, max_task_retries=0, max_concurrency=8, **options)(Coordinator).remote()
        try:
            return _Listener(actor, self.stop, self.say).listen(actor.run.remote(self.order(room)))
        finally:
            ray.kill(actor)  # also where it is only out of reach: nobody listens to it any more


_STOPPED_WAITING = "stopped on request while it waited"


class _Listener:
    """Listens to one coordinator."""

    def __init__(self, actor: ActorHandle, stop: StopRequest, say: Say) -> None:
        self._actor = actor
        self._stop = stop
        self._say = say
        self._who = ""
        self._seen = 0

    def listen(self, run: ray.ObjectRef) -> Ended | Died:
        """Pass on what it says until its run ends."""
        news = self._actor.news.remote(0)
        clock = ListeningClock(LONGEST_LOOK_S)
        asked_to_stop, heard = False, clock.seconds
        while True:
            if self._stop.is_set() and not asked_to_stop:
                self._actor.stop.remote()
                asked_to_stop = True
            ready, _ = ray.wait([run, news], num_returns=1, timeout=LOOK_S)
            now = clock.tick()
            if run in ready:
                return self._last_words(run)
            if news in ready:
                try:
                    self._hear(ray.get(news))
                    heard = now
                    news = self._actor.news.remote(self._seen)
                except RayError as error:  # its run ends likewise, if it is not only a moment's trouble
                    if ray.wait([run], timeout=LOOK_S)[0]:
                        return Died(self._in_words(error))
                    news = self._actor.news.remote(self._seen)
            silent = now - heard
            if silent > (SILENT_S if self._who else START_S):
                return Died(f"{self._who or 'it did not start: it'} has not answered for {silent:.0f} s")

    def _last_words(self, run: ray.ObjectRef) -> Ended | Died:
        try:
            ended: Ended = ray.get(run)
            self._hear(ray.get(self._actor.news.remote(self._seen, 0.0), timeout=SILENT_S))
            return ended
        except RayError as error:
            lost = cause_of_death(str(error)) in (NODE_LOST, PLACE_LOST)
            return Died(self._in_words(error), by_itself=bool(self._who) or not lost)

    def _hear(self, news: News) -> None:
        self._who, self._seen = news.who, news.seen
        for line in news.lines:
            self._say(line)

    def _in_words(self, error: RayError) -> str:
        who = self._who or "it did not start"
        return f"{who}: {cause_of_death(str(error))}"


def cause_of_death(report: str) -> str:
    """Return Ray's report of an actor's death in a few words."""
    text = " ".join(report.split())
    lower = text.lower()
    if "running low on memory" in lower:
        return "Ray killed its process because the node's memory was full"
    if "node has died" in lower or "node died" in lower or "node was terminated" in lower or "its node" in lower:
        return NODE_LOST
    if "worker process has died" in lower or "exited" in lower:
        return "its process died"
    if "unavailable" in lower:
        return "the connection to it broke"
    if "placement group" in lower:
        return PLACE_LOST
    return text.rpartition("The actor is dead because ")[2][:200] or "it died"
