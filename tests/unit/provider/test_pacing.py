import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.jobs import Phase
from airflow_azureml.core.pacing import SPREAD, Budget, Throttle, interval_s


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_fewer_reads_are_left_the_slower_it_goes(one: int, other: int) -> None:
    def free_at(left: int) -> float:
        throttle = Throttle(Budget())
        throttle.told(0, retry_after_s=None, reads_left=left)
        for _ in range(100):
            throttle.spend(0)
        return throttle.free_at(0)

    few, many = sorted((one, other))
    assert free_at(few) >= free_at(many)
    assert free_at(few) <= 101 / (10 * 0.05) * (1 + 1e-9)
    assert free_at(0) > 10 * free_at(50)


def test_failures_in_a_row_make_all_rest_and_longer_each_time_up_to_a_minute() -> None:
    throttle, now, rests = Throttle(Budget()), 0.0, []
    for _ in range(12):
        resting = throttle.failed(now)
        rests.append(round(throttle.free_at(now) - now))
        assert resting == (rests[-1] > 0)
        now = throttle.free_at(now)

    assert rests == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    throttle.succeeded()
    assert not throttle.failed(now)


@given(
    st.sampled_from(Phase),
    st.floats(0, 1e7),
    st.floats(0.1, 100),
    st.floats(0.1, 100),
    st.floats(0, 1, exclude_max=True),
)
def test_an_interval_stays_within_its_bounds(
    phase: Phase, age_s: float, first_s: float, longest_s: float, jitter: float
) -> None:
    found_s = interval_s(phase, age_s=age_s, first_s=first_s, longest_s=longest_s, jitter=jitter)

    assert (1 - SPREAD) * min(first_s, longest_s) <= found_s <= longest_s


@pytest.mark.parametrize(("age_s", "expected_s"), [(0, 5), (50, 5), (300, 30), (600, 60), (86_400, 60)])
def test_looks_grow_rarer_with_a_jobs_age(age_s: float, expected_s: float) -> None:
    assert interval_s(Phase.RUNNING, age_s=age_s, first_s=5, longest_s=60, jitter=0) == expected_s


def test_a_job_that_is_being_cancelled_is_looked_at_more_often() -> None:
    running = interval_s(Phase.RUNNING, age_s=300, first_s=5, longest_s=60, jitter=0)

    assert interval_s(Phase.STOPPING, age_s=300, first_s=5, longest_s=60, jitter=0) == running / 2
