"""One schedule: attempts at a job, one after the other, until it is done; and what must hold meanwhile.

Safety: every step that is reported has the numbers of the undisturbed run; every checkpoint that is written or loaded has its
state, bit by bit; a job never goes back below a checkpoint that was acknowledged (unless that was damaged or could not be read);
an attempt fails only for a reason that it had. Liveness: the coordinator never waits for what cannot come, and ends once the faults
are over.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from dbp.errors import DataError, DbpError, StorageError, StorageFailedError, WorkersLostError
from dbp.storage.atomic_files import remove_leftovers
from dbp.storage.checkpoints import CheckpointStore
from dbp.sums.audit import Audit
from dbp.sums.auditing import audited
from dbp.sums.messages import SumTask
from dbp.sums.pool import TransportPool
from dbp.training.coordinator import Outcome, Progress
from dbp.training.observers import Observer, StepMetrics
from dbp.training.saving import MOST_FAILURES
from dbp.training.stopping import Requested, StopRequest
from dbp.workers.job_checkpoints import JobCheckpoints
from simulation.disk import HOME, Disk, SimulatedOs, storage_on
from simulation.plan import Plan
from simulation.problems import PROBLEMS, facts, origin, state_sha256, undisturbed
from simulation.saving import SimulatedSave
from simulation.workers import SimulatedTransport, Sums
from simulation.world import CoordinatorKilled, Violation, World

FOLDER = Path(HOME) / "checkpoints"
MOST_ATTEMPTS = 60  # more than any budget of faults can cause, were each of them to end an attempt


@dataclass
class Result:
    """How a schedule ended."""

    seed: int
    outcome: str  # "same bits", "FAILED: ..." or "VIOLATION"
    world: World
    attempts: int
    violation: str = ""

    @property
    def violated(self) -> bool:
        """Whether something happened that never must."""
        return bool(self.violation)


class Watch(Observer):
    """Listens to one schedule's attempts, and compares with the undisturbed run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.expected = undisturbed(world.plan.problem)
        self.acknowledged = 0  # the highest step of a checkpoint that was acknowledged; 0: the start is always there
        self.step_now = 0
        self.on_safe = lambda: None

    def step(self, metrics: StepMetrics) -> None:
        """See `Observer`."""
        world = self._world
        if metrics.step != self.step_now + 1:
            raise Violation(f"step {metrics.step} came after step {self.step_now}")
        self.step_now = metrics.step
        world.tell("coordinator", f"step {metrics.step}: loss {metrics.loss:.6g} on {metrics.workers} workers")
        seen, expected = facts(metrics), self.expected.metrics.get(metrics.step)
        if expected is None:
            raise Violation(f"step {metrics.step} was done; the undisturbed run had ended before")
        stopped = expected[5] is None and world.stop.is_set()  # validated only because it was the last before a stop
        if seen[:5] != expected[:5] or (seen != expected and not stopped):
            raise Violation(f"step {metrics.step} has {seen}; undisturbed {expected}")
        world.maybe_kill("between a step and its checkpoint")

    def checkpoint(self, step: int, path: Path, seconds: float) -> None:
        """See `Observer`."""
        self._world.tell("coordinator", f"checkpoint of step {step} is safe")
        self.acknowledged = step
        self.on_safe()
        self._world.maybe_kill("after a checkpoint")

    def warning(self, text: str) -> None:
        """See `Observer`."""
        self._world.tell("coordinator", f"warning: {text}")

    def check_state(self, progress: Progress, what: str) -> None:
        """Compare a whole state with that of the undisturbed run."""
        expected = self.expected.states.get(progress.step)
        if state_sha256(progress) != expected:
            raise Violation(f"{what} of step {progress.step} is not the undisturbed run's")


