"""Listing a container, page by page, in flat memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Self

from airflow_azureml.client.looks import Looker
from airflow_azureml.client.opened import open_container
from airflow_azureml.client.sets import read_manifests
from airflow_azureml.client.storage import CALL_S, READS_BLOBS, READS_TAGS, service_error
from airflow_azureml.core.conditions import Sight
from airflow_azureml.core.search import Finds, Search, SetFinds
from airflow_azureml.core.sets import Found, Sets, manifests_to_read
from airflow_azureml.errors import ProtocolError, UnavailableError
from airflow_azureml.wire.listings import COPY, EXTRAS, Listed, parse_page

if TYPE_CHECKING:
    from azure.storage.blob.aio import ContainerClient

    from airflow_azureml.core.arrivals import Arrival
    from airflow_azureml.core.filters import Details
    from airflow_azureml.core.workspace import ConnectionSettings

#: Tries of one page.
TRIES = 4


class Lister:
    """Lists one container; use it with ``async with``.

    Args:
        settings: The connection whose identity lists; not used for an account on this machine.
        url: The container's address: ``https://ACCOUNT.blob.core.windows.net/CONTAINER``.
        page_size: Most blobs in a page; the service gives no more than 5,000.
        first_wait_s: Seconds before a page is asked for a second time; each further wait is twice as long.
    """

    def __init__(
        self, settings: "ConnectionSettings", url: str, *, page_size: int = 5000, first_wait_s: float = 0.5
    ) -> None:
        self.url = url
        self.page_size = page_size
        self.first_wait_s = first_wait_s
        self.settings = settings
        self._opened = contextlib.AsyncExitStack()
        self._container: ContainerClient | None = None
        #: The storage account's time, as its last answer said it.
        self.server_time = datetime.now(UTC)

    async def __aenter__(self) -> Self:
        """Open the connections.

        Raises:
            ConfigError: The address is none of Azure Storage.
        """
        self._container = await open_container(self._opened, self.settings, self.url)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._opened.aclose()

    async def pages(
        self, *, prefix: str = "", after: str = "", include: Collection[str] = (), pending: bool = False
    ) -> AsyncIterator[list[Listed]]:
        """Yield the blobs in the order of their names.

        Args:
            prefix: How the names begin.
            after: Where to begin: names up to this one, included, are left out.
            include: What is to be told beside what every page tells: see `ArrivalFilter.include`, and
                `airflow_azureml.wire.listings.parse_page`. Tags take a permission of their own (role Storage Blob Data
                Owner, or the action ``…/blobs/tags/read``).
            pending: Whether to yield blobs that are still being copied, too; they are not complete.

        Raises:
            RefusedError: There is no such container, or the identity may not list it (role Storage Blob Data Reader).
            UnavailableError: Storage does not answer; trying again later may work.
            ProtocolError: What answers is no storage.
        """
        token: str | None = ""
        while token is not None:
            token, body = await self._page(prefix, after, token, include)
            listed = parse_page(body, include)
            if not pending:
                listed = [each for each in listed if each.is_complete]
            # Of those before `after`, the service leaves out none that is equal; older ones know no such argument.
            yield [each for each in listed if each.path > after] if after else listed

    async def _page(self, prefix: str, after: str, token: str, include: Collection[str]) -> tuple[str | None, bytes]:
        """Ask for one page, several times if need be."""
        doing = f"List {self.url}"
        wait_s = self.first_wait_s
        for left in reversed(range(TRIES)):
            try:
                async with asyncio.timeout(CALL_S):
                    return await self._ask(prefix, after, token, include)
            except TimeoutError as error:
                if not left:
                    raise UnavailableError(doing, message=f"No answer within {CALL_S} s.") from error
            except UnavailableError:
                if not left:
                    raise
            await asyncio.sleep(wait_s)
            wait_s *= 2
        raise AssertionError(TRIES)

    async def _ask(self, prefix: str, after: str, token: str, include: Collection[str]) -> tuple[str | None, bytes]:
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # as above

        if self._container is None:
            raise AssertionError("use it with `async with`")
        answers: list[Any] = []
        from_here: dict[str, Any] = {"start_from": after} if after else {}
        pages = self._container.list_blob_names(
            name_starts_with=prefix or None,
            results_per_page=self.page_size,
            # The method does not know it, and hands it on to the request, which does.
            include=[COPY, *sorted(set(include) & set(EXTRAS))],
            raw_response_hook=lambda answer: answers.append(answer.http_response),
            **from_here,
        ).by_page(continuation_token=token or None)
        try:
            await anext(pages)
            body, told = answers[-1].content, answers[-1].headers.get("Date")
            self.server_time = parsedate_to_datetime(told).astimezone(UTC) if told else datetime.now(UTC)
        except AzureError as error:
            role = READS_TAGS if "tags" in include else READS_BLOBS
            raise service_error(f"List {self.url}", error, role=role) from error
        except (AttributeError, TypeError, ValueError) as error:
            # What the SDK makes of a page of HTML that a proxy answered with, status 200.
            raise ProtocolError(f"List {self.url}: the answer is none of Azure Storage's ({error})") from error
        return getattr(pages, "continuation_token", None) or None, bytes(body)


async def look_for(lister: Lister, search: Search) -> Sight:
    """List a container once, and say what of it counts.

    Raises:
        AzureMLError: See `Lister.pages`.
    """
    if search.sets is not None:
        async with Looker(lister.settings, lister.url, first_wait_s=lister.first_wait_s) as looker:
            return await _look_for_sets(lister, looker, search, search.sets)
    finds = Finds(search)
    async for page in _blobs(lister, search):
        finds.add(page, now=lister.server_time)
    return finds.sight()


async def _look_for_sets(lister: Lister, looker: Looker, search: Search, rule: Sets) -> Sight:
    finds = SetFinds(search, rule)

    async def _judge(found: Sequence[Found]) -> None:
        manifests = await read_manifests(looker, manifests_to_read(found, rule))
        finds.judge(found, manifests, now=lister.server_time)

    async for page in _blobs(lister, search):
        await _judge(finds.add(page, now=lister.server_time))
    await _judge(finds.rest())
    return finds.sight()


async def _blobs(lister: Lister, search: Search) -> AsyncIterator[list[tuple["Arrival", "Details"]]]:
    place, container = search.place, search.wanted.container
    async for page in lister.pages(prefix=search.wanted.prefix, include=search.include, pending=True):
        yield [(each.arrival(place, container), each.details) for each in page]
