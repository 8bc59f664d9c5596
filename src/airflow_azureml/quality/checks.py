"""All tests of one file, in one stream: its verdict and its profile."""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from attrs import define, frozen

from airflow_azureml.core.data_tests import DataTests, Format, Freshness, RowCount, duration_told
from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.errors import ConfigError
from airflow_azureml.quality.distribution import compare
from airflow_azureml.quality.profile import Kind, Profile
from airflow_azureml.quality.reading import Part, Reading, UnreadableError, parts
from airflow_azureml.quality.schema import Inspection, Schema
from airflow_azureml.quality.values import TIME, DataType

#: What texts of a column are read as where only the reference tells what it holds.
_DTYPE_OF_KIND: Mapping[Kind, DataType] = {
    Kind.NUMBER: pl.Float64(),
    Kind.TIME: TIME,
    Kind.TEXT: pl.String(),
    Kind.BOOLEAN: pl.Boolean(),
}


@frozen(kw_only=True)
class Examined:
    """What came of the tests.

    Attributes:
        verdict: What was decided, and why.
        profile: What the file is like; empty where it could not be read.
    """

    verdict: Verdict
    profile: Profile


def run(
    spec: DataTests,
    path: str | Path,
    *,
    format: Format | str,  # noqa: A002  # what it is called everywhere
    reference: Profile | None = None,
    now: datetime,
) -> Verdict:
    """Test a file; see `examine`."""
    return examine(spec, path, format=format, reference=reference, now=now).verdict


def examine(
    spec: DataTests,
    path: str | Path,
    *,
    format: Format | str,  # noqa: A002  # as above
    reference: Profile | None = None,
    now: datetime,
    file_time: datetime | None = None,
) -> Examined:
    """Test a file, in one stream and in bounded memory.

    A file that cannot be read as the table it should be is a no, not an error.

    Args:
        spec: What the table must be like.
        path: The file.
        format: What it is.
        reference: What its columns should be distributed like.
        now: When freshness is looked at, with a time zone.
        file_time: When the file was written, with a time zone; None for what the file system says.

    Raises:
        ConfigError: There is no such file or format, the schema cannot be used, the reference is missing, or a time
            has no time zone.
    """
    if spec.distribution and reference is None:
        raise ConfigError(f"{spec.name} compares with a reference, and none is given: give the profile of one.")
    if now.tzinfo is None or (file_time and file_time.tzinfo is None):
        raise ConfigError("Times need a time zone: what is fresh depends on it.")
    schema = Schema.of(spec)
    reading = Reading(
        types=_types(spec, schema, reference, format), separator=spec.separator, null_values=spec.null_values
    )
    facts = _facts(spec, Path(path), format)
    written = file_time or datetime.fromtimestamp(Path(path).stat().st_mtime, UTC)
    try:
        findings, profile = _examined(spec, schema, parts(path, format, reading), (now, written))
    except UnreadableError as error:
        told = [Finding(check="the file can be read", passed=False, reason=str(error))]
        return Examined(verdict=_verdict(path, spec, told, facts), profile=Profile())
    facts |= {"rows": str(profile.rows), "columns": str(len(profile.columns))}
    if spec.distribution and reference is not None:
        facts["reference_rows"] = str(reference.rows)
        findings += compare(reference, profile, spec.distribution)
    return Examined(verdict=_verdict(path, spec, findings, facts), profile=profile)


def _examined(
    spec: DataTests, schema: Schema, stream: Iterator[Part], times: tuple[datetime, datetime]
) -> tuple[list[Finding], Profile]:
    """Look at every batch once."""
    profile = Profile()
    newest = _Newest(column=spec.freshness.column if spec.freshness else "", now=times[0])
    with Inspection(schema) as inspection:
        for part in stream:
            inspection.look(part)
            newest.look(part.frame)
            profile = profile.merged(Profile.of([part.frame]))
        findings = [_rows(spec.rows, profile.rows)]
        findings += [newest.finding(spec.freshness, written=times[1])] if spec.freshness else []
        return [*findings, *inspection.findings()], profile


