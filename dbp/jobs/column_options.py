"""Values of the keys of `data` that say how feature columns become inputs, and how validation rows are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from dbp.section import Section

DatePart: TypeAlias = Literal["year", "month", "day", "weekday", "hour", "minute", "day_of_year", "timestamp"]
DEFAULT_DATE_PARTS: tuple[DatePart, ...] = ("year", "month", "day", "weekday")
MOST_CATEGORIES = 100_000


def _kind(value: object) -> str | None:
    if isinstance(value, str):
        return "<text>"
    if isinstance(value, list | tuple):
        return "<list>"
    return "<map>" if isinstance(value, Mapping) else None


_ByKind = Discriminator(_kind)
Column = Annotated[str, Field(min_length=1, json_schema_extra={"expected": "the name of a column"})]
Entry = Annotated[str, Field(min_length=1, json_schema_extra={"expected": "the name of a column, or a pattern"})]
Entries = list[Entry]
Unknown: TypeAlias = Literal["refuse", "other", "zeros"]
_Fill = Literal["mean", "median", "zero"]
_FillPerColumn = Annotated[
    dict[str, Literal["mean", "median", "zero", "class"]],
    Field(min_length=1, json_schema_extra={"expected": "a section with a rule for each column or pattern"}),
]
Impute = Annotated[Annotated[_Fill, Tag("<text>")] | Annotated[_FillPerColumn, Tag("<map>")], _ByKind]
_Parts = Annotated[list[DatePart], Field(min_length=1)]
_PartsPerColumn = Annotated[
    dict[str, _Parts],
    Field(json_schema_extra={"expected": "a section with a list of parts for each column or pattern"}),
]
Dates = Annotated[Annotated[Entries, Tag("<list>")] | Annotated[_PartsPerColumn, Tag("<map>")], _ByKind]


class ValidationSplit(Section):
    """How the rows of a validation share are chosen: exactly one of these."""

    group: Column | None = Field(
        default=None,
        description="A column whose rows of one value stay together: all in the training rows, or all held out. It is no feature, "
        "unless `features` names it.",
    )
    time: Column | None = Field(
        default=None,
        description="A column of dates or numbers: the latest rows are held out. Rows of one time stay together. It is no feature, "
        "unless `features` names it.",
    )
    stratify: bool = Field(
        default=False, description="Hold out the same share of each class of the target (classification)."
    )
