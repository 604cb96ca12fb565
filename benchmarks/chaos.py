"""`make chaos`: real processes killed again and again, and what becomes of the bits. Prints a table and writes it as JSON.

python benchmarks/chaos.py                       more than 200 kills, about a quarter of an hour
python benchmarks/chaos.py --share 0.1           a tenth of them
python benchmarks/chaos.py --markdown docs/faults.md

Workers are killed, crashed and stopped under a pool that sums on and on; after every sum its bits are compared. Whole jobs
(`dbp run`) are killed at random moments and gone on with (`dbp resume`) until they end; the SHA-256 of the parameters is compared.
A seed decides who is hit and when.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pools import workload
from shapes import Shape

from dbp.sums.messages import SumTask
from dbp.sums.pool import TransportPool, serial_pool
from dbp.workers.local_ray import embedded_ray
from dbp.workers.ray_pool import RayTransport

HERE = Path(__file__).parent
WORKERS = 2
FROZEN_S = 3.0  # of these pools; a job waits 30 s
SHAPE = Shape((64, 256, 256, 10), 40_000)
GRADIENT = SumTask("gradient", "train")
MARK = "<!-- measured: {} -->"


@dataclass
class Row:
    """What became of one kind of fault."""

    fault: str
    injected: int = 0  # signals sent
    rounds: int = 0
    same_bits: int = 0  # rounds
    recovery: list[float] = field(default_factory=list)  # seconds from the last signal on, by round

    def add(self, injected: int, same: bool, seconds: float) -> None:
        """Note a round."""
        self.injected, self.rounds, self.same_bits = self.injected + injected, self.rounds + 1, self.same_bits + same
        if injected:
            self.recovery.append(seconds)


class Hit(threading.Thread):
    """Sends a signal to some processes after a while; they may be in the middle of anything."""

    def __init__(self, pids: Sequence[int], number: signal.Signals, after: float) -> None:
        super().__init__()
        self.pids, self.number, self.after = pids, number, after
        self.at = 0.0  # when, by time.perf_counter

    def run(self) -> None:
        """See `threading.Thread`."""
        time.sleep(self.after)
        self.at = time.perf_counter()
        for pid in self.pids:
            os.kill(pid, self.number)


def workers_hit(fault: str, number: signal.Signals, victims: int, rounds: int, draw: random.Random) -> Row:
    """Hit a pool's workers at random moments; what it costs ends when all workers are back and a sum is there."""
    row = Row(fault)
    load, transport = workload(SHAPE), RayTransport(frozen_s=FROZEN_S)
    pool = TransportPool(transport, WORKERS, load)
    theta = SHAPE.network.initial_parameters(0)
    expected = serial_pool(load).sum(GRADIENT, theta).gradient.tobytes()
    try:
        pool.sum(SumTask("load", "train"))
        usual = statistics.median(seconds_of(lambda: pool.sum(GRADIENT, theta)) for _ in range(5))
        for turn in range(rounds):
            show(fault, turn, rounds)
            before = transport.pids()
            hit = Hit(draw.sample(sorted(before.values()), victims), number, draw.uniform(0.0, 2.0 * usual))
            hit.start()
            same = True
            while hit.is_alive() or set(before) & set(transport.pids()) == set(before) or pool.workers < WORKERS:
                same = pool.sum(GRADIENT, theta).gradient.tobytes() == expected and same
            row.add(victims, same, time.perf_counter() - hit.at)
    finally:
        pool.close()
    return row


