"""The plan of one poller for all the waiting jobs of a workspace: what to ask next, and when.

A plan is told what happens and asked what to do; time and answers are arguments, and it does nothing itself::

    plan = PollPlan()
    plan.ask("job-1", now=0.0, due_at=5.0, interval_s=5.0, submitted_at=1_700_000_000.0)
    plan.next(0.0)   # Rest(until=5.0)
    plan.next(5.0)   # ReadJob("job-1")

A job is read by a point read, or by a page of the workspace's list of jobs, which comes newest first and shows many
jobs for the price of one request. `PollPlan.next` takes whatever needs fewer requests, from where it expects each job
to stand in the list; it reads jobs up to `EARLY` of their interval early when that saves a request, leaves a list as
soon as nobody is expected further down, and spends at most a tenth more than reading each job by itself would.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence

from attrs import define, field, frozen

from airflow_azureml.core.pacing import Budget, Throttle

#: Which part of its interval a job may be looked at early, when its page is read for others.
EARLY = 0.25
#: Seconds from one look that somebody hastened to the next, of the same job: so a storm of hints costs no more.
HINT_GAP_S = 5.0
#: Until a first page was read. Azure's list takes no page size; what it gives is learned.
PAGE_SIZE = 50
#: Lists are left when more pages than this showed nobody whose turn it was: so many, and one for each so many jobs
#: whose turn it is. Each so many looks make up for a page.
WASTED_PAGES, LOOKS_PER_WASTE = 2, 10
#: Seconds for which a job that the whole list did not show (archived, or too new) is read by point reads alone; all of
#: them are after so many pages that could not be had.
FAILED_PAGES = 3
UNLISTED_S = 600.0
#: Seconds for each waiting job before all are weighed anew while there is still something to do: 10,000 are not weighed
#: more than twice a second, a hundred two hundred times.
WEIGH_S = 5e-5


@frozen
class ReadJob:
    """Read one job."""

    name: str


@frozen
class ReadPage:
    """Read a page of the list; the first when ``link`` is empty."""

    link: str


@frozen
class Rest:
    """Do nothing until then, or until something changes; infinite when there is nothing to wait for."""

    until: float


Step = ReadJob | ReadPage | Rest


@define(eq=False)
class _Waiting:
    """A job that is waited for.

    Attributes:
        due_at: When the next look is wanted; infinite while nobody has asked for one.
        rank: Where it stood in the list, counted from 0; -1 when it was not seen yet.
        ranked_at: How many jobs had been asked for when ``rank`` was seen: those that came since stand before it.
        born: Its number among all that were asked for.
        sweep: The reading of the list that showed it last.
        single_until: Until when it is read by point reads alone.
        hint_at: When a look is wanted for a hint; infinite when there is none. A look that was under way before may see
            the job as it was, and leaves the hint as it is.
        hinted_at: When the last look began that was for a hint.
    """

    name: str
    submitted_at: float
    born: int
    due_at: float = math.inf
    interval_s: float = 0.0
    rank: int = -1
    ranked_at: int = 0
    sweep: int = 0
    single_until: float = -math.inf
    is_read: bool = False
    hint_at: float = math.inf
    hinted_at: float = -math.inf


@define
class _Sweep:
    """One reading of the list, from its top.

    Attributes:
        born: How many jobs had been asked for when it began; the list shows no later one.
        position: Entries read up to now.
        link: The next page; empty for the first.
        pages: How many more are worth their price.
        is_read: Whether a page is under way.
        asked_at: When the last page was asked for.
    """

    number: int
    born: int
    position: int = 0
    link: str = ""
    pages: int = 0
    is_read: bool = False
    asked_at: float = -math.inf


@define
class PollPlan:
    """What one poller does; see the module's own words.

    Nobody starves: of the jobs that are due, those to be read singly are read in the order in which they fell due, by
    turns with pages. With ``n`` jobs waiting, each is read within the time of ``5 * n + 20`` requests after it fell
    due, while the service answers.
    """

    budget: Budget = field(factory=Budget)
    throttle: Throttle = field(init=False)
    page_size: int = field(init=False, default=PAGE_SIZE)
    _jobs: dict[str, _Waiting] = field(init=False, factory=dict)
    _born: int = field(init=False, default=0)
    _sweeps: int = field(init=False, default=0)
    _sweep: _Sweep | None = field(init=False, default=None)
    _singles: deque[_Waiting] = field(init=False, factory=deque)
    _next_due: float = field(init=False, default=math.inf)
    _weigh_at: float = field(init=False, default=-math.inf)
    _has_changed: bool = field(init=False, default=False)
    _under_way: int = field(init=False, default=0)
    _page_was_last: bool = field(init=False, default=False)
    _wasted: float = field(init=False, default=0.0)
    _failed_pages: int = field(init=False, default=0)
    _list_after: float = field(init=False, default=-math.inf)

    def __attrs_post_init__(self) -> None:
        self.throttle = Throttle(self.budget)

    def __len__(self) -> int:
        return len(self._jobs)

    def ask(self, name: str, *, now: float, due_at: float, interval_s: float, submitted_at: float) -> None:
        """Ask for a look at a job; of several wishes for the same job the earliest holds.

        Args:
            name: The job.
            now: The time.
            due_at: When the look is wanted.
            interval_s: The interval that leads to ``due_at``: the look may come `EARLY` of it early.
            submitted_at: When the job was submitted, in seconds of any clock that is the same for all jobs.
        """
        job = self._jobs.get(name)
        if job is None:
            self._born += 1
            job = self._jobs[name] = _Waiting(name, submitted_at, self._born)
        if due_at < job.due_at:
            self._let_be_due(job, max(due_at, now), interval_s)
        if job.hint_at < job.due_at:
            self._let_be_due(job, max(job.hint_at, now), 0.0)

    def hint(self, name: str, *, now: float) -> float:
        """Take a hint that something has happened to a job: look at it soon, but not more often than `HINT_GAP_S`.

        Args:
            name: The job; one that nobody waits for costs nothing.
            now: The time.

        Returns:
            When the look is due; infinite where the job is not waited for, or is being looked at.
        """
        job = self._jobs.get(name)
        if job is None:
            return math.inf
        if self._sweep is not None and self._sweep.is_read:
            _take_hint(job, self._sweep.asked_at)  # the page that is under way is for the hints before this one
        if job.hint_at == math.inf:
            job.hint_at = max(now, job.hinted_at + HINT_GAP_S)
        if job.hint_at < job.due_at < math.inf and not job.is_read:
            self._let_be_due(job, job.hint_at, 0.0)
            return job.due_at
        return math.inf

    def _let_be_due(self, job: _Waiting, due_at: float, interval_s: float) -> None:
        job.due_at, job.interval_s = due_at, interval_s
        self._next_due = min(self._next_due, due_at)

    def forget(self, name: str) -> None:
        """Ask no more for a job; an answer that is under way may still come, and is nobody's."""
        self._jobs.pop(name, None)

    def due(self, now: float) -> list[str]:
        """Return the jobs that are due, those under way among them."""
        return [job.name for job in self._jobs.values() if job.due_at <= now]

    def next(self, now: float) -> Step:
        """Say what to do; what is returned is taken to be done, and is to be answered by one of the methods below."""
        free_at = self.throttle.free_at(now)
        if self._under_way >= self.budget.at_once:
            return Rest(math.inf)
        if free_at > now:
            return Rest(free_at)
        self._has_changed = self._has_changed or self._next_due <= now
        if self._has_changed and now >= self._weigh_at:
            self._weigh(now)
        step = self._take(now)
        if step is None:
            return Rest(max(self._weigh_at, -math.inf if self._has_changed else self._next_due))
        self._under_way += 1
        self.throttle.spend(now)
        return step

    def _take(self, now: float) -> Step | None:
        """Take the next of what was found worth doing; None when there is nothing left of it."""
        while self._singles and not self._is_wanted(self._singles[0], now):
            self._singles.popleft()
        sweep = self._sweep
        if sweep is not None and sweep.pages > 0 and not sweep.is_read and not (self._singles and self._page_was_last):
            sweep.is_read = self._page_was_last = True
            sweep.asked_at = now
            sweep.pages -= 1
            return ReadPage(sweep.link)
        if not self._singles:
            return None
        single = self._singles.popleft()
        single.is_read, self._page_was_last = True, False
        _take_hint(single, now)
        return ReadJob(single.name)

    def _is_wanted(self, job: _Waiting, now: float) -> bool:
        return job.due_at <= now and not job.is_read and self._jobs.get(job.name) is job

    def job_read(self, name: str) -> None:
        """Take note that a point read has come back, with whatever answer; the job is due again when asked for."""
        self._under_way -= 1
        self._has_changed = True
        self._wasted = max(0.0, self._wasted - 1 / LOOKS_PER_WASTE)
        job = self._jobs.get(name)
        if job is not None:
            job.is_read = False
            self.looked(name)

    def looked(self, name: str) -> None:
        """Take note that a job was looked at, or that whoever asked was told that this was not possible."""
        job = self._jobs.get(name)
        if job is not None:
            job.due_at = math.inf

    def page_read(self, now: float, names: Sequence[str], *, link: str) -> list[str]:
        """Take note of a page.

        Args:
            now: The time.
            names: The jobs it showed, in its order.
            link: Where the next page is; empty after the last.

        Returns:
            The jobs among them that are waited for.
        """
        sweep = self._page_back()
        self._failed_pages = 0
        if sweep is None:
            return [name for name in names if name in self._jobs]
        known = [(at, self._jobs[name]) for at, name in enumerate(names, sweep.position) if name in self._jobs]
        wanted = 0
        for rank, job in known:
            wanted += _ripe(job, now)
            job.rank, job.ranked_at, job.sweep = rank, self._born, sweep.number
            job.due_at, job.single_until = math.inf, -math.inf
            _take_hint(job, sweep.asked_at)
        sweep.position += len(names)
        self._wasted = max(0.0, self._wasted - wanted / LOOKS_PER_WASTE) if wanted else self._wasted + 1
        sweep.link = link
        if link and names:
            self.page_size = len(names)
        else:
            self._ended(sweep, now)
        return [job.name for _, job in known]

    def page_failed(self, now: float, *, throttled: bool) -> None:
        """Take note that a page could not be had; the list will be begun anew, unless it fails again and again.

        Args:
            now: The time.
            throttled: Whether the service said that it is too much for it, which is nothing against the list.
        """
        self._page_back()
        self._sweep = None
        self._failed_pages += not throttled
        if self._failed_pages >= FAILED_PAGES:
            self._list_after = now + UNLISTED_S

    def _page_back(self) -> _Sweep | None:
        self._under_way -= 1
        self._has_changed = True
        if self._sweep is not None:
            self._sweep.is_read = False
        return self._sweep

    def _weigh(self, now: float) -> None:
        """Find out which jobs to read singly, and how far to read the list."""
        self._weigh_at = now + WEIGH_S * len(self._jobs)
        self._has_changed = False
        self._next_due = min((job.due_at for job in self._jobs.values() if job.due_at > now), default=math.inf)
        ripe = [job for job in self._jobs.values() if _ripe(job, now)]
        is_worth_it = now >= self._list_after and self._wasted <= WASTED_PAGES + len(ripe) // LOOKS_PER_WASTE
        listed = [job for job in ripe if is_worth_it and job.single_until <= now]
        singles = [job for job in ripe if not is_worth_it or job.single_until > now]
        sweep = self._sweep
        if sweep is not None:
            ahead = [job for job in listed if _is_ahead(job, sweep)]
            pages, dear = self._worth(ahead, sweep.position)
            sweep.pages = max(0, pages - sweep.is_read)
            if sweep.pages or sweep.is_read:
                listed = [job for job in listed if not _is_ahead(job, sweep)]
                singles += dear
            else:
                self._leave(sweep, is_spent=not is_worth_it)
        pages, dear = self._worth(listed, 0)
        singles += dear
        if self._sweep is None and pages:
            saved = set(map(id, listed)) - set(map(id, dear))
            if any(job.due_at <= now for job in listed if id(job) in saved):
                self._sweeps += 1
                self._sweep = _Sweep(self._sweeps, self._born, pages=pages)
        self._singles = deque(sorted((job for job in singles if self._is_wanted(job, now)), key=lambda job: job.due_at))

    def _worth(self, jobs: Sequence[_Waiting], start: int) -> tuple[int, list[_Waiting]]:
        """Say how many pages are worth reading from a position on, and whom they would not show."""
        at_page = self._expected(jobs, start)
        pages = _best_prefix(at_page)
        return pages, [job for job, page in zip(jobs, at_page, strict=True) if page >= pages]

    def _leave(self, sweep: _Sweep, *, is_spent: bool) -> None:
        """Leave a list; whoever was expected in what was read stands further down, so let it be twice as far.

        Args:
            sweep: The list.
            is_spent: Whether too much was spent on it, so that it is no better for those who stand further down.
        """
        self._sweep = None
        for job in self._jobs.values():
            if _is_ahead(job, sweep) and (is_spent or self._rank(job) < sweep.position):
                job.rank, job.ranked_at = 2 * max(self._rank(job), sweep.position), self._born

    def _ended(self, sweep: _Sweep, now: float) -> None:
        """Take note that the whole list was read: who was not in it is archived, or too new."""
        self._sweep = None
        for job in self._jobs.values():
            if _is_ahead(job, sweep):
                job.single_until, job.rank = now + UNLISTED_S, -1

    def _rank(self, job: _Waiting) -> int:
        return job.rank + self._born - job.ranked_at if job.rank >= 0 else -1

    def _expected(self, jobs: Sequence[_Waiting], start: int) -> list[int]:
        """Say on which page each job is expected, counted from the one that begins at ``start``.

        A job that was never seen stands behind all younger ones that wait with it, at the least.
        """
        unseen = sorted((job for job in jobs if job.rank < 0), key=lambda job: -job.submitted_at)
        ranks = {job.name: rank for rank, job in enumerate(unseen, start)}
        return [max(0, ranks.get(job.name, self._rank(job)) - start) // self.page_size for job in jobs]


def _ripe(job: _Waiting, now: float) -> bool:
    return job.due_at - EARLY * job.interval_s <= now


def _take_hint(job: _Waiting, asked_at: float) -> None:
    """Take note that a look was asked for: if a hint was due by then, it is for that."""
    if job.hint_at <= asked_at:
        job.hint_at, job.hinted_at = math.inf, asked_at


def _is_ahead(job: _Waiting, sweep: _Sweep) -> bool:
    """Tell whether a list that is being read may still show a job."""
    return job.sweep != sweep.number and job.born <= sweep.born


def _best_prefix(pages: Iterable[int]) -> int:
    """Say how many pages to read, given on which page each job is: those that save most point reads, 0 for none."""
    best, saved, covered = 0, 0, 0
    for page, count in sorted(Counter(pages).items()):
        covered += count
        if covered - (page + 1) > saved:
            best, saved = page + 1, covered - (page + 1)
    return best
