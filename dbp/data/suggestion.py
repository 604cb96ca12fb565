"""What a table's columns suggest: a task, what to do with each column, and what a person should know of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dbp.data.profile import MOST_VALUES, ColumnProfile, Profile
from dbp.data.table import describe_missing
from dbp.errors import InputError

Task = Literal["classification", "multilabel", "regression"]
MOST_NUMBER_CLASSES = 20  # a target of more different whole numbers is taken for a quantity
RARE = 10  # classes of a category with fewer rows share an input
FEW_CLASS_ROWS = 50  # of the rarest class: rows are then held out class by class
EXACT_WHOLE = 2**53

_NAMES_OF_KEYS = re.compile(r"(^|[_\W])(id|key|uuid|guid|index|rownum)([_\W]|$)", re.IGNORECASE)
_NAMES_OF_TARGETS = re.compile(r"(^|[_\W])(target|label|class|y|outcome|response)([_\W]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Suggestion:
    """How to learn `targets` from a table; `why` is the reason for the task, `drop` columns and why they are no features."""

    targets: tuple[str, ...]
    task: Task
    why: str
    drop: tuple[tuple[str, str], ...]
    dates: tuple[tuple[str, tuple[str, ...]], ...]
    fills_numbers: bool
    missing_class: tuple[str, ...]  # categories in which missing is to be a class
    rare: bool  # whether a category has classes of fewer than RARE rows
    stratify: bool
    validates: bool
    hidden: tuple[int, ...]


def named_targets(text: str, profile: Profile) -> tuple[str, ...]:
    """Return the columns that a person names as targets: one, or several with commas between them."""
    names = [column.name for column in profile.columns]
    return (text,) if text in names else tuple(part.strip() for part in text.split(","))


def suggest(profile: Profile, targets: Sequence[str], task: Task | None = None) -> Suggestion:
    """Return how to learn `targets`. InputError where the table has no such columns, or they can be no targets."""
    names = [column.name for column in profile.columns]
    missing = [name for name in targets if name not in names]
    if missing:
        raise InputError(f"{profile.path}: {describe_missing(missing, names)}{_likely(names)}")
    if len(set(targets)) < len(targets):
        raise InputError(f"{profile.path}: target {max(targets, key=targets.count)!r} is named twice; expected it once")
    columns = [profile.column(name) for name in targets]
    decided, why = _task(profile, columns, task)
    others = [each for each in profile.columns if each.name not in targets]
    drop = tuple((each.name, reason) for each in others if (reason := why_no_feature(each)) is not None)
    features = [each for each in others if each.name not in dict(drop)]
    if not features:
        raise InputError(
            f"{profile.path}: no column to learn {' and '.join(map(repr, targets))} from; expected numbers, text or dates beside it"
        )
    categories = [each for each in features if each.kind == "text"]
    least = min((columns[0].counts or {}).values(), default=0)
    return Suggestion(
        targets=tuple(targets),
        task=decided,
        why=why,
        drop=drop,
        dates=tuple((each.name, _parts(each)) for each in features if each.kind == "date"),
        fills_numbers=any(each.missing and each.kind != "text" for each in features),
        missing_class=tuple(each.name for each in categories if each.missing),
        rare=any(sum(count < RARE for count in (each.counts or {}).values()) >= 2 for each in categories),
        stratify=decided == "classification" and least < FEW_CLASS_ROWS,
        validates=profile.table_rows >= 20,
        hidden=(16,) if profile.table_rows < 1000 else (64, 32),
    )


def why_no_feature(column: ColumnProfile) -> str | None:
    """Return why a column is left out of the features, in a few words; None where it is one."""
    if column.present == 0:
        return "no value in any row"
    if column.kind == "other":
        return f"holds {column.type}"
    if column.infinite:
        return f"{column.infinite} infinite numbers"
    if column.kind == "number" and column.whole and max(-column.minimum, column.maximum) > EXACT_WHOLE:
        return "whole numbers beyond 2**53"
    if column.distinct == 1 and not column.missing:
        return "one value only"
    if column.kind == "text":
        return _why_no_category(column)
    if column.kind == "number" and column.whole and _NAMES_OF_KEYS.search(column.name):
        return "looks like a key"
    return None


def _why_no_category(column: ColumnProfile) -> str | None:
    if column.counts is None:
        return f"more than {MOST_VALUES:,} different texts, or long ones"
    if len(column.counts) > 20 and len(column.counts) > column.present / 2:
        return "nearly every row has a text of its own"
    spelled = sum(_spells_number(str(value)) for value in column.counts)
    if spelled * 2 >= len(column.counts):
        return "text of which half or more spells numbers: mend the cells that do not"
    if any("\0" in str(value) for value in column.counts):
        return "holds NUL characters"
    return None


def _spells_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _task(profile: Profile, columns: Sequence[ColumnProfile], task: Task | None) -> tuple[Task, str]:
    """Return what is to be learnt, and why. InputError where the columns do not go together, or with the task asked for."""
    if task == "multilabel" and len(columns) == 1:
        raise InputError(f"{profile.path}: one target for multilabel; expected two or more, with commas between them")
    if task == "classification" and len(columns) > 1:
        raise InputError(
            f"{profile.path}: {len(columns)} targets for classification; expected one, or multilabel for labels of two classes each"
        )
    if task is not None:
        return task, "as asked for"
    if len(columns) == 1:
        return _task_of(profile, columns[0])
    for column in columns:
        _task_of(profile, column)
    if all(column.distinct == 2 for column in columns):
        return "multilabel", "labels of two classes each"
    if all(column.kind == "number" for column in columns):
        return "regression", "numbers, not classes"
    odd = next(column for column in columns if column.distinct != 2)
    held = f"{odd.distinct} classes" if odd.kind != "number" else "numbers"
    raise InputError(
        f"{profile.path}: target {odd.name!r} holds {held}; expected labels of two classes each, or numbers in all targets. "
        "Make a job for each"
    )


def _task_of(profile: Profile, column: ColumnProfile) -> tuple[Task, str]:
    where = f"{profile.path}: target {column.name!r}"
    if column.kind in ("date", "other") or column.present == 0:
        raise InputError(f"{where} holds {column.type if column.present else 'no value'}; expected classes or numbers")
    if column.distinct == 1:
        raise InputError(f"{where} has one value only; expected something to tell apart")
    if column.kind in ("text", "truth"):
        if column.distinct is None:
            raise InputError(f"{where} has more than {MOST_VALUES:,} different texts; expected classes, or numbers")
        return "classification", f"{column.distinct} classes"
    if column.whole and column.distinct is not None and column.distinct <= MOST_NUMBER_CLASSES:
        return "classification", f"{column.distinct} different whole numbers; if they are amounts, say regression"
    return "regression", "numbers, not classes"


def _parts(column: ColumnProfile) -> tuple[str, ...]:
    years = {str(text)[:4] for text in (column.earliest, column.latest)}
    parts = (["year"] if len(years) > 1 else []) + ["month", "weekday"]
    return tuple(parts + (["hour"] if column.type.startswith("timestamp") else []))


def likely_targets(names: Sequence[str]) -> list[str]:
    """Return the columns that are most likely to be the target: by their names, else the last one."""
    return [name for name in names if _NAMES_OF_TARGETS.search(name)][:3] or list(names[-1:])


def _likely(names: Sequence[str]) -> str:
    found = likely_targets(names)
    return f"; perhaps {' or '.join(map(repr, found))}?" if found else ""


def remarks(profile: Profile, targets: Sequence[str]) -> list[str]:
    """Return what a person should know of the columns, a sentence each."""
    said = []
    for column in profile.columns:
        name = repr(column.name)
        reason = why_no_feature(column)
        if column.name in targets:
            if column.missing:
                said.append(f"target {name} is missing in {_share(column)}; rows without one are refused")
            if column.counts and column.kind in ("text", "truth"):
                value, count = min(column.counts.items(), key=lambda item: (item[1], str(item[0])))
                said.append(
                    f"target {name}: the rarest of {len(column.counts)} classes is {value!r}, with {count} rows"
                )
            continue
        if reason is not None:
            said.append(f"column {name}: {reason}; no feature")
        elif column.missing:
            said.append(f"column {name} is missing in {_share(column)}")
    spreads = [c.deviation for c in profile.columns if c.kind == "number" and c.name not in targets and c.deviation > 0]
    if spreads and max(spreads) > 1e3 * min(spreads):
        said.append(
            f"numbers of very different sizes (deviations {min(spreads):.3g} to {max(spreads):.3g}): keep `standardize`"
        )
    return said


def _share(column: ColumnProfile) -> str:
    return f"{column.missing:,} of {column.rows:,} rows ({column.missing / max(column.rows, 1):.1%})"
