"""Planted bugs: each changes a line or two of the real code. A simulation that does not find them would not find real ones either.

A mutant names a function, a piece of its source, and what stands there instead. One that fits its function's source no more is an
error: change it together with the code.
"""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from unittest import mock


@dataclass(frozen=True)
class Mutant:
    """One planted bug."""

    name: str
    where: str  # "module:Class.function" or "module:function"
    old: str
    new: str
    also: tuple[str, ...] = ()  # modules that hold the function by its name
    which: int = 0  # of several places that read like `old`

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Within, the bug is there. ValueError where the source has changed."""
        module_name, _, path = self.where.partition(":")
        module = importlib.import_module(module_name)
        *owners, name = path.split(".")
        owner = getattr(module, owners[0]) if owners else module
        raw = inspect.getattr_static(owner, name)
        kind = next((kind for kind in (property, classmethod, staticmethod) if isinstance(raw, kind)), None)
        function = raw.fget if isinstance(raw, property) else getattr(raw, "__func__", raw)
        function = inspect.unwrap(function)
        changed = self._changed(textwrap.dedent(inspect.getsource(function)))
        scope: dict[str, object] = {}
        exec(compile(changed, f"<mutant: {self.name}>", "exec"), module.__dict__, scope)
        mutated = scope[name]
        if kind is not None and not isinstance(mutated, kind):
            mutated = kind(mutated)  # type: ignore[call-arg]
        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(owner, name, mutated))
            for other in self.also:
                stack.enter_context(mock.patch.object(importlib.import_module(other), name, mutated))
            yield

    def _changed(self, source: str) -> str:
        pieces = source.split(self.old)
        if len(pieces) <= self.which + 1:
            raise ValueError(f"the mutant {self.name!r} does not fit {self.where} any more: {self.old!r} is not there")
        cut = self.which + 1
        return self.old.join(pieces[:cut]) + self.new + self.old.join(pieces[cut:])


_SLOT = "dbp.sums.assignment:_Slot"
_ASSIGNMENT, _POOL, _TREE = "dbp.sums.assignment:Assignment", "dbp.sums.pool:TransportPool", "dbp.sums.tree:Reduction"
_LOOP, _KEPT = "dbp.training.coordinator:Coordinator", "dbp.workers.job_checkpoints:JobCheckpoints"
_MEMORY, _STORE = "dbp.training.memory:Memory", "dbp.storage.checkpoints:CheckpointStore"
_FILES, _ARRAYS = "dbp.storage.atomic_files", "dbp.storage.array_file"
_WORKER = "dbp.sums.shard_worker:ShardWorker"

MUTANTS = (
    # Who owes which shard.
    Mutant(
        "a dead worker's shards are forgotten",
        f"{_ASSIGNMENT}.lost",
        "self._last_death =",
        "slot.owed = []; self._last_death =",
    ),
    Mutant(
        "nobody inherits the shards of a closed slot",
        f"{_ASSIGNMENT}.lost",
        "if shard not in others",
        "if shard in others",
    ),
    Mutant("a dead worker's successor is called before it is ready", f"{_SLOT}.vacate", "self.ready, ", "_, "),
    Mutant(
        "a dead worker's call stays under way",
        f"{_SLOT}.vacate",
        "self.ready, self.call, ",
        "self.ready, _, ",
    ),
    Mutant(
        "a successor is started under its predecessor's number", f"{_ASSIGNMENT}._replace", "self._next_worker + 1", "0"
    ),
    Mutant("a successor is started where there is no room", f"{_ASSIGNMENT}.lost", "replaceable and ", ""),
    Mutant("patience never ends", f"{_ASSIGNMENT}.lost", " and self._deaths <= self._patience", ""),
    Mutant(
        "patience is half as long",
        f"{_ASSIGNMENT}.lost",
        "self._deaths <= self._patience",
        "self._deaths * 2 <= self._patience",
    ),
    Mutant(
        "nobody gives up when the last slot is closed",
        f"{_ASSIGNMENT}.lost",
        "if not self._slots:",
        "if not self._slots: return []\n    if 0:",
    ),
    Mutant(
        "a death is told twice and counts twice",
        f"{_ASSIGNMENT}.lost",
        "if slot is None:",
        "if slot is None and self._slots: slot = self._slots[0]\n    if slot is None:",
    ),
    Mutant("deaths are not forgiven by a finished task", f"{_ASSIGNMENT}.begin", "self._deaths = 0", "pass"),
    Mutant("any answer settles the call under way", f"{_ASSIGNMENT}.answered", " or slot.call.number != number", ""),
    Mutant(
        "an answer settles inherited shards too",
        f"{_ASSIGNMENT}.answered",
        "[shard for shard in other.owed if shard not in call.shards]",
        "[]",
    ),
    Mutant(
        "an answer does not free its worker",
        f"{_ASSIGNMENT}.answered",
        "call, slot.call = slot.call, None",
        "call = slot.call",
    ),
    Mutant(
        "a worker that gets ready is not called", f"{_ASSIGNMENT}.ready", "return self._send_owed(now)", "return []"
    ),
    Mutant(
        "calls of former tasks count as current", f"{_ASSIGNMENT}.begin", "self._first_call = self._next_call", "pass"
    ),
    Mutant(
        "the last shard of a task is not asked for",
        f"{_ASSIGNMENT}.begin",
        "for shard in shards:",
        "for shard in shards[:-1] or shards:",
    ),
    Mutant("the first answer of a task is taken for old", f"{_ASSIGNMENT}.is_current", ">=", ">"),
    Mutant("a busy worker is called again at every event", f"{_ASSIGNMENT}._send_owed", " and slot.call is None", ""),
    Mutant("workers are called before they are ready", f"{_ASSIGNMENT}._send_owed", "slot.ready and ", ""),
    Mutant(
        "who is late is forgotten",
        f"{_ASSIGNMENT}.look",
        "_hand_out(slot.owed, heirs)",
        "_hand_out(slot.owed, heirs); slot.owed = slot.call = None",
    ),
    Mutant("what a worker owed that left is forgotten", f"{_ASSIGNMENT}._pass_on", "_hand_out(", "("),
    Mutant(
        "workers that are not required are waited for",
        f"{_ASSIGNMENT}._able",
        "awaited[:missing]",
        "awaited",
    ),
    Mutant("who joins takes no part", f"{_ASSIGNMENT}._step_in", "slot.owed, awaited.owed = awaited.owed, []", "pass"),
    Mutant(
        "owners that have gone keep their shards",
        "dbp.sums.ownership:Ownership._balanced",
        "return False",
        "return True",
    ),
    # The pool.
    Mutant("sums of a former step are added", f"{_POOL}._take", "if self._assignment.is_current(number):", "if True:"),
    Mutant(
        "an error of a former step ends the job",
        f"{_POOL}._take",
        "if self._assignment.is_current(number):",
        "if True:",
        which=1,
    ),
    Mutant("an error of a worker is passed over", f"{_POOL}._take", "raise error", "pass"),
    Mutant(
        "a lost worker's place counts as free",
        f"{_POOL}._take",
        ".lost(worker, reason, replaceable, now)",
        ".lost(worker, reason, now=now)",
    ),
    Mutant(
        "a worker is called again before its answer was copied",
        f"{_POOL}._carry_out",
        "worker in self._answered",
        "False",
    ),
    Mutant("workers are not told of the training", f"{_POOL}._tell", "is not self._workload", "is None"),
    Mutant(
        "parameters are published for full batches only",
        f"{_POOL}.sum",
        "self._transport.publish(parameters)",
        "task.batch and self._transport.publish(parameters)",
    ),
    # The reduction.
    Mutant(
        "sums are added in the order of their arrival",
        f"{_TREE}.add",
        "if self._covered(node):",
        "if self._tree.root in self._sums: return\n"
        "    self._seen = getattr(self, '_seen', {})\n"
        "    if any(n.first <= node.first and node.stop <= n.stop for n in self._seen): return\n"
        "    self._seen[node] = partial\n"
        "    if sum(len(self._tree.leaves_below(n)) for n in self._seen) >= len(self._tree.leaves):\n"
        "        first, *more = self._seen.values()\n"
        "        for other in more: first = first.owned().add(other)\n"
        "        self._sums[self._tree.root] = first\n"
        "    return\n"
        "    if 0:",
    ),
    Mutant(
        "the first subtree is taken for the whole",
        f"{_TREE}.add",
        "self._sums[node] = partial",
        "self._sums[self._tree.root] = partial",
    ),
    Mutant(
        "a borrowed array is written to", "dbp.sums.partial_sum:PartialSum.add", "self.gradient.flags.writeable", "True"
    ),
    Mutant("weights are not added", "dbp.sums.partial_sum:PartialSum.add", "self.weight + other.weight", "self.weight"),
    # The worker.
    Mutant(
        "batches keep the order of the first epoch",
        f"{_WORKER}._batch_rows",
        "loaded.epoch != batch.epoch",
        "loaded.epoch < 0",
    ),
    Mutant(
        "gradients are taken where the last ones were",
        f"{_WORKER}.compute",
        "self._kernel.move_to(np.asarray(parameters))",
        "self._kernel.move_to(np.asarray(getattr(self, '_last', parameters))); self._last = np.array(parameters)",
    ),
    # The loop.
    Mutant(
        "a checkpoint has the parameters before its step",
        f"{_LOOP}.run",
        "saving.checkpoint(progress)",
        "saving.checkpoint(replace(progress, parameters=good.parameters))",
    ),
    Mutant("the last state is not saved", f"{_LOOP}.run", "saving.surely(progress)", "pass"),
    Mutant("a stop validates, and remembers it", f"{_LOOP}._validated", "if scheduled:", "if True:"),
    Mutant(
        "a batch after a resume starts the epoch anew",
        "dbp.sums.batches:BatchSampler.batch",
        "range(place - self._place)",
        "range(0)",
    ),
    # Checkpoints.
    Mutant("the optimiser's state is not saved", f"{_KEPT}.save", "in progress.state.items()", "in ()"),
    Mutant("what the rules remember is not restored", f"{_KEPT}.progress_of", ", state, memory)", ", state)"),
    Mutant(
        "a resumed run counts one step too many",
        f"{_KEPT}.progress_of",
        "Progress(checkpoint.step,",
        "Progress(checkpoint.step + 1,",
    ),
    Mutant(
        "the best parameters are not restored", f"{_MEMORY}.from_arrays", 'if "best_parameters" in arrays:', "if False:"
    ),
    Mutant(
        "the losses before a resume are forgotten",
        f"{_MEMORY}.from_arrays",
        'tuple(listed("losses", "float64", None))',
        "()",
    ),
    Mutant(
        "the waiting of the patience rule starts anew", f"{_MEMORY}.from_arrays", "mark, waited, best", "mark, 0, best"
    ),
    Mutant("the newest checkpoints are removed", f"{_STORE}._retire", "step < kept[0]", "step > kept[0]"),
    Mutant("one checkpoint too many is kept", f"{_STORE}._retire", "[-self.keep :]", "[-self.keep - 1 :]"),
    Mutant("damaged checkpoints push out good ones", f"{_STORE}._retire", " if step <= saved", ""),
    Mutant(
        "old checkpoints go before the new one is there",
        f"{_STORE}.save",
        "write_arrays(",
        "[os.unlink(self.path(old)) for old in self.steps()[-self.keep :][:1]]\n    write_arrays(",
    ),
    Mutant("a run goes on from the oldest checkpoint", f"{_STORE}.newest", "steps.pop()", "steps.pop(0)"),
    Mutant("the newest is the one listed last", f"{_STORE}.steps_of", "return sorted(found)", "return found"),
    Mutant(
        "a damaged checkpoint ends the run", f"{_STORE}.newest", "on_damaged(", "raise error\n            on_damaged("
    ),
    Mutant(
        "checksums are not compared",
        f"{_ARRAYS}:read_arrays",
        "if digest.hexdigest() != sha256:",
        "if False:",
        also=("dbp.storage.checkpoints",),
    ),
    Mutant(
        "a short write is taken for a whole one",
        f"{_FILES}:write_chunks",
        "while part.nbytes:",
        "if part.nbytes:",
        also=(_ARRAYS,),
    ),
    Mutant(
        "a new folder's name is not synced",
        f"{_FILES}:make_folder",
        "_sync(folder.parent)",
        "pass",
        also=("dbp.storage.checkpoints",),
    ),
    Mutant(
        "a folder that is there is taken for safe",  # a bug that was found here and mended
        f"{_FILES}:make_folder",
        "made or os.path.isdir(folder)",
        "made",
        also=("dbp.storage.checkpoints",),
    ),
    Mutant(
        "a checkpoint that failed counts as saved",
        "dbp.training.saving:Saving._failed",
        "self._failures += 1",
        "self.saved = step",
    ),
    Mutant(
        "the first failure of the disk ends the run",
        "dbp.training.saving:Saving._failed",
        "self._failures += 1",
        "raise StorageFailedError(str(error)) from error",
    ),
    Mutant(
        "a checkpoint counts as saved when it is begun",
        "dbp.training.saving:Saving.checkpoint",
        "self._under_way = progress.step,",
        "self.saved = progress.step; self._under_way = progress.step,",
    ),
    Mutant(
        "a checkpoint is begun while the last one is under way",
        "dbp.training.saving:Saving.checkpoint",
        "self.settle()",
        "pass",
    ),
    Mutant(
        "a run leaves a checkpoint that is under way",
        "dbp.training.saving:Saving.__exit__",
        "self.settle(ending=True, patience=patience)",
        "pass",
    ),
    Mutant(
        "the last state does not wait for the checkpoint under way",
        "dbp.training.saving:Saving.surely",
        "self.settle(ending=True)",
        "pass",
    ),
    Mutant("files are not synced", f"{_FILES}:_replacing", "os.fsync(descriptor)", "pass"),
    Mutant("the folder is not synced after the rename", f"{_FILES}:_replacing", "_sync(target.parent)", "pass"),
    Mutant(
        "a checkpoint that could not be written counts as safe",
        f"{_FILES}:_replacing",
        "raise storage_error",
        "return\n        raise storage_error",
    ),
)

# Changes that must not matter, by the design: sums are pure functions of their shards, and are kept under their names.
HARMLESS = (
    # Whoever is late, and whoever stands in: only time hangs on it. Unit tests of `Assignment` find these.
    Mutant("nobody steps in for who is late", f"{_ASSIGNMENT}.look", "_hand_out(slot.owed, heirs)", "pass"),
    Mutant(
        "a late worker never works again", f"{_ASSIGNMENT}.answered", "slot.late, slot.rest = False, ", "slot.rest = "
    ),
    Mutant("what is counted already comes in again", f"{_TREE}.add", "if self._covered(node):", "if False:"),
    Mutant("the larger subtree is kept beside its parts", f"{_TREE}.add", "self._forget_below(node)", "pass"),
    Mutant(
        "operands are swapped",
        f"{_TREE}.add",
        "partial.add(other) if node == left else other.add(partial)",
        "partial.add(other)",
    ),
    Mutant(
        "shards are dealt out otherwise",
        "dbp.sums.ownership:Ownership.among",
        "able[((shard + 1) * len(able) - 1) // self._shards]",
        "able[shard % len(able)]",
    ),
    Mutant("an heir gets all", "dbp.sums.assignment:_hand_out", "place * len(heirs) // len(shards)", "0"),
)


def sources_checked() -> list[str]:
    """Return the mutants that fit no more, each in a sentence."""
    misfits = []
    for mutant in (*MUTANTS, *HARMLESS):
        try:
            with mutant.planted():
                pass
        except (ValueError, SyntaxError) as error:
            misfits.append(f"{mutant.name}: {error}")
    return misfits
