from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from attrs import define, field
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.cursor import MAX_BYTES, OVERLAP, Claim, Cursor, Event
from airflow_azureml.errors import ProtocolError

START = datetime(2026, 1, 31, 23, 50, tzinfo=UTC)


def event(number: int, *, after_s: float = 0, arrivals: int = 1) -> Event:
    told = tuple(
        Arrival(
            account="acme",
            container="c",
            path=f"{number}-{index}",
            etag="0x1",
            size_bytes=1,
            sequencer="1",
            time="2026-01-31T00:00:00+00:00",
            api="PutBlob",
            url="https://acme.blob.core.windows.net/c/x",
        )
        for index in range(arrivals)
    )
    return Event(id=number, time=START + timedelta(seconds=after_s), arrivals=told)


def ids(claim: Claim, events: list[Event]) -> list[int]:
    return [each.id for each in events if each in claim.marks]


def test_a_new_ledger_claims_everything() -> None:
    events = [event(1), event(2, after_s=-(10**6))]

    claim, left = Cursor().claim(events, at_most=10)

    assert (ids(claim, events), left) == ([1, 2], 0)


def test_what_is_claimed_is_not_claimed_again() -> None:
    events = [event(1), event(2)]
    claim, _ = Cursor().claim(events, at_most=10)

    again, _ = Cursor().with_claim(claim).claim([*events, event(3)], at_most=10)

    assert ids(again, [*events, event(3)]) == [3]


def test_an_event_that_became_visible_late_is_still_claimed() -> None:
    claim, _ = Cursor().claim([event(9, after_s=OVERLAP.total_seconds())], at_most=10)
    late = event(2)

    again, _ = Cursor().with_claim(claim).claim([late], at_most=10)

    assert ids(again, [late]) == [2]


def test_a_claim_stops_at_whole_events_oldest_first_and_says_how_many_it_leaves() -> None:
    events = [event(3, after_s=3, arrivals=2), event(1, after_s=1, arrivals=2), event(2, after_s=2, arrivals=2)]

    claim, left = Cursor().claim(events, at_most=5)

    assert (sorted(ids(claim, events)), left) == ([1, 2], 1)


def test_an_event_with_more_arrivals_than_a_claim_may_have_is_taken_all_the_same() -> None:
    claim, left = Cursor().claim([event(1, arrivals=9)], at_most=5)

    assert (len(claim.marks), left) == (1, 0)


def test_entering_an_old_claim_once_more_changes_nothing() -> None:
    old, _ = Cursor().claim([event(1)], at_most=10)
    new, _ = Cursor().claim([event(2, after_s=10**6)], at_most=10)
    cursor = Cursor().with_claim(old).with_claim(new)

    assert cursor.with_claim(old) == cursor


def test_an_arrival_that_was_claimed_and_is_told_again_by_a_later_event_is_not_claimed_twice() -> None:
    first = event(1)
    once_more = attrs.evolve(first, id=2, time=START + timedelta(seconds=90))
    claim, _ = Cursor().claim([first], at_most=10)

    again, _ = Cursor().with_claim(claim).claim([first, once_more], at_most=10)

    assert ids(again, [first, once_more]) == [2]
    assert again.arrivals([first, once_more]) == []
    assert Claim.from_wire(json.loads(json.dumps(again.to_wire()))) == again


def test_an_arrival_that_nobody_has_claimed_is_not_taken_for_one_that_is_told_again() -> None:
    events = [event(1), attrs.evolve(event(1), id=2)]

    claim, _ = Cursor().claim(events, at_most=10)

    assert [arrival.path for arrival in claim.arrivals(events)] == ["1-0", "1-0"]


def test_an_empty_claim_changes_nothing() -> None:
    claim, left = Cursor().claim([], at_most=1)

    assert left == 0
    assert Cursor().with_claim(claim) == Cursor()
    assert Claim.from_wire(json.loads(json.dumps(claim.to_wire()))) == claim


sets = st.lists(st.tuples(st.integers(1, 10**9) | st.integers(1, 600), st.integers(0, 3600)), unique_by=lambda e: e[0])


@given(sets)
def test_a_claim_and_a_ledger_are_read_as_they_were_written(pairs: list[tuple[int, int]]) -> None:
    events = [event(number, after_s=after_s, arrivals=0) for number, after_s in pairs]
    claim, _ = Cursor().claim(events, at_most=1)
    cursor = Cursor().with_claim(claim)

    assert ids(Claim.from_wire(json.loads(json.dumps(claim.to_wire()))), events) == [each.id for each in events]
    assert Cursor.from_wire(json.loads(json.dumps(cursor.to_wire()))) == cursor


@pytest.mark.parametrize(
    "body", [{}, [], "text", {"until": "now", "claimed": {}}, {"until": None, "claimed": {"x": 1}}]
)
def test_a_stored_value_that_is_no_ledger_is_an_error_and_never_an_empty_ledger(body: Any) -> None:
    with pytest.raises(ProtocolError, match="Read the cursor"):
        Cursor.from_wire(body)


