"""`make bench`: measure everything, print the tables and write them as JSON (and with --markdown into a page of the docs).

python benchmarks/run.py                      all of it, about twenty minutes
python benchmarks/run.py --quick              a minute, on tiny tables: to see that it works, not to compare
python benchmarks/run.py --markdown docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

from dbp.jobs.environment import collect_environment

HERE = Path(__file__).parent
MARK = "<!-- measured: {} -->"
AVX2 = {  # dbp, numpy's BLAS, torch's BLAS and torch itself, all held to AVX2
    "DBP_INSTRUCTIONS": "avx2",
    "OPENBLAS_CORETYPE": "Haswell",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
}


def child(script: str, *arguments: str, **environment: str) -> Any:
    """Run a measuring script in a fresh process and return what it found."""
    done = subprocess.run(
        [sys.executable, HERE / script, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout.decode().splitlines()[-1])


def import_seconds(repeats: int) -> float:
    """Return the median seconds that `import dbp` adds to starting Python."""

    def start(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - began

    return statistics.median(start("import dbp") - start("pass") for _ in range(repeats))


def machine() -> dict[str, Any]:
    """Return what the numbers were measured on."""
    about: dict[str, Any] = collect_environment("", "")
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    return {key: about[key] for key in ("versions", "cpu", "instructions")} | {
        "blas": [each for each in threadpool_info() if each["user_api"] == "blas"],
        "memory_gib": round(int(memory[1]) / 2**20) if memory else None,
        "load_before": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"),
    }


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows])


def kernel_table(found: dict[str, Any]) -> str:
    """Return the kernel's rows."""
    header = ["network", "precision", "matmul, Gflop/s", "dbp, Gflop/s", "share", "torch / dbp", "torch blocks / dbp"]
    header.append("shards and tree")
    rows = [
        [
            row["network"],
            row["precision"],
            f"{row['gigaflops_matmul']:.0f}",
            f"{row['gigaflops_dbp']:.0f}",
            f"{row['share']:.0%}",
            f"{row['torch_ratio']:.2f}",
            f"{row['torch_blocks_ratio']:.2f}",
            f"{row['shards_and_tree']:+.1%}",
        ]
        for row in found["rows"]
    ]
    return table(header, rows)


def overhead_table(rows: list[dict[str, Any]]) -> str:
    """Return the step overhead's rows."""
    header = ["parameters", "workers", "calls", "step, ms", "in this process, ms", "beyond the arithmetic, ms"]
    return table(
        header,
        [
            [
                f"{r['parameters']:,}",
                str(r["workers"]),
                r["calls"],
                *(f"{r[key]:.2f}" for key in ("step_ms", "serial_ms", "beyond_ms")),
            ]
            for r in rows
        ],
    )


def scaling_line(found: dict[str, Any]) -> str:
    """Return the scaling result as a sentence."""
    pool, apart = found["pool"], found["apart"]
    low, _, high = pool["quartiles"]
    return (
        f"{found['network']}, {found['rows']:,} rows: {pool['one_ms']:.0f} ms a step with one worker, "
        f"{pool['two_ms']:.0f} ms with two: **{pool['gain']:.2f}x** (median of {found['turns']} turns; half of them lie between "
        f"{low:.2f} and {high:.2f}). Two processes that only wait for each other gained {apart['gain']:.2f}x in the same "
        "turns: what this machine has to give."
    )


def safety_table(found: dict[str, Any]) -> str:
    """Return what being safe costs, job by job."""
    header = ["job", "steps", "a step", "digest", "checkpoints", "training waits", "beside it", "runs"]
    rows = []
    for each in found["jobs"]:
        kinds = [f"{each[kind]:.2%}" for kind in ("digest", "waits")]
        whole = f"**{each['share']:.1%}** ({each['least']:.1%} to {each['most']:.1%})"
        rows.append(
            [
                each["job"],
                f"{each['steps']:,}",
                f"{each['step'] * 1e3:.2f} ms",
                *kinds,
                whole,
                f"{each['writing']:.2%}",
                str(each["rounds"]),
            ]
        )
    return f"{table(header, rows)}\n\nHeartbeats take {found['beat_share']:.5%} of a worker's time."


def machine_lines(about: dict[str, Any]) -> str:
    """Return the machine's description."""
    blas = "; ".join(f"{b['internal_api']} {b['version']} ({b['architecture']})" for b in about["blas"])
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"{about['cpu']['model']}, {about['cpu']['cores']} cores, {about['memory_gib']} GiB, a shared virtual machine; "
        f"dbp's kernel with {about['instructions']}, numpy's {blas}; {versions}, "
        f"torch {about['torch']}. Measured {about['date']}, load before the run {about['load_before']:.2f}."
    )


