"""From listings of a container to asset events: a scan's watermark moves only after Airflow has stored the events."""

import asyncio
import functools
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import attrs
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from airflow.triggers.shared_stream import AdvanceItem, AdvanceOutcome, SharedStreamProducer

from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.scan import Scan
from airflow_azureml.core.scan_state import ScanState, Told
from airflow_azureml.errors import AzureMLError, ProtocolError, UnavailableError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.triggers.declared import DeclaredTrigger

if TYPE_CHECKING:
    from airflow_azureml.client.scans import Scanner
    from airflow_azureml.core.workspace import ConnectionSettings

log = logging.getLogger(__name__)


class Store(Protocol):
    """Where an asset's state is kept; Airflow's own, but for tests."""

    async def aget(self, key: str, default: Any = None) -> Any:
        """Read what was kept last."""
        ...

    async def aset(self, key: str, value: Any) -> None:
        """Keep it."""
        ...


@attrs.frozen(kw_only=True)
class ScanPace:
    """How fast a container is told of.

    Attributes:
        parts_at_once: Most parts, of up to 256 arrivals, that wait for being stored.
        note_every_s: Seconds between two notes of how far a scan is that finds nothing.
        longest_wait_s: Most seconds to wait after a failure.
        first_wait_s: Seconds before a page is asked for a second time.
        page_size: Most blobs in a page.
    """

    parts_at_once: int = 16
    note_every_s: float = 10.0
    longest_wait_s: float = 60.0
    first_wait_s: float = 0.5
    page_size: int = 5000


@attrs.define(kw_only=True, eq=False)
class Part:
    """Some new blobs, and what may be remembered once Airflow has stored them.

    Attributes:
        is_handed_on: Whether the triggerer has taken the event. It counts a trigger that is stopped between the event
            and its own note of it as one that had nothing to say.
    """

    arrivals: Sequence[Arrival]
    state: ScanState
    is_handed_on: bool = False


