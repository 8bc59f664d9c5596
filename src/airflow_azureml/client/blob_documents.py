"""Documents as blobs of a container: compare-and-set by eTag."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar

from airflow_azureml.client.opened import open_container
from airflow_azureml.client.storage import (
    CALL_S,
    service_error,
)
from airflow_azureml.core.documents import Document, check_ids
from airflow_azureml.errors import ProtocolError, RefusedError, ServiceError, UnavailableError

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobClient, ContainerClient

    from airflow_azureml.core.workspace import ConnectionSettings

T = TypeVar("T")

#: Requests under way at once. azure-storage takes about 1 ms of CPU for each.
AT_ONCE = 16
#: Tries of one request, and the longest wait that a service may ask for. Seconds.
TRIES, LONGEST_WAIT_S = 5, 30.0
#: Documents in a page of a scan.
PAGE = 256
#: Names in a page of a listing; the service gives no more.
_NAMES = 5000
#: Why a conditional write was not done. Source: "Status and error codes", REST API of Blob Storage.
_NOT_DONE = frozenset({"BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet", "BlobNotFound"})
_NO_CONTAINER = "ContainerNotFound"
#: Answers of status 409 that stay so; others of 409 are of a container that is being deleted.
_EXISTS = frozenset({"BlobAlreadyExists", "ContainerAlreadyExists"})


class BlobDocuments:
    """Documents in one container, which is made when it is missing; use it with ``async with``.

    Args:
        settings: The connection whose identity is used (role Storage Blob Data Contributor); not used for an account
            on this machine.
        url: The container's address: ``https://ACCOUNT.blob.core.windows.net/CONTAINER``.
        first_wait_s: Most seconds before a request is sent a second time; twice as long before each further try.
    """

    def __init__(self, settings: "ConnectionSettings", url: str, *, first_wait_s: float = 0.5) -> None:
        self.url = url
        self.first_wait_s = first_wait_s
        self._settings = settings
        self._opened = contextlib.AsyncExitStack()
        self._container: ContainerClient | None = None
        self._turnstile = asyncio.Semaphore(AT_ONCE)
        self._server_time = datetime.min.replace(tzinfo=UTC)

    async def __aenter__(self) -> Self:
        """Open the connections; nothing is asked yet.

        Raises:
            ConfigError: The address is none of Azure Storage.
        """
        self._container = await open_container(
            self._opened, self._settings, self.url, raw_response_hook=self._note_time
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._opened.aclose()

    async def read(self, ids: Collection[str]) -> dict[str, Document]:
        """See `airflow_azureml.core.documents.Documents.read`."""
        check_ids(ids)
        found = await _each(self._read, dict.fromkeys(ids))
        return {each.id: each for each in found if each is not None}

    async def create(self, texts: Mapping[str, str]) -> dict[str, Document]:
        """See `airflow_azureml.core.documents.Documents.create`."""
        check_ids(texts)
        made = await _each(lambda name: self._write(name, texts[name], ""), texts)
        return {each.id: each for each in made if each is not None}

    async def replace(self, changes: Mapping[str, tuple[str, str]]) -> dict[str, Document]:
        """See `airflow_azureml.core.documents.Documents.replace`."""
        check_ids(changes)

        async def _replace(name: str) -> Document | None:
            version, text = changes[name]
            return await self._write(name, text, version)

        made = await _each(_replace, changes)
        return {each.id: each for each in made if each is not None}

    async def remove(self, versions: Mapping[str, str]) -> set[str]:
        """See `airflow_azureml.core.documents.Documents.remove`."""
        check_ids(versions)
        gone = await _each(lambda name: self._remove(name, versions[name]), versions)
        return {name for name, is_gone in zip(versions, gone, strict=True) if is_gone}

    async def scan(self, prefix: str) -> AsyncIterator[list[Document]]:
        """See `airflow_azureml.core.documents.Documents.scan`."""
        async for names in self.ids(prefix):
            for at in range(0, len(names), PAGE):
                found = await self.read(names[at : at + PAGE])
                yield [found[name] for name in names[at : at + PAGE] if name in found]

    async def ids(self, prefix: str) -> AsyncIterator[list[str]]:
        """See `airflow_azureml.core.documents.Documents.ids`."""
        token: str | None = ""
        while token is not None:
            token, names = await self._list(prefix, token)
            yield names

    async def now(self) -> datetime:
        """See `airflow_azureml.core.documents.Documents.now`."""
        await self._read("now")  # whatever is answered says the time
        return self._server_time

    async def _read(self, name: str) -> Document | None:
        async def _ask() -> Document:
            stream = await self._blob(name).download_blob(max_concurrency=1)
            content: bytes = await stream.readall()
            seen = stream.properties
            return Document(id=name, version=str(seen.etag), text=content.decode(), time=_utc(seen.last_modified))

        try:
            return await self._call(f"Read {self.url}/{name}", _ask)
        except RefusedError as error:
            if error.code in {"BlobNotFound", _NO_CONTAINER}:
                return None
            raise

    async def _write(self, name: str, text: str, version: str) -> Document | None:
        """Write one over a version, or where there is none for an empty one; None when it is not ours then."""
        from azure.core import MatchConditions  # noqa: PLC0415  # as above

        over: dict[str, Any] = {"overwrite": False}
        if version:
            over = {"overwrite": True, "etag": version, "match_condition": MatchConditions.IfNotModified}

        async def _ask() -> Document:
            told = await self._blob(name).upload_blob(text.encode(), **over)
            return Document(id=name, version=str(told["etag"]), text=text, time=_utc(told["last_modified"]))

        try:
            return await self._in_container(f"Write {self.url}/{name}", _ask)
        except ServiceError as error:
            if error.code not in _NOT_DONE and not (version and error.code == _NO_CONTAINER):
                raise
        found = await self._read(name)
        return found if found is not None and found.text == text else None

    async def _remove(self, name: str, version: str) -> bool:
        from azure.core import MatchConditions  # noqa: PLC0415  # as above

        only: dict[str, Any] = {"etag": version, "match_condition": MatchConditions.IfNotModified} if version else {}

        async def _ask() -> None:
            await self._blob(name).delete_blob(**only)

        try:
            await self._call(f"Remove {self.url}/{name}", _ask)
        except RefusedError as error:
            if error.code in {"BlobNotFound", _NO_CONTAINER}:
                return True
            if error.code not in _NOT_DONE:
                raise
            return await self._read(name) is None  # what is not there has no version, either
        return True

    async def _list(self, prefix: str, token: str) -> tuple[str | None, list[str]]:
        async def _ask() -> tuple[str | None, list[str]]:
            pages = self._opened_container.list_blob_names(
                name_starts_with=prefix or None, results_per_page=_NAMES
            ).by_page(continuation_token=token or None)
            names = [str(name) async for name in await anext(pages)]
            return getattr(pages, "continuation_token", None) or None, names

        try:
            return await self._call(f"List {self.url}/{prefix}", _ask)
        except RefusedError as error:
            if error.code == _NO_CONTAINER:
                return None, []
            raise

    async def _in_container(self, doing: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask, and make the container when it is missing."""
        try:
            return await self._call(doing, ask)
        except RefusedError as error:
            if error.code != _NO_CONTAINER:
                raise

        async def _create() -> None:
            await self._opened_container.create_container()

        try:
            await self._call(f"Create container {self.url}", _create)
        except ServiceError as error:
            if error.code != "ContainerAlreadyExists":
                raise
        return await self._call(doing, ask)

    async def _call(self, doing: str, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask, several times if need be, and no sooner than the service says.

        Raises:
            RefusedError: The answer is no, and stays so.
            UnavailableError: There was no answer in `TRIES` tries.
            ProtocolError: What answers is no storage.
        """
        longest_s = self.first_wait_s
        for left in reversed(range(TRIES)):
            async with self._turnstile:
                try:
                    return await self._once(doing, ask)
                except _NoAnswerError as error:
                    failure, wait_s = error.failure, error.wait_s
            if not left or not failure.retryable or failure.code in _EXISTS:
                raise failure
            await asyncio.sleep(max(wait_s, random.uniform(0, longest_s)))  # noqa: S311  # spreads load, guards nothing
            longest_s *= 2
        raise AssertionError(TRIES)

    async def _once(self, doing: str, ask: Callable[[], Awaitable[T]]) -> T:
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # as above

        try:
            async with asyncio.timeout(CALL_S):
                return await ask()
        except TimeoutError as error:
            raise _NoAnswerError(UnavailableError(doing, message=f"No answer within {CALL_S} s.")) from error
        except AzureError as error:
            raise _NoAnswerError(service_error(doing, error), wait_s=_asked_to_wait_s(error)) from error
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            # What the SDK makes of a page of HTML that a proxy answered with, status 200.
            raise ProtocolError(f"{doing}: the answer is none of Azure Storage's ({error!r})") from error

    def _note_time(self, answer: Any) -> None:
        if told := answer.http_response.headers.get("Date"):
            self._server_time = max(self._server_time, parsedate_to_datetime(told).astimezone(UTC))

    def _blob(self, name: str) -> "BlobClient":
        return self._opened_container.get_blob_client(name)

    @property
    def _opened_container(self) -> "ContainerClient":
        if self._container is None:
            raise AssertionError("use it with `async with`")
        return self._container


class _NoAnswerError(Exception):
    """One try has failed.

    Args:
        failure: Why.
        wait_s: Seconds that the service asks to wait.
    """

    def __init__(self, failure: ServiceError, *, wait_s: float = 0.0) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.wait_s = wait_s


def _asked_to_wait_s(error: Exception) -> float:
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    told = str(headers.get("Retry-After") or "")
    return min(float(told), LONGEST_WAIT_S) if told.isdecimal() else 0.0


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC)


async def _each(do: Callable[[str], Awaitable[T]], names: Collection[str]) -> list[T]:
    """Do it for each name, so many at once; the first error ends all."""
    done: dict[str, T] = {}
    waiting = iter(names)

    async def _work() -> None:
        for name in waiting:
            done[name] = await do(name)

    workers = [asyncio.ensure_future(_work()) for _ in range(min(AT_ONCE, len(names)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return [done[name] for name in names]
