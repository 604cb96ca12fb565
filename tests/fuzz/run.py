"""`make fuzz`: atheris (libFuzzer) on every target for a while, each in a process of its own; a finding ends it with an error.

What led somewhere new is kept in build/fuzz/corpus, and the next run begins with it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "fuzz"
JOB = """\
name: small
data: {train: table.csv, validation: 0.3, target: y}
task: regression
network: {hidden: [2], activation: [tanh]}
optimizer: {name: gradient_descent, learning_rate: 0.2, momentum: 0.9}
training: {max_steps: 6, validate_every: 3, precision: float64}
stopping: {patience: 50, keep: best}
workers: 0
checkpoint: {every: 2, keep: 5}
"""


def prepare() -> None:
    """Have a real file of each kind as the first of its corpus."""
    import dbp

    sys.path.insert(0, str(HERE))
    from targets import SEEDS

    with tempfile.TemporaryDirectory() as folder:
        rows = "".join(f"{n % 7},{n % 5},{n % 3}\n" for n in range(40))
        (Path(folder) / "table.csv").write_text("a,b,y\n" + rows)
        job = dbp.Job.from_text(JOB, folder=Path(folder), overrides=[f"storage={folder}/runs"])
        home = Path(dbp.train(job, job_id="a").directory)
        for target, name in SEEDS.items():
            corpus = BUILD / "corpus" / target
            corpus.mkdir(parents=True, exist_ok=True)
            (corpus / "seed").write_bytes(JOB.encode() if target == "job_file" else (home / name).read_bytes())


def fuzz(target: str, options: list[str]) -> None:
    """Fuzz one target in this process; never returns."""
    import atheris

    with atheris.instrument_imports(include=["dbp", "yaml"]):
        sys.path.insert(0, str(HERE))
        from targets import TARGETS
    atheris.Setup([sys.argv[0], *options], TARGETS[target])
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--target")
    asked = parser.parse_args()
    if asked.target:
        corpus, found = BUILD / "corpus" / asked.target, BUILD / "findings"
        found.mkdir(parents=True, exist_ok=True)
        limits = [f"-max_total_time={asked.seconds}", "-max_len=8192", "-timeout=20", "-rss_limit_mb=2048"]
        fuzz(asked.target, [*limits, f"-artifact_prefix={found}/{asked.target}-", "-verbosity=1", str(corpus)])
    prepare()
    from targets import TARGETS

    bad = 0
    for target in TARGETS:
        command = [sys.executable, __file__, "--target", target, "--seconds", str(asked.seconds)]
        done = subprocess.run(command, capture_output=True, text=True)
        runs = re.search(r"Done (\d+) runs", done.stderr)
        print(
            f"{target}: {int(runs[1]) if runs else 0:,} files, {'nothing found' if not done.returncode else 'FOUND'}",
            flush=True,
        )
        if done.returncode:
            bad += 1
            print(done.stderr[-3000:])
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
