"""Scanning a container: only what can be new is listed, and only what is new is told, in flat memory."""

import contextlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, Self

from attrs import evolve, frozen

from airflow_azureml.client.listings import Lister
from airflow_azureml.core.scan import Scan
from airflow_azureml.core.scan_state import ScanState, Told
from airflow_azureml.core.sieve import Sieve, first_time, resume, spans
from airflow_azureml.wire.listings import Listed

if TYPE_CHECKING:
    from airflow_azureml.core.arrivals import Arrival
    from airflow_azureml.core.workspace import ConnectionSettings


@frozen(kw_only=True)
class Sizes:
    """How much is listed and told at once.

    Attributes:
        page: Most blobs in a page; the service gives no more than 5,000.
        part: Most arrivals that are told at once.
        slice_pages: Pages that a reconciliation lists after each scan.
        first_wait_s: Seconds before a page is asked for a second time.
    """

    page: int = 5000
    part: int = 256
    slice_pages: int = 20
    first_wait_s: float = 0.5


class Listing(Protocol):
    """What a scanner needs of `Lister`."""

    @property
    def server_time(self) -> datetime:
        """The storage account's time, as its last answer said it."""
        ...

    def pages(self, *, prefix: str = "", after: str = "", include: Collection[str] = ()) -> AsyncIterator[list[Listed]]:
        """Yield the blobs in the order of their names."""
        ...


class Scanner:
    """Scans one container again and again; use it with ``async with``.

    Whoever is told something stores it, and only then the `state` that stood there with it. After a crash, the next
    scanner goes on from the state that was stored last, and tells once more what was told since.

    Args:
        settings: The connection whose identity lists; not used for an account on this machine.
        scan: What is scanned.
        told: What an earlier scanner of this process has told.
        listing: What lists the container, opened; None to list it by the settings.
        sizes: How much at once.
    """

    def __init__(
        self,
        settings: "ConnectionSettings",
        scan: Scan,
        *,
        told: Told | None = None,
        listing: Listing | None = None,
        sizes: Sizes = Sizes(),
    ) -> None:
        self.scan = scan
        #: What may be stored as soon as everything that was told until now is stored.
        self.state = ScanState()
        #: Pages that were listed, over all scans.
        self.listed_pages = 0
        self._place = scan.place
        self._lister = Lister(settings, scan.container_url, page_size=sizes.page, first_wait_s=sizes.first_wait_s)
        self._listing: Listing = listing or self._lister
        self._sizes = sizes
        self._told = Told() if told is None else told

    async def __aenter__(self) -> Self:
        """Open the connections.

        Raises:
            ConfigError: The address is none of Azure Storage.
        """
        if self._listing is self._lister:
            await self._lister.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._lister.__aexit__()

    @property
    def server_time(self) -> datetime:
        """The storage account's time, as its last answer said it."""
        return self._listing.server_time

    async def pages(self, state: ScanState, *, full: bool = False) -> "AsyncGenerator[list[Arrival]]":
        """Scan once and tell what is new, a part at a time; a page without anything new is an empty part.

        A scan that was broken off is gone on with. After it come some pages of the reconciliation, when one is due.

        Args:
            state: What is remembered.
            full: Tell everything there is instead, from the beginning.

        Raises:
            RefusedError: There is no such container, or the identity may not list it (role Storage Blob Data Reader).
            UnavailableError: Storage does not answer; going on later from `state` may work.
            ProtocolError: What answers is no storage.
        """
        self.state = state
        if full:
            self.state = evolve(state, scan=None, reconciled=None, reconciliation=None, told=())
            self._told.clear()
        for each in (self._everything(None),) if full else (self._news(), self._everything(self._sizes.slice_pages)):
            async with contextlib.aclosing(each) as listing:
                async for part in listing:
                    yield part

    async def _news(self) -> "AsyncGenerator[list[Arrival]]":
        """List the spans that can have something new, to their end."""
        before = self.state
        number, after = resume(self.scan, before)
        sieve: Sieve | None = None
        while (span := self._span(number, before, has_answered=sieve is not None)) is not None:
            async for page in self._list(span, max(after, before.floor)):
                sieve = sieve or self._begin(full=False)
                for part in self._parts(page, sieve, spans_done=number):
                    yield part
            number, after = number + 1, ""
            if sieve is not None:
                self.state = sieve.reached("", spans_done=number)
        if sieve is not None:
            self.state = sieve.ended()

    async def _everything(self, most_pages: int | None) -> "AsyncGenerator[list[Arrival]]":
        """List all below the prefix, or so many pages of it when a reconciliation is due."""
        if most_pages is not None and not self.state.is_due(self.scan.how.reconcile_every, self.server_time):
            return
        start = self.state.reconciliation.after if self.state.reconciliation else ""
        sieve: Sieve | None = None
        pages = 0
        async for page in self._list(self.scan.wanted.prefix, start):
            sieve = sieve or self._begin(full=True)
            for part in self._parts(page, sieve):
                yield part
            pages += 1
            # Names that differ only where they had to be cut are one place: it has to be left behind.
            if most_pages is not None and pages >= most_pages and sieve.after > start:
                return
        if sieve is not None:
            self.state = sieve.ended() if most_pages is not None else evolve(sieve.ended(), since=sieve.began)

    async def _list(self, prefix: str, after: str) -> AsyncGenerator[list[Listed]]:
        async for page in self._listing.pages(prefix=prefix, after=after, include=self.scan.wanted.include):
            self.listed_pages += 1
            yield page

    def _span(self, number: int, state: ScanState, *, has_answered: bool) -> str | None:
        """Give the span with this number; the storage account's time is known once it has answered."""
        now = self.server_time if has_answered else first_time(state)
        return next(itertools.islice(spans(self.scan, state, now), number, None), None)

    def _begin(self, *, full: bool) -> Sieve:
        """Begin a pass or go on with it, now that the storage account has told its time."""
        known = self.state.under_way(full=full)
        self._told.recall(self.state.told, self.server_time)
        began = known.began if known else self.server_time
        return Sieve(scan=self.scan, state=self.state, began=began, told=self._told, full=full)

    def _parts(self, page: Sequence[Listed], sieve: Sieve, *, spans_done: int = 0) -> "Iterator[list[Arrival]]":
        """Pick from a page what is to be told; the state beside each part is the one to store with it."""
        part: list[Arrival] = []
        is_told = False
        for listed in page:
            if not sieve.lets(listed.path, listed.modified):
                continue
            arrival = listed.arrival(self._place, self.scan.wanted.container)
            if sieve.takes(arrival, listed.details, listed.modified):
                part.append(arrival)
            if len(part) == self._sizes.part:
                self.state = sieve.reached(listed.path, spans_done=spans_done)
                yield part
                part, is_told = [], True
        if page:
            self.state = sieve.reached(page[-1].path, spans_done=spans_done)
        if part or not is_told:
            yield part
