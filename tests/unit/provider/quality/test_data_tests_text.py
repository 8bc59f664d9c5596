"""Data tests written in Python are read by another process as they were."""

from __future__ import annotations

import re
from datetime import UTC, date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.data_results import DataResult
from airflow_azureml.core.data_tests import (
    ColumnRules,
    Correction,
    DataTests,
    Distribution,
    Drift,
    Freshness,
    RowCount,
    Type,
)
from airflow_azureml.core.data_tests_text import text_of
from airflow_azureml.errors import ConfigError

#: What a YAML file can hold.
names = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=12)
numbers = st.integers(-1000, 1000) | st.floats(-1e6, 1e6)
missing = st.sampled_from([{}, {"nullable": True}, {"nullable": True, "nulls_at_most": 0.25}])
extras = st.fixed_dictionaries({"required": st.booleans(), "unique": st.booleans()})
kinds = st.one_of(
    st.builds(lambda low, span: {"at_least": low, "at_most": low + span}, numbers, st.floats(0, 10)),
    st.builds(lambda day: {"type": Type.DATE, "at_least": day}, st.dates(date(1900, 1, 1), date(2100, 1, 1))),
    st.datetimes(timezones=st.just(UTC)).map(lambda at: {"at_most": at}),
    st.lists(names, min_size=1, max_size=3).map(lambda words: {"allowed": words}),
    st.lists(st.booleans(), min_size=1, max_size=2).map(lambda truths: {"allowed": truths}),
    st.just({"pattern": "[a-z]+"}),
    st.sampled_from(list(Type)).map(lambda kind: {"type": kind}),
)
columns = st.builds(lambda one, two, three: ColumnRules(**one, **two, **three), kinds, missing, extras)
limits = st.none() | st.floats(0.001, 1)
drifts = st.builds(Drift, psi=st.floats(0.001, 10), ks=limits | st.just(0.0), chi_square=limits)
distributions = st.builds(
    Distribution,
    columns=st.dictionaries(names | st.just("*"), drifts, min_size=1, max_size=3),
    alpha=st.floats(0.001, 0.5),
    correction=st.sampled_from(list(Correction)),
    rows_at_least=st.integers(2, 1000),
)
tests = st.builds(
    DataTests,
    name=names,
    columns=st.dictionaries(names, columns, min_size=1, max_size=4),
    others=st.booleans(),
    rows=st.builds(
        lambda least, more: RowCount(at_least=least, at_most=more and least + more),
        st.integers(1, 99),
        st.none() | st.integers(1, 99),
    ),
    freshness=st.none()
    | st.builds(
        Freshness, within=st.integers(1, 10**6).map(lambda s: timedelta(seconds=s - 1 or 1)), column=names | st.just("")
    ),
    distribution=st.none() | distributions,
    separator=st.sampled_from([",", ";", "\t", "|"]),
    null_values=st.lists(names, max_size=2),
)


@given(tests)
def test_what_was_written_in_python_is_read_as_the_very_same_and_has_the_same_name(wanted: DataTests) -> None:
    read = DataTests.parse(text_of(wanted), name="spec")

    assert read == wanted
    assert read.policy == wanted.policy


def test_what_no_file_can_say_is_refused_and_not_rounded() -> None:
    wanted = DataTests(name="x", freshness=Freshness(within=timedelta(milliseconds=1500)))

    with pytest.raises(ConfigError, match="cannot be written into a file"):
        text_of(wanted)


def test_the_page_that_shows_how_shows_rules_that_can_be_read_and_every_field_of_the_result() -> None:
    text = (Path(__file__).parents[4] / "docs/how-to/data-tests.md").read_text()
    [rules] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)

    assert set(DataTests.parse(rules, name="data_tests.yaml").columns) == {"id", "age", "sex", "bmi", "seen"}
    fields = re.findall(r"``(\w+)``", DataResult.to_wire.__doc__ or "")
    assert len(fields) == 14
    assert [name for name in fields if f"`{name}`" not in text] == []
