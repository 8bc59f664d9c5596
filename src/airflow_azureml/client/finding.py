"""Finding the blobs that count and are complete: those that events tell of, and all that a container shows."""

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING

from attrs import field, frozen

from airflow_azureml.client.listings import Lister
from airflow_azureml.client.looks import Looker, complete
from airflow_azureml.client.sets import read_manifests
from airflow_azureml.core.arrivals import Arrival, StorageUrl
from airflow_azureml.core.batches import Window
from airflow_azureml.core.filters import ArrivalFilter
from airflow_azureml.core.search import Search, SetFinds
from airflow_azureml.core.sets import Found, Sets, gather, manifests_to_read

if TYPE_CHECKING:
    from airflow_azureml.core.workspace import ConnectionSettings


@frozen(kw_only=True)
class Seen:
    """What a look showed.

    Attributes:
        ready: Blobs that count and are complete.
        waiting: Those that are not complete yet, and why, each as the end of a sentence.
    """

    ready: Sequence[Arrival] = ()
    waiting: Sequence[tuple[Arrival, str]] = ()


@frozen(kw_only=True)
class Finder:
    """Finds blobs of one container.

    Attributes:
        settings: The connection whose identity looks and lists; not used for an account on this machine.
        account_url: The storage account's blob service.
        wanted: Which blobs count.
        sets: What says that blobs which belong together are all there; None where each blob stands for itself.
        window: When a blob must have been written; of a set, the last of its blobs, or its sign.
    """

    settings: "ConnectionSettings"
    account_url: str
    wanted: ArrivalFilter
    sets: Sets | None = None
    window: Window = field(factory=Window)

    async def told(self, arrivals: Sequence[Arrival]) -> Seen:
        """Look at what events told of; of sets, at the folders that they name.

        Raises:
            AzureMLError: As `airflow_azureml.client.looks.complete`, and `Lister.pages`.
        """
        inside = [each for each in arrivals if each in self.window]
        if self.sets is None:
            looked = await complete(self.settings, inside, self.wanted, account_url=self.account_url)
            return Seen(ready=[*looked.ready, *looked.renewed], waiting=looked.waiting)
        ready: list[Arrival] = []
        waiting: list[tuple[Arrival, str]] = []
        for folder in sorted({self.sets.folder(each.path) for each in inside} - {None}, key=str):
            async for seen in self._sets(str(folder), self.sets):
                ready += seen.ready
                waiting += seen.waiting
        return Seen(ready=ready, waiting=waiting)

    async def everything(self) -> AsyncGenerator[Seen]:
        """List the container, page by page.

        Raises:
            AzureMLError: As `Lister.pages`.
        """
        pages = self._blobs() if self.sets is None else self._sets(self.wanted.prefix, self.sets)
        async for seen in pages:
            yield seen

    async def _blobs(self) -> AsyncGenerator[Seen]:
        async with Lister(self.settings, self._container_url) as lister:
            async for page in lister.pages(prefix=self.wanted.prefix, include=self.wanted.include, pending=True):
                ready: list[Arrival] = []
                waiting: list[tuple[Arrival, str]] = []
                for listed in page:
                    arrival = listed.arrival(self._place, self.wanted.container)
                    if arrival not in self.window or self.wanted.reason_to_skip(arrival, listed.details):
                        continue
                    # Both times are whole seconds, cut or rounded, so that a blob may seem to come from the future.
                    now = max(lister.server_time, listed.modified)
                    why = self.wanted.reason_to_wait(arrival, listed.details, now=now)
                    if why:
                        waiting.append((arrival, why))
                    else:
                        ready.append(arrival)
                yield Seen(ready=ready, waiting=waiting)

    async def _sets(self, prefix: str, rule: Sets) -> AsyncGenerator[Seen]:
        """List what begins so; a set is judged as soon as its folder is left."""
        search = Search(account_url=self.account_url, wanted=self.wanted, sets=rule)
        finds = SetFinds(search, rule)
        async with (
            Lister(self.settings, self._container_url) as lister,
            Looker(self.settings, self._container_url) as looker,
        ):
            async for page in lister.pages(prefix=prefix, include=search.include, pending=True):
                blobs = [(each.arrival(self._place, self.wanted.container), each.details) for each in page]
                yield await self._judged(lister, looker, rule, finds.add(blobs, now=lister.server_time))
            yield await self._judged(lister, looker, rule, finds.rest())

    async def _judged(self, lister: Lister, looker: Looker, rule: Sets, found: Sequence[Found]) -> Seen:
        manifests = await read_manifests(looker, manifests_to_read(found, rule))
        gathered = gather(found, rule, lister.server_time, manifests=manifests)
        reasons = dict(gathered.waiting)
        members = [each.arrival for each in found if not rule.is_sign(each.arrival.path)]
        return Seen(
            ready=[each for one in gathered.ready if self.window.holds(one.time) for each in one.members],
            waiting=[(each, reasons[at]) for each in members if (at := rule.folder(each.path) or "") in reasons],
        )

    @property
    def _place(self) -> StorageUrl:
        return StorageUrl.parse(self.account_url)

    @property
    def _container_url(self) -> str:
        return f"{self._place.blob_base}/{self.wanted.container}"
