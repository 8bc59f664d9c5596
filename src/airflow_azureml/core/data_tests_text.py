"""Data tests that were written in Python, as the text that another process reads them from."""

import json
from datetime import date
from typing import Any

from airflow_azureml.core.data_tests import SCHEMA, ColumnRules, DataTests, Distribution, Drift, duration_told
from airflow_azureml.core.data_tests_file import REFUSE
from airflow_azureml.errors import ConfigError


def text_of(tests: DataTests) -> str:
    """Write data tests, so that `DataTests.parse` reads the very same.

    Raises:
        ConfigError: They have what no file can say, such as a time span of less than a second.
    """
    told: dict[str, Any] = {
        "schema": SCHEMA,
        "name": tests.name,
        "columns": {name: _column(rules) for name, rules in tests.columns.items()},
        "other_columns": "" if tests.others else REFUSE,
        "pandera": tests.pandera,
        "rows": _given({"at_least": tests.rows.at_least, "at_most": tests.rows.at_most}),
        "freshness": _freshness(tests),
        "distribution": _distribution(tests.distribution) if tests.distribution else None,
        "separator": tests.separator,
        "null_values": list(tests.null_values),
    }
    given = {name: value for name, value in told.items() if value or name in ("schema", "name")}
    # YAML does not put together the two halves into which JSON takes a character apart.
    text = json.dumps(given, default=_text, ensure_ascii=False)
    if DataTests.parse(text, name=tests.name) != tests:
        raise ConfigError(f"The data tests {tests.name!r} cannot be written into a file: write them as YAML instead.")
    return text


def _column(rules: ColumnRules) -> dict[str, Any]:
    given: dict[str, Any] = {
        "type": rules.type,
        "required": None if rules.required else False,
        "nullable": rules.nullable or None,
        "nulls_at_most": rules.nulls_at_most,
        "at_least": rules.at_least,
        "at_most": rules.at_most,
        "allowed": list(rules.allowed) or None,
        "pattern": rules.pattern,
        "unique": rules.unique or None,
    }
    return _given(given)


def _freshness(tests: DataTests) -> dict[str, Any] | None:
    if tests.freshness is None:
        return None
    return _given({"within": duration_told(tests.freshness.within), "column": tests.freshness.column or None})


def _distribution(rules: Distribution) -> dict[str, Any]:
    given: dict[str, Any] = {
        "columns": {name: _drift(each) for name, each in rules.columns.items()},
        "ignore": list(rules.ignore) or None,
        "alpha": rules.alpha,
        "correction": rules.correction,
        "rows_at_least": rules.rows_at_least,
    }
    return _given(given)


def _drift(rules: Drift) -> dict[str, Any]:
    return _given({"psi": rules.psi, "ks": rules.ks, "chi_square": rules.chi_square})


def _given(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _text(value: object) -> str:
    """Write a bound of a column of dates or times."""
    if isinstance(value, date):
        return value.isoformat()
    raise ConfigError(f"A {type(value).__name__} is nothing that data tests have.")
