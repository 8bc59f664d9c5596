"""The picture of a profiling: well-formed whatever was measured, and with the answer in words."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.profiling import Goal, Measured, Profiling, Setting
from airflow_azureml.quality.load_picture import picture

SVG = "{http://www.w3.org/2000/svg}"
latencies = st.floats(0, 1e7) | st.just(math.inf)
found = st.lists(
    st.builds(
        Measured,
        setting=st.builds(Setting, instances=st.integers(1, 9), concurrency=st.integers(1, 9)),
        requests=st.integers(0, 10**6),
        failed=st.integers(0, 10),
        latency_ms=latencies,
        p50_ms=latencies,
    ),
    max_size=5,
)
GOAL = Goal(rate_per_s=20, latency_ms=100)


@given(found, st.text(max_size=20))
def test_a_picture_is_well_formed_and_tells_the_answer_whatever_was_measured(
    measured: list[Measured], title: str
) -> None:
    profiling = Profiling(goal=GOAL, price_per_hour=0.5)

    drawn = ET.fromstring(picture(profiling, measured, title=title))  # noqa: S314  # our own

    best = profiling.cheapest(measured)
    words = " ".join(drawn.itertext())
    assert (f"{best.setting} is the cheapest that holds" if best else "none of the settings holds") in words
    marks = [each for each in drawn.iter(f"{SVG}rect") if each.get("class") in ("yes", "no")]
    assert len(marks) == len(measured)
    assert all(0 <= float(each.get("width") or -1) <= 400 for each in marks)


def test_a_setting_that_holds_ends_left_of_the_goal_and_another_right_of_it() -> None:
    fast, slow = (
        Measured(setting=Setting(instances=n, concurrency=1), requests=9, failed=0, latency_ms=ms, p50_ms=ms / 2)
        for n, ms in ((1, 150), (2, 60))
    )

    drawn = ET.fromstring(picture(Profiling(goal=GOAL), [fast, slow], title="t"))  # noqa: S314  # our own

    (goal,) = (each.get("d") or "" for each in drawn.iter(f"{SVG}path"))
    at = float(goal[1:].split()[0])
    ends = {
        str(each.get("class")): float(each.get("x") or 0) + float(each.get("width") or 0)
        for each in drawn.iter(f"{SVG}rect")
        if each.get("class") in ("yes", "no")
    }
    assert ends["yes"] < at < ends["no"]
