"""The job file that `dbp init --from` writes and `dbp inspect` shows: for one table, ready to run, with the keys that matter."""

from __future__ import annotations

import json
import re

from dbp.cli.output import clean
from dbp.data.suggestion import RARE, Suggestion
from dbp.jobs.strict_yaml import plain_scalar


def suggested_job(name: str, train: str, suggestion: Suggestion) -> str:
    """Return the job file. `train` is the table's path as the file is to have it."""
    lines = [
        f"# Suggested by `dbp init --from` for {_word(clean(train))}. All keys: `dbp init`, or docs/job-file.md.",
        f"name: {_word(name)}",
        "data:",
        f"  train: {_word(train)}",
        *(["  validation: 0.2                # a share of the rows is held out"] if suggestion.validates else []),
        *(["  validation_split: {stratify: true}   # the same share of each class"] if _stratifies(suggestion) else []),
        f"  target: {_targets(suggestion)}",
        *_columns(suggestion),
        f"task: {suggestion.task:<27}# {suggestion.why}",
        "network:",
        f"  hidden: [{', '.join(map(str, suggestion.hidden))}]",
        "optimizer:",
        "  name: lbfgs                    # nothing to tune; others: docs/optimizers.md",
        "training:",
        "  max_steps: 200",
        "  l2_penalty: 0.0001",
        *(
            [
                "  validate_every: 5",
                "stopping:",
                "  patience: 5                    # looks at the held-out rows without improvement",
            ]
            if suggestion.validates
            else []
        ),
        "workers: 2                       # processes; 0: none but this one. Changes no bit of the result",
    ]
    return "\n".join(lines) + "\n"


def _targets(suggestion: Suggestion) -> str:
    words = [_word(name) for name in suggestion.targets]
    return words[0] if len(words) == 1 else f"[{', '.join(words)}]"


def _stratifies(suggestion: Suggestion) -> bool:
    return suggestion.stratify and suggestion.validates


def _columns(suggestion: Suggestion) -> list[str]:
    lines = []
    if suggestion.drop:
        lines.append("  drop:                          # no features")
        lines += [f"    - {_word(name)}  # {clean(reason)}" for name, reason in suggestion.drop]
    if suggestion.rare:
        lines.append(f"  rare_below: {RARE}                 # classes of text columns with fewer rows share an input")
        lines.append("  unknown: other                 # as do those that come up later")
    if suggestion.dates:
        lines.append("  dates:")
        lines += [f"    {_word(name)}: [{', '.join(parts)}]" for name, parts in suggestion.dates]
    fills = ['    "*": median'] * suggestion.fills_numbers + [
        f"    {_word(name)}: class" for name in suggestion.missing_class
    ]
    if fills:
        lines += ["  impute:                        # what takes the place of missing values", *fills]
    if suggestion.fills_numbers:
        lines.append("  missing_indicator: true        # and an input that says where")
    return lines


def _word(text: str) -> str:
    """Return text as a value or key of YAML, in quotes where it needs them."""
    if re.fullmatch(r"[A-Za-z_/][A-Za-z0-9_./-]*", text) and isinstance(plain_scalar(text), str):
        return text
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\x7f")
