"""Whether a table is of a schema: pandera's checks, made batch by batch, with counts and the first rows that fail."""

import copy
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

import pandera.polars as pa
import polars as pl
from attrs import define, field, frozen
from pandera.errors import SchemaError, SchemaErrorReason, SchemaErrors
from polars.exceptions import PolarsError

from airflow_azureml.core.data_tests import Bound, ColumnRules, DataTests, Scalar, Type
from airflow_azureml.core.findings import Finding
from airflow_azureml.errors import ConfigError
from airflow_azureml.quality.reading import Part
from airflow_azureml.quality.uniqueness import Distinct
from airflow_azureml.quality.values import DTYPES, DataType

#: How many rows that fail are named.
EXAMPLES = 3
THERE, PRESENT, OTHERS, UNIQUE = "it is there", "no value is missing", "no other columns", "each value stands once"
_FLOATS = {pl.Float32, pl.Float64}


@define
class _Count:
    """What failed of one rule.

    Attributes:
        failed: How many rows; of what is no matter of rows, 1.
        examples: The first of them.
        of_rows: Whether rows are counted.
    """

    failed: int = 0
    examples: list[str] = field(factory=list)
    of_rows: bool = True


@frozen(kw_only=True)
class Schema:
    """What is checked.

    Attributes:
        pandera: pandera's schema; what is unique is none of its business here.
        unique: The columns, or columns together, whose values stand once.
        types: What columns are to be read as.
        rules: The rules for columns, where there are any; a NaN is missing then.
    """

    pandera: pa.DataFrameSchema
    unique: tuple[tuple[str, ...], ...] = ()
    types: Mapping[str, DataType] = field(factory=dict)
    rules: Mapping[str, ColumnRules] = field(factory=dict)

    @classmethod
    def of(cls, spec: DataTests) -> Self:
        """Make the schema of data tests.

        Raises:
            ConfigError: pandera's schema cannot be loaded, or a pattern is none of Rust's.
        """
        if spec.pandera:
            return cls.of_pandera(loaded(spec.pandera))
        for name, rules in spec.columns.items():
            _check_pattern(name, rules)
        columns = {name: _column(rules) for name, rules in spec.columns.items()}
        return cls(
            pandera=pa.DataFrameSchema(columns, strict=not spec.others),
            unique=tuple((name,) for name, rules in spec.columns.items() if rules.unique),
            types={name: DTYPES[rules.reads_as] for name, rules in spec.columns.items() if rules.reads_as},
            rules=spec.columns,
        )

    @classmethod
    def of_pandera(cls, given: Any) -> Self:
        """Take a schema of pandera's for polars, or a model.

        Raises:
            ConfigError: It is neither.
        """
        if isinstance(given, type) and issubclass(given, pa.DataFrameModel):
            given = given.to_schema()
        if not isinstance(given, pa.DataFrameSchema):
            raise ConfigError(f"{type(given).__name__} is no schema of pandera.polars, and no model.")
        schema = copy.deepcopy(given)
        unique = [(name,) for name, column in schema.columns.items() if column.unique]
        unique += [tuple([schema.unique] if isinstance(schema.unique, str) else schema.unique)] if schema.unique else []
        for column in schema.columns.values():
            column.unique = False
        schema.unique, schema.drop_invalid_rows = None, False
        types = {name: _dtype(column) for name, column in schema.columns.items() if not column.regex}
        return cls(
            pandera=schema, unique=tuple(unique), types={name: kind for name, kind in types.items() if kind is not None}
        )


def loaded(name: str) -> Any:
    """Load an object, ``module:attribute`` or ``path/of/file.py:attribute``.

    Raises:
        ConfigError: There is none.
    """
    where, _, attribute = name.rpartition(":")
    try:
        module = _of_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
        return getattr(module, attribute)
    except Exception as error:
        raise ConfigError(f"Cannot load the pandera schema {name!r}: {type(error).__name__}: {error}") from error


