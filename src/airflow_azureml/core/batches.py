"""Batches of blobs: which blobs go together, when, and what becomes of a batch that nobody works on any more."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Self

from attrs import frozen

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.jobs import Phase
from airflow_azureml.core.ledger import BatchState, Open
from airflow_azureml.errors import ConfigError

#: Most batches of one run: their ids, which are all that an XCom holds of them, stay below 4 kB.
MOST_BATCHES = 100
#: Most blobs of a batch: the ledger and the marker name each.
MOST_BLOBS = 1000
GIBIBYTE = 1 << 30
#: For how long a batch that was to be submitted, and has no job, may still get one: a worker that was cut off from
#: Airflow goes on for a while, and a batch endpoint may list a job late. Seconds.
GRACE_S = 60.0
#: How long another group, that may run a pipeline that is not ours, is left to settle what it has submitted. Seconds.
OTHERS_GRACE_S = 24 * 3600.0


@frozen(kw_only=True)
class Batching:
    """How much goes into a batch.

    Attributes:
        blobs: Most blobs of a batch, from 1 to 1,000.
        size_bytes: Most bytes of a batch; a single blob may have more. A size that is not known counts nothing.
        linger: How long the oldest blob may wait for others, counted from when it was written, where all that is open
            does not fill one batch. Nothing waits unless told otherwise.
        batches: Most batches of one run, from 1 to 100; the rest is left to the next run.
    """

    blobs: int = 100
    size_bytes: int = GIBIBYTE
    linger: timedelta = timedelta(0)
    batches: int = MOST_BATCHES

    def faults(self) -> list[str]:
        """Say what is wrong with it; an empty list when nothing is."""
        numbers = {"blobs": self.blobs, "size_bytes": self.size_bytes, "batches": self.batches}
        odd = [f"{name} is {given!r}, not a number" for name, given in numbers.items() if type(given) is not int]
        if not isinstance(self.linger, timedelta):
            odd.append(f"linger is {self.linger!r}, not a timedelta")
        return odd or self._faults_of_values()

    def _faults_of_values(self) -> list[str]:
        return [
            *([] if 1 <= self.blobs <= MOST_BLOBS else [f"blobs is {self.blobs}; it must be from 1 to {MOST_BLOBS}"]),
            *([] if self.size_bytes >= 1 else [f"size_bytes is {self.size_bytes}; it must be 1 or more"]),
            *([] if self.linger >= timedelta(0) else ["linger is negative"]),
            *(
                []
                if 1 <= self.batches <= MOST_BATCHES
                else [f"batches is {self.batches}; it must be from 1 to {MOST_BATCHES}"]
            ),
        ]

    @property
    def most(self) -> int:
        """How many blobs one run takes at most."""
        return self.blobs * self.batches


@frozen(kw_only=True)
class Pack:
    """Blobs that go together.

    Attributes:
        is_full: Whether another blob did not fit.
    """

    members: tuple[Open, ...]
    is_full: bool = False


def pack(waiting: Sequence[Open], batching: Batching) -> list[Pack]:
    """Put blobs together, oldest first; those that may only go with few others, only with their like.

    Args:
        waiting: Each blob once, in any order.
        batching: How much goes together.
    """
    lanes: dict[int, list[Open]] = {}
    for each in sorted(waiting, key=lambda each: (each.arrival.time, each.arrival.place)):
        lanes.setdefault(min(each.at_most or batching.blobs, batching.blobs), []).append(each)
    packs = [one for limit, lane in lanes.items() for one in _fill(lane, limit, batching.size_bytes)]
    return sorted(packs, key=lambda one: (one.members[0].arrival.time, one.members[0].arrival.place))


def _fill(lane: Sequence[Open], limit: int, size_bytes: int) -> list[Pack]:
    packs: list[Pack] = []
    members: list[Open] = []
    filled = 0
    for each in lane:
        size = each.arrival.size_bytes or 0
        if members and (len(members) >= limit or filled + size > size_bytes):
            packs.append(Pack(members=tuple(members), is_full=True))
            members, filled = [], 0
        members.append(each)
        filled += size
    is_full = len(members) >= limit or filled >= size_bytes
    return [*packs, Pack(members=tuple(members), is_full=is_full)] if members else packs


@frozen
class Take:
    """Claim these now.

    Attributes:
        left: How many blobs are left to the next run.
    """

    packs: tuple[Pack, ...]
    left: int


@frozen
class Linger:
    """Wait for so many seconds at most, and look again.

    Attributes:
        why: What is waited for, as a clause.
    """

    seconds: float
    why: str


def choose(waiting: Sequence[Open], batching: Batching, *, now: datetime) -> Take | Linger:
    """Decide what of all that is open is claimed now.

    Nothing lingers where a batch is full, where a blob comes again after a batch that failed, or where the oldest has
    waited long enough.

    Args:
        waiting: Each blob once, in any order.
        batching: How much goes together.
        now: With its zone.
    """
    packs = pack(waiting, batching)
    comes_again = any(each.turn > 1 for each in waiting)
    if packs and batching.linger and not comes_again and not any(one.is_full for one in packs):
        oldest = min(datetime.fromisoformat(each.arrival.time) for each in waiting)
        # A clock that is behind the storage account's does not make anything wait longer than it may.
        left = min(batching.linger, oldest + batching.linger - now)
        if left > timedelta(0):
            return Linger(left.total_seconds(), f"{len(waiting)} blobs are open, and do not fill a batch")
    taken = tuple(packs[: batching.batches])
    return Take(taken, len(waiting) - sum(len(one.members) for one in taken))


class Ruling(Enum):
    """What is done about a batch that a claim finds."""

    LEFT = "left"
    PUBLISHED = "published"
    FAILED = "failed"
    VOIDED = "voided"
    REOPENED = "reopened"


@frozen(kw_only=True)
class Case:
    """A batch whose consequences are not done yet, as a claim finds it.

    Attributes:
        state: How far it came.
        is_ours: Whether it is of the same group, in whatever run; the jobs and the results of another are not ours to
            look for.
        owner_lives: Whether its run still works on it.
        phase: That of its job; None where there is none, or none was looked for.
        quiet_s: Seconds since its last step.
        grace_s: For how long a batch without a job may still get one; see `GRACE_S`.
    """

    state: BatchState
    is_ours: bool
    owner_lives: bool
    phase: Phase | None = None
    quiet_s: float = 0.0
    grace_s: float = GRACE_S

    @property
    def asks_for_job(self) -> bool:
        """Whether its job decides."""
        return self.state is BatchState.SUBMITTED and self.is_ours and not self.owner_lives


def rule(case: Case) -> Ruling:
    """Decide about a batch."""
    match case.state:
        case BatchState.FAILED | BatchState.VOID:
            return Ruling.REOPENED
        case _ if case.owner_lives:
            return Ruling.LEFT
        case BatchState.SCORED:
            return Ruling.PUBLISHED if case.is_ours else Ruling.LEFT
        case BatchState.CLAIMING | BatchState.CLAIMED:
            return Ruling.VOIDED
        case BatchState.SUBMITTED if not case.is_ours:
            return Ruling.VOIDED if case.quiet_s >= OTHERS_GRACE_S else Ruling.LEFT
        case BatchState.SUBMITTED:
            return _rule_by_job(case)


def _rule_by_job(case: Case) -> Ruling:
    match case.phase:
        case None:
            return Ruling.VOIDED if case.quiet_s >= case.grace_s else Ruling.LEFT
        case Phase.SUCCEEDED:
            return Ruling.PUBLISHED
        case Phase.FAILED | Phase.CANCELED:
            return Ruling.FAILED
        case _:
            return Ruling.LEFT


@frozen(kw_only=True)
class Window:
    """When a blob must have been written to count.

    Attributes:
        since: That time included; None for any.
        until: That time excluded; None for any.
    """

    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def parse(cls, since: str, until: str, *, late: timedelta = timedelta(0)) -> Self:
        """Read a window from what templates made.

        Args:
            since: ISO 8601, or a partition's key such as ``2026-01-31`` or ``2026-01-31T05``; UTC where it has no zone.
                Empty for none.
            until: Likewise, or how much later than ``since`` it is: ``+1h``, ``+1d``, ``+30m``.
            late: How much earlier the window begins, for what came late.

        Raises:
            ConfigError: It is no such window.
        """
        if late < timedelta(0):
            raise ConfigError(f"late is {late}; a window may begin earlier for what came late, and not later.")
        try:
            begins = _time("since", since)
            ends = _end(begins, until)
            window = cls(since=None if begins is None else begins - late, until=ends)
        except OverflowError as error:
            raise ConfigError(f"The window from {since} until {until} reaches beyond the years 1 to 9999.") from error
        if begins is not None and ends is not None and ends <= begins:
            raise ConfigError(f"The window from {since} until {until} is empty.")
        return window

    @property
    def is_open(self) -> bool:
        """Whether any time is in it."""
        return self.since is None and self.until is None

    def __contains__(self, arrival: Arrival) -> bool:
        return self.holds(arrival.time)

    def holds(self, time: str) -> bool:
        """Tell whether a time of ISO 8601, with its zone, is in it."""
        written = datetime.fromisoformat(time)
        return (self.since is None or written >= self.since) and (self.until is None or written < self.until)


def _time(name: str, text: str) -> datetime | None:
    if text.strip() in {"", "None"}:
        return None
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ConfigError(f"{name} is {text!r}, which is no time of ISO 8601.") from error
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _end(begins: datetime | None, until: str) -> datetime | None:
    if not until.startswith("+"):
        return _time("until", until)
    if begins is None:
        raise ConfigError(f"until is {until!r}, and there is no since that it could be later than.")
    return begins + _span(until)


def _span(text: str) -> timedelta:
    units = {"d": "days", "h": "hours", "m": "minutes"}
    number, unit = text[1:-1], text[-1:]
    if unit not in units or not number.isdecimal() or not int(number):
        raise ConfigError(f"until is {text!r}; a span is a number of days, hours or minutes, such as +1h.")
    return timedelta(**{units[unit]: int(number)})


def owner_of(dag_id: str, run_id: str, group_id: str) -> str:
    """Name who claims: one group of one run."""
    return f"{dag_id}/{run_id}/{group_id}"


def same_group(one: str, other: str) -> bool:
    """Tell whether two owners are runs of the same group."""
    (dag_id, _, group_id), (other_dag_id, _, other_group_id) = parse_owner(one), parse_owner(other)
    return (dag_id, group_id) == (other_dag_id, other_group_id)


def parse_owner(text: str) -> tuple[str, str, str]:
    """Read what `owner_of` wrote: DAG, run, group. Only a run's id may hold a slash; what is missing is empty."""
    dag_id, _, rest = text.partition("/")
    run_id, _, group_id = rest.rpartition("/")
    return dag_id, run_id, group_id


def summary(counts: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Add up what batches returned."""
    names = ("blobs", "rejected_blobs", "gone_blobs", "rows", "rejected_rows")
    return {name: sum(int(one.get(name) or 0) for one in counts) for name in names}
