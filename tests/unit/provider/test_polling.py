"""The poller's plan, played against a service that is a few lines: a list of jobs, and a clock that moves when told."""

import heapq
import math
from collections import Counter
from collections.abc import Sequence

from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_azureml.core.pacing import Budget
from airflow_azureml.core.polling import PollPlan, ReadJob, ReadPage, Rest

OURS = "ours"


@define
class World:
    """A service whose list is ``listed``, newest first, and those who wait for jobs, each asking again at once.

    Attributes:
        latency_s: What each request takes.
        sent: When each request was sent.
        late: How late each look came, in seconds after it fell due.
        looks: Whose each look was, when it fell due, and when it came.
    """

    plan: PollPlan
    listed: list[str]
    page_size: int = 10
    latency_s: float = 0.05
    now: float = 0.0
    sent: list[float] = field(factory=list)
    pages: int = 0
    most_under_way: int = 0
    late: list[float] = field(factory=list)
    looks: list[tuple[str, float, float]] = field(factory=list)
    read_singly: list[str] = field(factory=list)
    again: dict[str, float] = field(factory=dict)
    _due: dict[str, float] = field(factory=dict)
    _answers: list[tuple[float, int, ReadJob | ReadPage]] = field(factory=list)

    def wait_for(self, name: str, *, every_s: float, due_at: float = 0.0, submitted_at: float = 0.0) -> None:
        self.again[name] = every_s
        self._ask(name, due_at, submitted_at)

    def _ask(self, name: str, due_at: float, submitted_at: float = 0.0) -> None:
        self._due[name] = due_at
        every_s = self.again[name]
        self.plan.ask(name, now=self.now, due_at=due_at, interval_s=every_s, submitted_at=submitted_at)

    def run(self, until: float) -> None:
        while True:
            step = self.plan.next(self.now)
            if not isinstance(step, Rest):
                self.sent.append(self.now)
                heapq.heappush(self._answers, (self.now + self.latency_s, len(self.sent), step))
                self.most_under_way = max(self.most_under_way, len(self._answers))
                continue
            wake_at = min(step.until, self._answers[0][0] if self._answers else math.inf)
            assert wake_at > self.now or self._answers, "the plan neither rests nor does anything"
            if wake_at > until:
                return
            self.now = max(self.now, wake_at)
            while self._answers and self._answers[0][0] <= self.now:
                self._answer(heapq.heappop(self._answers)[2])

    def _answer(self, step: ReadJob | ReadPage) -> None:
        if isinstance(step, ReadJob):
            self.plan.job_read(step.name)
            self.read_singly.append(step.name)
            seen = [step.name]
        else:
            self.pages += 1
            start = int(step.link or 0)
            shown = self.listed[start : start + self.page_size]
            more = start + self.page_size < len(self.listed)
            seen = self.plan.page_read(self.now, shown, link=str(start + self.page_size) if more else "")
        for name in seen:
            self.late.append(self.now - self._due[name])
            self.looks.append((name, self._due[name], self.now))
            self._ask(name, self.now + self.again[name])


def names(count: int) -> list[str]:
    return [f"{OURS}-{number}" for number in range(count)]


def waiting(count: int, *, every_s: float = 30.0, page_size: int = 100, foreign: Sequence[str] = ()) -> World:
    """Give a world in which so many jobs are listed, behind some of others, and all are waited for."""
    world = World(PollPlan(), [*foreign, *names(count)], page_size=page_size)
    for number, name in enumerate(names(count)):
        world.wait_for(name, every_s=every_s, submitted_at=-number)
    return world


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Lists of ours and others' jobs in any order, some of ours in none; intervals and first looks of like size."""
    ours = names(draw(st.integers(1, 40)))
    unlisted = draw(st.sets(st.sampled_from(ours), max_size=5))
    others = [f"other-{number}" for number in range(draw(st.integers(0, 60)))]
    listed = draw(st.permutations([*(name for name in ours if name not in unlisted), *others]))
    budget = Budget(rate=draw(st.sampled_from([1.0, 5.0, 10.0])), burst=draw(st.integers(1, 20)))
    size, latency_s = draw(st.integers(1, 20)), draw(st.sampled_from([0.0, 0.05]))
    world = World(PollPlan(budget), list(listed), page_size=size, latency_s=latency_s)
    for name in ours:
        every_s, due_at = draw(st.floats(2, 60)), draw(st.floats(0, 30))
        world.wait_for(name, every_s=every_s, due_at=due_at, submitted_at=-ours.index(name))
    return world


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_nobody_starves(world: World) -> None:
    world.run(120)

    count, rate = len(world.again), world.plan.budget.rate
    bound_s = (5 * count + 20) / rate + 2 * world.latency_s
    assert max(world.late) <= bound_s
    overdue = [world.now - world._due[name] for name in world.again]
    assert max(overdue) <= bound_s


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_the_looks_are_shared_fairly(world: World) -> None:
    world.listed.clear()
    world.run(120)

    for name, due_at, at in world.looks:
        others = Counter(other for other, _, then in world.looks if other != name and due_at < then < at)
        assert all(count == 1 for count in others.values()), "somebody had a second turn before the first of another"


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_nobody_waits_for_more_requests_than_stated(world: World) -> None:
    world.run(120)

    for _, due_at, at in world.looks:
        assert sum(due_at <= sent < at for sent in world.sent) <= 5 * len(world.again) + 20