def _of_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"pandera_schema_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # Models look their annotations up in their module.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Inspection:
    """One look at a table, batch by batch.

    Args:
        schema: What is checked.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._counts: dict[tuple[str, str], _Count] = {key: _Count() for key in _keys(schema)}
        self._seen: dict[str, int] = {}
        self._gone: set[str] = set()
        self._rows = 0
        self._distinct = [Distinct(*columns) for columns in schema.unique]
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        for each in self._distinct:
            self._ending.enter_context(each)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.close()

    def look(self, part: Part) -> None:
        """Look at a batch."""
        self._rows += part.frame.height
        self._gone = set(self._schema.pandera.columns) - set(part.frame.columns)
        for column, rows in part.misfits.items():
            told = [f"row {part.first_row + int(at)}: {text}" for at, text in _first(rows, part.examples[column])]
            self._add(column, f"each value is {part.wanted[column]}", int(rows.sum()), told)
        frame = _without_nan(part.frame) if self._schema.rules else part.frame
        for column in self._schema.rules:
            if column in frame.columns:
                absent = frame[column].null_count() - (int(part.misfits[column].sum()) if column in part.misfits else 0)
                self._seen[column] = self._seen.get(column, 0) + absent
        for distinct in self._distinct:
            if set(distinct.columns) <= set(frame.columns):
                distinct.add(frame, first_row=part.first_row)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self._schema.pandera.validate(frame, lazy=True)
            except SchemaErrors as errors:
                for error in errors.schema_errors:
                    self._note(error, part, frame)

    def findings(self) -> Iterator[Finding]:
        """Tell what was found, rule by rule."""
        for distinct in self._distinct:
            repeated, named = distinct.repeated(EXAMPLES)
            told = [f"row {row} repeats row {before}" for row, before in named]
            self._add(", ".join(distinct.columns), UNIQUE, repeated, told)
        for (subject, check), count in self._counts.items():
            # Of a column that is gone there is one thing to say.
            if subject not in self._gone or check == THERE:
                yield _finding(subject, check, count, self._rows)
        yield from self._shares()

    def _shares(self) -> Iterator[Finding]:
        for column, rules in self._schema.rules.items():
            if rules.nulls_at_most is not None and column in self._seen:
                share = self._seen[column] / self._rows if self._rows else 0.0
                yield Finding(
                    check=f"{column}: at most {100 * rules.nulls_at_most:.4g} % missing",
                    passed=share <= rules.nulls_at_most,
                    reason=f"{column}: {100 * share:.4g} % of the rows have no value, and "
                    f"{100 * rules.nulls_at_most:.4g} % may.",
                    subject=column,
                    value=share,
                    against=rules.nulls_at_most,
                )

    def _note(self, error: SchemaError, part: Part, frame: pl.DataFrame) -> None:
        """Count one failure of pandera's."""
        column = str(getattr(error.schema, "name", None) or "") if isinstance(error.schema, pa.Column) else ""
        match error.reason_code:
            case SchemaErrorReason.COLUMN_NOT_IN_DATAFRAME:
                self._add(str(error.failure_cases), THERE, 1, ["there is no such column"], of_rows=False)
            case SchemaErrorReason.COLUMN_NOT_IN_SCHEMA:
                self._add("", OTHERS, 1, [f"there is {error.failure_cases!r:.100}"], of_rows=False)
            case SchemaErrorReason.WRONG_DATATYPE | SchemaErrorReason.DATATYPE_COERCION:
                said = [f"it is {frame.schema.get(column, 'none')}"]
                self._add(column, _type_told(error.schema), 1, said, of_rows=False)
            case _:
                check = PRESENT if error.reason_code is SchemaErrorReason.SERIES_CONTAINS_NULLS else _label(error.check)
                self._add_rows((column, check), error, part, frame)

    def _add_rows(self, key: tuple[str, str], error: SchemaError, part: Part, frame: pl.DataFrame) -> None:
        """Count the rows that failed a check; those with a value of the wrong type are counted elsewhere."""
        column, check = key
        output = error.check_output
        if not isinstance(output, pl.DataFrame) or output.height != frame.height:
            self._add(column, check, 1, [_first_line(error)], of_rows=False)
            return
        failed = ~output.to_series(output.width - 1).fill_null(value=True)
        if column in part.misfits:
            failed &= ~part.misfits[column]
        values = frame[column].filter(failed).head(EXAMPLES).to_list() if column else [None] * EXAMPLES
        told = [
            f"row {part.first_row + int(at)}" + (f": {_value_told(value)}" if column and value is not None else "")
            for at, value in _first(failed, values)
        ]
        self._add(column, check, int(failed.sum()), told)

    def _add(self, subject: str, check: str, failed: int, told: list[str], *, of_rows: bool = True) -> None:
        if not failed:
            return
        count = self._counts.setdefault((subject, check), _Count())
        count.of_rows = of_rows
        count.failed = count.failed + failed if of_rows else 1
        count.examples = list(dict.fromkeys([*count.examples, *told]))[:EXAMPLES]


def _first(rows: pl.Series, values: Any) -> Iterator[tuple[int, Any]]:
    return zip(rows.arg_true().head(EXAMPLES).to_list(), values, strict=False)


def _value_told(value: Any) -> str:
    return f"{value!r:.60}" if isinstance(value, str) else f"{value!s:.60}"


