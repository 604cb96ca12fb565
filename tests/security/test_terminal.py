"""What comes from files is shown, and cannot speak to the terminal; what a spreadsheet would compute is told."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from bad_input.conftest import Dbp
from bad_input.tables import LABELS, write_csv
from hypothesis import given
from hypothesis import strategies as st

from dbp.cli.output import Output, clean
from dbp.models.formulas import first_formula

CONTROLS = [*map(chr, [*range(0x20), *range(0x7F, 0xA0)]), *"\u061c\u200e\u200f\u202a\u202e\u2066\u2069\u200b\ufeff"]
EVIL = "\x1b]0;owned\x07\x1b]52;c;eA==\x07\x9b31m\u202egnp.exe"
SHOWN = "\\x1b]0;owned\\x07\\x1b]52;c;eA==\\x07\\x9b31m\\u202egnp.exe"


@given(st.text())
def test_text_is_one_line_without_controls(text: str) -> None:
    assert not set(CONTROLS) & set(clean(text))


@given(st.text(st.characters(exclude_categories=("C", "Zl", "Zp"), exclude_characters=CONTROLS)))
def test_other_text_stays_as_it_is(text: str) -> None:
    """Accents, other scripts and signs are no danger."""
    assert clean(text) == text


def test_controls_are_made_visible(capsys: pytest.CaptureFixture[str]) -> None:
    """Not dropped: `rm` and `r\\x08m` must not look alike. Whatever a command prints as text goes through here."""
    assert clean(EVIL) == SHOWN
    Output().text(f"one {EVIL}\ntwo")
    Output().fields({EVIL: EVIL})
    Output().rows([EVIL], [[EVIL]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"one {SHOWN}", "two"]
    assert not set(CONTROLS) & set("".join(lines))
    Output(json=True).json({"message": EVIL + "\x7f"})
    told = "\\u001b]0;owned\\u0007\\u001b]52;c;eA==\\u0007\\u009b31m\\u202egnp.exe\\u007f"
    assert capsys.readouterr().out == f'{{\n  "message": "{told}"\n}}\n'


def test_names_and_labels_of_a_table(dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """A column's name and a class's label, in refusals and warnings."""
    write_csv(tmp_path / "table.csv", {5: f"1,{EVIL},low"}, header="n,x,label")
    ran = dbp("run", "job.yaml")
    ran.refuses("column 'x', row 5", "owned")
    assert not (set(CONTROLS) - {"\n"}) & set(ran.err)
    write_csv(
        tmp_path / "table.csv", {n: f"1,{n / 7},{LABELS[n - 1]}" for n in range(1, 61)}, header=f"n{EVIL},x,label"
    )
    ran = dbp("run", "job.yaml", "--id", "a-1")
    assert ran.code == 0, ran.err
    assert "one value only" in ran.err
    assert not (set(CONTROLS) - {"\n"}) & set(ran.err + ran.out)


def test_a_log_and_a_status(dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """Files of a job directory that somebody else wrote."""
    assert dbp("run", "job.yaml", "--id", "a-1", "--quiet").code == 0
    directory = tmp_path / "runs/a-1"
    (directory / "log.txt").write_text(f"{EVIL}\n")
    status = directory / "status.json"
    status.write_text(status.read_text().replace('"message": "', '"message": "\\u001b]0;owned\\u0007', 1))
    for command in (("logs", "a-1"), ("status", "a-1"), ("list",)):
        ran = dbp(*command)
        assert "\\x1b]0;owned\\x07" in ran.out
        assert not (set(CONTROLS) - {"\n"}) & set(ran.out + ran.err)


@pytest.mark.parametrize(
    "text",
    ["=1+1", "@SUM(A1)", "+1+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "\t=1", "  =1", "\r=1", '=HYPERLINK("x")'],
)
def test_what_is_a_formula(text: str) -> None:
    batch = pa.record_batch({"n": pa.array([-1.5, 2.0]), "label": pa.array(["low", text])})
    assert first_formula(batch) == ("label", text)
    assert first_formula(batch.rename_columns(["n", text])) == (text, text)


@pytest.mark.parametrize("text", ["-1.5", "+3", "-", "--", "-1,5", "1e-3", "-1e+3", "-5 %", "low", "a=b", "", None])
def test_what_is_none(text: str | None) -> None:
    assert first_formula(pa.record_batch({"n": pa.array([-1.5]), "label": pa.array([text], pa.string())})) is None


def test_predictions_keep_their_cells_and_tell_of_formulas(dbp: Dbp, job: Path, tmp_path: Path) -> None:
    """The label comes back as it went in; CSV says what a spreadsheet would do with it, parquet has no such readers."""
    write_csv(tmp_path / "table.csv")
    text = (tmp_path / "table.csv").read_text().replace("low", "=cmd()")
    (tmp_path / "table.csv").write_text(text)
    assert dbp("run", "job.yaml", "--id", "a-1", "--quiet").code == 0
    told = "warning: column 'label' has text that a spreadsheet would take for a formula ('=cmd()'); it is written as it is"
    ran = dbp("predict", "a-1", "table.csv")
    assert (ran.code, ran.err.count("warning: ")) == (0, 1)
    assert told in ran.err
    assert '"=cmd()"' in ran.out
    assert told in dbp("predict", "a-1", "table.csv", "-o", "out.csv").err
    assert "warning" not in dbp("predict", "a-1", "table.csv", "-o", "out.parquet").err
