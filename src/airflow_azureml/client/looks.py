"""Looking at blobs for what an event does not tell: metadata, tags, how far a copy is, whether a blob still grows."""

import asyncio
import base64
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar

from airflow_azureml.client.opened import open_container
from airflow_azureml.client.storage import CALL_S, READS_BLOBS, READS_TAGS, service_error
from airflow_azureml.core.arrivals import Arrival, StorageUrl
from airflow_azureml.core.filters import ArrivalFilter, Details
from airflow_azureml.core.looks import Look, Looked, Outcome, Verdict, judge
from airflow_azureml.errors import ProtocolError, RefusedError, ServiceError, UnavailableError

if TYPE_CHECKING:
    from azure.storage.blob import BlobProperties
    from azure.storage.blob.aio import ContainerClient

    from airflow_azureml.core.workspace import ConnectionSettings

T = TypeVar("T")

#: Looks under way at once.
AT_ONCE = 16
#: Tries of one request.
TRIES = 4
#: Looks at one blob: it may be overwritten while it is looked at.
LOOKS = 3
_NOT_FOUND, _PRECONDITION = 404, 412


class Looker:
    """Looks at blobs of one container; use it with ``async with``.

    Args:
        settings: The connection whose identity looks; not used for an account on this machine.
        url: The container's address: ``https://ACCOUNT.blob.core.windows.net/CONTAINER``.
        first_wait_s: Seconds before a request is sent a second time; each further wait is twice as long.
    """

    def __init__(self, settings: "ConnectionSettings", url: str, *, first_wait_s: float = 0.5) -> None:
        self.url = url
        self.first_wait_s = first_wait_s
        self._settings = settings
        self._opened = contextlib.AsyncExitStack()
        self._container: ContainerClient | None = None
        self._turnstile = asyncio.Semaphore(AT_ONCE)

    async def __aenter__(self) -> Self:
        """Open the connections.

        Raises:
            ConfigError: The address is none of Azure Storage.
        """
        self._container = await open_container(self._opened, self._settings, self.url)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._opened.aclose()

    async def look(self, path: str, *, tags: bool = False) -> Look | None:
        """Look at a blob; None when it is not there.

        Args:
            path: Its name in the container.
            tags: Whether to ask for its index tags, which takes a request more, and a permission of its own: role
                Storage Blob Data Owner, or the action ``…/blobs/tags/read``.

        Raises:
            RefusedError: The identity may not look.
            UnavailableError: Storage does not answer; trying again later may work.
            ProtocolError: What answers is no storage.
        """
        blob = self._in_container().get_blob_client(path)
        answers: list[Any] = []

        async def _tags() -> dict[str, str]:
            return dict(await blob.get_blob_tags())

        async def _properties() -> "BlobProperties":
            return await blob.get_blob_properties(raw_response_hook=answers.append)

        # In this order: a version that was there before its tags were read, and still is after, has them.
        found = await self._there(f"Read the tags of {self.url}/{path}", _tags) if tags else None
        if tags and found is None:
            return None
        properties = await self._there(f"Look at {self.url}/{path}", _properties)
        return None if properties is None else _read(properties, answers[-1].http_response.headers, found)

    async def content(self, arrival: Arrival) -> bytes | None:
        """Read the very version of a blob, whole; None when that is not there any more.

        Raises:
            AzureMLError: As for `look`.
        """
        from azure.core import MatchConditions  # noqa: PLC0415  # as above

        blob = self._in_container().get_blob_client(arrival.path)

        async def _download() -> bytes:
            stream = await blob.download_blob(
                max_concurrency=1, etag=f'"{arrival.etag}"', match_condition=MatchConditions.IfNotModified
            )
            return bytes(await stream.readall())

        return await self._there(f"Read {self.url}/{arrival.path}", _download)

    async def _there(self, doing: str, ask: Callable[[], Awaitable[T]]) -> T | None:
        """Ask, several times if need be; None when there is no such blob, or no such version of it."""
        wait_s = self.first_wait_s
        for left in reversed(range(TRIES)):
            try:
                async with self._turnstile, asyncio.timeout(CALL_S):
                    return await _ask(doing, ask)
            except TimeoutError as error:
                if not left:
                    raise UnavailableError(doing, message=f"No answer within {CALL_S} s.") from error
            except RefusedError as error:
                if error.status in {_NOT_FOUND, _PRECONDITION} and error.code != "ContainerNotFound":
                    return None
                raise
            except ServiceError:
                if not left:
                    raise
            await asyncio.sleep(wait_s)
            wait_s *= 2
        raise AssertionError(TRIES)

    def _in_container(self) -> "ContainerClient":
        if self._container is None:
            raise AssertionError("use it with `async with`")
        return self._container


