"""How requests are shared out: in the shares that were asked for, and to nobody who has none."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator.online_split import Split


@st.composite
def hundreds(draw: st.DrawFn) -> dict[str, int]:
    """Traffic of some deployments, which adds up to 100; some of them have none."""
    cuts = sorted(draw(st.lists(st.integers(0, 100), max_size=4)))
    edges = [0, *cuts, 100]
    return {f"d{number}": after - before for number, (before, after) in enumerate(itertools.pairwise(edges))}


@given(hundreds())
def test_a_hundred_even_draws_are_shared_out_exactly_as_the_traffic_says(traffic: dict[str, int]) -> None:
    split = Split.of({"traffic": traffic})

    shares = Counter(split.choose((number + 0.5) / 100) for number in range(100))

    assert shares == Counter({name: weight for name, weight in traffic.items() if weight})


@given(hundreds(), st.floats(0, 1, exclude_max=True))
def test_whatever_is_drawn_one_that_takes_traffic_answers(traffic: dict[str, int], draw: float) -> None:
    chosen = Split.of({"traffic": traffic}).choose(draw)

    assert chosen is not None
    assert traffic[chosen] > 0


@pytest.mark.parametrize("traffic", [{}, None, {"blue": 0, "green": 0}])
@given(draw=st.floats(0, 1, exclude_max=True))
def test_without_traffic_nobody_answers(traffic: dict[str, int] | None, draw: float) -> None:
    assert Split.of({"traffic": traffic}).choose(draw) is None


@given(st.integers(0, 50))
def test_a_mirror_is_sent_its_share_of_the_requests_and_no_other_copy_is_made(share: int) -> None:
    split = Split.of({"traffic": {"blue": 100}, "mirrorTraffic": {"green": share}})

    copies = Counter(split.mirrored((number + 0.5) / 100) for number in range(100))

    assert (copies["green"], copies[None]) == (share, 100 - share)
