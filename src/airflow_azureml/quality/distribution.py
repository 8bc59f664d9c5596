"""Whether recent data is distributed as a reference is, column by column."""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from attrs import field, frozen

from airflow_azureml.core.data_tests import EVERY, Correction, Distribution, Drift
from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.quality.profile import CATEGORICAL, NUMERIC, ColumnProfile, Kind, Profile
from airflow_azureml.quality.sketches import GROUPS
from airflow_azureml.quality.statistics import (
    Difference,
    adjusted,
    chi_square,
    kolmogorov_smirnov,
    population_stability,
)

#: Into how many bins, each with as many rows, the numbers of the reference are put; what is beyond them has two more.
BINS = 10
#: How many of the reference's most frequent texts have a bin each.
TEXTS = 20
#: How many new texts are told.
EXAMPLES = 3
#: What a sample may differ from its whole in.
ALIKE = Drift(psi=0.1, ks=0.0, chi_square=0.0)
KS, CHI_SQUARE = "Kolmogorov-Smirnov", "chi-square"


@frozen(kw_only=True)
class _Pair:
    """One column, in both tables."""

    column: str
    reference: ColumnProfile
    recent: ColumnProfile

    @property
    def kind(self) -> Kind:
        return self.recent.kind if self.reference.kind is Kind.NONE else self.reference.kind


@frozen(kw_only=True)
class _Test:
    """A test with a p-value, which waits for its correction."""

    pair: _Pair
    name: str
    tolerated: float
    found: Difference


@frozen(kw_only=True)
class _Asked:
    """What is asked of one column: the strictest of all the rules that hold for it."""

    psi: float | None = None
    ks: float | None = None
    chi_square: float | None = None

    def names(self) -> list[str]:
        asked = {"PSI": self.psi, KS: self.ks, CHI_SQUARE: self.chi_square}
        return [name for name, limit in asked.items() if limit is not None]


@frozen(kw_only=True)
class _Bins:
    """Counts over the same bins.

    Attributes:
        fresh: Texts that the reference does not have.
    """

    reference: Sequence[int]
    recent: Sequence[int]
    fresh: Sequence[str] = field(factory=tuple)


def compare(reference: Profile, recent: Profile, rules: Distribution) -> list[Finding]:
    """Compare two tables.

    The correction counts every test that the reference's columns allow (two for numbers and times, one for texts and
    booleans), made or not: so one rule more never makes another one milder.

    Args:
        reference: What data should be like.
        recent: What it is like.
        rules: What is compared, and how far it may be apart.

    Returns:
        A finding for each rule, by column: the name, then the test. What cannot be tested is a no.
    """
    findings: dict[tuple[str, str], Finding] = {}
    waiting: list[_Test] = []
    for column in _columns(reference, rules):
        asked = _asked(column, reference, rules)
        fault = _fault(column, reference, recent, rules)
        if fault is None:
            pair = _Pair(column=column, reference=reference.columns[column], recent=recent.columns[column])
            findings |= {(column, each.check): each for each in _plain(pair, asked)}
            waiting += _tests(pair, asked)
        elif fault:
            for name in asked.names():
                findings[column, name] = _no(column, name, fault)
    findings |= {(each.subject, each.check): each for each in _judged(waiting, rules, _possible(reference))}
    return [findings[key] for key in sorted(findings)]


def compare_values(reference: pl.DataFrame, recent: pl.DataFrame, rules: Distribution) -> list[Finding]:
    """Compare two tables that are in memory, exactly: every value is counted by itself."""
    was, now = (Profile.of([frame], buckets=0) for frame in (reference, recent))
    return compare(was, now, rules)


def resembles(sample: Profile, whole: Profile, *, alpha: float = 0.01, rows_at_least: int = 200) -> Verdict:
    """Say whether a sample is like the whole it was taken from, in every column.

    Args:
        sample: The sample.
        whole: The whole.
        alpha: The chance that a fair sample of a table is called unlike it.
        rows_at_least: How many values each column of both needs.
    """
    rules = Distribution(columns={EVERY: ALIKE}, alpha=alpha, correction=Correction.HOLM, rows_at_least=rows_at_least)
    facts = {"rows": str(sample.rows), "reference_rows": str(whole.rows)}
    return Verdict(
        subject="the sample", policy="a sample is like its whole", findings=compare(whole, sample, rules), facts=facts
    )