def seconds_of(call: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


JOB = """
name: chaos
data: {{train: {table}, target: label}}
task: classification
network: {{hidden: [64, 32]}}
optimizer: {{name: gradient_descent, learning_rate: 0.1}}
training: {{max_steps: 2000}}
checkpoint: {{every: 50}}
workers: {workers}
storage: {storage}
"""


class Jobs:
    """Whole runs of one job, each in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dbp = str(Path(sys.executable).with_name("dbp"))
        table = folder / "digits.csv"
        from sklearn.datasets import load_digits

        digits = load_digits()
        lines = [",".join([*(f"p{i}" for i in range(64)), "label"])]
        lines += [",".join(map(str, [*row, label])) for row, label in zip(digits.data, digits.target, strict=True)]
        table.write_text("\n".join(lines))
        self.table = table
        self.expected = self.undisturbed()

    def undisturbed(self) -> str:
        """Return the SHA-256 of the run that nothing happens to, in one process."""
        return self.finish(self.start(0, "calm"))

    def start(self, workers: int, name: str) -> subprocess.Popen[str]:
        """Begin a run below a storage of its own."""
        file, storage = self.folder / f"{name}.yaml", self.folder / name
        file.write_text(JOB.format(table=self.table, workers=workers, storage=storage))
        return self.command("run", str(file), "--json")

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `dbp`; it hears signals whatever the shell of this process does with them."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([self.dbp, *arguments], cwd=self.folder, text=True, start_new_session=True, **pipes)

    def finish(self, process: subprocess.Popen[str]) -> str:
        """Wait for a run that is let alone."""
        out, told = process.communicate(timeout=300)
        if process.returncode:
            raise RuntimeError(f"a run ended with {process.returncode}: {out}{told}")
        return str(json.loads(out)["parameters_sha256"])


def jobs_hit(
    fault: str, number: signal.Signals, workers: int, rounds: int, jobs: Jobs, draw: random.Random, spare: int = 3
) -> Row:
    """Kill runs of a job, and what goes on with them, `spare` times each; then let them end: the cost is the time from there."""
    row = Row(fault)
    for turn in range(0, rounds, spare):
        show(fault, turn, rounds)
        name = f"{number.name}-{workers}-{turn}"
        process, sent, hit_at = jobs.start(workers, name), 0, 0.0
        for _ in range(spare):
            with_steps = (jobs.folder / name).rglob("metrics.jsonl")
            until = time.monotonic() + draw.uniform(1.0, 8.0)
            while process.poll() is None and time.monotonic() < until:
                time.sleep(0.02)
            if process.poll() is not None:
                break
            os.kill(process.pid, number)
            hit_at, sent = time.perf_counter(), sent + 1
            process.communicate(timeout=120)
            if next(with_steps, None) is None:  # nothing of it was on the disk yet: there is nothing to go on with
                process = jobs.start(workers, name)
            else:
                process = jobs.command("resume", job_of(jobs.folder / name), "--json")
        row.add(sent, jobs.finish(process) == jobs.expected, time.perf_counter() - hit_at if sent else 0.0)
    return row


def job_of(storage: Path) -> str:
    """Return the newest job directory below a storage."""
    return str(max((path.parent for path in storage.glob("*/job.yaml")), key=lambda path: path.name))


def show(fault: str, turn: int, rounds: int) -> None:
    """Tell on standard error how far it is."""
    print(f"{fault}: {turn} of {rounds}", file=sys.stderr, flush=True)


def table(rows: Sequence[Row]) -> str:
    """Return the rows in Markdown."""
    lines = [
        "| fault | signals | rounds | same bits | recovered after, s (median, longest) |",
        "| --- | --- | --- | --- | --- |",
    ]
    total = Row("all")
    for row in rows:
        total.injected, total.rounds = total.injected + row.injected, total.rounds + row.rounds
        total.same_bits += row.same_bits
        times = f"{statistics.median(row.recovery):.1f}, {max(row.recovery):.1f}" if row.recovery else ""
        lines.append(f"| {row.fault} | {row.injected} | {row.rounds} | {row.same_bits} of {row.rounds} | {times} |")
    lines.append(f"| all | {total.injected} | {total.rounds} | {total.same_bits} of {total.rounds} | |")
    return "\n".join(lines)


def measure(share: float, seed: int) -> list[Row]:
    """Inject everything, `share` of the usual number of times."""
    draw = random.Random(seed)

    def times(usual: int) -> int:
        return max(1, round(usual * share))

    rows = []
    with embedded_ray(4, 4 << 20):
        rows.append(workers_hit("SIGKILL of one of 2 workers", signal.SIGKILL, 1, times(100), draw))
        rows.append(workers_hit("SIGKILL of both workers", signal.SIGKILL, 2, times(20), draw))
        rows.append(workers_hit("SIGSEGV of one of 2 workers", signal.SIGSEGV, 1, times(20), draw))
        rows.append(
            workers_hit(
                f"SIGSTOP of one of 2 workers ({FROZEN_S:.0f} s until it counts as frozen)",
                signal.SIGSTOP,
                1,
                times(15),
                draw,
            )
        )
    with tempfile.TemporaryDirectory(prefix="dbp-chaos") as folder:
        jobs = Jobs(Path(folder))
        rows.append(jobs_hit("SIGKILL of `dbp run` / `resume`, no workers", signal.SIGKILL, 0, times(30), jobs, draw))
        rows.append(jobs_hit("SIGKILL of `dbp run` / `resume`, 2 workers", signal.SIGKILL, 2, times(24), jobs, draw))
        rows.append(jobs_hit("SIGTERM of `dbp run` / `resume`, 2 workers", signal.SIGTERM, 2, times(9), jobs, draw))
    return rows


def main() -> int:
    """See the module."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--share", type=float, default=1.0)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--markdown", type=Path)
    asked = arguments.parse_args()
    rows = measure(asked.share, asked.seed)
    print(table(rows))
    out = HERE / "out" / "chaos.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    if asked.markdown:
        begin, end = MARK.format("chaos"), MARK.format("end of chaos")
        before, _, rest = asked.markdown.read_text().partition(begin)
        asked.markdown.write_text(f"{before}{begin}\n{table(rows)}\n{end}{rest.partition(end)[2]}")
    differ = sum(row.rounds - row.same_bits for row in rows)
    if differ:
        print(f"{differ} rounds ended with other bits (seed {asked.seed})", file=sys.stderr)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
