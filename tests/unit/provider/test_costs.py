"""What a job has cost, by prices that the user gives."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.costs import Prices, Use, cost_of
from airflow_azureml.errors import ConfigError

SIZES = ("Standard_DS3_v2", "Standard_NC6", "")
uses = st.lists(
    st.builds(
        Use,
        step=st.sampled_from(["prep", "train"]),
        size=st.sampled_from(SIZES),
        nodes=st.integers(1, 20),
        seconds=st.floats(0, 1e6),
        compute=st.sampled_from(["cpu", "gpu", ""]),
    ),
    max_size=5,
)
prices = st.builds(
    Prices,
    per_hour=st.dictionaries(
        st.sampled_from([*[size.lower() for size in SIZES if size], "cpu", "gpu"]), st.floats(0, 100)
    ),
)


def test_node_hours_times_the_price_of_an_hour() -> None:
    told = Prices.parse({"Standard_DS3_v2": 0.25, "gpu": 3, "currency": "EUR"})
    cost = cost_of(
        [
            Use(step="prep", size="standard_ds3_V2", nodes=1, seconds=1800, compute="cpu"),
            Use(step="train", size="Standard_NC6", nodes=4, seconds=3600, compute="GPU"),
        ],
        told,
    )

    assert cost.amount == pytest.approx(0.125 + 12)
    assert cost.text == "12.12 EUR (4.50 node hours)"
    assert cost.scaled(10).text == "121.25 EUR (45.00 node hours)"


def test_a_machine_without_a_price_makes_the_cost_unknown_and_is_named() -> None:
    told = Prices.parse({"Standard_DS3_v2": 0.25})
    cost = cost_of([Use(step="train", size="Standard_NC6", nodes=1, seconds=3600)], told)

    assert not cost.is_known
    assert cost.text == "0.00 (1.00 node hours, without Standard_NC6, which has no price)"


def test_a_step_that_was_not_run_costs_nothing_and_needs_no_price() -> None:
    cost = cost_of([Use(step="train", size="", nodes=1, seconds=0)], Prices.parse({"x": 1}))

    assert cost.is_known
    assert cost.amount == 0


@given(uses, uses, prices)
def test_the_whole_costs_what_its_parts_do(some: list[Use], more: list[Use], told: Prices) -> None:
    whole, parts = cost_of([*some, *more], told), [cost_of(some, told), cost_of(more, told)]

    assert math.isclose(whole.amount, sum(part.amount for part in parts), abs_tol=1e-9)
    assert math.isclose(whole.hours, sum(part.hours for part in parts), abs_tol=1e-9)
    assert math.isclose(whole.hours, sum(use.nodes * use.seconds / 3600 for use in [*some, *more]), abs_tol=1e-9)
    assert whole.is_known == all(part.is_known for part in parts)


@pytest.mark.parametrize("raw", [{}, {"currency": "EUR"}, {"a": "1"}, {"a": -1}, {"a": math.nan}, {"a": True}])
def test_what_is_no_price_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="prices has no price of an hour for"):
        Prices.parse(raw)


@pytest.mark.parametrize("factor", [-1, math.inf, math.nan])
def test_a_cost_is_scaled_by_a_number_of_times_only(factor: float) -> None:
    cost = cost_of([], Prices.parse({"a": 1}))

    with pytest.raises(ConfigError, match="cannot be scaled"):
        cost.scaled(factor)
