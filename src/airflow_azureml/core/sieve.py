"""What of a container a scan has to list, and what of that it tells."""

from collections.abc import Iterator
from datetime import UTC, datetime

from attrs import define, evolve, field

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.filters import Details
from airflow_azureml.core.scan import Scan
from airflow_azureml.core.scan_state import Pass, ScanState, Told, beyond, resume_point


def spans(scan: Scan, state: ScanState, now: datetime) -> Iterator[str]:
    """Yield how the names begin that the scan under way has to list, in order; the first does not depend on the time.

    Args:
        scan: What is scanned.
        state: What is remembered.
        now: The storage account's time.
    """
    prefix, layout = scan.wanted.prefix, scan.how.layout
    if layout.kind != "dates" or state.since is None:
        yield prefix
        return
    since, is_empty = state.since - scan.looks_back, True
    for partition in layout.partitions(since, max(now, since)):
        if partition.startswith(prefix) or prefix.startswith(partition):
            yield max(partition, prefix, key=len)
            is_empty = False
    if is_empty:  # the prefix is of another time: what comes there comes late
        yield prefix


def first_time(state: ScanState) -> datetime:
    """Give the storage account's time as far as it is known before the first answer of a scan."""
    began = state.scan.began if state.scan else None
    return max(filter(None, (state.since, began)), default=datetime.fromtimestamp(0, UTC))


def resume(scan: Scan, state: ScanState) -> tuple[int, str]:
    """Say at which of the spans, and after which name in it, a scan begins or goes on."""
    if state.scan is None:
        return 0, ""
    known = sum(1 for _ in spans(scan, state, first_time(state)))
    # A span that only the time since has added is not known of before the first answer: the one before gives it.
    return (state.scan.spans, state.scan.after) if state.scan.spans < known else (known - 1, "")


@define(kw_only=True)
class Sieve:
    """Picks what is new in one scan, or what is not told yet in one reconciliation.

    Attributes:
        scan: What is scanned.
        state: What is remembered, up to what was picked last.
        began: When the pass began, by the storage account's clock.
        told: What was told of late; it is added to.
        full: Whether it is a reconciliation.
    """

    scan: Scan
    state: ScanState
    began: datetime
    told: Told
    full: bool
    _since: datetime | None = field(init=False)
    _told_again_from: datetime = field(init=False)
    _bound: str = field(init=False)
    _is_settled: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        since = self.state.since
        if self.full:
            since = None if self.scan.how.renames else self.state.reconciled
        self._since = None if since is None else since - self.scan.looks_back
        next_since = self.state.since if self.full and self.state.since else self.began
        self._told_again_from = next_since - self.scan.looks_back
        self._bound = self.state.last
        # Of a pass that is gone on with, nobody knows what was written just now and comes before.
        self._is_settled = self.state.under_way(full=self.full) is None

    def lets(self, path: str, modified: datetime) -> bool:
        """Say whether a listed blob may be new by its name and time alone; cheap, for it is asked of each."""
        newer_than = self.scan.how.newer_than
        if newer_than is not None and modified < newer_than:
            return False
        return self._follows_names or self._is_new(path, modified)

    def takes(self, arrival: Arrival, details: Details, modified: datetime) -> bool:
        """Say whether a blob that was let through is to be told, and note it as told."""
        if self.scan.wanted.reason_to_skip(arrival, details):
            return False
        if self._follows_names:
            self._settle(arrival.path, modified)
        if not self._is_new(arrival.path, modified) or arrival in self.told:
            return False
        if self.scan.wanted.reason_to_wait(arrival, details, now=self.began):
            return False
        if modified >= self._told_again_from:
            self.told.add(arrival, modified)
        return True

    def reached(self, path: str, *, spans_done: int = 0) -> ScanState:
        """Remember that all names up to this one are done with, in the span after so many."""
        place = Pass(began=self.began, spans=spans_done, after=resume_point(path))
        self.state = evolve(self.state.at(place, full=self.full), told=self.told.newest())
        if self.scan.how.layout.kind == "names":
            self.state = evolve(self.state, last=max(self.state.last, beyond(path)))
        return self.state

    def ended(self) -> ScanState:
        """Remember that the pass has come to its end."""
        began = Pass(began=self.began)
        self.state = self.state.at(began, full=self.full).ended(full=self.full)
        if self.state.since is not None:
            self.told.forget(self.state.since - self.scan.looks_back)
        self.state = evolve(self.state, told=self.told.newest())
        return self.state

    @property
    def after(self) -> str:
        """Where a pass that is broken off now goes on."""
        place = self.state.under_way(full=self.full)
        return place.after if place else ""

    @property
    def _follows_names(self) -> bool:
        return self.scan.how.layout.kind == "names" and not self.full

    def _is_new(self, path: str, modified: datetime) -> bool:
        """Say whether it may not have been told yet."""
        if self._since is None or modified >= self._since:
            return True
        return self._follows_names and path > self._bound

    def _settle(self, path: str, modified: datetime) -> None:
        """Let the next scan begin here, as long as no name before was written just now: others may follow that one."""
        self._is_settled = self._is_settled and modified < self.began - self.scan.looks_back
        if self._is_settled:
            self.state = evolve(self.state, floor=resume_point(path))