@dataclass
class Schedule:
    """See the module. `sums` is where computed sums are kept for the schedules that follow."""

    plan: Plan
    sums: Sums
    keep_lines: bool = False
    world: World = field(init=False)

    def __post_init__(self) -> None:
        self.world = World(self.plan, self.keep_lines)
        self.problem = PROBLEMS[self.plan.problem]
        self._rows_only, self._work = self.problem.workload(trains=False), self.problem.workload(trains=True)
        self.watch = Watch(self.world)
        self.disk = Disk()
        self.system = SimulatedOs(self.disk, self.world)
        self.watch.on_safe = self._disk_is_well
        self.damaged: set[int] = set()  # numbers of files
        self.attempts = 0

    def run(self) -> Result:
        """Run it to its end; a violation is part of the result."""
        self.world.tell("plan", f"seed {self.plan.seed}: {self.problem.name}; {self.plan}")
        try:
            with storage_on(self.system):
                return Result(self.plan.seed, self._to_the_end(), self.world, self.attempts)
        except (Violation, Exception) as error:  # whatever comes out of dbp that is no DbpError is a bug
            sentence = str(error) if isinstance(error, Violation) else f"{type(error).__name__}: {error}"
            self.world.tell("VIOLATION", sentence)
            return Result(self.plan.seed, "VIOLATION", self.world, self.attempts, sentence)

    def _to_the_end(self) -> str:
        failed = ""
        while True:
            self.attempts += 1
            if self.attempts > MOST_ATTEMPTS:
                raise Violation(f"not done after {MOST_ATTEMPTS} attempts")
            try:
                outcome = self._attempt()
            except CoordinatorKilled:
                self._after_kill()
                continue
            except DbpError as error:
                self.world.tell("coordinator", f"FAILED: {error}")
                self._check_reason(error)
                if not self._lasts(error):
                    self.world.probe("resumed after a failure")
                    continue  # somebody resumes it
                failed = _kind(error)
                self._mend()
                continue
            if outcome.ending.rule == "request":
                self.world.probe("resumed after a stop")
                self.world.stop = StopRequest()
                continue
            self._check_end(outcome)
            return f"FAILED: {failed}; the same bits after it was mended" if failed else "same bits"

    def _attempt(self) -> Outcome:
        """What `dbp resume` does: from the newest good checkpoint to the end."""
        world, problem, plan = self.world, self.problem, self.plan
        world.tell("coordinator", f"attempt {self.attempts} begins")
        self.system.restart()
        self.store = CheckpointStore(FOLDER, plan.keep)
        checkpoints = JobCheckpoints(self.store, origin())
        with suppress(StorageError), self.system.loading():
            remove_leftovers(FOLDER)
        progress = self._newest()
        self.watch.step_now = progress.step
        transport = self.transport = SimulatedTransport(world, self.sums if plan.cached else None)
        try:
            audit = Audit(plan.audit, plan.seed) if plan.audit else None
            pool = TransportPool(
                audited(transport, audit), plan.workers, self._rows_only, self.watch.worker_lost, plan.required
            )
            pool.configure(self._work)
            for part in self._work.shards:
                pool.sum(SumTask("load", part))
            rules = (Requested(self.world.stop),)
            loop = problem.coordinator(
                *(pool, checkpoints, self.watch, plan.checkpoint_every, rules, lambda: world.clock.now),
                lambda call: SimulatedSave(world, call),
            )
            return loop.run(progress)
        finally:
            transport.close()
            if world.saving and not world.killed:
                raise Violation("the run ended while a checkpoint was being written")

    def _newest(self) -> Progress:
        first = self.problem.first_progress()
        before = self.system.read_failures
        with self.system.loading():
            newest = self.store.newest(lambda path, why: self.world.tell("coordinator", f"passes over {path}: {why}"))
        step = newest.step if newest else 0
        if step < self.watch.acknowledged and self.system.read_failures == before:
            raise Violation(f"step {self.watch.acknowledged} was acknowledged; the newest checkpoint is of step {step}")
        if newest is None:
            return first
        self.world.probe("resumed from a checkpoint")
        progress = JobCheckpoints.progress_of(newest, first)
        self.watch.check_state(progress, "the checkpoint")
        return progress

    def _after_kill(self) -> None:
        """What a kill may leave behind."""
        world = self.world
        world.killed = world.saving = False
        world.probe("coordinator killed")
        if world.strikes("power"):
            world.tell("disk", "LOSES POWER")
            self.disk.lose_power(world.dice)
        if world.strikes("rot"):
            self._rot()

    def _disk_is_well(self) -> None:
        self.system.failed_writes = 0

    def _rot(self) -> None:
        """Damage the newest checkpoint: the one before it is then the newest that can be asked for."""
        good = [name for name in self._checkpoint_files() if self.disk.names[name].number not in self.damaged]
        if not good or good[-1] != self._checkpoint_files()[-1]:
            return
        file = self.disk.names[good[-1]]
        if file.data:
            file.data[self.world.dice.randrange(len(file.data))] ^= 1 << self.world.dice.randrange(8)
            file.safe = bytes(file.data)
            self.damaged.add(file.number)
            self.world.probe("newest checkpoint damaged")
            self.world.tell("disk", f"DAMAGES {good[-1]}")
            steps = [int(name[-20:-12]) for name in good]
            if steps[-1] >= self.watch.acknowledged:
                self.watch.acknowledged = min(self.watch.acknowledged, max(steps[:-1], default=0))

    def _checkpoint_files(self) -> list[str]:
        return sorted(name for name in self.disk.names if name.startswith(f"{FOLDER}/step-"))

    def _check_reason(self, error: DbpError) -> None:
        """An attempt fails only for what happened in it."""
        transport = self.transport
        match error:
            case WorkersLostError():
                many = transport.losses_in_a_row > self.plan.workers + 3
                counts_apart = self.plan.audit > 0  # an audit hears of a loss in one task, the pool maybe in the next
                if not (many or transport.unplaceable or transport.gave_up_start or counts_apart):
                    raise Violation(f"it gave up after {transport.losses_in_a_row} losses in a row: {error}")
            case DataError():
                if not transport.raised:
                    raise Violation(f"it failed by an error of a former task: {error}")
            case StorageFailedError():
                if self.system.failed_writes < MOST_FAILURES:
                    raise Violation(
                        f"{self.system.failed_writes} system calls of the disk's failed, and it failed: {error}"
                    )
            case StorageError():
                if not self.system.read_failures:
                    raise Violation(f"it failed by a disk that is well: {error}")
            case _:
                raise Violation(f"it failed without a reason: {type(error).__name__}: {error}")

    def _lasts(self, error: DbpError) -> bool:
        """Whether an attempt failed by a fault that does not pass."""
        if self.plan.forever == "disk is full":
            return isinstance(error, StorageFailedError) and self.system.broken
        here = self.plan.forever != "" and self.world.events >= self.plan.forever_from
        return here and isinstance(error, WorkersLostError)

    def _mend(self) -> None:
        """Take away the fault that lasts for ever: what the run had reached must still be there."""
        self.world.tell("somebody", f"mends it: {self.plan.forever}")
        self.world.plan = self.plan = replace(self.plan, forever="")

    def _check_end(self, outcome: Outcome) -> None:
        expected = self.watch.expected.outcome
        assert expected is not None
        self.watch.check_state(outcome.progress, "the end")
        if (outcome.ending.rule, outcome.ending.reason) != (expected.ending.rule, expected.ending.reason):
            raise Violation(f"it ended because {outcome.ending.reason}; undisturbed: {expected.ending.reason}")
        self.world.calm()
        if self._newest().step != outcome.progress.step:
            raise Violation("its last state is not the newest checkpoint")
        remove_leftovers(FOLDER)
        files = len(self._checkpoint_files())
        if len(self.disk.names) > files:
            raise Violation(f"files are left over: {sorted(self.disk.names)}")
        # One that could not be removed stays for a while, and so does one that may not survive: neither does harm.
        failed = any(name.startswith("disk_write fails") for name in self.world.probes)
        if files > self.plan.keep and not failed:
            raise Violation(f"{files} checkpoints are left; {self.plan.keep} were to be kept")


def _kind(error: DbpError) -> str:
    return "no worker can come back" if isinstance(error, WorkersLostError) else "the disk takes no checkpoint"


def run_seed(seed: int, sums: Sums, keep_lines: bool = False, plan: Plan | None = None) -> Result:
    """Run the schedule of a seed; `sums` serves all schedules of one problem's list."""
    return Schedule(plan or Plan.draw(seed, len(PROBLEMS)), sums, keep_lines).run()