def sections(found: dict[str, Any]) -> dict[str, str]:
    """Return the measured parts of docs/benchmarks.md by name."""
    return {
        "machine": machine_lines(found["machine"]),
        "kernel": kernel_table(found["kernel"]),
        "kernel-avx2": kernel_table(found["kernel_avx2"]),
        "overhead": overhead_table(found["pools"]["overhead"]),
        "scaling": scaling_line(found["pools"]["scaling"]),
        "safety": safety_table(found["safety"]),
        "training": training_table(found["training"]),
        "import": f"`import dbp` adds {found['import_seconds'] * 1e3:.0f} ms to starting Python.",
    }


def training_table(found: list[dict[str, Any]]) -> str:
    """Return who needs how long to reach scikit-learn's loss."""
    header = [
        "problem",
        "precision",
        "trained by",
        "passes",
        "seconds",
        "final loss",
        "scikit-learn / dbp",
        "torch / dbp",
        "whole job",
    ]
    rows = []
    for each in found:
        for name, median in each["contenders"].items():
            shown = [each["problem"], each["precision"]] if name == "scikit-learn" else ["", ""]
            ratios = [f"**{ratio:.1f}**" for ratio in each["ratios"].get(name, ())] or ["", ""]
            whole = [f"{median['whole']:.1f} s" if "whole" in median else ""]
            numbers = [f"{median['passes']:.0f}", f"{median['seconds']:.3f}", f"{median['loss']:.3g}"]
            rows.append([*shown, name, *numbers, *ratios, *whole])
    return table(header, rows)


def methods_table(found: list[dict[str, Any]]) -> str:
    """Return what each method reaches."""
    header = ["problem", "method", "passes", "seconds", "objective"]
    rows, last = [], ""
    for row in found:
        shown = row["problem"] if row["problem"] != last else ""
        last = row["problem"]
        rows.append(
            [shown, f"`{row['method']}`", f"{row['passes']:.0f}", f"{row['seconds']:.2f}", f"{row['loss']:.6f}"]
        )
    return table(header, rows)


def write_into(page: Path, parts: dict[str, str]) -> None:
    """Replace what stands between the marks of each part; ValueError where a part has no marks."""
    text = page.read_text()
    for name, part in parts.items():
        begin, end = MARK.format(name), MARK.format(f"end of {name}")
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"{page}: no marks {begin} ... {end}")
        text = pattern.sub(lambda match, part=part, begin=begin, end=end: f"{begin}\n{part}\n{end}", text)
    page.write_text(text)


def main() -> None:
    arguments = argparse.ArgumentParser(description="Measure dbp beside its peers.")
    arguments.add_argument("--quick", action="store_true", help="tiny tables: to see that it works")
    arguments.add_argument("--out", type=Path, default=HERE / "out", help="folder for latest.json")
    arguments.add_argument(
        "--only", choices=["kernel", "pools", "safety", "training"], help="the rest as in latest.json"
    )
    arguments.add_argument("--markdown", type=Path, help="write the tables into this page")
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    extra = ["--quick"] if given.quick else []
    place = given.out / "latest.json"
    found: dict[str, Any] = json.loads(place.read_text()) if given.only else {}
    if given.only in (None, "kernel"):
        found |= {"quick": given.quick, "machine": machine(), "import_seconds": import_seconds(3 if given.quick else 9)}
        found["kernel"] = child("kernel.py", *extra)
        found["machine"]["torch"] = found["kernel"]["torch"]
        found["kernel_avx2"] = child("kernel.py", *extra, **AVX2)
    if given.only in (None, "pools"):
        found["pools"] = child("pools.py", *extra)
    if given.only in (None, "safety"):
        found["safety"] = child("safety.py", *extra)
    if given.only in (None, "training"):
        found["training"] = child("training.py", *extra)
        plot = [] if given.quick else ["--plot", str(given.out / "methods.png")]
        found["methods"] = child("methods.py", *extra, *plot)
    place.write_text(json.dumps(found, indent=1) + "\n")
    parts, methods = sections(found), methods_table(found["methods"])
    for name, part in parts.items():
        print(f"\n== {name}\n{part}")
    print(f"\n== methods\n{methods}")
    if given.markdown:
        write_into(given.markdown, parts)
        write_into(given.markdown.with_name("optimizers.md"), {"methods": methods})
        if (given.out / "methods.png").exists():
            shutil.copy(given.out / "methods.png", given.markdown.with_name("optimizers.png"))
    print(f"\nwritten: {place}")


if __name__ == "__main__":
    main()
