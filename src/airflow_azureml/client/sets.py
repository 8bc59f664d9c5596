"""Reading the manifests of sets."""

import asyncio
from collections.abc import Iterable, Mapping

from airflow_azureml.client.looks import Looker
from airflow_azureml.core.arrivals import Arrival
from airflow_azureml.core.sets import MANIFEST_BYTES, Manifest
from airflow_azureml.errors import ProtocolError


async def read_manifests(looker: Looker, manifests: Iterable[Arrival]) -> Mapping[str, Manifest | str]:
    """Read manifests, in the versions that were seen, for `airflow_azureml.core.sets.gather`.

    Args:
        looker: Of their container.
        manifests: What `airflow_azureml.core.sets.manifests_to_read` picks.

    Returns:
        By the key of each: what it says, or why it cannot be used. That is no error: its writer may mend it.

    Raises:
        RefusedError: The identity may not read them (role Storage Blob Data Reader).
        UnavailableError: Storage does not answer; trying again later may work.
    """
    wanted = list(manifests)
    found = await asyncio.gather(*(_read(looker, each) for each in wanted))
    return {each.key: what for each, what in zip(wanted, found, strict=True)}


async def _read(looker: Looker, manifest: Arrival) -> Manifest | str:
    if manifest.size_bytes is None or manifest.size_bytes > MANIFEST_BYTES:
        return f"it has {manifest.size_bytes} bytes, and {MANIFEST_BYTES} are the most"
    content = await looker.content(manifest)
    if content is None:
        return "it was overwritten or deleted before it could be read"
    try:
        return Manifest.parse(content)
    except ProtocolError as error:
        return str(error)