def _finding(subject: str, check: str, count: _Count, rows: int) -> Finding:
    about = f"{subject}: " if subject else ""
    told = "; ".join(count.examples)
    if not count.failed:
        reason = f"{about}{check}: that holds."
    elif count.of_rows:
        reason = f"{about}{check} does not hold in {count.failed} of {rows} rows: {told}."
    else:
        reason = f"{about}{check} does not hold: {told}."
    return Finding(
        check=f"{about}{check}",
        passed=not count.failed,
        reason=reason,
        subject=subject,
        value=count.failed if count.of_rows else None,
    )


def _keys(schema: Schema) -> Iterator[tuple[str, str]]:
    """Name all that is checked."""
    for name, column in schema.pandera.columns.items():
        if column.required and not column.regex:
            yield name, THERE
        if name in schema.types and schema.rules:
            yield name, _wanted(schema.rules[name])
        elif column.dtype is not None:
            yield name, _type_told(column)
        if not column.nullable:
            yield name, PRESENT
        for check in column.checks:
            yield name, _label(check)
    for columns in schema.unique:
        yield ", ".join(columns), UNIQUE
    if schema.pandera.strict is True:
        yield "", OTHERS
    for check in schema.pandera.checks:
        yield "", _label(check)


def _label(check: Any) -> str:
    return str(getattr(check, "error", None) or getattr(check, "name", None) or check) if check else "pandera's schema"


def _type_told(column: Any) -> str:
    return f"its type is {getattr(column, 'dtype', None)}"


def _dtype(column: Any) -> DataType | None:
    found = getattr(column.dtype, "type", None)
    return (
        found
        if isinstance(found, pl.DataType) or (isinstance(found, type) and issubclass(found, pl.DataType))
        else None
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:200]


def _without_nan(frame: pl.DataFrame) -> pl.DataFrame:
    floats = [name for name, dtype in frame.schema.items() if dtype in _FLOATS]
    return frame.with_columns(pl.col(floats).fill_nan(None)) if floats else frame


def _wanted(rules: ColumnRules) -> str:
    words = {
        Type.INTEGER: "a whole number",
        Type.NUMBER: "a number",
        Type.TEXT: "a text",
        Type.BOOLEAN: "true or false",
        Type.DATE: "a date",
        Type.TIME: "a time",
    }
    return f"each value is {words[rules.reads_as]}" if rules.reads_as else ""


def _check_pattern(name: str, rules: ColumnRules) -> None:
    if rules.pattern is None:
        return
    try:
        pl.Series([""]).str.contains(_whole(rules.pattern))
    except PolarsError as error:
        raise ConfigError(
            f"Column {name!r}: the pattern {rules.pattern!r} cannot be used: {_first_line(error)}"
        ) from error


def _whole(pattern: str) -> str:
    return f"^(?:{pattern})$"


def _column(rules: ColumnRules) -> pa.Column:
    """Make pandera's column of ours."""
    checks = []
    if rules.reads_as in {Type.INTEGER, Type.NUMBER}:
        checks.append(_check(_wanted(rules), pl.Expr.is_finite))
    if rules.at_least is not None:
        checks.append(_check(f"at least {_shown(rules.at_least)}", _at_least(rules.at_least)))
    if rules.at_most is not None:
        checks.append(_check(f"at most {_shown(rules.at_most)}", _at_most(rules.at_most)))
    if rules.allowed:
        checks.append(_check(f"one of {_listed(rules.allowed)}", _one_of(rules.allowed)))
    if rules.pattern is not None:
        pattern = _whole(rules.pattern)
        checks.append(_check(f"matches {rules.pattern}", lambda values: values.str.contains(pattern)))
    return pa.Column(checks=checks, nullable=rules.nullable, required=rules.required)


def _check(name: str, holds: Callable[[pl.Expr], pl.Expr]) -> pa.Check:
    return pa.Check(lambda given: given.lazyframe.select(holds(pl.col(given.key)).fill_null(value=True)), name=name)


def _finite(values: pl.Expr, bound: Bound) -> pl.Expr:
    return values.is_finite() if isinstance(bound, (int, float)) else pl.lit(value=True)


def _at_least(bound: Bound) -> Callable[[pl.Expr], pl.Expr]:
    return lambda values: (values >= bound) & _finite(values, bound)


def _at_most(bound: Bound) -> Callable[[pl.Expr], pl.Expr]:
    return lambda values: (values <= bound) & _finite(values, bound)


def _one_of(allowed: tuple[Scalar, ...]) -> Callable[[pl.Expr], pl.Expr]:
    return lambda values: values.is_in(list(allowed))


def _shown(bound: Bound) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


def _listed(allowed: tuple[Scalar, ...]) -> str:
    told = ", ".join(map(str, allowed[:5]))
    return told if len(allowed) <= 5 else f"{told} and {len(allowed) - 5} more"  # noqa: PLR2004  # as above