def _columns(reference: Profile, rules: Distribution) -> list[str]:
    """Name the columns that are tested."""
    wide = [name for name in reference.columns if name not in rules.ignore] if EVERY in rules.columns else []
    return sorted({name for name in rules.columns if name != EVERY} | set(wide))


def _asked(column: str, reference: Profile, rules: Distribution) -> _Asked:
    """Put together what is asked of a column; rules for every column ask what suits its kind."""
    profile = reference.columns.get(column)
    kind = profile.kind if profile else Kind.NONE
    own = [rules.columns[column]] if column in rules.columns and column != EVERY else []
    wide = [rules.columns[EVERY]] if EVERY in rules.columns and column not in rules.ignore else []
    return _Asked(
        psi=_least(rule.psi for rule in [*own, *wide]),
        ks=_least(rule.ks for rule in own + (wide if kind not in CATEGORICAL else [])),
        chi_square=_least(rule.chi_square for rule in own + (wide if kind not in NUMERIC else [])),
    )


def _least(limits: Iterator[float | None]) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _fault(column: str, reference: Profile, recent: Profile, rules: Distribution) -> str | None:
    """Say why a column cannot be compared; None where it can, and nothing where it need not."""
    was, now = reference.columns.get(column), recent.columns.get(column)
    if was is None or now is None:
        return "the reference has no such column" if was is None else "it is not there any more"
    kinds = {was.kind, now.kind}
    unwanted = column not in rules.columns and (was.kind is Kind.NESTED or kinds == {Kind.NONE})
    if unwanted or Kind.NESTED in kinds:
        return "" if unwanted else "its values are lists, objects or bytes, whose distribution is not known"
    if len(kinds - {Kind.NONE}) > 1:
        return f"it holds {now.kind}, and that of the reference {was.kind}"
    for told, profile in (("the reference has", was), ("there are", now)):
        if profile.present < rules.rows_at_least:
            return f"{told} only {profile.present} values of it, and {rules.rows_at_least} are needed"
    return None


def _no(column: str, name: str, fault: str) -> Finding:
    return Finding(check=f"{column}: {name}", passed=False, reason=f"{column}: {fault}.", subject=column)


def _plain(pair: _Pair, asked: _Asked) -> Iterator[Finding]:
    """Make the tests that have no p-value, and say of the others where they do not suit."""
    if asked.psi is not None:
        yield _stability(pair, asked.psi)
    if asked.ks is not None and pair.kind not in NUMERIC:
        yield _no(pair.column, KS, f"{KS} is for numbers and times, and it holds {pair.kind}")


def _stability(pair: _Pair, most: float) -> Finding:
    bins = _bins(pair)
    psi = population_stability(bins.reference, bins.recent)
    fresh = f"; new are {', '.join(f'{each!r:.60}' for each in bins.fresh[:EXAMPLES])}" if bins.fresh else ""
    return Finding(
        check=f"{pair.column}: PSI at most {most:g}",
        passed=psi <= most,
        reason=f"{pair.column}: PSI is {psi:.4f}, and may be {most:g}{_missing(pair)}{fresh}.",
        subject=pair.column,
        value=psi,
        against=most,
    )


def _missing(pair: _Pair) -> str:
    """Tell the shares that are missing, where there are any."""
    was, now = (100 * each.missing / each.rows for each in (pair.reference, pair.recent))
    return f"; missing are {now:.1f} %, in the reference {was:.1f} %" if max(was, now) else ""


def _tests(pair: _Pair, asked: _Asked) -> Iterator[_Test]:
    if asked.ks is not None and pair.kind in NUMERIC:
        was, now = _in_order(pair)
        yield _Test(pair=pair, name=KS, tolerated=asked.ks, found=kolmogorov_smirnov(was, now))
    if asked.chi_square is not None:
        bins = _bins(pair)
        found = chi_square(bins.reference, bins.recent)
        yield _Test(pair=pair, name=CHI_SQUARE, tolerated=asked.chi_square, found=found)


