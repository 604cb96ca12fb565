"""Progress: what is drawn, how often, and that drawing never ends a run."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from dbp.cli.progress import BarProgress, Gauge, LineProgress, RunRecord, duration, short
from dbp.training.observers import Observer, Plan, StepMetrics

PLAN = Plan(
    job_id="a-1",
    directory=Path("runs/a-1"),
    rows=1000,
    validation_rows=200,
    features=3,
    outputs=2,
    parameters=26,
    shards=8,
    workers=2,
    first_step=1,
    max_steps=1000,
)


def _step(step: int, **changes: float) -> StepMetrics:
    facts = {"loss": 0.5, "rms": 0.1, "seconds": 0.01, "rows": 1000, "workers": 2, "gradient_norm": 1.0}
    return StepMetrics(step=step, **{**facts, **changes})  # type: ignore[arg-type]


def test_a_pipe_gets_a_line_for_every_twentieth_of_a_fast_run(capsys: pytest.CaptureFixture[str]) -> None:
    """1,000 quick steps make the plan's line and about twenty more, the last step among them; nothing on standard output."""
    progress = LineProgress()
    progress.started(PLAN)
    for step in range(1, 1001):
        progress.step(_step(step))
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0].startswith("a-1: 1,000 rows + 200 held out, 3 features, 2 outputs, 26 parameters, 2 workers")
    assert 15 <= len(lines) <= 25
    assert lines[1].startswith("step 1/1000  loss 0.5  100k rows/s  2 workers")
    assert lines[-1].startswith("step 1000/1000  loss 0.5")


def test_the_last_validation_stays_in_view(capsys: pytest.CaptureFixture[str]) -> None:
    """Steps between two looks at the validation rows show the last look."""
    progress = LineProgress()
    progress.started(PLAN)
    progress.step(_step(1, validation_loss=0.25, validation_accuracy=0.975))
    progress.step(_step(1000))
    assert "validation 0.25  accuracy 97.5%" in capsys.readouterr().err.splitlines()[-1]


def test_rows_per_second_are_those_of_late_steps() -> None:
    """The first step is slow (it compiles and connects); the rate forgets it."""
    gauge = Gauge(1, 300)
    gauge.read(_step(1, seconds=10.0))
    for step in range(2, 300):
        gauge.read(_step(step, seconds=0.001))
    assert "  1M rows/s  " in gauge.show(_step(299))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.3, "12 s"), (61, "1:01"), (3599.6, "1:00:00"), (90061, "25:01:01")],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    """Seconds, then minutes and seconds, then hours."""
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (950, "950"), (12_345, "12.3k"), (4.5e6, "4.5M"), (999_999, "1M"), (2e9, "2G")]
)
def test_rates_for_people(number: float, text: str) -> None:
    """Three digits and a unit."""
    assert short(number) == text


def test_what_is_kept_is_told() -> None:
    """A record knows the last checkpoint, or the one that a resumed run started from."""
    record = RunRecord()
    assert record.kept == "no checkpoint yet"
    record.started(Plan(**{**PLAN.__dict__, "first_step": 51}))
    assert record.kept == "the checkpoint of step 50 that it started from"
    record.checkpoint(60, Path("x"), 0.1)
    assert record.kept == "a checkpoint of step 60"


_DRAW = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
from dbp.cli.progress import BarProgress
from dbp.training.observers import Plan, StepMetrics
plan = Plan("a-1", Path("runs/a-1"), 1000, 0, 3, 2, 26, 8, 2, 1, 50)
with BarProgress() as bar:
    bar.stage("starting Ray")
    bar.started(plan)
    for step in range(1, 51):
        {inside}
        bar.step(StepMetrics(step, 0.5, 0.1, 0.01, 1000, 2, 1.0))
    bar.warning("worker 1 died")
print("end")
"""


def _draw(tmp_path: Path, inside: str = "pass") -> tuple[int, str]:
    """Draw the bar on a real terminal of our own; return the exit code and everything the terminal was sent."""
    terminal, side = pty.openpty()
    script = _DRAW.format(folder=str(tmp_path), inside=inside)
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=side,
        stdout=side,
        stderr=side,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"},
        close_fds=True,
    )
    os.close(side)
    seen = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    os.close(terminal)
    return process.wait(), seen.decode()


def test_a_terminal_gets_a_live_bar(tmp_path: Path) -> None:
    """It is drawn over itself, shows step, loss, rate and workers, and gives the cursor back."""
    code, seen = _draw(tmp_path)
    assert code == 0
    for part in ("a-1: 1,000 rows", "step 50/50", "loss 0.5", "100k rows/s", "2 workers", "warning: worker 1 died"):
        assert part in seen
    assert seen.count("\x1b[2K") > 1
    assert seen.rfind("\x1b[?25h") > seen.rfind("\x1b[?25l")


def test_what_others_print_does_not_cut_the_bar(tmp_path: Path) -> None:
    """A line on standard error stands above the bar, whole."""
    code, seen = _draw(tmp_path, inside="print('from a library', file=sys.stderr)")
    assert code == 0
    assert "from a library" in seen


@pytest.mark.parametrize("observer", ["LineProgress()", "BarProgress().__enter__()"])
def test_nobody_there_to_see_it(tmp_path: Path, observer: str) -> None:
    """A closed pipe behind standard error ends neither kind of progress, nor the run."""
    script = f"""
import os, sys
from pathlib import Path
reader, writer = os.pipe()
os.close(reader)
os.dup2(writer, 2)
from dbp.cli.progress import BarProgress, LineProgress
from dbp.training.observers import Plan, StepMetrics
observer = {observer}
observer.stage("starting")
observer.started(Plan("a-1", Path("runs/a-1"), 1000, 0, 3, 2, 26, 8, 2, 1, 50))
for step in range(1, 51):
    observer.step(StepMetrics(step, 0.5, 0.1, 0.01, 1000, 2, 1.0))
observer.warning("worker 1 died")
print("reached the end")
sys.stdout.flush()
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "reached the end\n")


def test_both_kinds_hear_the_whole_protocol() -> None:
    """Neither misses an event that the other shows."""
    events = {"stage", "started", "step", "warning"}
    for kind in (LineProgress, BarProgress):
        assert events <= {name for name in events if getattr(kind, name) is not getattr(Observer, name)}


def test_loading_fills_the_bar_and_prints_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of all rows; the next stage begins with an empty bar. In a pipe: nothing, where less than ten seconds have passed."""
    bar = BarProgress()
    bar.stage("loading rows")
    bar.loading(1_000_000, 4_000_000)
    (task,) = bar._progress.tasks
    assert (task.completed, task.total, task.fields["numbers"]) == (1_000_000, 4_000_000, "1,000,000 of 4,000,000 rows")
    bar.stage("next")
    (task,) = bar._progress.tasks
    assert (task.completed, task.total, task.fields["numbers"]) == (0, None, "")
    lines = LineProgress()
    lines.stage("loading rows")
    lines.loading(1, 4)
    monkeypatch.setattr("dbp.training.progress_lines.LINE_EVERY_SECONDS", 0.0)
    lines.loading(2_000, 4_000)
    assert capsys.readouterr().err.splitlines() == ["loading rows ...", "loaded 2,000 of 4,000 rows"]
