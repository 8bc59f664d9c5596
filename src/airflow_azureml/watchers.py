"""Assets that arriving blobs update."""

import re
from collections.abc import Sequence

from airflow.sdk import Asset, AssetWatcher

from airflow_azureml.core.arrivals import StorageUrl
from airflow_azureml.core.dead_letters import POISON
from airflow_azureml.core.filters import ArrivalFilter
from airflow_azureml.errors import ConfigError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.triggers.arrivals import BlobArrivalTrigger

__all__ = ["blob_arrivals"]

#: Longest name of a queue. Source: "Naming Queues and Metadata", REST API of Queue Storage.
_LONGEST_QUEUE = 63
_QUEUE = re.compile(r"[a-z0-9](?:-?[a-z0-9])+")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")


def blob_arrivals(  # noqa: PLR0913  # one keyword for each thing that tells one asset from another
    name: str,
    *,
    queue_url: str,
    container: str,
    prefix: str = "",
    suffix: str = "",
    glob: str = "",
    regex: str = "",
    min_size_bytes: int = 1,
    max_size_bytes: int | None = None,
    content_types: Sequence[str] = (),
    account: str = "",
    conn_id: str = AzureMLHook.default_conn_name,
) -> Asset:
    """Make an asset that is updated whenever a blob has been written completely.

    Schedule a DAG by it and let its first task be a `ClaimArrivalsOperator`: Airflow 3.3 does not hand every event to
    a run, so the events only wake the DAG, and its run takes whatever is open.

    An Event Grid subscription of the storage account must send ``Microsoft.Storage.BlobCreated`` to the queue. Several
    assets may share a queue as long as their DAGs are never paused separately: a message is deleted when every asset
    that listens *now* has seen it. Otherwise, give each asset a subscription and a queue of its own.

    Args:
        name: The asset's name.
        queue_url: ``https://ACCOUNT.queue.core.windows.net/QUEUE``, without a SAS token; on this machine
            ``http://127.0.0.1:PORT/devstoreaccount1/QUEUE``.
        container: The blobs' container.
        prefix: How the blobs' paths in the container begin; without a slash at its start.
        suffix: How the blobs' paths end, such as ``.csv``.
        glob: A pattern of the paths, as ``.gitignore`` has them, such as ``**/2026/*.csv``.
        regex: A regular expression for the whole path.
        min_size_bytes: The smallest size; 1 leaves out empty blobs, 0 takes them too.
        max_size_bytes: The largest size; None for any.
        content_types: What the writers may call the content, such as ``text/csv`` or ``text/*``; empty for any.
        account: The blobs' storage account; empty when it is the queue's. Messages of an account that no asset of the
            queue names are put aside in the queue ``QUEUE-poison``, as are those that cannot be read.
        conn_id: The connection of type ``azureml`` whose identity reads the queue.

    Raises:
        ConfigError: An argument is wrong; the message lists all that are.
    """
    wanted = ArrivalFilter(
        container=container,
        prefix=prefix,
        suffix=suffix,
        glob=glob,
        regex=regex,
        min_size_bytes=min_size_bytes,
        max_size_bytes=max_size_bytes,
        content_types=content_types,
    )
    wrong = [
        *([] if name.strip() else ["name is empty"]),
        *_queue_faults(queue_url),
        *wanted.faults(),
        *([] if not account or _ACCOUNT.fullmatch(account) else [f"account {account!r} is no storage account's name"]),
        *([] if conn_id.strip() else ["conn_id is empty"]),
    ]
    if wrong:
        raise ConfigError(f"blob_arrivals({name!r}): {'; '.join(wrong)}.")
    trigger = BlobArrivalTrigger(queue_url=queue_url, conn_id=conn_id, account=account, wanted=wanted.to_wire())
    return Asset(name, watchers=[AssetWatcher(name="blob_arrivals", trigger=trigger)])


def _queue_faults(url: str) -> list[str]:
    try:
        place = StorageUrl.parse(url)
    except ConfigError as error:
        return [f"queue_url: {error}"]
    if place.service not in {"", "queue"}:
        return [f"queue_url {url!r} names the {place.service} service; its host must be {place.account}.queue.…"]
    longest = _LONGEST_QUEUE - len(POISON)
    if len(place.path) > longest or not _QUEUE.fullmatch(place.path):
        return [f"queue_url {url!r} must end with a queue's name of at most {longest} characters ({POISON} is added)"]
    return []