@settings(max_examples=100, deadline=None)
@given(worlds(), st.integers(0, 1000), st.integers(1, 300))
def test_never_more_is_asked_than_the_budget_allows(world: World, first: int, count: int) -> None:
    world.run(120)

    budget = world.plan.budget
    window = world.sent[first : first + count]
    if window:
        assert len(window) <= budget.burst + 1 + (window[-1] - window[0]) * budget.rate * (1 + 1e-9)


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_lists_never_cost_more_than_a_tenth_above_reading_each_job(world: World) -> None:
    world.run(120)

    spent_and_under_way = len(world.late) * 1.1 + len(world.again) / 10 + 3 + 8
    assert len(world.sent) <= spent_and_under_way


@settings(max_examples=50, deadline=None)
@given(worlds())
def test_nobody_is_read_singly_before_it_is_due(world: World) -> None:
    world.listed.clear()
    world.run(120)

    assert all(late >= 0 for late in world.late)


def test_ten_thousand_jobs_of_one_minute_are_a_hundred_pages() -> None:
    world = waiting(10_000)

    world.run(25)

    assert (world.pages, len(world.read_singly)) == (100, 0)
    assert len(set(world.plan.due(world.now))) == 0


def test_ten_thousand_jobs_behind_five_thousand_of_others_are_found_all_the_same() -> None:
    world = waiting(10_000, foreign=[f"other-{number}" for number in range(5000)], every_s=60)

    world.run(30)

    assert world.pages == 150
    assert not world.read_singly


def test_a_list_is_left_when_all_that_are_due_were_seen() -> None:
    world = waiting(250)
    world.listed += [f"old-{number}" for number in range(10_000)]

    world.run(20)

    assert world.pages == 3


def test_one_job_among_many_of_others_is_read_by_itself() -> None:
    world = waiting(1, foreign=[f"other-{number}" for number in range(1000)])

    world.run(100)

    assert world.pages == 0
    assert len(world.read_singly) == 4


def test_a_job_that_the_whole_list_does_not_show_is_read_by_itself() -> None:
    world = waiting(300)
    world.wait_for("archived", every_s=30, submitted_at=-150)

    world.run(300)

    assert world.read_singly.count("archived") >= 9
    assert len(set(world.read_singly)) <= 2


def test_a_few_jobs_behind_very_many_of_others_are_not_looked_for_page_by_page() -> None:
    world = waiting(20, foreign=[f"other-{number}" for number in range(50_000)], every_s=30)

    world.run(600)

    assert len(world.read_singly) >= 20 * 19
    assert world.pages <= 20


def test_a_list_that_cannot_be_had_leaves_point_reads() -> None:
    plan = PollPlan()
    for name in names(100):
        plan.ask(name, now=0, due_at=0, interval_s=10, submitted_at=0)

    for now in range(3):
        assert plan.next(now) == ReadPage("")
        plan.page_failed(now, throttled=False)

    assert isinstance(plan.next(3), ReadJob)


def test_a_list_that_is_too_much_for_the_service_just_now_is_no_reason_for_more_requests() -> None:
    plan = PollPlan()
    for name in names(100):
        plan.ask(name, now=0, due_at=0, interval_s=10, submitted_at=0)

    for now in range(10):
        assert plan.next(now) == ReadPage("")
        plan.page_failed(now, throttled=True)

    assert plan.next(10) == ReadPage("")


def test_a_job_that_nobody_waits_for_any_more_is_not_read() -> None:
    plan = PollPlan()
    plan.ask("gone", now=0, due_at=0, interval_s=5, submitted_at=0)

    plan.forget("gone")

    assert plan.next(10) == Rest(math.inf)
    assert len(plan) == 0


