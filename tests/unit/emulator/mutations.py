"""How a good body is made wrong: at any place of it, something is left out, or something else stands there."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

#: What stands nowhere in a good body.
wrong = st.one_of(
    st.sampled_from(
        [None, True, 0, -1, 1e308, "", "x" * 5000, "\x00", "../../../etc/passwd", "\ud800", [], {}, [[]], "NaN", 2**70]
    ),
    st.text(max_size=20),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    st.integers(1, 200).map(lambda depth: json.loads('{"a":' * depth + "1" + "}" * depth)),
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """List the places of a body, by the names and numbers that lead there; the first is the body itself."""
    yield at
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, each in items:
        yield from places(each, (*at, name))


def changed(body: Any, at: tuple[Any, ...], new: Any, *, drop: bool) -> Any:
    """Make a body that has something else at a place, or, with ``drop``, nothing."""
    if not at:
        return new
    body = copy.deepcopy(body)
    within = body
    for name in at[:-1]:
        within = within[name]
    if drop:
        del within[at[-1]]
    else:
        within[at[-1]] = new
    return body
