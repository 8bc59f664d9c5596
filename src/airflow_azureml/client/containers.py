"""A look into a container of blobs, to prove that the connection's identity may read it."""

from typing import TYPE_CHECKING

from airflow_azureml.client.opened import opened_in_worker
from airflow_azureml.client.storage import (
    look_at_blob,
    service_error,
)
from airflow_azureml.core.arrivals import StorageUrl

if TYPE_CHECKING:
    from airflow_azureml.core.workspace import ConnectionSettings


def is_there(settings: "ConnectionSettings", url: str) -> bool:
    """Tell whether an address is a blob, or a folder with a blob in it; a star stands for any name.

    Args:
        settings: The connection whose identity looks; not used for a container on this machine.
        url: The address, quoted.

    Raises:
        ConfigError: The URL is none of Azure Storage.
        RefusedError: The identity may not read it, or there is no such container.
        UnavailableError: Storage does not answer; trying again later may work.
    """
    place = StorageUrl.parse(url)
    container, _, path = place.path.partition("/")
    fixed, star, _ = path.partition("*")
    if fixed and not star and not fixed.endswith("/") and look_at_blob(settings, url) is not None:
        return True
    folder = fixed.rpartition("/")[0] if star else fixed.rstrip("/")
    return look_into_container(settings, f"{place.blob_base}/{container}", prefix=f"{folder}/" if folder else "")


def look_into_container(settings: "ConnectionSettings", url: str, *, prefix: str = "") -> bool:
    """List one blob of a container, which takes the same permission as reading one.

    Args:
        settings: The connection whose identity looks; not used for a container on this machine.
        url: The container's address, without a slash at its end.
        prefix: How the blob's name has to begin.

    Returns:
        Whether there is any blob.

    Raises:
        ConfigError: The URL is none of Azure Storage.
        RefusedError: The identity may not read it, or there is no such container.
        UnavailableError: Storage does not answer; trying again later may work.
    """
    from azure.core.exceptions import AzureError  # noqa: PLC0415  # Azure's libraries stay out of DAG parsing
    from azure.storage.blob import ContainerClient  # noqa: PLC0415  # as above

    try:
        with opened_in_worker(settings, url, ContainerClient.from_container_url, retries=0) as client:
            return next(iter(client.list_blobs(name_starts_with=prefix or None, results_per_page=1)), None) is not None
    except AzureError as error:
        raise service_error(f"Look into container {url}", error) from error
