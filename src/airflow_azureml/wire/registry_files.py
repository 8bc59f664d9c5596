"""Where the files of a registry's model are, and the right to read them.

Source: azure-ai-ml 1.35, ``models.download``; ``_registry_utils.get_storage_details_for_registry_assets``.
"""

import re
from urllib.parse import quote

from attrs import field, frozen

from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError, ProtocolError
from airflow_azureml.wire import registries
from airflow_azureml.wire.absence import read
from airflow_azureml.wire.http import Flow, Request

_ID = re.compile(
    r"azureml://registries/(?P<registry>[^/]+)/models/(?P<model>[^/]+)/versions/(?P<version>[^/]+)", re.IGNORECASE
)


@frozen(kw_only=True)
class SharedFiles:
    """The files of a version.

    Attributes:
        uri: The address of the file or the folder.
        container: The address of its container, with a signature that lets whoever has it read it for a while; or
            without, where the caller's own identity is asked.
    """

    uri: str
    container: str = field(repr=False)


def is_shared(asset: str) -> bool:
    """Tell whether it is the id of a registry's model."""
    return _ID.fullmatch(asset) is not None


def files_of(workspace: Workspace, asset: str) -> Flow[SharedFiles]:
    """Find the files of a registry's model, and the right to read them.

    Args:
        workspace: Of the region that knows the registry.
        asset: ``azureml://registries/REGISTRY/models/MODEL/versions/VERSION``.

    Raises:
        ConfigError: It is no such id, or there is no such model.
        RefusedError: We may not read it.
        UnavailableError: The service did not say; asking again is safe.
        ProtocolError: It does not say where the files are.
    """
    found = _ID.fullmatch(asset)
    if found is None:
        raise ConfigError(f"{asset!r} is no model of a registry: azureml://registries/NAME/models/MODEL/versions/N.")
    place = yield from registries.find(workspace, found["registry"])
    version = f"{quote(found['model'], safe='')}/versions/{quote(found['version'], safe='')}"
    parameters = {"api-version": registries.API_VERSION}
    told = yield from read(
        Request(doing=f"Look at {asset}", method="GET", url=f"{place.url}/models/{version}", params=parameters)
    )
    if told is None:
        raise ConfigError(f"There is no model {asset}.")
    uri = str((told.get("properties") or {}).get("modelUri") or "")
    ask = Request(
        doing=f"Ask for the right to read {asset}",
        method="POST",
        url=f"{place.url}/datarefs/{version}",
        params=parameters,
        json={"assetId": asset, "blobUri": uri},
    )
    given = (yield ask).expect(ask, 200)
    blob = given.get("blobReferenceForConsumption") or {}
    container = str((blob.get("credential") or {}).get("sasUri") or blob.get("blobUri") or "")
    if not uri or not container:
        raise ProtocolError(f"{ask.doing}: it does not say where its files are.")
    return SharedFiles(uri=uri, container=container)
