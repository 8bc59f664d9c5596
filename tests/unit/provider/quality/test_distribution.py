from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]  # it has no types

from airflow_azureml.core.data_tests import EVERY, Correction, Distribution, Drift
from airflow_azureml.core.findings import Finding
from airflow_azureml.quality.distribution import BINS, compare, compare_values, resembles
from airflow_azureml.quality.profile import Profile
from airflow_azureml.quality.statistics import (
    SMOOTHING,
)

ROWS = 1_000_000
#: What profiles may be off by, where numbers are too many to be kept: the share of one bucket, at the most.
TOLERANCE = 0.005
ALL = Distribution(columns={EVERY: Drift(psi=0.1, ks=0.0, chi_square=0.0)})


def _profile(rows: int = ROWS, *, seed: int, **drifted: Any) -> Profile:
    rng = np.random.default_rng(seed)
    columns = {
        "normal": rng.standard_normal(rows),
        "far": 1e6 + rng.standard_normal(rows),
        "heavy": rng.lognormal(0, 2, rows),
        "whole": rng.poisson(3, rows),
        "mostly_zero": np.where(rng.random(rows) < 0.9, 0.0, rng.standard_normal(rows)),
        "colour": rng.choice(["red", "green", "blue", "grün"], rows, p=[0.5, 0.3, 0.15, 0.05]),
        "flag": rng.random(rows) < 0.1,
        "constant": np.ones(rows),
    }
    changed = {name: change(columns[name], rng) for name, change in drifted.items()}
    return Profile.of(pl.DataFrame(columns | changed).iter_slices(100_000))


@pytest.fixture(scope="module")
def reference() -> Profile:
    return _profile(seed=1)


def _failed(findings: list[Finding]) -> set[str]:
    return {finding.subject for finding in findings if not finding.passed}


def _one(findings: list[Finding], check: str) -> Finding:
    (found,) = [finding for finding in findings if check in finding.check]
    return found


def _of(reference: Any, recent: Any, rule: Drift, **how: Any) -> list[Finding]:
    was, now = (pl.DataFrame({"a": values}) for values in (reference, recent))
    return compare_values(was, now, Distribution(columns={"a": rule}, **({"rows_at_least": 2} | how)))


@pytest.mark.parametrize("correction", Correction)
def test_in_a_million_rows_the_columns_that_drifted_are_found_and_no_others(
    reference: Profile, correction: Correction
) -> None:
    recent = _profile(
        seed=2,
        normal=lambda values, _: values + 0.02,
        heavy=lambda values, _: values * 1.05,
        colour=lambda values, rng: np.where(rng.random(len(values)) < 0.01, "black", values),
        flag=lambda values, rng: values | (rng.random(len(values)) < 0.01),
    )

    findings = compare(reference, recent, evolve(ALL, correction=correction, alpha=0.001))

    assert _failed(findings) == {"normal", "heavy", "colour", "flag"}
    assert {finding.subject for finding in findings} == set(reference.columns)


def test_in_a_million_rows_of_the_same_kind_no_drift_is_found(reference: Profile) -> None:
    findings = compare(reference, _profile(seed=3), ALL)

    assert _failed(findings) == set()
    assert len(findings) == 2 * 8
    assert [finding.subject for finding in findings] == sorted(finding.subject for finding in findings)


def test_a_change_too_small_to_matter_may_be_allowed(reference: Profile) -> None:
    recent = _profile(seed=2, normal=lambda values, _: values + 0.02)

    findings = compare(reference, recent, Distribution(columns={"normal": Drift(ks=0.05)}))

    (found,) = findings
    assert found.passed
    assert found.check == "normal: Kolmogorov-Smirnov, alpha 0.01, distance above 0.05"
    assert found.against == 0.05
    assert "p = " in found.reason


def _trials(rules: Distribution, *, drifted: int = 0, trials: int = 250) -> list[set[str]]:
    """Name the columns in which drift was found, by trial: six columns, of which the first ones are drifted."""
    rng = np.random.default_rng(20261121)
    found = []
    for _ in range(trials):
        was, now = ({f"c{number}": rng.standard_normal(300) for number in range(6)} for _ in range(2))
        now |= {f"c{number}": now[f"c{number}"] + 0.6 for number in range(drifted)}
        found.append(_failed(compare_values(pl.DataFrame(was), pl.DataFrame(now), rules)))
    return found