def _possible(reference: Profile) -> int:
    """Count the tests that the reference's columns allow."""
    kinds = [column.kind for column in reference.columns.values()]
    return sum((kind in NUMERIC) + (kind in NUMERIC or kind in CATEGORICAL or kind is Kind.NONE) for kind in kinds)


def _judged(waiting: Sequence[_Test], rules: Distribution, possible: int) -> Iterator[Finding]:
    p_values = [test.found.p_value for test in waiting]
    tests = max(possible, len(waiting))
    corrected = adjusted(p_values, tests=tests, correction=rules.correction)
    how = "" if rules.correction is Correction.NONE else f", {rules.correction} over {tests} tests"
    for test, p_value in zip(waiting, corrected, strict=True):
        drifted = p_value <= rules.alpha and test.found.effect > test.tolerated
        of = "distance" if test.name == KS else "effect"
        limit = f", and the {of} may be {test.tolerated:g}" if test.tolerated else ""
        yield Finding(
            check=f"{test.pair.column}: {test.name}, alpha {rules.alpha:g}"
            + (f", {of} above {test.tolerated:g}" if test.tolerated else ""),
            passed=not drifted,
            reason=f"{test.pair.column}: the {of} is {test.found.effect:.4f}, p = {p_value:.2g}{how}; alpha is "
            f"{rules.alpha:g}{limit}.",
            subject=test.pair.column,
            value=test.found.effect,
            against=test.tolerated or None,
        )


def _in_order(pair: _Pair) -> tuple[np.ndarray, np.ndarray]:
    """Count numbers over the same buckets, ascending, infinities at the ends."""
    grain = max(pair.reference.numbers.grain, pair.recent.numbers.grain)
    was, now = (each.numbers.coarser(grain) for each in (pair.reference, pair.recent))
    keys = np.union1d(was.keys, now.keys)
    rows = []
    for profile, sketch in ((pair.reference, was), (pair.recent, now)):
        counts = np.zeros(len(keys) + 2, np.int64)
        counts[0], counts[-1] = profile.below, profile.above
        counts[np.searchsorted(keys, sketch.keys) + 1] = sketch.counts
        rows.append(counts)
    return rows[0], rows[1]


def _bins(pair: _Pair) -> _Bins:
    """Count over bins that the reference makes; what is missing has one of its own."""
    made = _number_bins(pair) if pair.kind in NUMERIC else _text_bins(pair)
    return _Bins(
        reference=[*made.reference, pair.reference.missing],
        recent=[*made.recent, pair.recent.missing],
        fresh=made.fresh,
    )


def _number_bins(pair: _Pair) -> _Bins:
    """Make bins with about as many rows of the reference in each, and one for what is beyond on either side."""
    was, now = _in_order(pair)
    filled = np.flatnonzero(was)
    wanted = np.arange(1, BINS + 1) / BINS * was.sum()
    at = np.unique(np.searchsorted(np.cumsum(was), wanted))
    # What is less than all of the reference is not its first bin's.
    edges = np.unique([filled[0] - 1, *np.minimum(at, filled[-1])])
    bin_of = np.searchsorted(edges, np.arange(len(was)))
    return _Bins(
        reference=[int(each) for each in np.bincount(bin_of, weights=was, minlength=len(edges) + 1)],
        recent=[int(each) for each in np.bincount(bin_of, weights=now, minlength=len(edges) + 1)],
    )


def _text_bins(pair: _Pair) -> _Bins:
    """Give the most frequent texts a bin each; where there are too many to be known, bins are groups by hash."""
    was, now = pair.reference.texts, pair.recent.texts
    if was.level or now.level:
        return _Bins(reference=was.groups[:GROUPS], recent=now.groups[:GROUPS])
    frequent = [value for value, _ in was.top(TEXTS)]
    fresh = [value for value, _ in now.top(len(now.values)) if value not in was.values]
    new = sum(now.values[value] for value in fresh)
    first = [was.values[value] for value in frequent]
    then = [now.values.get(value, 0) for value in frequent]
    return _Bins(
        reference=[*first, was.total - sum(first), 0],
        recent=[*then, now.total - sum(then) - new, new],
        fresh=fresh,
    )