class ScanProducer(SharedStreamProducer):
    """Scans one container for one asset.

    Args:
        scan: What is scanned.
        store: Where what it remembers is kept.
        settings: Reads the connection whose identity lists.
        pace: How fast.
    """

    def __init__(
        self,
        scan: Scan,
        *,
        store: Store,
        settings: "Callable[[], Awaitable[ConnectionSettings]]",
        pace: ScanPace,
    ) -> None:
        self._scan = scan
        self._store = store
        self._settings = settings
        self._pace = pace
        self._room = asyncio.Semaphore(pace.parts_at_once)
        self._told = Told()
        self._state: ScanState | None = None
        self._noted_at = time.monotonic()
        self._failures, self._said = 0, ""

    async def open_stream(self) -> AsyncIterator[tuple[Part, Part]]:
        """Yield what is new for ever; an account that is silent or refuses is asked again, and that is said once."""
        from airflow_azureml.client.scans import Scanner, Sizes  # noqa: PLC0415  # Azure's libraries stay out of DAG parsing

        sizes = Sizes(page=self._pace.page_size, first_wait_s=self._pace.first_wait_s)
        while True:
            try:
                state = self._state = self._state or await self._recall()
                settings = await self._settings()
                # With every failure, another client: what is mended in the connection counts from the next try on.
                async with Scanner(settings, self._scan, told=self._told, sizes=sizes) as scanner:
                    while True:
                        async for part in self._once(scanner, state):
                            yield part, part
                        state = self._state
                        await asyncio.sleep(self._scan.how.every.total_seconds())
            except (AzureMLError, AirflowNotFoundException) as error:
                await asyncio.sleep(self._wait_s(error))

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Remember how far everything is told.

        Raises:
            UnavailableError: Airflow has not stored an event; another producer begins where this was remembered last.
        """
        for part, outcome in batch:
            self._room.release()
            if not outcome.is_clean or not part.is_handed_on:
                raise UnavailableError(
                    f"Store {len(part.arrivals)} arrivals of {self._scan.container_url}",
                    message="Airflow has not stored them; they are told again.",
                )
        try:
            await self._store.aset(self._scan.key, batch[-1].broker_payload.state.to_wire())
        except Exception as error:  # noqa: BLE001  # Airflow's stores raise what they like; nothing is lost by it
            log.warning("How far %s is scanned could not be stored: %r", self._scan.container_url, error)

    async def _once(self, scanner: "Scanner", state: ScanState) -> AsyncIterator[Part]:
        """Scan once; after each part, the state is what to go on from when the next one cannot be had."""
        told, pages = 0, scanner.listed_pages
        async for arrivals in scanner.pages(state):
            told += len(arrivals)
            if arrivals or time.monotonic() - self._noted_at > self._pace.note_every_s:
                yield await self._part(arrivals, scanner.state)
            self._state = scanner.state
        if self._failures:
            log.info("%s answers again after %d failures", self._scan.container_url, self._failures)
        self._failures, self._said = 0, ""
        self._state = scanner.state
        if told:
            log.info("Told %d new blobs of %s (%d pages)", told, self._scan.container_url, scanner.listed_pages - pages)
        yield await self._part((), scanner.state)

    async def _part(self, arrivals: Sequence[Arrival], state: ScanState) -> Part:
        await self._room.acquire()
        self._noted_at = time.monotonic()
        return Part(arrivals=arrivals, state=state)

    async def _recall(self) -> ScanState:
        """Read what was remembered; what cannot be read is as good as nothing, for then everything is told again."""
        try:
            return ScanState.from_wire(await self._store.aget(self._scan.key))
        except ProtocolError as error:
            log.warning("%s is scanned from the beginning: %s", self._scan.container_url, error)
            return ScanState()
        except Exception as error:
            raise UnavailableError(
                f"Read how far {self._scan.container_url} is scanned", message=repr(error)
            ) from error

    def _wait_s(self, error: Exception) -> float:
        """Count a failure, say it when it is not the one before, and choose a wait."""
        self._failures += 1
        kind = f"{type(error).__name__} {getattr(error, 'status', '')} {getattr(error, 'code', '')}"
        if kind != self._said:
            self._said = kind
            log.error(
                "The scan of %s waits: %s. Trying again every %.0f s or sooner",
                self._scan.container_url,
                error,
                self._pace.longest_wait_s,
            )
        longest_s = min(self._pace.longest_wait_s, 2.0 ** min(self._failures, 16))
        return random.uniform(0, longest_s)  # noqa: S311  # spreads load, guards nothing


@attrs.define(slots=False, eq=False, repr=False, kw_only=True)
class BlobScanTrigger(DeclaredTrigger, BaseEventTrigger):
    """Turns what is new in a container into asset events: one for at most 256 blobs.

    How far the container is scanned is kept in the asset's state store, and moves on only after Airflow has stored the
    events: a triggerer that is killed loses nothing, and tells the last few again.

    Attributes:
        asset: The asset's name; no two assets share a scan.
        scan: What is scanned, and how: what `Scan.to_wire` wrote.
        conn_id: The Airflow connection whose identity lists: role Storage Blob Data Reader on the container.
    """

    asset: str
    scan: dict[str, Any]
    conn_id: str = AzureMLHook.default_conn_name

    pace: ClassVar[ScanPace] = ScanPace()

    @classmethod
    def store(cls, asset: str) -> Store:
        """Say where what is remembered is kept."""
        from airflow.sdk.execution_time.context import AssetStateStoreAccessor  # noqa: PLC0415  # not when a DAG is parsed

        store: Store = AssetStateStoreAccessor(name=asset)
        return store

    @classmethod
    async def settings(cls, conn_id: str) -> "ConnectionSettings":
        """Read the connection."""
        return await AzureMLHook.aget(conn_id)

    def shared_stream_key(self) -> Hashable:
        """Have a stream, for only a stream is told what Airflow has stored."""
        return (type(self).__qualname__, self.asset, self.conn_id, json.dumps(self.scan, sort_keys=True))

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Make the scanner; it connects when it is opened."""
        return ScanProducer(
            Scan.from_wire(kwargs["scan"]),
            store=cls.store(kwargs["asset"]),
            settings=functools.partial(cls.settings, kwargs["conn_id"]),
            pace=cls.pace,
        )

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Make an event of each part that has something new."""
        async for part in shared_stream:
            if part.arrivals:
                yield TriggerEvent([arrival.to_wire() for arrival in part.arrivals])
            # Only now the triggerer has the event: it came back for the next one.
            part.is_handed_on = True

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield what is new outside a shared stream.

        What is remembered moves on when the next event is asked for; nobody says then whether Airflow has stored the
        one before. Airflow 3.3's triggerer does not call this.
        """
        producer = self.create_shared_stream_producer(self.serialize()[1])

        async def _parts() -> AsyncIterator[Part]:
            async for part, _ in producer.open_stream():
                yield part
                await producer.advance([AdvanceItem(part, AdvanceOutcome(acked=1, failed=0))])

        async for event in self.filter_shared_stream(_parts()):
            yield event
