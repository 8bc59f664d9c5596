"""The graph of a pipeline's steps: read from their bindings, laid out in rows from top to bottom.

Each step stands in the row below the last of those that it takes something from. An edge that passes a row takes a
narrow place in it, so that it goes around the steps there. All of it pure; lengths are pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from azureml_emulator.steps import SpecificationError, dependencies, in_order, sources

Json = dict[str, Any]
#: A row, a node, and for an edge that passes the row the node that it goes to; empty for the node's own place.
Place = tuple[int, str, str]

WIDTH, HEIGHT = 176, 46
#: How far steps are from each other, and how wide the place of an edge that passes them is.
ACROSS, DOWN, PASSAGE = 20, 40, 12
#: A graph of more steps is not drawn.
MOST_STEPS = 300
_MARGIN = 8
_SWEEPS = 4


@attrs.frozen(kw_only=True)
class Box:
    """One step: its upper left corner."""

    node: str
    x: float
    y: float


@attrs.frozen(kw_only=True)
class Edge:
    """What one step takes from another.

    Attributes:
        carries: Each output with the input that takes it, as text.
        path: The line, as SVG writes it.
    """

    source: str
    target: str
    carries: Sequence[str]
    path: str


@attrs.frozen(kw_only=True)
class Graph:
    """A drawn graph."""

    boxes: Sequence[Box]
    edges: Sequence[Edge]
    width: float
    height: float


def draw(jobs: Mapping[str, Any]) -> Graph | None:
    """Draw the steps of a pipeline.

    Args:
        jobs: The nodes as the pipeline's specification has them.

    Returns:
        None where there is nothing to draw: too few steps or too many, or they do not fit together.
    """
    nodes = {node: _with_inputs(spec) for node, spec in jobs.items() if isinstance(spec, Mapping)}
    if not 2 <= len(nodes) <= MOST_STEPS:  # noqa: PLR2004  # one step alone is no graph
        return None
    try:
        after = dependencies(nodes)
        rows = _rows(after)
    except SpecificationError:
        return None
    spots = _spots(_places(after, rows))
    edges = [
        Edge(
            source=source,
            target=node,
            carries=[
                f"{output} → {name}"
                for name, (maker, output) in sources(nodes[node]["inputs"]).items()
                if maker == source
            ],
            path=_line(_way(source, node, rows), spots),
        )
        for node, taken in after.items()
        for source in sorted(taken)
    ]
    boxes = [Box(node=node, x=spots[rows[node], node, ""][0], y=spots[rows[node], node, ""][1]) for node in nodes]
    width = max(x + _width(place) for place, (x, _) in spots.items()) + _MARGIN
    height = max(box.y for box in boxes) + HEIGHT + _MARGIN
    return Graph(boxes=boxes, edges=edges, width=width, height=height)


def _with_inputs(spec: Mapping[str, Any]) -> Json:
    inputs = spec.get("inputs")
    return {"inputs": inputs if isinstance(inputs, Mapping) else {}}


def _rows(after: Mapping[str, frozenset[str]]) -> dict[str, int]:
    rows: dict[str, int] = {}
    for node in in_order(after):
        rows[node] = 1 + max((rows[source] for source in after[node]), default=-1)
    return rows


def _way(source: str, target: str, rows: Mapping[str, int]) -> list[Place]:
    """Name the places that an edge passes, its two ends among them; those between belong to it alone."""
    between = [(row, source, target) for row in range(rows[source] + 1, rows[target])]
    return [(rows[source], source, ""), *between, (rows[target], target, "")]


def _width(place: Place) -> int:
    return PASSAGE if place[2] else WIDTH


def _places(after: Mapping[str, frozenset[str]], rows: Mapping[str, int]) -> list[list[Place]]:
    """Order the places of each row so that few edges cross: each near the middle of its neighbours."""
    near: dict[Place, list[Place]] = {(row, node, ""): [] for node, row in rows.items()}
    for node, taken in after.items():
        for source in sorted(taken):
            for upper, lower in itertools.pairwise(_way(source, node, rows)):
                near.setdefault(upper, []).append(lower)
                near.setdefault(lower, []).append(upper)
    ordered: list[list[Place]] = [[] for _ in range(max(rows.values()) + 1)]
    for place in near:
        ordered[place[0]].append(place)
    for sweep in range(_SWEEPS):
        forth = sweep % 2 == 0
        for row in range(len(ordered)) if forth else reversed(range(len(ordered))):
            beside = row - 1 if forth else row + 1
            if 0 <= beside < len(ordered):
                ordered[row] = _ordered(ordered[row], ordered[beside], near)
    return ordered


def _ordered(row: list[Place], beside: list[Place], near: Mapping[Place, list[Place]]) -> list[Place]:
    at = {place: number for number, place in enumerate(beside)}
    own = {place: number for number, place in enumerate(row)}

    def middle(place: Place) -> float:
        known = [at[other] for other in near[place] if other in at]
        return sum(known) / len(known) if known else own[place]

    return sorted(row, key=middle)


def _spots(rows: Sequence[Sequence[Place]]) -> dict[Place, tuple[float, float]]:
    """Say where the upper left corner of each place is; rows are centred on the widest one."""
    widths = [sum(map(_width, row)) + ACROSS * (len(row) - 1) for row in rows]
    spots = {}
    for number, row in enumerate(rows):
        x = _MARGIN + (max(widths) - widths[number]) / 2
        for place in row:
            spots[place] = (x, float(_MARGIN + number * (HEIGHT + DOWN)))
            x += _width(place) + ACROSS
    return spots


def _line(way: Sequence[Place], spots: Mapping[Place, tuple[float, float]]) -> str:
    """Draw a line from the lower side of the first place to the upper side of the last, straight through the others."""
    tops = [(spots[place][0] + _width(place) / 2, spots[place][1]) for place in way]
    x, y = tops[0][0], tops[0][1] + HEIGHT
    path = f"M{x:g} {y:g}"
    for to_x, to_y in tops[1:]:
        bend = (to_y - y) / 2
        path += f" C{x:g} {y + bend:g} {to_x:g} {to_y - bend:g} {to_x:g} {to_y:g}"
        x, y = to_x, to_y + HEIGHT
        path += f" V{y:g}" if (to_x, to_y) != tops[-1] else ""
    return path
