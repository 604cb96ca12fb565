"""A line search for the strong Wolfe conditions (More & Thuente 1994), as a conversation: it yields step lengths, is sent
samples.

Along phi(t) = f(x + t d), with phi'(0) < 0, a step t is good enough when

    phi(t) <= phi(0) + mu t phi'(0)      it goes down enough (mu = `sufficient_decrease`)
    |phi'(t)| <= eta |phi'(0)|           and the slope has flattened (eta = `curvature`)

The search keeps an interval that holds such steps. Its *lower* end has the lowest value seen; its *upper* end is the wall,
None before there is one. Each trial replaces an end (section 3 of the paper) and the next trial comes from cubics and secants
through the ends (section 4). As long as no step has gone down enough with a rising slope, the interval is that of psi(t) =
phi(t) - phi(0) - mu t phi'(0).

**Rounding.** Near a minimum differences of values drown in rounding long before slopes do, in float32 above all. Where phi(t)
equals phi(0) within `noise`, the trapezoid of the slopes stands in for it: phi(0) + t (phi'(0) + phi'(t)) / 2. The first
condition then reads phi'(t) <= (2 mu - 1) phi'(0): it is the *approximate Wolfe condition* of Hager & Zhang (2005), equation
4.1.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, replace

_FARTHEST = 1e10
_STRETCH = (1.1, 4.0)  # without a wall the next trial lies this many last moves beyond the last
_SHRINK = 0.66  # two trials shrink the interval to this share at least, or it is halved
_BACK = 0.1  # from a value that is not finite go back to this share of the way


@dataclass(frozen=True)
class Sample:
    """phi at one step length."""

    step: float
    value: float
    slope: float  # phi'(step)

    @property
    def finite(self) -> bool:
        """Whether value and slope are numbers."""
        return math.isfinite(self.value) and math.isfinite(self.slope)


@dataclass(frozen=True)
class Interval:
    """Where good steps are, and where the next trial is."""

    lower: Sample
    upper: Sample | None
    trial: float

    @property
    def width(self) -> float:
        """The distance of the ends; infinite without a wall."""
        return math.inf if self.upper is None else abs(self.upper.step - self.lower.step)


Search = Generator[float, Sample, float | None]


@dataclass(frozen=True)
class LineSearch:
    """How good is good enough, and when to give up."""

    sufficient_decrease: float = 1e-3  # mu
    curvature: float = 0.9  # eta
    max_trials: int = 20
    narrowest: float = 0.1  # give up when the interval is narrower than this share of its far end

    def search(self, start: Sample, first: float, noise: float = 0.0, ceiling: float = math.inf) -> Search:
        """Yield step lengths, be sent their Samples; return the step to take, or None.

        `start` is phi at 0, `first` the first trial. Values within `noise` of the start's are taken for equal to it; no step
        whose value lies above `ceiling` is taken. The step returned is one that was tried: one that meets the conditions or, when
        the search gave up, the lowest below the start.
        """
        interval = Interval(start, None, first)
        near, far = 0.0, first + _STRETCH[1] * first
        widths = [math.inf, math.inf]
        psi = True
        for _ in range(self.max_trials):
            trial = yield interval.trial
            if not trial.finite:
                interval = _back(interval, trial)
                near, far = sorted((interval.lower.step, trial.step))
                continue
            if abs(trial.value - start.value) <= noise and trial.value <= ceiling:
                trial = replace(trial, value=start.value + trial.step * 0.5 * (start.slope + trial.slope))
            line = start.value + self.sufficient_decrease * trial.step * start.slope
            if trial.value <= min(line, ceiling) and abs(trial.slope) <= self.curvature * -start.slope:
                return trial.step
            if interval.upper is not None and interval.width <= self.narrowest * far:
                break
            psi = psi and not (trial.value <= line and trial.slope >= 0)
            by_psi = psi and line < trial.value <= interval.lower.value
            interval = self._refined(interval, trial, (near, far), start, by_psi)
            interval, widths = _narrowed(interval, widths)
            near, far = _bounds(interval)
            if interval.upper is not None:
                interval = replace(interval, trial=min(max(interval.trial, near), far))
            if not 0.0 < interval.trial <= _FARTHEST or interval.trial == trial.step:
                break
        lowest = interval.lower
        return lowest.step if lowest.step > 0.0 and lowest.value < start.value and lowest.value <= ceiling else None

    def _refined(
        self, interval: Interval, trial: Sample, bounds: tuple[float, float], start: Sample, psi: bool
    ) -> Interval:
        """Return the interval after a trial, by the values of phi, or of psi in its stead."""
        if not psi:
            return refined(interval, trial, bounds)
        tilt = self.sufficient_decrease * start.slope
        upper = None if interval.upper is None else _tilted(interval.upper, -tilt)
        found = refined(Interval(_tilted(interval.lower, -tilt), upper, 0.0), _tilted(trial, -tilt), bounds)
        untilted = {sample.step: sample for sample in (interval.upper, interval.lower, trial) if sample is not None}
        upper = None if found.upper is None else untilted[found.upper.step]
        return Interval(untilted[found.lower.step], upper, found.trial)


def check_order(sufficient_decrease: float, curvature: float) -> None:
    """Raise ValueError unless mu < eta: only then is there a step that meets both conditions."""
    if not sufficient_decrease < curvature:
        raise ValueError(f"curvature is {curvature}; expected more than sufficient_decrease ({sufficient_decrease})")


def _tilted(sample: Sample, slope: float) -> Sample:
    return Sample(sample.step, sample.value + slope * sample.step, sample.slope + slope)


def _back(interval: Interval, trial: Sample) -> Interval:
    """Something overflowed at the trial: go most of the way back. No wall is set, since nothing can be fitted through it."""
    start = interval.lower.step
    return replace(interval, trial=start + _BACK * (trial.step - start))


def _narrowed(interval: Interval, widths: list[float]) -> tuple[Interval, list[float]]:
    """Halve an interval that the last two trials have not shrunk enough; `widths` are those after the last two trials."""
    if interval.upper is None:
        return interval, widths
    if interval.width >= _SHRINK * widths[0]:
        middle = interval.lower.step + 0.5 * (interval.upper.step - interval.lower.step)
        interval = replace(interval, trial=middle)
    return interval, [widths[1], interval.width]


def _bounds(interval: Interval) -> tuple[float, float]:
    """Between which steps the trial after the next must lie (where there is a wall: the next one too)."""
    lower, upper = interval.lower.step, interval.upper
    if upper is not None:
        return min(lower, upper.step), max(lower, upper.step)
    move = interval.trial - lower
    return interval.trial + _STRETCH[0] * move, interval.trial + _STRETCH[1] * move


def refined(interval: Interval, trial: Sample, bounds: tuple[float, float]) -> Interval:
    """Return the interval with the trial as one of its ends, and the next trial (section 4 of the paper, its four cases).

    `bounds` limit the next trial while there is no wall.
    """
    lower, upper = interval.lower, interval.upper
    cubic = cubic_minimum(lower, trial)
    if trial.value > lower.value:  # case 1: too far; a minimum lies between
        quadratic = quadratic_minimum(lower, trial)
        if cubic is None or abs(cubic - lower.step) >= abs(quadratic - lower.step):
            cubic = quadratic if cubic is None else cubic + 0.5 * (quadratic - cubic)
        return Interval(lower, trial, cubic)
    secant = secant_root(lower, trial)
    if trial.slope * lower.slope < 0.0:  # case 2: lower, and the slope has turned; a minimum lies between
        use_cubic = cubic is not None and abs(cubic - trial.step) > abs(secant - trial.step)
        return Interval(trial, lower, cubic if use_cubic and cubic is not None else secant)
    if abs(trial.slope) < abs(lower.slope):  # case 3: lower, and the slope has flattened
        return Interval(trial, upper, _beyond(lower, trial, upper, cubic, secant, bounds))
    # case 4: lower, and the slope is as steep as before: as far as one may go
    if upper is None:
        return Interval(trial, upper, bounds[1] if trial.step > lower.step else bounds[0])
    cubic = cubic_minimum(upper, trial)
    return Interval(trial, upper, 0.5 * (trial.step + upper.step) if cubic is None else cubic)


def _beyond(
    lower: Sample, trial: Sample, upper: Sample | None, cubic: float | None, secant: float, bounds: tuple[float, float]
) -> float:
    """The next trial in case 3. The cubic counts only if its minimum lies beyond the trial."""
    if cubic is None or (cubic - trial.step) * (trial.step - lower.step) <= 0.0:
        cubic = bounds[1] if trial.step > lower.step else bounds[0]
    nearer, farther = sorted((cubic, secant), key=lambda step: abs(step - trial.step))
    if upper is None:
        return min(max(farther, bounds[0]), bounds[1])
    limit = trial.step + _SHRINK * (upper.step - trial.step)
    return min(nearer, limit) if trial.step > lower.step else max(nearer, limit)


def cubic_minimum(first: Sample, second: Sample) -> float | None:
    """Return where the cubic through two samples has its minimum, or None if it has none (Nocedal & Wright 2006, eq. 3.59)."""
    width = second.step - first.step
    if width == 0.0:
        return None
    middle = first.slope + second.slope + 3.0 * (first.value - second.value) / width
    # Divided by the largest, so that no square overflows.
    scale = max(abs(middle), abs(first.slope), abs(second.slope))
    if scale == 0.0:
        return None
    square = (middle / scale) * (middle / scale) - (first.slope / scale) * (second.slope / scale)
    if not square >= 0.0:
        return None
    root = math.copysign(scale * math.sqrt(square), width)
    divisor = second.slope - first.slope + 2.0 * root
    return None if divisor == 0.0 else second.step - width * (second.slope + root - middle) / divisor


def quadratic_minimum(first: Sample, second: Sample) -> float:
    """Return where the parabola with the first's value and slope and the second's larger value has its minimum."""
    width = second.step - first.step
    mean = (second.value - first.value) / width
    return first.step + 0.5 * width * first.slope / (first.slope - mean)


def secant_root(first: Sample, second: Sample) -> float:
    """Return where the straight line through two slopes is 0; the second's step if the slopes are equal."""
    rise = second.slope - first.slope
    return second.step if rise == 0.0 else second.step - second.slope * (second.step - first.step) / rise
