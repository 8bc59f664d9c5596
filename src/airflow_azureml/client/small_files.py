"""Reading one small blob of a workspace, whole, from a worker."""

from airflow_azureml.client.sdk import emulator_in_reach
from airflow_azureml.client.storage import look_at_blob
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import ProtocolError


def read_small(settings: ConnectionSettings, url: str, *, most_bytes: int) -> bytes | None:
    """Read a blob; None when there is none.

    Args:
        settings: The connection whose identity reads; an emulator's blobs are reached by the way that it names.
        url: The blob's address.
        most_bytes: The largest that is read.

    Raises:
        ConfigError: The URL is none of Azure Storage.
        RefusedError: The identity may not read it; it needs the role Storage Blob Data Reader.
        UnavailableError: Storage does not answer; trying again later may work.
        ProtocolError: It is larger.
    """
    with emulator_in_reach(settings):
        blob = look_at_blob(settings, url, head_bytes=most_bytes)
    if blob is not None and blob.size_bytes > most_bytes:
        raise ProtocolError(f"Read blob {url}: it has {blob.size_bytes} bytes, and {most_bytes} are the most")
    return None if blob is None else blob.head