def test_the_chance_of_any_false_alarm_in_a_table_is_what_was_promised() -> None:
    rules = Distribution(columns={EVERY: Drift(ks=0.0)}, alpha=0.05, correction=Correction.HOLM)

    alarms = sum(map(bool, _trials(rules)))

    # 5 % of 250, and three standard deviations.
    assert alarms <= 12.5 + 3 * 3.5


def test_without_a_correction_each_column_has_its_own_chance_of_a_false_alarm() -> None:
    rules = Distribution(columns={EVERY: Drift(ks=0.0)}, alpha=0.05, correction=Correction.NONE)

    alarms = sum(map(len, _trials(rules)))

    # 5 % of 1,500, and three standard deviations; the test is a little on the careful side.
    assert 75 - 4 * 8.4 <= alarms <= 75 + 3 * 8.4


def test_the_share_of_false_alarms_among_all_is_what_was_promised() -> None:
    rules = Distribution(columns={EVERY: Drift(ks=0.0)}, alpha=0.1, correction=Correction.BENJAMINI_HOCHBERG)

    trials = _trials(rules, drifted=3, trials=150)

    false = [len(found - {"c0", "c1", "c2"}) / max(1, len(found)) for found in trials]
    assert np.mean(false) <= 0.1
    assert all({"c0", "c1", "c2"} <= found for found in trials)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.integers(20, 400), st.integers(20, 400), st.sampled_from([0, 1, 6]))
def test_from_few_numbers_the_figures_are_those_of_scipy_and_numpy(seed: int, many: int, few: int, digits: int) -> None:
    rng = np.random.default_rng(seed)
    was, now = rng.standard_normal(many).round(digits), (rng.standard_normal(few) * 1.2 + 0.3).round(digits)

    findings = _of(was, now, Drift(psi=0.1, ks=0.0), correction=Correction.NONE)

    exact = stats.ks_2samp(was, now, method="asymp")
    ks = _one(findings, "Kolmogorov")
    assert ks.value == pytest.approx(exact.statistic, abs=1e-12)
    assert ks.passed is bool(exact.pvalue > 0.01)
    assert _one(findings, "PSI").value == pytest.approx(_psi(was, now), abs=1e-12)


def _psi(was: np.ndarray, now: np.ndarray) -> float:
    """The index as it is written down in words: deciles of the reference, and what is beyond it."""
    deciles = np.quantile(was, np.arange(1, BINS + 1) / BINS, method="inverted_cdf")
    edges = np.unique([np.nextafter(was.min(), -np.inf), *deciles])
    shares = []
    for values in (was, now):
        counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
        # One more bin is for what is missing.
        raised = np.append(counts, 0) / len(values) + SMOOTHING / min(len(was), len(now))
        shares.append(raised / raised.sum())
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


@pytest.mark.parametrize("kind", ["normal", "far", "heavy", "whole", "mostly_zero"])
def test_from_the_profiles_of_many_numbers_the_figures_are_near_those_of_scipy_and_numpy(kind: str) -> None:
    rng = np.random.default_rng(5)
    makers: dict[str, Callable[[int], np.ndarray]] = {
        "normal": rng.standard_normal,
        "far": lambda size: 1e6 + rng.standard_normal(size),
        "heavy": lambda size: rng.lognormal(0, 2, size),
        "whole": lambda size: np.floor(rng.standard_normal(size) * 20),
        "mostly_zero": lambda size: np.where(rng.random(size) < 0.9, 0.0, rng.standard_normal(size)),
    }
    was, now = makers[kind](300_000), makers[kind](200_000) * 1.01
    one, other = (Profile.of(pl.DataFrame({"a": values}).iter_slices(50_000)) for values in (was, now))

    findings = compare(one, other, Distribution(columns={"a": Drift(psi=0.1, ks=0.0)}))

    exact = stats.ks_2samp(was, now, method="asymp").statistic
    assert exact - TOLERANCE <= (_one(findings, "Kolmogorov").value or 0) <= exact + 1e-12
    assert _one(findings, "PSI").value == pytest.approx(_psi(was, now), abs=TOLERANCE, rel=0.05)