def test_ten_minutes_of_a_hundred_events_a_second_fit_into_the_store() -> None:
    events = [event(number * 2, after_s=number / 100, arrivals=0) for number in range(66_000)]
    claim, _ = Cursor().claim(events, at_most=1)
    cursor, forgotten = Cursor().with_claim(claim).fitting()

    assert forgotten == 0
    assert len(json.dumps(cursor.to_wire())) < MAX_BYTES


@given(sets, st.integers(0, 400))
def test_a_ledger_that_is_too_large_forgets_its_oldest_events_and_claims_them_again(
    pairs: list[tuple[int, int]], size_bytes: int
) -> None:
    events = [event(number, after_s=after_s, arrivals=0) for number, after_s in pairs]
    claim, _ = Cursor().claim(events, at_most=1)
    full = Cursor().with_claim(claim)
    small, forgotten = full.fitting(size_bytes)
    assume(forgotten)

    again, _ = small.claim(events, at_most=1)

    assert len(again.marks) == forgotten
    assert len(json.dumps(small.to_wire()["claimed"])) <= max(size_bytes, len("{}"))
    assert (full.until, full.after) == (small.until, small.after)


@define
class Run:
    """A DAG run's one task that claims: what it has stored, and what it has returned."""

    noted: Any = None
    returned: list[frozenset[int]] = field(factory=list)
    crashed: bool = False


class ClaimingInAnyOrder(RuleBasedStateMachine):
    """Events become visible in any order within the look back; runs claim, and die between any two steps."""

    @initialize(at_most=st.integers(1, 6))
    def start(self, at_most: int) -> None:
        self.at_most = at_most
        self.now_s = 0.0
        self.hidden: list[Event] = []
        self.visible: list[Event] = []
        self.stored: Any = None
        self.runs: list[Run] = []

    @rule(count=st.integers(1, 3), arrivals=st.integers(0, 3), hide=st.booleans())
    def store_events(self, count: int, arrivals: int, hide: bool) -> None:
        for _ in range(count):
            number = len(self.hidden) + len(self.visible) + 1
            fresh = event(number, after_s=self.now_s, arrivals=arrivals)
            (self.hidden if hide else self.visible).append(fresh)

    @rule(look_backs=st.sampled_from([0.01, 0.3, 0.6, 0.9, 1.2]))
    def time_passes(self, look_backs: float) -> None:
        # What was made longer ago than the look back is visible by now: that is what Airflow has to keep.
        self.now_s += look_backs * OVERLAP.total_seconds()
        edge = START + timedelta(seconds=self.now_s) - OVERLAP
        due = [each for each in self.hidden if each.time <= edge]
        self.hidden = [each for each in self.hidden if each.time > edge]
        self.visible += due

    @precondition(lambda self: self.hidden)
    @rule(data=st.data())
    def commit_one(self, data: st.DataObject) -> None:
        self.visible.append(self.hidden.pop(data.draw(st.integers(0, len(self.hidden) - 1))))

    @rule(dies_before=st.sampled_from(["", "note", "enter", "return"]), retried=st.booleans())
    def run_is_woken(self, dies_before: str, retried: bool) -> None:
        run = Run()
        self.runs.append(run)
        self._try(run, dies_before)
        if dies_before and retried:
            self._try(run, "")

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), dies_before=st.sampled_from(["", "enter", "return"]))
    def person_clears_a_run(self, data: st.DataObject, dies_before: str) -> None:
        run = data.draw(st.sampled_from(self.runs))
        before = list(run.returned)
        self._try(run, dies_before)

        assert len(set(run.returned)) <= 1 or not before, "the same run returned two claims"

    def _try(self, run: Run, dies_before: str) -> None:
        """Do what the operator does, and die before one of its steps."""
        run.crashed = run.crashed or bool(dies_before)
        cursor = Cursor.from_wire(self.stored)
        if run.noted is None:
            readable = [each for each in self.visible if cursor.after is None or each.time >= cursor.after]
            claim, _ = cursor.claim(readable, at_most=self.at_most)
            if dies_before == "note":
                return
            run.noted = json.loads(json.dumps(claim.to_wire()))
        claim = Claim.from_wire(run.noted)
        if dies_before == "enter":
            return
        self.stored = json.loads(json.dumps(cursor.with_claim(claim).to_wire()))
        if dies_before == "return":
            return
        run.returned.append(frozenset(ids(claim, self.visible)))

    @invariant()
    def nothing_is_twice_but_after_a_crash(self) -> None:
        claims = [frozenset(ids(Claim.from_wire(run.noted), self.visible)) for run in self.runs if run.noted]
        whole = [
            claimed
            for run, claimed in zip([run for run in self.runs if run.noted], claims, strict=True)
            if not run.crashed
        ]

        assert sum(map(len, whole)) == len(frozenset().union(*whole))

    def teardown(self) -> None:
        """In the end everything is visible and runs go on being woken: nothing may be left."""
        if not hasattr(self, "runs"):
            return
        self.visible += self.hidden
        self.hidden = []
        for run in self.runs:
            self._try(run, "")
        for _ in self.visible:
            run = Run()
            self.runs.append(run)
            self._try(run, "")
        returned = {number for run in self.runs for claim in run.returned for number in claim}

        assert returned == {each.id for each in self.visible}


TestClaimingInAnyOrder = ClaimingInAnyOrder.TestCase
TestClaimingInAnyOrder.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)
