"""Messages about sections that are told apart by their name, as the optimisers are."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dbp.jobs.problems import problems_of
from dbp.jobs.wording import did_you_mean, printable, show


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Descent(Strict):
    name: Literal["descent"]
    rate: float = Field(gt=0)


class Newton(Strict):
    name: Literal["newton"]
    damping: float = Field(ge=0)
    history: int | None = Field(default=None, ge=1)


class Toy(Strict):
    optimizer: Annotated[Descent | Newton, Field(discriminator="name")]
    steps: int = 1


@pytest.mark.parametrize(
    ("optimizer", "problems"),
    [
        ({"name": "newtn"}, ['optimizer.name: "newtn" is not known; expected one of: descent, newton; did you mean "newton"?']),
        ({"rate": 1}, ["optimizer.name: missing; expected one of: descent, newton"]),
        ({"name": 3}, ["optimizer.name: 3 is not known; expected one of: descent, newton"]),
        ({"name": "descent", "rate": 0}, ["optimizer.rate: 0 is not allowed; expected a number greater than 0"]),
        (
            {"name": "newton", "dampin": 1, "history": 0},
            [
                "optimizer.damping: missing; expected a number of at least 0",
                "optimizer.history: 0 is not allowed; expected a whole number of at least 1, or null",
                'optimizer.dampin: unknown key; did you mean "damping"?',
            ],
        ),
        ({"name": "newton", "damping": 0, "rate": 1}, ["optimizer.rate: unknown key; expected one of: name, damping, history"]),
        ([], ["optimizer: [] is not a section with a name (one of: descent, newton) and its keys"]),
    ],
)  # fmt: skip
def test_a_union_of_sections(optimizer: Any, problems: list[str]) -> None:
    values = {"optimizer": optimizer}
    with pytest.raises(ValidationError) as caught:
        Toy.model_validate(values)
    found = problems_of(caught.value, Toy.model_json_schema(), values)
    assert [str(problem) for problem in found] == problems


def test_values_are_shown_short_and_harmless() -> None:
    assert show([1.5, None, True, "a", float("-inf")]) == '[1.5, null, true, "a", -.inf]'
    assert show("x" * 100) == f'"{"x" * 80}..."'
    assert show(10**5000) == "a number of thousands of digits"
    assert show({"a": 1, "b": 2}) == "a section with the keys a, b"
    assert printable("a\x1b[31m\u202e\n") == "a\\x1b[31m\\u202e\\n"
    assert did_you_mean("Traning", ["training", "workers"]) == '; did you mean "training"?'
    assert did_you_mean("zzz", ["training"]) == ""