@define(kw_only=True)
class _Newest:
    """The newest time that is not after now.

    Attributes:
        column: The column that has the times; empty for none.
        at: The newest; None where there is none.
        ahead: How many are after now.
        gone: Whether there is no such column, or it holds no times.
    """

    column: str
    now: datetime
    at: datetime | None = None
    ahead: int = 0
    gone: bool = False

    def look(self, frame: pl.DataFrame) -> None:
        """Look at a batch."""
        if not self.column:
            return
        times = frame[self.column] if self.column in frame.columns else pl.Series([], dtype=pl.Null)
        if times.dtype == pl.Date:
            times = times.cast(pl.Datetime("us"))
        if not isinstance(times.dtype, pl.Datetime):
            self.gone = True
            return
        times = times if times.dtype.time_zone else times.dt.replace_time_zone("UTC")
        past = times.filter(times <= self.now)
        self.ahead += len(times) - times.null_count() - len(past)
        latest = past.max()
        if isinstance(latest, datetime):
            self.at = max(latest, self.at or latest)

    def finding(self, rule: Freshness, *, written: datetime) -> Finding:
        """Say whether the data is fresh."""
        within = duration_told(rule.within)
        check = f"{f'newest {self.column}' if self.column else 'the file'} at most {within} old"
        at = self.at if self.column else written
        if self.gone or at is None:
            why = f"no column {self.column!r} of times" if self.gone else f"no time in {self.column!r} up to now"
            reason = f"How old the data is cannot be told: there is {why}."
            return Finding(check=check, passed=False, reason=reason, subject=self.column)
        age_s = (self.now - at).total_seconds()
        ahead = f"; after now, and not counted, are {self.ahead}" if self.ahead else ""
        return Finding(
            check=check,
            passed=0 <= age_s <= rule.within.total_seconds() or (not self.column and age_s < 0),
            reason=f"The newest time is {at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, {age_s / 3600:.1f} h old; "
            f"it may be {within}{ahead}.",
            subject=self.column,
            value=age_s,
            against=rule.within.total_seconds(),
        )


def _rows(rule: RowCount, rows: int) -> Finding:
    """Say whether there are as many rows as there must be."""
    most = "" if rule.at_most is None else f", at most {rule.at_most}"
    return Finding(
        check=f"at least {rule.at_least} rows{most}",
        passed=rule.at_least <= rows and (rule.at_most is None or rows <= rule.at_most),
        reason=f"There are {rows} rows; there must be at least {rule.at_least}{most}.",
        value=rows,
        against=rule.at_least if rule.at_most is None or rows < rule.at_least else rule.at_most,
    )


def _types(spec: DataTests, schema: Schema, reference: Profile | None, form: Format | str) -> dict[str, DataType]:
    """Say what columns are read as: as the rules say, or the freshness, or the reference."""
    types: dict[str, DataType] = {}
    if form != Format.PARQUET:
        kinds = {name: column.kind for name, column in reference.columns.items()} if reference else {}
        types |= {name: _DTYPE_OF_KIND[kind] for name, kind in kinds.items() if kind in _DTYPE_OF_KIND}
        if spec.freshness and spec.freshness.column:
            types[spec.freshness.column] = TIME
    if form != Format.PARQUET or schema.rules:
        types |= schema.types
    return types


def _facts(spec: DataTests, path: Path, form: Format | str) -> dict[str, str]:
    """Say what file it is, and what it was tested by."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = path.stat().st_size
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror or error}.") from error
    return {"digest": f"sha256:{digest}", "bytes": str(size), "format": str(form), "tests": spec.digest}


def _verdict(path: str | Path, spec: DataTests, findings: list[Finding], facts: Mapping[str, str]) -> Verdict:
    return Verdict(subject=Path(path).name, policy=spec.policy, findings=findings, facts=facts)
