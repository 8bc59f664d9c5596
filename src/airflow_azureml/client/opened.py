"""Opening clients of Blob Storage, alike for whoever lists, looks, copies or keeps documents there."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_azureml.client.credentials import proxies
from airflow_azureml.client.storage import (
    CONNECT_S,
    HTTP_LOG,
    READ_S,
    async_storage_tokens,
    storage_credential,
    storage_tokens,
)
from airflow_azureml.client.transport import transport_to
from airflow_azureml.core.workspace import is_loopback

if TYPE_CHECKING:
    from azure.storage.blob.aio import ContainerClient

    from airflow_azureml.core.workspace import ConnectionSettings

T = TypeVar("T", bound=AbstractAsyncContextManager[Any])
C = TypeVar("C", bound=AbstractContextManager[Any])

#: Seconds between the tries of a blocking call.
WAIT_S = 1


async def open_container(
    stack: contextlib.AsyncExitStack, settings: "ConnectionSettings", url: str, **options: Any
) -> "ContainerClient":
    """Open a container; nothing is asked yet, and nothing is ever asked twice: its callers have tries of their own.

    Args:
        stack: Closes it.
        settings: The connection whose identity is used; not used for an account on this machine.
        url: ``https://ACCOUNT.blob.core.windows.net/CONTAINER``.
        options: More of azure-storage's own.

    Raises:
        ConfigError: The address is none of Azure Storage.
    """
    from azure.storage.blob.aio import ContainerClient  # noqa: PLC0415  # Azure's libraries stay out of DAG parsing

    return await open_client(stack, settings, url, ContainerClient.from_container_url, retry_total=0, **options)


async def open_client(
    stack: contextlib.AsyncExitStack, settings: "ConnectionSettings", url: str, make: Callable[..., T], **options: Any
) -> T:
    """Open what `make` makes of an address; see `open_container`."""
    proof, through = None, None
    if not is_loopback(url):
        proof, through = async_storage_tokens(settings), proxies(settings)
        stack.push_async_callback(proof.close)
    client = make(
        url,
        credential=storage_credential(url, proof),
        transport=transport_to(url, has_proxy=bool(through), connect_s=CONNECT_S, read_s=READ_S),
        logger=HTTP_LOG,
        **({"proxies": dict(through)} if through else {}),
        **options,
    )
    await stack.enter_async_context(client)
    return client


@contextlib.contextmanager
def opened_in_worker(
    settings: "ConnectionSettings", url: str, make: Callable[..., C], *, retries: int = 3, **options: Any
) -> Iterator[C]:
    """Open what `make` makes of an address, for blocking calls; nothing is asked yet.

    Args:
        settings: The connection whose identity is used; not used for an account on this machine.
        url: The first argument of `make`.
        make: A client's class, or what makes one of an address.
        retries: Tries of a request beyond the first, a second apart.
        options: More of azure-storage's own.
    """
    from azure.storage.blob import LinearRetry  # noqa: PLC0415  # Azure's libraries stay out of DAG parsing

    with contextlib.ExitStack() as opened:
        proof, through = None, None
        if not is_loopback(url):
            proof, through = storage_tokens(settings), proxies(settings)
            opened.callback(proof.close)
        client = make(
            url,
            credential=storage_credential(url, proof),
            retry_policy=LinearRetry(backoff=WAIT_S, retry_total=retries, random_jitter_range=0),
            connection_timeout=CONNECT_S,
            read_timeout=READ_S,
            logger=HTTP_LOG,
            **({"proxies": dict(through)} if through else {}),
            **options,
        )
        yield opened.enter_context(client)
