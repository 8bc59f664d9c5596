"""Pictures of columns as inline SVG: a reference against a file."""

import html
import itertools
import math
from collections.abc import Sequence

from attrs import frozen

#: Most columns in the picture of nulls, and most words of a column of words.
MOST_NULLS, MOST_WORDS = 40, 12
#: The sizes of a picture, in the units of its view box.
_WIDTH, _HEIGHT, _FOOT, _BAR = 340.0, 132.0, 18.0, 22.0
_LONGEST_NAME = 20
#: The narrowest span of a picture; below it a share of it is no number any more.
_NARROWEST = 1e-290


@frozen(kw_only=True)
class Histogram:
    """How a column's values are spread, in a reference and in a file.

    Attributes:
        edges: Of a column of numbers: the ends of its bins, one more than shares, ascending.
        ticks: What to write at the first edge and at the last; by default the numbers.
        words: Of any other: what each share is of.
        reference: Shares of the reference, which add up to 1 at most.
        recent: Those of the file.
        note: What was found, one short sentence.
    """

    column: str
    reference: Sequence[float]
    recent: Sequence[float]
    edges: Sequence[float] = ()
    ticks: tuple[str, str] | None = None
    words: Sequence[str] = ()
    note: str = ""


@frozen(kw_only=True)
class Nulls:
    """Shares of nulls in a column.

    Attributes:
        reference: None without a reference, or where it has no such column.
    """

    column: str
    recent: float
    reference: float | None = None


def histogram(drawn: Histogram) -> str:
    """Draw a column; text where there is nothing that can be drawn."""
    if drawn.words:
        return _words(drawn)
    shares, edges = [*drawn.reference, *drawn.recent], list(drawn.edges)
    bins = len(edges) - 1
    is_there = bins > 0 and any([*drawn.reference[:bins], *drawn.recent[:bins]])
    if not is_there or not all(map(math.isfinite, [*shares, *edges])) or not _is_drawable(edges):
        return '<p class="soft">There is nothing to draw.</p>'
    return _numbers(drawn, edges)


def _is_drawable(edges: Sequence[float]) -> bool:
    """Tell whether edges ascend, over a span that can be reckoned with."""
    span = edges[-1] - edges[0]
    return list(edges) == sorted(edges) and math.isfinite(span) and (span == 0 or span > _NARROWEST)


def _numbers(drawn: Histogram, edges: list[float]) -> str:
    """Draw bins as wide as they are, and as high as they are dense."""
    low, high = edges[0], edges[-1]
    span = (high - low) or 1.0
    widths = [max(right - left, span / 400) for left, right in itertools.pairwise(edges)]
    was, now = (
        [share / width for share, width in zip(each, widths, strict=False)] for each in (drawn.reference, drawn.recent)
    )
    # A spike of one value must not flatten all the rest: what is higher is cut.
    ordered = sorted(value for value in [*was, *now] if value > 0)
    most = min(ordered[-1], 4 * ordered[max(0, int(len(ordered) * 0.9) - 1)])
    floor = _HEIGHT - _FOOT
    places = [2 + (edge - low) / span * (_WIDTH - 4) for edge in edges]

    def _outline(values: list[float]) -> str:
        points = [f"{places[0]:.1f},{floor:.1f}"]
        for (left, right), value in zip(itertools.pairwise(places), values, strict=False):
            y = floor - min(value / most, 1.0) * (floor - 6)
            points += [f"{left:.1f},{y:.1f}", f"{right:.1f},{y:.1f}"]
        return " ".join([*points, f"{places[-1]:.1f},{floor:.1f}"])

    begins, ends = drawn.ticks or (figure(low), figure(high))
    ticks = "".join(
        f'<text x="{x:.0f}" y="{_HEIGHT - 4:.0f}" text-anchor="{anchor}">{html.escape(told)}</text>'
        for x, anchor, told in ((2, "start", begins), (_WIDTH - 2, "end", ends))
    )
    return _svg(
        _HEIGHT,
        f"Histogram of {drawn.column}",
        f'<polygon class="was-area" points="{_outline(was)}"/><polygon class="is-line" points="{_outline(now)}"/>'
        f'<line class="axis" x1="0" x2="{_WIDTH:.0f}" y1="{floor:.0f}" y2="{floor:.0f}"/>{ticks}',
    )


def _words(drawn: Histogram) -> str:
    """Draw a pair of bars for each of the words whose shares are largest."""
    rows = sorted(
        zip(drawn.words, drawn.reference, drawn.recent, strict=False), key=lambda row: (-max(row[1], row[2]), row[0])
    )
    rows = [row for row in rows if all(map(math.isfinite, row[1:]))][:MOST_WORDS]
    return _bars(f"Shares in {drawn.column}", [(name, was, now) for name, was, now in rows])


def nulls(drawn: Sequence[Nulls]) -> str:
    """Draw a bar, or a pair of bars, for each column."""
    return _bars("Shares of nulls by column", [(each.column, each.reference, each.recent) for each in drawn])


def _bars(title: str, rows: Sequence[tuple[str, float | None, float]]) -> str:
    left, right = 130.0, 44.0
    most = max([*(max(was or 0.0, now) for _, was, now in rows), 1e-9])
    room = _WIDTH - left - right
    parts = []
    for number, (name, was, now) in enumerate(rows):
        top = number * _BAR
        short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
        label = f'x="{left - 6:.0f}" y="{top + 14:.1f}" text-anchor="end"'
        parts.append(f'<text class="name" {label}>{html.escape(_shown(short))}</text>')
        for y, kind, share in ((top + 3, "was", was), (top + 11, "is", now)):
            if share is not None:
                parts.append(
                    f'<rect class="{kind}" x="{left:.0f}" y="{y:.1f}" rx="1" height="7"'
                    f' width="{max(share / most * room, 0.8 if share else 0):.1f}"/>'
                )
        end = left + max(was or 0.0, now) / most * room
        parts.append(f'<text x="{end + 4:.1f}" y="{top + 14:.1f}">{now:.1%}</text>')
    return _svg(len(rows) * _BAR + 2, title, "".join(parts))


def _svg(height: float, label: str, inside: str) -> str:
    told = html.escape(_shown(label))
    return f'<svg viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img" aria-label="{told}">{inside}</svg>'


def _shown(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text).encode("utf-8", "replace").decode()


def figure(number: float) -> str:
    """Write a figure for people: four digits that count, and no more."""
    if not math.isfinite(number):
        return str(number)
    if number == int(number) and abs(number) < 1e7:  # noqa: PLR2004  # where commas still help
        return f"{int(number):,}".replace(",", "\u202f")
    return f"{number:.4g}"