async def complete(
    settings: "ConnectionSettings", arrivals: Sequence[Arrival], wanted: ArrivalFilter, *, account_url: str = ""
) -> Looked:
    """Sort arrivals into those that are wanted and complete, and others; blobs are looked at only where that is needed.

    Args:
        settings: The connection whose identity looks (role Storage Blob Data Reader, and a permission for tags; see
            `Looker.look`); not used for an account on this machine.
        arrivals: All of one storage account.
        wanted: Which blobs count.
        account_url: The storage account's blob service; empty for the address that the arrivals have.

    Raises:
        ConfigError: The address is none of Azure Storage.
        RefusedError: The identity may not look.
        UnavailableError: Storage does not answer; trying again later may work.
    """
    skips = {each.key: wanted.reason_to_skip(each) for each in arrivals}
    todo = [each for each in arrivals if not skips[each.key] and wanted.needs_look(each)]
    verdicts: dict[str, tuple[Verdict, ...]] = {
        each.key: (Verdict(Outcome.LEFT_OUT if skips[each.key] else Outcome.READY, each, skips[each.key]),)
        for each in arrivals
    }
    if todo:
        place = StorageUrl.parse(account_url or todo[0].url)
        async with Looker(settings, f"{place.blob_base}/{wanted.container}") as looker:
            looks = [asyncio.ensure_future(_settle(looker, each, wanted)) for each in todo]
            try:
                found = await asyncio.gather(*looks)
            finally:
                for look in looks:
                    look.cancel()
                await asyncio.gather(*looks, return_exceptions=True)
            verdicts.update(zip((each.key for each in todo), found, strict=True))
    return Looked.of((each, verdicts[each.key]) for each in arrivals)


async def _settle(looker: Looker, arrival: Arrival, wanted: ArrivalFilter) -> tuple[Verdict, ...]:
    """Look at a blob until a look shows the version that it is about."""
    verdicts: list[Verdict] = []
    for _ in range(LOOKS):
        look = await looker.look(arrival.path, tags=bool(wanted.tags))
        verdicts.append(judge(arrival, look, wanted))
        if verdicts[-1].outcome is not Outcome.RENEWED:
            break
        arrival = verdicts[-1].arrival
    return tuple(verdicts)


async def _ask(doing: str, ask: Callable[[], Awaitable[T]]) -> T:
    from azure.core.exceptions import AzureError  # noqa: PLC0415  # as above

    try:
        return await ask()
    except AzureError as error:
        role = READS_TAGS if doing.startswith("Read the tags") else READS_BLOBS
        raise service_error(doing, error, role=role) from error
    except (AttributeError, TypeError, ValueError) as error:
        # What the SDK makes of a page of HTML that a proxy answered with, status 200.
        raise ProtocolError(f"{doing}: the answer is none of Azure Storage's ({error})") from error


def _read(found: "BlobProperties", headers: Any, tags: dict[str, str] | None) -> Look:
    md5 = found.content_settings.content_md5
    told = headers.get("Date")
    status = str(found.copy.status or "")
    details = Details(
        metadata=dict(found.metadata or {}),
        tags=tags,
        copy="" if status == "success" else status,
        md5=base64.b64encode(bytes(md5)).decode() if md5 else "",
    )
    return Look(
        etag=str(found.etag).strip('"'),
        size_bytes=int(found.size),
        content_type=str(found.content_settings.content_type or ""),
        modified=found.last_modified.astimezone(UTC),
        now=parsedate_to_datetime(told).astimezone(UTC) if told else datetime.now(UTC),
        details=details,
    )
