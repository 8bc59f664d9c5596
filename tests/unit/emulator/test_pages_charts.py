"""Line charts of metrics: whatever the numbers are, the picture holds them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator.pages.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MOST_MARKED,
    MOST_NAMED,
    MOST_POINTS,
    RIGHT,
    TOP,
    WIDTH,
    Chart,
    Scale,
    chart,
    thinned,
)

#: Values of all sizes, and many that are near each other.
values = st.one_of(
    st.floats(), st.floats(-1, 1), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 5e-324, 1.7e308, -1.7e308])
)
courses = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 20), values), max_size=12)


def _points(drawn: Chart) -> list[tuple[float, float]]:
    found = [dot for line in drawn.lines for dot in line.dots]
    for line in drawn.lines:
        for text in line.lines:
            found += [(float(x), float(y)) for x, y in (pair.split(",") for pair in text.split())]
    return found


@given(st.dictionaries(st.text(max_size=3), courses, max_size=4))
def test_each_finite_value_is_in_the_picture_and_no_other(series: dict[str, list[tuple[float, float]]]) -> None:
    drawn = chart("m", series)

    finite = {name: sum(math.isfinite(value) for _, value in points) for name, points in series.items()}
    assert (drawn is None) == (max(finite.values(), default=0) < 2)
    if drawn is None:
        return
    placed = _points(drawn)
    assert len(placed) == sum(finite.values())
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in placed)
    assert [line.missing for line in drawn.lines] == [len(series[name]) - finite[name] for name in series]


def test_each_point_of_a_short_line_says_its_step_and_value_and_none_of_a_long_one() -> None:
    long: list[tuple[float, float]] = [(step, step) for step in range(MOST_MARKED + 1)]
    drawn = chart("loss", {"slow": [(0, 0.5), (1, math.nan), (2, 0.25)], "long": long})

    assert drawn is not None
    assert [mark.label for mark in drawn.lines[0].marks] == ["slow, 0: 0.5", "slow, 2: 0.25"]
    assert [(mark.x, mark.y) for mark in drawn.lines[0].marks] == list(drawn.lines[0].dots)
    assert drawn.lines[1].marks == []


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6))
def test_marks_are_on_the_axis_few_and_in_order(numbers: list[float]) -> None:
    scale = Scale.over(numbers, 0, 100)
    marks = scale.ticks(4)

    places = [mark.at for mark in marks]
    assert 1 <= len(marks) <= 10
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)
    assert not any("nan" in mark.label or "inf" in mark.label for mark in marks)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.0, 1.0, ["0", "0.5", "1"]),
        (0.07, 0.93, ["0.5"]),
        (12.0, 59.0, ["20", "40"]),
        (-1.0, 1.0, ["-1", "-0.5", "0", "0.5", "1"]),
        (3.0, 3.0, ["3"]),
        (0.99991, 0.99998, ["0.99992", "0.99994", "0.99996", "0.99998"]),
    ],
)
def test_marks_are_round_numbers(low: float, high: float, labels: list[str]) -> None:
    assert [mark.label for mark in Scale(low, high, 0, 100).ticks(4, least=1e-9)] == labels


def test_steps_are_marked_with_whole_numbers() -> None:
    drawn = chart("m", {"run": [(0, 1.0), (1, 2.0), (2, 1.5)]})

    assert drawn is not None
    assert [mark.label for mark in drawn.across] == ["0", "1", "2"]


def test_a_value_that_is_no_number_breaks_the_line_and_one_between_two_such_is_a_dot() -> None:
    nan = math.nan
    drawn = chart("m", {"run": list(enumerate([1.0, 2.0, nan, 3.0, nan, 2.0, 1.0]))})

    assert drawn is not None
    (line,) = drawn.lines
    assert [len(text.split()) for text in line.lines] == [2, 2]
    assert len(line.dots) == 1
    assert line.missing == 2


def test_a_greater_value_is_higher_and_a_later_step_is_further_right() -> None:
    drawn = chart("m", {"run": [(0, 1.0), (5, 2.0)]})

    assert drawn is not None
    (before, after) = _points(drawn)
    assert before == (LEFT, HEIGHT - BOTTOM)
    assert after == (WIDTH - RIGHT, TOP)


@pytest.mark.parametrize("far", [1e-300, 1.0, 1.7e308])
def test_the_lowest_and_the_highest_are_at_the_ends_however_far_they_are_apart(far: float) -> None:
    scale = Scale.over([-far, 0.0, far], 0, 100)

    assert [scale.at(number) for number in (-far, 0.0, far)] == [0, 50, 100]


def test_values_that_are_all_the_same_are_in_the_middle() -> None:
    drawn = chart("m", {"run": [(0, 7.0), (1, 7.0)]})

    assert drawn is not None
    assert {y for _, y in _points(drawn)} == {(TOP + HEIGHT - BOTTOM) / 2}


def test_many_series_are_all_drawn_and_the_first_are_named() -> None:
    drawn = chart("m", {f"trial {number}": [(0, number), (1, 2 * number)] for number in range(50)})

    assert drawn is not None
    assert len(drawn.lines) == 50
    assert [len(drawn.named), drawn.unnamed] == [MOST_NAMED, 50 - MOST_NAMED]


def test_a_long_course_keeps_its_ends_and_its_extremes() -> None:
    course = [(float(step), 1.0) for step in range(20_000)]
    course[7_777], course[12_345] = (7777.0, 99.0), (12345.0, -99.0)
    drawn = chart("m", {"run": course})

    assert drawn is not None
    placed = _points(drawn)
    assert len(placed) <= MOST_POINTS + 4
    assert {min(y for _, y in placed), max(y for _, y in placed)} == {TOP, HEIGHT - BOTTOM}
    assert [placed[0][0], placed[-1][0]] == [LEFT, WIDTH - RIGHT]


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=60), st.integers(1, 7))
def test_what_is_thinned_out_is_in_order_and_has_the_same_extremes(numbers: list[float], each: int) -> None:
    course = [(float(step), value) for step, value in enumerate(numbers)]

    kept = thinned(course, each)

    assert [step for step, _ in kept] == sorted(step for step, _ in kept)
    assert set(kept) <= set(course)
    for extreme in (min, max):
        assert extreme(value for _, value in kept) == extreme(numbers)
