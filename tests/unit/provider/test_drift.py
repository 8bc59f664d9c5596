"""When drift asks for a retraining, and that it asks once, whoever looks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from airflow_azureml.core.drift import (
    Decision,
    DriftPolicy,
    Retrain,
    Wait,
    WindowState,
    WindowVerdict,
    decide,
    sentence,
    table,
    told,
)
from airflow_azureml.core.drift_watch import MOST, Entry, Life, Watch, settle
from airflow_azureml.core.findings import Finding
from airflow_azureml.errors import ProtocolError

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
POLICY = DriftPolicy(violated=2, of=3, cool_down=timedelta(days=2), min_rows=10)


def verdict(day: int, *, violates: bool = True, rows: int = 50, columns: Sequence[str] = ("bmi",)) -> WindowVerdict:
    found = [
        Finding(check="psi at most 0.2", passed=not violates, reason="…", subject=name, value=0.5) for name in columns
    ]
    return WindowVerdict(window=f"2026-01-{day:02}", rows=rows, findings=found)


verdicts = st.builds(
    verdict, st.integers(1, 28), violates=st.booleans(), rows=st.sampled_from([0, 3, 9, 10, 11, 500])
) | st.builds(WindowVerdict, window=st.just("2026-01-01"), rows=st.just(50))
#: Most of them violate: else a yes would be too rare to say anything.
windows = st.lists(st.integers(1, 28).map(verdict) | verdicts, max_size=6)
policies = st.integers(1, 4).flatmap(
    lambda of: st.builds(
        DriftPolicy,
        violated=st.integers(1, of),
        of=st.just(of),
        cool_down=st.timedeltas(timedelta(0), timedelta(days=4)),
        min_rows=st.integers(1, 20),
    )
)
moments = st.none() | st.timedeltas(timedelta(days=-6), timedelta(days=1)).map(lambda ago: NOW + ago)
others = st.sampled_from(["", "weekly_retraining"])


@given(windows, policies, moments, others)
def test_no_retraining_is_asked_for_where_the_latest_window_does_not_violate(
    seen: list[WindowVerdict], policy: DriftPolicy, retrained_at: datetime | None, retraining: str
) -> None:
    decision = decide(seen, policy, now=NOW, retrained_at=retrained_at, retraining=retraining)

    if isinstance(decision, Retrain):
        assert seen[-1].rows >= policy.min_rows
        assert any(not each.passed for each in seen[-1].findings)


@given(windows, policies, st.timedeltas(timedelta(days=-6), timedelta(days=6)))
def test_no_retraining_is_asked_for_within_the_cool_down(
    seen: list[WindowVerdict], policy: DriftPolicy, since: timedelta
) -> None:
    decision = decide(seen, policy, now=NOW, retrained_at=NOW - since)

    if since < policy.cool_down:
        assert isinstance(decision, Wait)
    else:
        assert type(decision) is type(decide(seen, policy, now=NOW))


@given(windows, policies)
def test_no_retraining_is_asked_for_while_one_runs(seen: list[WindowVerdict], policy: DriftPolicy) -> None:
    assert isinstance(decide(seen, policy, now=NOW, retraining="weekly_retraining"), Wait)


@given(windows.filter(bool), policies, moments, others, st.data())
def test_one_more_violated_window_never_turns_a_yes_into_a_no(
    seen: list[WindowVerdict], policy: DriftPolicy, retrained_at: datetime | None, retraining: str, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(seen) - 1))
    more = [*seen]
    more[place] = verdict(place + 1, rows=1000)
    known: dict[str, Any] = {"now": NOW, "retrained_at": retrained_at, "retraining": retraining}

    if isinstance(decide(seen, policy, **known), Retrain):
        assert isinstance(decide(more, policy, **known), Retrain)


@given(windows, policies, moments, others)
def test_a_retraining_is_asked_for_exactly_when_every_rule_holds_and_a_no_names_each_that_does_not(
    seen: list[WindowVerdict], policy: DriftPolicy, retrained_at: datetime | None, retraining: str
) -> None:
    decision = decide(seen, policy, now=NOW, retrained_at=retrained_at, retraining=retraining)
    counted = [each for each in seen[-policy.of :] if each.rows >= policy.min_rows and each.columns]
    enough = len(counted) >= policy.violated
    is_yes = (
        enough
        and bool(seen and seen[-1] in counted)
        and not retraining
        and (retrained_at is None or NOW - retrained_at >= policy.cool_down)
    )

    assert isinstance(decision, Retrain) is is_yes
    assert all(each.reason in sentence(decision) for each in decision.findings if not each.passed)
    assert decision == decide(seen, policy, now=NOW, retrained_at=retrained_at, retraining=retraining)


@given(st.lists(verdicts, min_size=7, max_size=9), policies)
def test_windows_before_the_last_ones_do_not_count(seen: list[WindowVerdict], policy: DriftPolicy) -> None:
    assert decide(seen, policy, now=NOW) == decide(seen[-policy.of :], policy, now=NOW)


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (verdict(1), WindowState.VIOLATED),
        (verdict(1, violates=False), WindowState.HELD),
        (verdict(1, rows=9), WindowState.THIN),
        (verdict(1, rows=0), WindowState.MISSING),
        (WindowVerdict(window="2026-01-01", rows=50), WindowState.UNJUDGED),
    ],
)
def test_a_window_is_judged_only_where_there_are_rows_enough_and_something_was_checked(
    found: WindowVerdict, state: WindowState
) -> None:
    assert found.state(POLICY) is state


def test_a_table_says_of_each_window_and_of_each_rule_what_was_found() -> None:
    seen = [verdict(29, violates=False), verdict(30, columns=("bmi", "s5")), verdict(31, rows=1234)]

    said = table(decide(seen, POLICY, now=NOW, retrained_at=NOW - timedelta(hours=30)), POLICY)

    assert said == (
        "window      rows  verdict   violates in\n"
        "2026-01-29    50  held      -\n"
        "2026-01-30    50  violated  bmi, s5\n"
        "2026-01-31  1234  violated  bmi\n"
        "\n"
        "yes  the latest window violates: The latest window, 2026-01-31, violates in bmi.\n"
        "yes  at least 2 of 3 windows violate: 2 of the last 3 windows violate; 2 are needed.\n"
        "yes  no retraining is under way: No retraining is under way.\n"
        "no   the last retraining is 2 days, 0:00:00 ago: The last retraining was at 2026-01-30T06:00:00+00:00; the"
        " cool-down ends at 2026-02-01T06:00:00+00:00.\n"
        "\n"
        "No retraining: The last retraining was at 2026-01-30T06:00:00+00:00; the cool-down ends at"
        " 2026-02-01T06:00:00+00:00."
    )


def test_missing_and_thin_windows_are_told_as_such() -> None:
    decision = decide([verdict(30, rows=0), verdict(31, rows=4)], POLICY, now=NOW)

    assert "2026-01-31, has 4 rows, and 10 are the least" in sentence(decision)
    assert "0 of the last 3 windows violate; 2 are needed. 3 could not be judged." in sentence(decision)


def test_what_a_run_returns_is_small_however_many_columns_violate() -> None:
    names = [f"column-{number:04}-{'x' * 200}" for number in range(1000)]
    policy = evolve(POLICY, of=20, violated=1)

    result = told(decide([verdict(day, columns=names) for day in range(1, 21)], policy, now=NOW), policy)

    assert result["decision"] == "retrain"
    assert len(str(result)) < 4000


def test_a_column_that_could_not_be_checked_is_told_and_is_no_drift() -> None:
    gone = Finding(check="psi at most 0.2", passed=False, reason="It is not there.", subject="s5")
    checked = verdict(31, violates=False)

    both = evolve(checked, findings=(*checked.findings, gone))

    assert both.state(POLICY) is WindowState.HELD
    assert "held     -; not checked: s5" in table(decide([both], POLICY, now=NOW), POLICY)
    assert evolve(checked, findings=(gone,)).state(POLICY) is WindowState.UNJUDGED


@pytest.mark.parametrize(
    ("policy", "fault"),
    [
        (DriftPolicy(violated=0), "violated is 0 of 3; it must be from 1 to of"),
        (DriftPolicy(violated=4), "violated is 4 of 3; it must be from 1 to of"),
        (DriftPolicy(cool_down=timedelta(-1)), "cool_down is negative"),
        (DriftPolicy(min_rows=0), "min_rows is 0; it must be 1 or more"),
    ],
)
def test_a_policy_that_contradicts_itself_says_so(policy: DriftPolicy, fault: str) -> None:
    assert policy.faults() == [fault]


class Looks(RuleBasedStateMachine):
    """Runs of a watch, in any order: they look, write by compare-and-set, emit, and die at any moment."""

    runs = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self.text = Watch().text
        self.version = 0
        self.now = NOW
        self.day = 1
        self.lives: dict[str, Life] = {}
        self.read: dict[str, tuple[int, Watch]] = {}
        self.decisions: dict[str, Decision] = {}
        self.emitted: list[tuple[str, str]] = []
        self.asked: list[datetime] = []

    @rule(target=runs)
    def begin(self) -> str:
        name = f"run-{len(self.lives)}"
        self.lives[name] = Life.MAY_EMIT
        return name

    @rule(days=st.sampled_from([0.1, 1, 1, 3]))
    def wait(self, days: float) -> None:
        self.now += timedelta(days=days)
        self.day = (self.now - NOW).days + 1

    @rule(run=runs)
    def look(self, run: str) -> None:
        if self.lives[run] is Life.MAY_EMIT:
            self.read[run] = (self.version, Watch.parse(self.text))

    @rule(run=runs, violates=st.booleans())
    def write(self, run: str, violates: bool) -> None:
        """Decide by what was read, and write it, unless somebody else has written meanwhile."""
        if run not in self.read or self.lives[run] is not Life.MAY_EMIT:
            return
        version, watch = self.read.pop(run)
        window = f"day-{self.day:03}"
        seen = [verdict(1), verdict(2, violates=violates)]

        def _decide(asked_at: datetime | None, pending: str) -> dict[str, Any]:
            return told(decide(seen, POLICY, now=self.now, retrained_at=asked_at, retraining=pending), POLICY)

        outcome = settle(
            watch, window=window, owner=run, at=self.now, life=lambda owner: self.lives[owner], decide=_decide
        )
        if version != self.version:
            return
        if outcome.is_new and outcome.entry.asks:
            assert all(self.now - at >= POLICY.cool_down for at in self.asked)
            self.asked.append(self.now)
        if outcome.watch != watch:
            self.text, self.version = outcome.watch.text, self.version + 1

    @rule(run=runs)
    def emit(self, run: str) -> None:
        """End the task that emits, well: the event is stored with it."""
        watch = Watch.parse(self.text)
        if self.lives[run] is Life.MAY_EMIT and watch.emits(run):
            assert watch.asked is not None
            self.emitted.append((watch.asked.window, run))
            self.lives[run] = Life.EMITTED

    @rule(run=runs)
    def die(self, run: str) -> None:
        if self.lives[run] is Life.MAY_EMIT:
            self.lives[run] = Life.OVER
            self.read.pop(run, None)

    @invariant()
    def each_request_is_emitted_at_most_once(self) -> None:
        asked = [window for window, _ in self.emitted]
        assert len(asked) == len(set(asked))

    def teardown(self) -> None:
        """Let one more run look and emit: then every request was emitted."""
        for name, life in self.lives.items():
            if life is Life.MAY_EMIT:
                self.lives[name] = Life.OVER
        last = self.begin()
        self.look(last)
        self.write(last, violates=False)
        self.emit(last)

        assert len(self.emitted) == len(self.asked)


TestLooks = Looks.TestCase


def entry(day: int, *, asks: bool = False, owner: str = "one") -> Entry:
    said = {"decision": "retrain" if asks else "wait"}
    return Entry(window=f"day-{day:03}", at=NOW + timedelta(days=day), owner=owner, told=said)


def test_a_window_is_decided_once() -> None:
    watch = Watch().entered(entry(1)).entered(evolve(entry(1, asks=True), owner="two"))

    assert watch.decided["day-001"].owner == "one"
    assert watch.asked is None


def test_a_watch_reads_back_what_it_wrote_and_forgets_only_what_is_old() -> None:
    watch = Watch().entered(entry(0, asks=True))
    for day in range(1, MOST + 10):
        watch = watch.entered(entry(day))

    kept = Watch.parse(watch.text)

    assert kept.asked == entry(0, asks=True)
    assert list(kept.decided) == [f"day-{day:03}" for day in range(10, MOST + 10)]
    assert Watch.parse(kept.text) == kept


@pytest.mark.parametrize(("life", "takes_over"), [(Life.MAY_EMIT, False), (Life.EMITTED, False), (Life.OVER, True)])
def test_a_request_is_taken_over_only_from_a_run_that_is_over_without_having_emitted_it(
    life: Life, takes_over: bool
) -> None:
    watch = Watch().entered(entry(1, asks=True))
    pendings = []

    def _decide(asked_at: datetime | None, pending: str) -> dict[str, Any]:
        assert asked_at == watch.asked_at
        pendings.append(bool(pending))
        return {"decision": "wait"}

    outcome = settle(watch, window="day-002", owner="two", at=NOW, life=lambda _: life, decide=_decide)

    assert (outcome.took_over, outcome.watch.emits("two")) == (takes_over, takes_over)
    assert pendings == [life is not Life.EMITTED]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "decided": [{}]}'])
def test_a_document_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="watch"):
        Watch.parse(text)
