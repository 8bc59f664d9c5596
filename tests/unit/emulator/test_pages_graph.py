"""The graph of a pipeline's steps: what it draws, and where."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator.pages import graph
from azureml_emulator.pages.graph import HEIGHT, MOST_STEPS, WIDTH, draw

Json = dict[str, Any]


def _node(**takes: str) -> Json:
    return {"inputs": {name: {"job_input_type": "literal", "value": value} for name, value in takes.items()}}


def _from(node: str, output: str = "made") -> str:
    return f"${{{{parent.jobs.{node}.outputs.{output}}}}}"


@st.composite
def pipelines(draw: st.DrawFn) -> dict[str, Json]:
    """Pipelines whose nodes take from any nodes that stand before them, written in any order."""
    count = draw(st.integers(2, 12))
    jobs = {
        f"n{number}": _node(
            **{f"i{source}": _from(f"n{source}") for source in range(number) if draw(st.integers(0, 3)) == 0}
        )
        for number in range(count)
    }
    return {node: jobs[node] for node in draw(st.permutations(sorted(jobs)))}


def test_what_a_step_takes_from_another_is_an_edge_that_says_so() -> None:
    drawn = draw({"prep": _node(), "train": _node(rows=_from("prep"), names=_from("prep", "columns"), rate="0.5")})

    assert drawn is not None
    assert [(edge.source, edge.target, edge.carries) for edge in drawn.edges] == [
        ("prep", "train", ["made → rows", "columns → names"])
    ]


@given(pipelines())
def test_a_step_stands_below_all_from_which_it_takes(jobs: dict[str, Json]) -> None:
    drawn = draw(jobs)

    assert drawn is not None
    tops = {box.node: box.y for box in drawn.boxes}
    assert tops.keys() == jobs.keys()
    assert len(drawn.edges) == sum(len(job["inputs"]) for job in jobs.values())
    assert all(tops[edge.source] + HEIGHT < tops[edge.target] for edge in drawn.edges)


@given(pipelines())
def test_no_two_steps_lie_on_each_other_and_all_are_in_the_picture(jobs: dict[str, Json]) -> None:
    drawn = draw(jobs)

    assert drawn is not None
    for one, other in itertools.combinations(drawn.boxes, 2):
        assert abs(one.x - other.x) >= WIDTH or abs(one.y - other.y) >= HEIGHT, (one, other)
    assert all(0 <= box.x <= drawn.width - WIDTH and 0 <= box.y <= drawn.height - HEIGHT for box in drawn.boxes)


@given(pipelines())
def test_an_edge_runs_straight_down_where_it_passes_a_row_and_touches_no_step_there(jobs: dict[str, Json]) -> None:
    drawn = draw(jobs)

    assert drawn is not None
    tops = {box.node: box.y for box in drawn.boxes}
    for edge in drawn.edges:
        passed = re.findall(r"([\d.]+) [\d.]+ V([\d.]+)", edge.path)
        assert len(passed) == (tops[edge.target] - tops[edge.source]) / (HEIGHT + graph.DOWN) - 1
        for x, bottom in passed:
            beside = [box for box in drawn.boxes if box.y == float(bottom) - HEIGHT]
            assert beside, "a row that is passed has steps"
            assert not any(box.x <= float(x) <= box.x + WIDTH for box in beside)


def test_an_edge_begins_below_its_source_and_ends_above_its_target() -> None:
    drawn = draw({"a": _node(), "b": _node(x=_from("a")), "c": _node(x=_from("a"), y=_from("b"))})

    assert drawn is not None
    boxes = {box.node: box for box in drawn.boxes}
    for edge in drawn.edges:
        begin = re.match(r"M([\d.]+) ([\d.]+)", edge.path)
        end = re.search(r"([\d.]+) ([\d.]+)$", edge.path)
        assert begin is not None
        assert end is not None
        source, target = boxes[edge.source], boxes[edge.target]
        assert (float(begin[1]), float(begin[2])) == (source.x + WIDTH / 2, source.y + HEIGHT)
        assert (float(end[1]), float(end[2])) == (target.x + WIDTH / 2, target.y)


@pytest.mark.parametrize(
    "jobs",
    [
        {},
        {"alone": _node()},
        {"a": _node(x=_from("b")), "b": _node(x=_from("a"))},
        {"a": _node(), "b": _node(x=_from("gone"))},
        {"a": "text", "b": None},
        {f"n{number}": _node() for number in range(MOST_STEPS + 1)},
    ],
    ids=["none", "one", "a circle", "from nowhere", "no nodes", "too many"],
)
def test_what_is_no_graph_is_not_drawn(jobs: dict[str, Any]) -> None:
    assert draw(jobs) is None


@pytest.mark.parametrize("inputs", [None, "text", ["x"], {"x": None}, {"x": {"value": 3}}])
def test_inputs_of_any_shape_are_drawn_as_none(inputs: Any) -> None:
    drawn = draw({"a": {"inputs": inputs}, "b": {}})

    assert drawn is not None
    assert [drawn.edges, len(drawn.boxes)] == [[], 2]


def test_steps_beside_each_other_stand_as_their_sources_do() -> None:
    drawn = draw(
        {
            "left": _node(),
            "right": _node(),
            "of_right": _node(x=_from("right")),
            "of_left": _node(x=_from("left")),
        }
    )

    assert drawn is not None
    at = {box.node: box.x for box in drawn.boxes}
    assert (at["left"] < at["right"]) == (at["of_left"] < at["of_right"])
