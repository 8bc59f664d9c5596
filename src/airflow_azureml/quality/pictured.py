"""What of two tables is drawn in a report: columns that were compared, and what is missing."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from airflow_azureml.core.data_tests import EVERY, Distribution
from airflow_azureml.core.findings import Finding
from airflow_azureml.quality.pictures import MOST_WORDS, Histogram, Nulls, figure
from airflow_azureml.quality.profile import CATEGORICAL, NUMERIC, ColumnProfile, Kind, Profile
from airflow_azureml.quality.report import Pictured

#: Bins of a histogram.
BINS = 30
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def pictured(
    recent: Profile, reference: Profile | None, findings: Sequence[Finding], rules: Distribution | None
) -> Pictured:
    """Choose what is drawn.

    Args:
        recent: The file.
        reference: What it is compared with; None for nothing, and then no column is drawn.
        findings: What was found; columns of which something failed come first, and then those that differ most.
        rules: Which columns were compared.
    """
    nulls = [
        Nulls(column=name, recent=_missing(column), reference=_missing_in(reference, name))
        for name, column in recent.columns.items()
    ]
    if reference is None or rules is None:
        return Pictured(nulls=nulls)
    failed = {each.subject for each in findings if not each.passed}
    wide = [] if EVERY not in rules.columns else [name for name in reference.columns if name not in rules.ignore]
    asked = dict.fromkeys([*rules.columns, *wide])
    names = [name for name in asked if name in reference.columns and name in recent.columns]
    drawn = {name: _histogram(name, reference.columns[name], recent.columns[name], findings) for name in names}
    found = [(name, each) for name, each in drawn.items() if each is not None]
    found.sort(key=lambda one: (one[0] not in failed, -_apart(one[1]), one[0]))
    return Pictured(histograms=[each for _, each in found], nulls=nulls)


def _histogram(
    name: str, reference: ColumnProfile, recent: ColumnProfile, findings: Sequence[Finding]
) -> Histogram | None:
    """Draw a column; None where the two are of different kinds, or have nothing that can be drawn."""
    told = [each.reason.removeprefix(f"{name}: ") for each in findings if each.subject == name and not each.passed]
    note = "; ".join(reason.partition(",")[0].rstrip(".") for reason in told[:2])
    kind = recent.kind if reference.kind is Kind.NONE else reference.kind
    if recent.kind not in (kind, Kind.NONE):
        return None
    if kind in NUMERIC:
        ends = [*reference.edges(1), *recent.edges(1)]
        if not ends:
            return None
        low, high = min(ends), max(ends)
        edges = [low + (high - low) * number / BINS for number in range(BINS + 1)] if high > low else [low, low + 1]
        shares = [_shares(each.histogram(edges), each.present) for each in (reference, recent)]
        ticks = (_date(low), _date(high)) if kind is Kind.TIME else (figure(low), figure(high))
        return Histogram(column=name, reference=shares[0], recent=shares[1], edges=edges, ticks=ticks, note=note)
    if kind in CATEGORICAL:
        was, now = dict(reference.top(MOST_WORDS)), dict(recent.top(MOST_WORDS))
        words = list(dict.fromkeys([*was, *now]))
        counts = [[each.texts.values.get(word, 0) for word in words] for each in (reference, recent)]
        shares = [_shares(each, of.present) for each, of in zip(counts, (reference, recent), strict=True)]
        return Histogram(column=name, reference=shares[0], recent=shares[1], words=words, note=note)
    return None


def _shares(counts: Sequence[int], total: int) -> list[float]:
    return [count / total if total else 0.0 for count in counts]


def _apart(drawn: Histogram) -> float:
    return sum(abs(was - now) for was, now in zip(drawn.reference, drawn.recent, strict=False))


def _missing(column: ColumnProfile) -> float:
    return column.missing / column.rows if column.rows else 0.0


def _missing_in(reference: Profile | None, name: str) -> float | None:
    return _missing(reference.columns[name]) if reference is not None and name in reference.columns else None


def _date(seconds: float) -> str:
    """Write a point in time for people; what no calendar has stays seconds."""
    try:
        return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%d")
    except (OverflowError, ValueError):
        return f"{figure(seconds)} s"