drifts = st.builds(
    Drift,
    psi=st.none() | st.floats(0.001, 0.5),
    ks=st.none() | st.sampled_from([0.0, 0.05, 0.2]),
    chi_square=st.none() | st.sampled_from([0.0, 0.05, 0.2]),
)
SMALL = [
    Profile.of(
        [
            pl.DataFrame(
                {
                    "a": rng.standard_normal(80) + shift,
                    "b": rng.standard_normal(80) * (1 + shift / 2),
                    "c": rng.choice(["x", "y", "z"], 80, p=[0.3 + shift / 4, 0.4, 0.3 - shift / 4]),
                    "d": rng.random(80) < 0.3 + shift / 5,
                }
            )
        ]
    )
    for rng, shift in ((np.random.default_rng(8), 0.0), (np.random.default_rng(9), 0.5))
]


@settings(deadline=None, max_examples=120)
@given(
    st.dictionaries(st.sampled_from(["a", "b", "c", "d", "gone", EVERY]), drifts, max_size=4),
    st.sampled_from(["a", "b", "c", "d", "gone", EVERY]),
    drifts,
    st.sampled_from(Correction),
)
def test_one_rule_more_never_turns_a_no_into_a_yes(
    columns: dict[str, Drift], name: str, more: Drift, correction: Correction
) -> None:
    rules = Distribution(columns=columns, correction=correction, rows_at_least=10, alpha=0.05)
    known = columns.get(name, Drift())
    # A rule that is there stays; what it does not ask yet may be asked.
    added = Drift(
        psi=more.psi if known.psi is None else known.psi,
        ks=more.ks if known.ks is None else known.ks,
        chi_square=more.chi_square if known.chi_square is None else known.chi_square,
    )

    before = _failed(compare(SMALL[0], SMALL[1], rules))
    after = _failed(compare(SMALL[0], SMALL[1], evolve(rules, columns={**columns, name: added})))

    assert before <= after


def test_the_correction_counts_the_tests_that_are_possible_and_not_those_that_are_asked_for() -> None:
    few = Distribution(columns={"a": Drift(ks=0.0)}, rows_at_least=10)
    many = evolve(few, columns={EVERY: Drift(ks=0.0, chi_square=0.0), "a": Drift(chi_square=0.0)})

    told = [_one(compare(SMALL[0], SMALL[1], rules), "a: Kolmogorov").reason for rules in (few, many)]

    # Two for each of two columns of numbers, one for each of two others.
    assert all("holm over 6 tests" in reason for reason in told)


@settings(deadline=None)
@given(st.permutations(["a", "b", "c", "d"]))
def test_the_order_of_columns_and_of_rules_changes_nothing(order: list[str]) -> None:
    rules = Distribution(columns={name: Drift(psi=0.1, chi_square=0.0) for name in order}, rows_at_least=10)
    turned = [evolve(each, columns={name: each.columns[name] for name in order}) for each in SMALL]

    straight = evolve(rules, columns={name: rules.columns[name] for name in "abcd"})
    assert compare(turned[0], turned[1], rules) == compare(SMALL[0], SMALL[1], straight)


@pytest.mark.parametrize(
    ("reference", "recent", "rule", "told"),
    [
        ([1.0] * 9, [1.0] * 300, Drift(psi=0.1), "a: the reference has only 9 values of it, and 200 are needed."),
        ([1.0] * 300, [1.0] * 9 + [None] * 991, Drift(ks=0.0), "a: there are only 9 values of it, and 200 are needed."),
        ([1.0] * 300, [float("nan")] * 300, Drift(ks=0.0), "a: there are only 0 values of it, and 200 are needed."),
        ([1.0] * 300, ["x"] * 300, Drift(psi=0.1), "a: it holds text, and that of the reference number."),
        (["x"] * 300, ["x"] * 300, Drift(ks=0.0), "a: Kolmogorov-Smirnov is for numbers and times, and it holds text."),
        ([[1]] * 300, [[1]] * 300, Drift(psi=1.0), "a: its values are lists, objects or bytes, whose distribution"),
    ],
)
def test_what_cannot_be_tested_is_a_no_with_the_reason(reference: Any, recent: Any, rule: Drift, told: str) -> None:
    (found,) = _of(reference, recent, rule, rows_at_least=200)

    assert not found.passed
    assert told in found.reason


