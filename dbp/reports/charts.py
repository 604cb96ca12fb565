"""Pictures of numbers as inline SVG: lines, points, and cells that are darker for more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dbp.reports.markup import Markup, join, number, shortened, tag

WIDTH, HEIGHT = 380, 230  # of a chart, in its own units; it is as wide as its place
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 12, 30
MOST_POINTS = 400
MOST_WIDE = 24  # columns of a grid whose cells have room for text
LOG_FROM = 30.0  # largest over smallest, from which on a straight scale hides the end of the curve


@dataclass(frozen=True)
class Series:
    """One line: finite numbers, xs ascending."""

    label: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    dashed: bool = False


@dataclass(frozen=True)
class _Scale:
    """Where numbers are drawn: from `start` to `stop`. Inside, numbers are logarithms, or multiples of `unit`: then neither the
    largest nor the smallest that there are overflow or vanish."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False
    unit: float = 1.0

    @classmethod
    def over(cls, values: Sequence[float], start: float, stop: float, room: float = 0.0, *, log: bool) -> _Scale:
        """Return the scale of finite values, wider by a share at both ends."""
        low, high = min(values), max(values)
        largest = max(abs(low), abs(high))
        unit = 1.0 if largest == 0 or 1e-100 < largest < 1e100 else 10.0 ** max(-300, math.floor(math.log10(largest)))
        low, high = (math.log10(low), math.log10(high)) if log else (low / unit, high / unit)
        wider = room * (high - low) if high > low else room and (abs(low) / 2 or 1.0)
        return cls(low - wider, high + wider, start, stop, log, unit)

    def at(self, value: float) -> float:
        """Return where a number is drawn."""
        return self._place(math.log10(value) if self.log else value / self.unit)

    def _place(self, inner: float) -> float:
        share = 0.5 if self.high == self.low else (inner - self.low) / (self.high - self.low)
        return round(self.start + share * (self.stop - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Return round numbers: where they are drawn, and their text."""
        if self.log:
            return [
                (self._place(math.log10(mark) + ten), _short(mark, ten)) for mark, ten in _decades(self.low, self.high)
            ]
        step = _step(self.high - self.low)
        if not step > 0:
            return [(self._place(self.low), _short(self.low * self.unit))]
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        found = [place * step for place in range(first, last + 1)][:12]
        return [(self._place(value), _short(value * self.unit)) for value in found if abs(value * self.unit) < math.inf]


def line_chart(title: str, series: Sequence[Series], x_name: str = "step") -> Markup:
    """Return a figure of the lines; a logarithmic scale where they span much. A script shows the numbers under the pointer."""
    ys = [y for each in series for y in each.ys]
    xs = [x for each in series for x in each.xs]
    across = _Scale.over(xs, LEFT, WIDTH - RIGHT, log=False)
    log = min(ys) > 0 and max(ys) / LOG_FROM >= min(ys)
    up = _Scale.over(ys, HEIGHT - BOTTOM, TOP, 0.04, log=log)
    lines = [_line(each, place, across, up) for place, each in enumerate(series)]
    svg = tag(
        "svg",
        *_axes(across, up, x_name),
        *lines,
        tag("line", class_="cursor", x1=LEFT, x2=LEFT, y1=TOP, y2=HEIGHT - BOTTOM, visibility="hidden"),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        class_="chart",
        role="img",
        aria_label=title,
    )
    kind = " (logarithmic scale)" if up.log else ""
    legend = [tag("span", each.label, class_=f"key s{place % 8}") for place, each in enumerate(series)]
    caption = tag("figcaption", tag("b", title), kind, " ", *(legend if len(series) > 1 else []))
    return tag("figure", caption, svg, tag("output", Markup("&nbsp;"), class_="readout"))


def scatter(title: str, xs: Sequence[float], ys: Sequence[float], x_name: str, y_name: str) -> Markup:
    """Return a figure of points, with the line on which both numbers are the same."""
    up = _Scale.over([*xs, *ys], HEIGHT - BOTTOM, TOP, log=False)
    across = replace(up, start=LEFT, stop=WIDTH - RIGHT)
    points = [tag("circle", cx=across.at(x), cy=up.at(y), r=2) for x, y in zip(xs, ys, strict=True)]
    same = tag("line", class_="same", x1=across.start, y1=up.start, x2=across.stop, y2=up.stop)
    svg = tag(
        "svg",
        *_axes(across, up, x_name),
        same,
        tag("g", *points, class_="points"),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        class_="chart",
        role="img",
        aria_label=title,
    )
    return tag("figure", tag("figcaption", tag("b", title), f" up: {y_name}, across: {x_name}"), svg)


@dataclass(frozen=True)
class Cell:
    """One cell of a grid: how dark (0 to 1), what stands in it, and what is told of it."""

    shade: float
    text: str
    says: str


def grid(title: str, rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[Cell]], head: str) -> Markup:
    """Return a grid of shaded cells; `head` says what rows and columns are."""
    wide = len(columns) <= MOST_WIDE
    width, height, top = 66 if wide else max(7, 900 // len(columns)), 28, 46
    left = 24 + 7 * min(18, max(map(len, rows)))
    parts: list[Markup] = [tag("text", head, x=4, y=16, class_="small")]
    named = range(len(columns)) if wide else sorted({round(part * (len(columns) - 1) / 8) for part in range(9)})
    for place, name in ((each, columns[each]) for each in named):
        x = left + width * place + width / 2
        parts.append(tag("text", shortened(name, 11), tag("title", name), x=x, y=top - 8, class_="small middle"))
    for row, name in enumerate(rows):
        y = top + height * row
        parts.append(tag("text", shortened(name, 18), tag("title", name), x=left - 8, y=y + 18, class_="small end"))
        for column, cell in enumerate(cells[row]):
            x = left + width * column
            box = tag(
                "rect",
                tag("title", cell.says),
                x=x + 1,
                y=y + 1,
                width=width - (2 if wide else 1),
                height=height - 2,
                rx=3 if wide else 0,
                class_="shade",
                fill_opacity=round(0.04 + 0.71 * cell.shade, 3),
            )
            inside = tag("text", cell.text, x=x + width / 2, y=y + 18, class_="cell middle") if wide else None
            parts.append(tag("g", box, inside))
    size = (left + width * len(columns) + (4 if wide else 30), top + height * len(rows) + 4)
    svg = tag(
        "svg", *parts, width=size[0], height=size[1], viewBox=f"0 0 {size[0]} {size[1]}", role="img", aria_label=title
    )
    return tag("div", svg, class_="scroll")


def thinned(
    xs: Sequence[float], ys: Sequence[float], most: int = MOST_POINTS
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return at most about `most` of the points: of each stretch its lowest and its highest, and the first and last of all."""
    if len(xs) <= most:
        return tuple(xs), tuple(ys)
    size = math.ceil(len(xs) / (most / 2))
    kept = {0, len(xs) - 1}
    for start in range(0, len(xs), size):
        stretch = range(start, min(start + size, len(xs)))
        kept |= {min(stretch, key=lambda place: ys[place]), max(stretch, key=lambda place: ys[place])}
    order = sorted(kept)
    return tuple(xs[place] for place in order), tuple(ys[place] for place in order)


def _line(series: Series, place: int, across: _Scale, up: _Scale) -> Markup:
    points = [(across.at(x), up.at(y)) for x, y in zip(series.xs, series.ys, strict=True)]
    facts = {
        "data_label": series.label,
        "data_x": " ".join(number(x, 10) if isinstance(x, float) else str(x) for x in series.xs),
        "data_y": " ".join(f"{y:.5g}" for y in series.ys),
    }
    drawn = tag(
        "polyline",
        points=" ".join(f"{x},{y}" for x, y in points),
        class_=f"line s{place % 8}",
        stroke_dasharray="5 3" if series.dashed else None,
        **facts,
    )
    if len(points) > 30:
        return drawn
    dots = [tag("circle", cx=x, cy=y, r=2.2, class_=f"dot s{place % 8}") for x, y in points]
    return join([drawn, *dots])


def _axes(across: _Scale, up: _Scale, x_name: str) -> list[Markup]:
    parts = []
    for y, written in up.ticks():
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="rule"))
        parts.append(tag("text", written, x=LEFT - 6, y=y + 4, class_="small end"))
    for x, written in across.ticks():
        parts.append(tag("line", x1=x, x2=x, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM + 4, class_="rule"))
        parts.append(tag("text", written, x=x, y=HEIGHT - BOTTOM + 15, class_="small middle"))
    parts.append(tag("text", x_name, x=WIDTH - RIGHT, y=HEIGHT - 2, class_="small end"))
    return parts


def _short(value: float, ten: int = 0) -> str:
    """Return value x 10^ten in few characters."""
    if abs(ten) > 300:
        return f"{value:g}e{ten}"
    written = f"{value * 10.0**ten:.4g}"
    return written.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def _step(span: float) -> float:
    """Return a round number that goes into `span` about four times; 0 where there is none."""
    if not 1e-290 < span < math.inf:
        return 0.0
    size = 10.0 ** math.floor(math.log10(span / 4))
    return next((size * each for each in (1, 2, 5) if size * each >= span / 4), size * 10)


def _decades(low: float, high: float) -> list[tuple[int, int]]:
    """Return numbers between 10^low and 10^high, each as (digit, power of ten); powers of ten alone, unless there are few."""
    first, last = math.ceil(low - 1e-9), math.floor(high + 1e-9)
    every = max(1, math.ceil((last - first + 1) / 6))
    found = [(1, place) for place in range(first, last + 1, every)]
    if len(found) > 2:
        return found
    finer = [(digit, place) for place in range(first - 1, last + 2) for digit in (1, 2, 5)]
    return [(digit, place) for digit, place in finer if low <= math.log10(digit) + place <= high]
