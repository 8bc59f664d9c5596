import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator.clock import LATEST, Clock, ClockError, moment
from azureml_emulator.store import instant


class Wall:
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.at = 1_000_000.0

    def __call__(self) -> float:
        return self.at


def passes(seconds: float) -> Callable[[Wall, Clock], None]:
    def act(wall: Wall, clock: Clock) -> None:
        del clock
        wall.at += seconds

    return act


lengths = st.integers(0, 1000).map(float)
acts = st.one_of(
    lengths.map(passes),
    lengths.map(lambda seconds: lambda _, clock: clock.advance(seconds)),
    st.just(lambda _, clock: clock.freeze()),
    st.just(lambda _, clock: clock.thaw()),
)


@given(st.lists(acts, max_size=20))
def test_the_clock_never_goes_back_whatever_is_done_to_it(todo: list[Callable[[Wall, Clock], None]]) -> None:
    wall = Wall()
    clock = Clock(wall)
    seen = [clock.now_s()]
    for act in todo:
        act(wall, clock)
        seen.append(clock.now_s())

    assert seen == sorted(seen)


def test_a_frozen_clock_stands_still_until_it_is_advanced_and_then_goes_on_from_there() -> None:
    wall = Wall()
    clock = Clock(wall)
    clock.freeze()
    wall.at += 100
    frozen = clock.now_s()
    clock.advance(30)
    advanced = clock.now_s()
    clock.thaw()
    wall.at += 5

    assert [frozen, advanced, clock.now_s()] == [1_000_000, 1_000_030, 1_000_035]
    assert clock.shown()["ahead_s"] == -70


@pytest.mark.parametrize(("frozen", "later"), [(True, 1_000_040.0), (False, 1_000_050.0)])
def test_a_restart_keeps_the_clock(frozen: bool, later: float) -> None:
    wall = Wall()
    clock = Clock(wall)
    clock.advance(40)
    if frozen:
        clock.freeze()
    shown = clock.shown()
    wall.at += 10
    again = Clock(wall)
    again.restore(shown)

    assert (again.now_s(), again.is_frozen) == (later, frozen)


@pytest.mark.parametrize("seconds", [-1.0, math.nan, 1e12])
def test_a_step_back_or_beyond_all_dates_is_refused(seconds: float) -> None:
    clock = Clock(Wall())

    with pytest.raises(ClockError, match="The clock cannot go"):
        clock.advance(seconds)
    assert clock.now_s() == 1_000_000


@given(st.floats(0, LATEST.timestamp()))
def test_a_moment_is_read_back_as_it_was_written(epoch_s: float) -> None:
    assert instant(moment(epoch_s)).timestamp() == pytest.approx(epoch_s, abs=1e-5)
