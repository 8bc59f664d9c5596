"""The YAML file of data tests, read into the members of `airflow_azureml.core.data_tests.DataTests`."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from airflow_azureml.core.data_tests import (
    EVERY,
    FEWEST_ROWS,
    SCHEMA,
    Bound,
    ColumnRules,
    Correction,
    DataTests,
    Distribution,
    Drift,
    Freshness,
    RowCount,
    Scalar,
    Type,
    read_time,
)
from airflow_azureml.core.marked import Marked, Path
from airflow_azureml.core.members import Members, is_number

MEMBERS = (
    "schema",
    "name",
    "columns",
    "other_columns",
    "pandera",
    "rows",
    "freshness",
    "distribution",
    "separator",
    "null_values",
)
COLUMN = (
    "type",
    "required",
    "nullable",
    "nulls_at_most",
    "at_least",
    "at_most",
    "allowed",
    "pattern",
    "unique",
)
ROWS = ("at_least", "at_most")
FRESHNESS = ("within", "column")
DISTRIBUTION = ("columns", "ignore", "alpha", "correction", "rows_at_least")
DRIFT = ("psi", "ks", "chi_square")
#: What ``other_columns`` says.
ALLOW, REFUSE = "allow", "refuse"


def read(text: str, *, name: str) -> dict[str, Any]:
    """Read the members.

    Raises:
        ConfigError: Something is wrong; the message has all faults, each with line and column.
    """
    said = Members(Marked.parse(text, name=name))
    top = said.mapping((), MEMBERS)
    if top and said.integer(("schema",), at_least=1) != SCHEMA:
        said.fault(("schema",), f"schema must be {SCHEMA}; this version reads no other.")
    separator = said.text(("separator",)) or ","
    if len(separator) != 1 or separator in '"\n\r' or not separator.isascii():
        said.fault(("separator",), "separator must be one character, and neither a quote nor the end of a line.")
    found: dict[str, Any] = {
        "name": said.text(("name",)) or name,
        "columns": {column: _column(said, ("columns", column)) for column in said.mapping(("columns",))},
        "others": said.choice(("other_columns",), (ALLOW, REFUSE)) != REFUSE,
        "pandera": said.text(("pandera",)) or "",
        "rows": _rows(said, ("rows",)),
        "freshness": _freshness(said, ("freshness",)) if "freshness" in top else None,
        "distribution": _distribution(said, ("distribution",)) if "distribution" in top else None,
        "separator": separator,
        "null_values": said.texts(("null_values",)),
    }
    said.raise_faults()
    with said.contradictions(()):
        DataTests(**found)
    said.raise_faults()
    return found


def _column(said: Members, path: Path) -> ColumnRules:
    rules = said.mapping(path, COLUMN)
    kind = said.choice((*path, "type"), tuple(Type))
    given: dict[str, Any] = {
        "type": Type(kind) if kind else None,
        "nulls_at_most": said.number((*path, "nulls_at_most"), at_least=0, at_most=1),
        "at_least": _bound(said, (*path, "at_least"), kind),
        "at_most": _bound(said, (*path, "at_most"), kind),
        "allowed": _allowed(said, (*path, "allowed")),
        "pattern": said.text((*path, "pattern")),
    }
    given |= {name: said.boolean((*path, name)) for name in ("required", "nullable", "unique") if name in rules}
    with said.contradictions(path):
        return ColumnRules(**{name: value for name, value in given.items() if value is not None})
    return ColumnRules()


def _bound(said: Members, path: Path, kind: str | None) -> Bound | None:
    """Read a number, or of a column of dates or times one of those."""
    value = said.scalar(path)
    if value is None or is_number(value):
        return value  # type: ignore[return-value]  # a number, then
    found = read_time(value) if isinstance(value, str) else None
    if found is None:
        said.fault(path, f"{path[-1]} must be a number, a date or a time, and is {value!r:.60}.")
    elif kind == Type.DATE or (kind is None and isinstance(value, str) and _is_date(value)):
        return found.date()
    return found


def _is_date(text: str) -> bool:
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False


def _allowed(said: Members, path: Path) -> tuple[Scalar, ...]:
    found = []
    for each in said.several(path):
        value = said.scalar(each)
        if value is None:
            said.fault(each, "An allowed value must be a text, a finite number, true or false; nullable is for none.")
        else:
            found.append(value)
    return tuple(found)


def _rows(said: Members, path: Path) -> RowCount:
    said.mapping(path, ROWS)
    least = said.integer((*path, "at_least"), at_least=FEWEST_ROWS)
    with said.contradictions(path):
        return RowCount(
            at_least=FEWEST_ROWS if least is None else least, at_most=said.integer((*path, "at_most"), at_least=1)
        )
    return RowCount()


def _freshness(said: Members, path: Path) -> Freshness | None:
    given = said.mapping(path, FRESHNESS)
    within = said.duration((*path, "within"))
    if "within" not in given:
        said.fault(path, "freshness needs within, a time span such as 26h.", key=True)
    if within is None:
        return None
    return Freshness(within=within, column=said.text((*path, "column")) or "")


def _distribution(said: Members, path: Path) -> Distribution | None:
    said.mapping(path, DISTRIBUTION)
    columns = {name: _drift(said, (*path, "columns", name)) for name in said.mapping((*path, "columns"))}
    if not columns:
        said.fault(path, f"distribution needs columns, by name or {EVERY!r} for every column.", key=True)
    ignore = said.texts((*path, "ignore"))
    for name in ignore:
        if name in columns:
            said.fault((*path, "ignore"), f"{name!r} is ignored, and has rules.")
    given: dict[str, Any] = {
        "alpha": said.number((*path, "alpha"), at_least=1e-12, at_most=0.5),
        "correction": said.choice((*path, "correction"), tuple(Correction)),
        "rows_at_least": said.integer((*path, "rows_at_least"), at_least=2),
    }
    chosen: dict[str, Any] = {
        name: Correction(value) if name == "correction" else value for name, value in given.items() if value
    }
    return Distribution(columns=columns, ignore=ignore, **chosen)


def _drift(said: Members, path: Path) -> Drift:
    told = said.mapping(path, DRIFT)
    if not told:
        said.fault(path, f"Give one of {', '.join(DRIFT)} or more.", key=True)
    return Drift(
        psi=said.number((*path, "psi"), at_least=1e-6, at_most=1e6),
        ks=_effect(said, (*path, "ks"), told),
        chi_square=_effect(said, (*path, "chi_square"), told),
    )


def _effect(said: Members, path: Path, told: Mapping[str, Any]) -> float | None:
    """Read ``true``, with which the p-value alone decides, or the greatest effect that is no drift."""
    return 0.0 if told.get(str(path[-1])) is True else said.number(path, at_least=0, at_most=1)