def test_a_column_that_is_gone_or_was_never_there_is_a_no() -> None:
    table = Profile.of([pl.DataFrame({"a": [1.0] * 300})])
    other = Profile.of([pl.DataFrame({"b": [1.0] * 300})])
    rules = Distribution(columns={"a": Drift(psi=0.1), "b": Drift(ks=0.0)})

    assert [finding.reason for finding in compare(table, other, rules)] == [
        "a: it is not there any more.",
        "b: the reference has no such column.",
    ]


@pytest.mark.parametrize(
    ("recent", "drifted"),
    [
        ([5.0] * 300, False),
        ([5.0] * 299 + [7.0], False),
        ([3.0] * 300, True),
        ([7.0] * 300, True),
        ([float("inf")] * 150 + [5.0] * 150, True),
        ([float("-inf")] * 150 + [5.0] * 150, True),
    ],
)
def test_a_constant_is_alike_only_to_itself(recent: list[float], *, drifted: bool) -> None:
    findings = _of([5.0] * 300, recent, Drift(psi=0.2, ks=0.0))

    assert [finding.passed for finding in findings] == [not drifted, not drifted]


def test_more_missing_values_are_drift_to_psi_and_chi_square() -> None:
    was, now = [*map(float, range(500))], [*map(float, range(300)), *[None] * 200]
    findings = _of(was, [value for value in now if value is None or value % 1 == 0], Drift(psi=0.1, chi_square=0.0))

    assert [finding.passed for finding in findings] == [False, False]
    assert "missing are 40.0 %, in the reference 0.0 %" in _one(findings, "PSI").reason


def test_new_texts_are_told() -> None:
    (found,) = _of(["a", "b"] * 500, ["a", "ü"] * 500, Drift(psi=0.2))

    assert not found.passed
    assert "new are 'ü'." in found.reason


def test_of_too_many_texts_groups_are_compared() -> None:
    was, same, other = ([f"{kind} {number % 6000}" for number in range(30_000)] for kind in ("a", "a", "b"))
    uneven = [text for text in same for _ in range(1 + 4 * (text.endswith("7")))]

    profiles = [Profile.of([pl.DataFrame({"a": values})]) for values in (was, same, other, uneven)]
    rules = Distribution(columns={"a": Drift(psi=0.001, chi_square=0.0)})
    assert [_failed(compare(profiles[0], each, rules)) for each in profiles[1:]] == [set(), {"a"}, {"a"}]


def test_booleans_and_dates_are_compared() -> None:
    days = pl.date_range(pl.date(2026, 1, 1), pl.date(2026, 12, 31), eager=True)
    later = days.dt.offset_by("90d")

    assert not _one(_of(days, later, Drift(ks=0.0)), "Kolmogorov").passed
    assert _one(_of(days, days.shuffle(seed=1), Drift(ks=0.0)), "Kolmogorov").passed
    assert not _one(_of([True, False] * 200, [True] * 300 + [False] * 100, Drift(chi_square=0.0)), "chi").passed


def test_rules_for_every_column_ask_what_suits_its_kind_and_leave_out_what_is_ignored() -> None:
    table = Profile.of(
        [
            pl.DataFrame(
                {"n": [1.0, 2.0] * 150, "t": ["a", "b"] * 150, "l": [[1]] * 300, "none": [None] * 300, "id": range(300)}
            )
        ]
    )
    rules = Distribution(columns={EVERY: Drift(psi=0.1, ks=0.0, chi_square=0.0)}, ignore=("id",))

    checks = Counter(finding.check.split(",")[0] for finding in compare(table, table, rules))

    assert checks == {
        "n: PSI at most 0.1": 1,
        "n: Kolmogorov-Smirnov": 1,
        "t: PSI at most 0.1": 1,
        "t: chi-square": 1,
    }


def test_a_fair_sample_is_like_its_whole_and_a_chosen_one_is_not() -> None:
    rng = np.random.default_rng(4)
    table = pl.DataFrame({"x": rng.standard_normal(50_000), "c": rng.choice(["a", "b"], 50_000)}).sort("x")
    whole = Profile.of([table])

    fair = resembles(Profile.of([table.sample(2000, seed=1)]), whole)
    first = resembles(Profile.of([table.head(2000)]), whole)
    tiny = resembles(Profile.of([table.sample(50, seed=1)]), whole)

    assert fair.accepted
    assert {finding.subject for finding in first.failed} == {"x"}
    assert "there are only 50 values of it, and 200 are needed" in tiny.sentence
