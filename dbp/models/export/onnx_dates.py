"""Parts of dates as ONNX operators on whole numbers: microseconds since 1970 to years, months and days of the Gregorian calendar.

Years are counted from March, so that the day that leap years have more is the last of a year; 400 years have 146,097 days.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from dbp.models.export.onnx_graph import Graph

_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_CYCLE = 146_097  # days of 400 years
_MARCH_OF_YEAR_0 = 719_468  # days before 1970


def date_parts(graph: Graph, moment: str, parts: Sequence[str]) -> Iterator[str]:
    """Yield each part of a moment (N, 1) int64: whole numbers (N, 1), the timestamp in float64 seconds."""
    calendar = _Calendar(graph, moment)
    for part in parts:
        yield calendar.part(part)


class _Calendar:
    """Steps that several parts share are computed once."""

    def __init__(self, graph: Graph, moment: str) -> None:
        self._graph, self._moment = graph, moment

    def part(self, name: str) -> str:
        """Return a part by its name."""
        graph = self._graph
        match name:
            case "year":
                return self._sum(self._year_from_march, graph.add("Cast", self._is_early, to=_INT64))
            case "month":
                return graph.add("Where", self._is_early, self._less(self._months, 9), self._more(self._months, 3))
            case "day":
                return self._more(self._minus(self._day_of_year_from_march, self._days_before_month), 1)
            case "weekday":
                return self._modulo(self._more(self._days, 3), 7)
            case "hour":
                return self._over(self._time, 3600 * _SECOND)
            case "minute":
                return self._modulo(self._over(self._time, 60 * _SECOND), 60)
            case "day_of_year":
                late = self._sum(self._more(self._day_of_year_from_march, 60), self._leap)
                return graph.add("Where", self._is_early, self._less(self._day_of_year_from_march, 305), late)
            case "timestamp":
                seconds = graph.add("Cast", self._moment, to=_FLOAT64)
                return graph.add("Div", seconds, graph.constant(1e6, np.float64))
        raise ValueError(f"no part {name!r} of a date")

    @cached_property
    def _time(self) -> str:
        return self._modulo(self._moment, _DAY)

    @cached_property
    def _days(self) -> str:
        return self._over(self._minus(self._moment, self._time), _DAY)

    @cached_property
    def _day_of_cycle(self) -> str:
        return self._modulo(self._more(self._days, _MARCH_OF_YEAR_0), _CYCLE)

    @cached_property
    def _year_of_cycle(self) -> str:
        day = self._day_of_cycle
        shorter = self._minus(day, self._over(day, 1460))
        longer = self._minus(self._sum(shorter, self._over(day, 36_524)), self._over(day, _CYCLE - 1))
        return self._over(longer, 365)

    @cached_property
    def _day_of_year_from_march(self) -> str:
        year = self._year_of_cycle
        before = self._sum(self._times(year, 365), self._minus(self._over(year, 4), self._over(year, 100)))
        return self._minus(self._day_of_cycle, before)

    @cached_property
    def _months(self) -> str:
        """Months since March, from 0."""
        return self._over(self._more(self._times(self._day_of_year_from_march, 5), 2), 153)

    @cached_property
    def _days_before_month(self) -> str:
        return self._over(self._more(self._times(self._months, 153), 2), 5)

    @cached_property
    def _is_early(self) -> str:
        """Whether it is January or February, of the year after that which began in March."""
        return self._graph.add("Greater", self._months, self._whole(9))

    @cached_property
    def _year_from_march(self) -> str:
        days = self._minus(self._more(self._days, _MARCH_OF_YEAR_0), self._day_of_cycle)
        return self._sum(self._times(self._over(days, _CYCLE), 400), self._year_of_cycle)

    @cached_property
    def _leap(self) -> str:
        """1 where the year in which March was has 366 days."""
        graph, year, zero = self._graph, self._year_of_cycle, self._whole(0)
        fourth = graph.add("Equal", self._modulo(year, 4), zero)
        usual = graph.add("Not", graph.add("Equal", self._modulo(year, 100), zero))
        first = graph.add("Equal", year, zero)
        return graph.add("Cast", graph.add("And", fourth, graph.add("Or", usual, first)), to=_INT64)

    def _whole(self, number: int) -> str:
        return self._graph.constant(number, np.int64)

    def _sum(self, first: str, second: str) -> str:
        return self._graph.add("Add", first, second)

    def _minus(self, first: str, second: str) -> str:
        return self._graph.add("Sub", first, second)

    def _more(self, value: str, number: int) -> str:
        return self._graph.add("Add", value, self._whole(number))

    def _less(self, value: str, number: int) -> str:
        return self._graph.add("Sub", value, self._whole(number))

    def _times(self, value: str, number: int) -> str:
        return self._graph.add("Mul", value, self._whole(number))

    def _over(self, value: str, number: int) -> str:
        """Return the quotient of numbers that are not negative, or are multiples."""
        return self._graph.add("Div", value, self._whole(number))

    def _modulo(self, value: str, number: int) -> str:
        """Return what is left, from 0 on also for negative numbers."""
        return self._graph.add("Mod", value, self._whole(number))


_INT64, _FLOAT64 = 7, 11  # of onnx.TensorProto, without loading it