def test_a_job_that_was_left_after_it_was_chosen_is_not_read() -> None:
    plan = PollPlan()
    for name in names(100):
        plan.ask(name, now=0, due_at=0, interval_s=10, submitted_at=0)
    for now in range(3):
        plan.next(now)
        plan.page_failed(now, throttled=False)
    assert isinstance(plan.next(3), ReadJob)

    for name in names(100):
        plan.forget(name)

    assert plan.next(3) == Rest(math.inf)


def test_a_page_that_is_under_way_is_not_asked_for_twice() -> None:
    plan = PollPlan()
    plan.page_size = 100
    for name in names(100):
        plan.ask(name, now=0, due_at=0, interval_s=10, submitted_at=0)
    assert plan.next(0) == ReadPage("")
    plan.ask("new", now=0.01, due_at=0.01, interval_s=10, submitted_at=1)
    assert plan.next(0.01) == ReadJob("new")

    plan.page_read(0.0101, names(100), link="more")

    assert isinstance(plan.next(0.0102), Rest)


def test_who_is_due_soon_is_seen_with_who_is_due_now_and_nobody_before_that() -> None:
    world = World(PollPlan(), names(100), page_size=100)
    for number, name in enumerate(names(100)):
        world.wait_for(name, every_s=40, due_at=30 + number / 10, submitted_at=-number)

    world.run(32)

    assert (world.sent[0], world.read_singly) == (30, [])
    assert world.pages <= 2


def test_who_is_not_due_for_long_is_no_reason_to_read_on() -> None:
    world = World(PollPlan(), names(1000), page_size=100)
    for number, name in enumerate(names(1000)):
        world.wait_for(name, every_s=100, due_at=0 if number < 100 else 100, submitted_at=-number)
    world.plan.page_size = 100

    world.run(20)

    assert world.pages == 1


def test_a_list_is_not_begun_for_those_who_are_not_due_yet() -> None:
    plan = PollPlan()
    plan.ask("far", now=0, due_at=0, interval_s=40, submitted_at=0)
    plan._jobs["far"].rank = 10**6
    for name in names(100):
        plan.ask(name, now=0, due_at=9, interval_s=40, submitted_at=0)

    assert plan.next(0) == ReadJob("far")
    plan.job_read("far")

    assert isinstance(plan.next(1), Rest)
    assert plan.next(9) == ReadPage("")


def test_jobs_that_are_in_no_list_are_not_looked_for_there_at_every_turn() -> None:
    world = World(PollPlan(), [f"other-{number}" for number in range(50)], page_size=100)
    for name in names(10):
        world.wait_for(name, every_s=30)

    world.run(300)

    assert len(world.read_singly) >= 90
    assert world.pages == 1


@settings(max_examples=50, deadline=None)
@given(worlds(), st.floats(0.5, 5))
def test_no_more_is_under_way_at_once_than_allowed(world: World, latency_s: float) -> None:
    world.latency_s = latency_s
    world.listed.clear()
    world.run(60)

    assert world.most_under_way <= world.plan.budget.at_once


def test_an_answer_for_somebody_who_has_left_does_no_harm() -> None:
    plan = PollPlan()
    plan.ask("gone", now=0, due_at=0, interval_s=5, submitted_at=0)
    assert plan.next(0) == ReadJob("gone")

    plan.forget("gone")
    plan.job_read("gone")
    plan.ask("gone", now=1, due_at=1, interval_s=5, submitted_at=0)

    assert plan.next(1) == ReadJob("gone")


def test_of_two_who_wait_for_one_job_the_more_impatient_is_served() -> None:
    plan = PollPlan()
    plan.ask("shared", now=0, due_at=50, interval_s=50, submitted_at=0)
    plan.ask("shared", now=0, due_at=5, interval_s=5, submitted_at=0)
    plan.ask("shared", now=0, due_at=60, interval_s=60, submitted_at=0)

    assert plan.next(0) == Rest(5)
    assert plan.next(5) == ReadJob("shared")


@given(st.floats(0, 1e6), st.floats(0.001, 3600))
def test_nothing_is_sent_before_the_time_the_service_named(now: float, retry_after_s: float) -> None:
    plan = PollPlan()
    plan.ask("j", now=now, due_at=now, interval_s=5, submitted_at=0)

    plan.throttle.told(now, retry_after_s=retry_after_s, reads_left=None)

    assert plan.next(now) == Rest(now + retry_after_s)
    assert plan.next(now + retry_after_s) == ReadJob("j")
