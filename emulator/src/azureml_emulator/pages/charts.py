"""Line charts of metrics: several series on one pair of axes, whatever the numbers are; lengths are pixels.

A value that is no finite number breaks its line. A chart is for one metric, a series for each run that logged it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import attrs

WIDTH, HEIGHT = 520, 190
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 10, 26
#: So many series are named below a chart; all are drawn.
MOST_NAMED = 8
#: A line has at most so many points: of each stretch its lowest and its highest.
MOST_POINTS = 600
#: A line of at most so many points tells each of them to who points at it.
MOST_MARKED = 150
#: So many colours there are; series beyond them begin anew.
COLOURS = 6
_TICKS_UP, _TICKS_ACROSS = 4, 6
#: A round number is at the end of an axis that floating point puts so little beyond it, in marks.
_NEARLY = 1e-9

Point = tuple[float, float]


@attrs.frozen(kw_only=True)
class Tick:
    """A mark on an axis, and what stands at it."""

    at: float
    label: str


@attrs.frozen(kw_only=True)
class Mark:
    """A point of a line, and what it says."""

    x: float
    y: float
    label: str


@attrs.frozen(kw_only=True)
class Line:
    """One series.

    Attributes:
        lines: Its unbroken stretches, each as the points of an SVG polyline.
        dots: Points that no line goes through.
        marks: Its points, where they are few.
        missing: How many of its values are no finite numbers.
    """

    name: str
    colour: int
    lines: Sequence[str]
    dots: Sequence[Point]
    marks: Sequence[Mark]
    missing: int


@attrs.frozen(kw_only=True)
class Chart:
    """The chart of one metric."""

    key: str
    lines: Sequence[Line]
    up: Sequence[Tick]
    across: Sequence[Tick]
    unnamed: int

    @property
    def named(self) -> Sequence[Line]:
        """The series that are named below."""
        return self.lines[:MOST_NAMED]


def chart(key: str, series: Mapping[str, Sequence[Point]]) -> Chart | None:
    """Draw a metric.

    Args:
        key: Its name.
        series: By name, the points: step and value.

    Returns:
        None where there is no line to draw: no series has two finite values.
    """
    finite = {name: [point for point in points if math.isfinite(point[1])] for name, points in series.items()}
    if all(len(points) < 2 for points in finite.values()):  # noqa: PLR2004  # a line has two ends
        return None
    steps = Scale.over((step for points in finite.values() for step, _ in points), LEFT, WIDTH - RIGHT)
    values = Scale.over((value for points in finite.values() for _, value in points), HEIGHT - BOTTOM, TOP)
    lines = [
        _series(name, points, colour=number % COLOURS, scales=(steps, values))
        for number, (name, points) in enumerate(series.items())
    ]
    return Chart(
        key=key,
        lines=lines,
        up=values.ticks(_TICKS_UP),
        across=steps.ticks(_TICKS_ACROSS, least=1.0),
        unnamed=max(0, len(lines) - MOST_NAMED),
    )


@attrs.frozen
class Scale:
    """Where numbers between two others are on an axis.

    Attributes:
        low: The lowest number, at ``begin``.
        high: The highest, at ``end``; equal to ``low`` where all numbers are the same: then they are in the middle.
    """

    low: float
    high: float
    begin: float
    end: float

    @classmethod
    def over(cls, numbers: Iterable[float], begin: float, end: float) -> Scale:
        """Make the axis on which all these finite numbers are."""
        found = list(numbers)
        return cls(min(found), max(found), begin, end)

    def at(self, number: float) -> float:
        """Say where a number is."""
        half = self.high / 2 - self.low / 2  # the difference itself may be too great for a number
        share = (number / 2 - self.low / 2) / half if half > 0 else 0.5
        return round(self.begin + share * (self.end - self.begin), 1)

    def ticks(self, most: int, *, least: float = 0.0) -> list[Tick]:
        """Mark round numbers, at most about so many and no closer than ``least``; the ends where there are none."""
        step = max(_round_up((self.high / 2 - self.low / 2) / most * 2), least)
        first, last = (self.low / step, self.high / step) if step > 0 else (math.inf, math.inf)
        numbers = []
        if math.isfinite(first) and math.isfinite(last):
            numbers = [whole * step for whole in range(math.ceil(first - _NEARLY), math.floor(last + _NEARLY) + 1)]
        numbers = [min(max(number, self.low), self.high) for number in numbers] or sorted({self.low, self.high})
        return [Tick(at=self.at(number), label=label) for number, label in zip(numbers, _labels(numbers), strict=True)]


def _labels(numbers: Sequence[float]) -> list[str]:
    """Write different numbers differently, with as few digits as that takes; 17 tell any two apart."""
    for digits in range(4, 17):
        labels = [f"{number:.{digits}g}" for number in numbers]
        if len(set(labels)) == len(set(numbers)):
            return labels
    return [f"{number:.17g}" for number in numbers]


def _round_up(number: float) -> float:
    """Find the next number of the row 1, 2, 5, 10, …; 0 for what is too small or too great for one."""
    if not 1e-300 < number < 1e300:  # noqa: PLR2004  # beyond, powers of ten are no exact numbers any more
        return 0.0
    ten = 10.0 ** math.floor(math.log10(number))
    return next(times * ten for times in (1, 2, 5, 10, 20) if times * ten >= number)


def _series(name: str, points: Sequence[Point], *, colour: int, scales: tuple[Scale, Scale]) -> Line:
    steps, values = scales
    stretches: list[list[Point]] = [[]]
    for step, value in points:
        if math.isfinite(value):
            stretches[-1].append((step, value))
        elif stretches[-1]:
            stretches.append([])
    each = max(1, len(points) // MOST_POINTS)
    placed = [
        [(steps.at(step), values.at(value)) for step, value in thinned(stretch, each)]
        for stretch in stretches
        if stretch
    ]
    return Line(
        name=name,
        colour=colour,
        lines=[" ".join(f"{x:g},{y:g}" for x, y in stretch) for stretch in placed if len(stretch) > 1],
        dots=[stretch[0] for stretch in placed if len(stretch) == 1],
        marks=[
            Mark(x=steps.at(step), y=values.at(value), label=f"{name}, {step:g}: {value:.6g}")
            for step, value in points
            if math.isfinite(value) and len(points) <= MOST_MARKED
        ],
        missing=sum(not math.isfinite(value) for _, value in points),
    )


def thinned(points: Sequence[Point], each: int) -> list[Point]:
    """Keep, of every ``2 * each`` points in a row, the lowest and the highest, in their order; all for ``each`` 1."""
    if each <= 1:
        return list(points)
    kept = [points[0]]
    for begin in range(0, len(points), 2 * each):
        some = range(begin, min(begin + 2 * each, len(points)))
        extremes = {extreme(some, key=lambda place: points[place][1]) for extreme in (min, max)}
        kept += [points[place] for place in sorted(extremes)]
    return [*kept, points[-1]]
