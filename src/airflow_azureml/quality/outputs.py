"""Whether two deployments say the same of the same input, or things that are alike enough."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.core.output_rules import OutputRules
from airflow_azureml.quality.distribution import compare_values
from airflow_azureml.quality.reading import batches

#: What the other table's columns are called beside one's own, when rows are matched.
_OTHER = ":candidate"


def read_output(files: Sequence[tuple[Path, str]]) -> pl.DataFrame:
    """Read the files of an output as one table; an empty one where there are none.

    Args:
        files: Each with its format.

    Raises:
        UnreadableError: One is no table.
        ConfigError: There is no such format.
    """
    frames = [frame for path, kind in files for frame in batches(path, kind)]
    return pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()


def compare_outputs(current: pl.DataFrame, candidate: pl.DataFrame, rules: OutputRules, *, subject: str) -> Verdict:
    """Compare what two deployments made of the same input.

    Args:
        current: What the one made that serves.
        candidate: What the one made that is to serve.
        rules: How alike they must be.
        subject: What is judged, for people.
    """
    findings = list(_shapes(current, candidate, rules))
    if all(each.passed for each in findings):
        findings += _matched(current, candidate, rules)
        if rules.distribution is not None:
            told = [name for name in current.columns if name not in rules.key]
            findings += compare_values(current.select(told), candidate.select(told), rules.distribution)
    facts = {"rows": str(current.height), "candidate_rows": str(candidate.height)}
    return Verdict(subject=subject, policy="outputs of two deployments", findings=findings, facts=facts)


def _shapes(current: pl.DataFrame, candidate: pl.DataFrame, rules: OutputRules) -> Iterator[Finding]:
    ours, theirs = set(current.columns), set(candidate.columns)
    differ = ", ".join(sorted(ours ^ theirs)) or "none"
    yield Finding(check="same columns", passed=ours == theirs, reason=f"Only one of both has: {differ}.")
    same = current.height == candidate.height and current.height > 0
    reason = f"{current.height} rows now, {candidate.height} of the candidate."
    yield Finding(check="as many rows", passed=same, reason=reason, value=candidate.height, against=current.height)
    missing = [name for name in rules.key if name not in ours & theirs]
    if missing:
        yield Finding(check="key", passed=False, reason=f"There is no column {', '.join(missing)} in both.")


def _matched(current: pl.DataFrame, candidate: pl.DataFrame, rules: OutputRules) -> Iterator[Finding]:
    """Compare row by row."""
    key = list(rules.key)
    if not key:
        return
    twice = max(_repeated(frame, key) for frame in (current, candidate))
    yield Finding(check="key is unique", passed=not twice, reason=f"{twice} rows have the key of another.", value=twice)
    if twice:
        return
    both = current.join(candidate, on=key, how="inner", suffix=_OTHER, nulls_equal=True)
    lost = current.height - both.height
    yield Finding(check="every row has a partner", passed=not lost, reason=f"{lost} rows have none.", value=lost)
    if rules.changed_at_most is None or not both.height:
        return
    for name in current.columns:
        if name not in key:
            share = _changed(both, name, rules.tolerance) / both.height
            yield Finding(
                check=f"changed in at most {rules.changed_at_most:g} of the rows",
                passed=share <= rules.changed_at_most,
                reason=f"{name} differs in {share:.4g} of the rows, where {rules.changed_at_most:g} may.",
                subject=name,
                value=share,
                against=rules.changed_at_most,
            )


def _repeated(frame: pl.DataFrame, key: list[str]) -> int:
    return frame.height - frame.select(key).unique().height


def _changed(both: pl.DataFrame, name: str, tolerance: float) -> int:
    """Count the rows in which a column differs; nothing and NaN are each the same as themselves alone."""
    ours, theirs = both[name], both[name + _OTHER]
    if ours.dtype.is_numeric() and theirs.dtype.is_numeric():
        one, other = ours.cast(pl.Float64), theirs.cast(pl.Float64)
        near = (one - other).abs() <= tolerance
        same = near.fill_null(value=False) | one.eq_missing(other)
    elif ours.dtype == theirs.dtype:
        same = ours.eq_missing(theirs)
    else:
        same = ours.cast(pl.String).eq_missing(theirs.cast(pl.String))
    return int((~same).sum())
