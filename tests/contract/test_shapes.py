"""The judge of the shapes: what is as it should be passes, and nothing else does."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract import (
    test_shapes_assets,
    test_shapes_batch,
    test_shapes_computes,
    test_shapes_data,
    test_shapes_history,
    test_shapes_jobs,
    test_shapes_online,
    test_shapes_places,
    test_shapes_registries,
    test_shapes_sweeps,
)
from tests.contract.shapes import GUID, TIME, Each, Either, Maybe, differences, like

MODULES = (
    test_shapes_assets,
    test_shapes_batch,
    test_shapes_computes,
    test_shapes_data,
    test_shapes_history,
    test_shapes_jobs,
    test_shapes_online,
    test_shapes_places,
    test_shapes_registries,
    test_shapes_sweeps,
)
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False).map(lambda x: x + 0.0), st.text(max_size=5)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in items:
        yield from places(each, (*at, name))


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: 1, 1.0 and true are three values."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@given(values)
def test_a_value_is_as_itself(value: Any) -> None:
    assert differences(value, copy.deepcopy(value)) == []


@given(values, values, st.data())
def test_a_value_that_is_changed_anywhere_is_told_of(value: Any, new: Any, data: st.DataObject) -> None:
    at = data.draw(st.sampled_from(list(places(value))))
    changed: Any = {"all": copy.deepcopy(value)}
    within, name = changed, "all"
    for each in at:
        within, name = within[name], each
    before, within[name] = within[name], new

    assert (differences(value, changed["all"]) == []) is same(before, new)


@given(st.dictionaries(st.text(max_size=3), values, min_size=1, max_size=3), st.data())
def test_a_member_that_is_missing_or_too_many_is_told_of(value: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(value)))
    less = {each: value[each] for each in value if each != name}

    assert differences(value, less) == [f".{name}: is missing"]
    assert differences(less, value) == [f".{name}: was not recorded"]
    assert differences({**less, Maybe(name): value[name]}, less) == []


@pytest.mark.parametrize(
    ("shape", "good", "bad"),
    [
        (str, "x", None),
        (int, 1, True),
        (TIME, "2023-04-09T00:26:46.2787237+00:00", "2023-04-09T00:26:46.2787237Z"),
        (GUID, "00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-00000000000"),
        (like("a.b?<word>"), "a.b?c", "axb?c"),
        (Each(str), {"a": "b"}, {"a": None}),
        (Each(str, at_least=1), ["a"], []),
        (Either([None, {"a": int}]), {"a": 1}, {"a": None}),
        ([1, str], [1, "a"], [1, "a", 2]),
    ],
)
def test_what_is_left_open_is_open_as_far_as_it_says(shape: Any, good: Any, bad: Any) -> None:
    assert differences(shape, good) == []
    assert differences(shape, bad) != []


def test_every_exchange_has_a_name_of_its_own_and_there_are_sixty() -> None:
    told = [exchange for module in MODULES for exchange in module.EXCHANGES]
    names = [exchange.name for exchange in told]

    assert sorted({name for name in names if names.count(name) > 1}) == []
    assert len([exchange for exchange in told if exchange.body is not dict]) >= 60
