"""Sharing a model with a registry, which every workspace may read.

Source: azure-ai-ml 1.35, ``models.share``, and what it was seen to say to Azure ML.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from attrs import frozen

from airflow_azureml.core.clouds import host_of
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError, ProtocolError, RefusedError
from airflow_azureml.wire import workspaces
from airflow_azureml.wire.absence import read
from airflow_azureml.wire.http import NOT_FOUND, Flow, Request

API_VERSION = "2021-10-01-dataplanepreview"
_ACCEPTED, _NO_CONTENT = 202, 204


@frozen(kw_only=True)
class Registry:
    """A registry.

    Attributes:
        name: Its name.
        url: Where its assets are, without a slash at its end.
        api: The data plane of the workspace's region, which tells how imports go.
    """

    name: str
    url: str
    api: str


@frozen(kw_only=True)
class SharedModel:
    """A version of a model in a registry.

    Attributes:
        id: ``azureml://registries/REGISTRY/models/MODEL/versions/VERSION``.
        origin: The id of the version that it was made of; empty where the registry does not say.
    """

    id: str
    origin: str

    @classmethod
    def from_wire(cls, raw: Mapping[str, Any]) -> "SharedModel":
        """Read a model version of a registry."""
        properties = raw.get("properties") or {}
        return cls(id=str(raw.get("id") or ""), origin=str(properties.get("originAssetId") or ""))


def find(workspace: Workspace, name: str) -> Flow[Registry]:
    """Find a registry.

    Raises:
        ConfigError: There is no such registry.
        RefusedError: We may not look.
        UnavailableError: The service did not say; asking again is safe.
        ProtocolError: The registry does not say where it is.
    """
    api = yield from workspaces.data_plane(workspace)
    look = Request(
        doing=f"Find registry {name}",
        method="GET",
        url=f"{api}/registrymanagement/v1.0/registries/{quote(name, safe='')}/discovery",
    )
    try:
        told = (yield look).expect(look, 200)
    except RefusedError as error:
        if error.status != NOT_FOUND:
            raise
        raise ConfigError(
            f"There is no registry {name}: check its name, and that the connection's identity may read it. ({error})"
        ) from error
    names = ("primaryRegionResourceProviderUri", "subscriptionId", "resourceGroup")
    base, subscription, group = (str(told.get(each) or "") for each in names)
    if not base or not subscription or not group:
        raise ProtocolError(f"{look.doing}: it does not say where it is: {sorted(told)}")
    arm_id = (
        f"subscriptions/{quote(subscription, safe='')}/resourceGroups/{quote(group, safe='')}"
        f"/providers/Microsoft.MachineLearningServices/registries/{quote(name, safe='')}"
    )
    return Registry(name=name, url=f"{base.rstrip('/')}/mferp/managementfrontend/{arm_id}", api=api)


def asset_id(workspace: Workspace, model: str, version: str) -> Flow[str]:
    """Name a version of a model as registries do.

    Raises:
        RefusedError: There is no such workspace, or we may not read it.
        UnavailableError: The service did not say; asking again is safe.
        ProtocolError: The workspace does not say its id or its location.
    """
    look = Request(
        doing=f"Read workspace {workspace.name}",
        method="GET",
        url=workspace.url,
        params={"api-version": workspaces.API_VERSION},
    )
    found = (yield look).expect(look, 200)
    location, guid = found.get("location"), (found.get("properties") or {}).get("workspaceId")
    if not location or not guid:
        raise ProtocolError(f"{look.doing}: it does not say its location and its workspaceId")
    return f"azureml://locations/{location}/workspaces/{guid}/models/{model}/versions/{version}"


def get(registry: Registry, model: str, version: str) -> Flow[SharedModel | None]:
    """Look at a version in a registry; None when it is not there.

    Raises:
        RefusedError: We may not look.
        UnavailableError: The service did not say; asking again is safe.
    """
    found = yield from read(
        Request(
            doing=f"Look at version {version} of model {model} in registry {registry.name}",
            method="GET",
            url=f"{registry.url}/models/{quote(model, safe='')}/versions/{quote(version, safe='')}",
            params={"api-version": API_VERSION},
        )
    )
    return None if found is None else SharedModel.from_wire(found)


def begin_import(registry: Registry, model: str, version: str, *, source: str) -> Flow[str]:
    """Ask a registry to copy a version under the same name; return where to ask how it goes, empty when it is done.

    Raises:
        RefusedError: The registry refuses it: the permission, the name, or that the version is there.
        UnavailableError: The registry did not take it, as far as it says; look before asking again.
        ProtocolError: It was taken, and nobody says where to ask, or says a place that is not Azure ML's.
    """
    ask = Request(
        doing=f"Share version {version} of model {model} with registry {registry.name}",
        method="POST",
        url=f"{registry.url}/import",
        params={"api-version": API_VERSION},
        json={
            "properties": {
                "referenceType": "Id",
                "destinationName": model,
                "destinationVersion": version,
                "sourceAssetId": source,
            }
        },
        repeatable=False,
    )
    answer = yield ask
    answer.expect(ask, 200, 201, _ACCEPTED, _NO_CONTENT)
    if answer.status != _ACCEPTED:
        return ""
    link = answer.headers.get("location", "")
    # The address gets our token: it is one that we were told of before, or nobody's.
    if not link or host_of(link) not in {host_of(registry.url), host_of(registry.api)}:
        told = f"the place where to ask is {link.partition('?')[0]!r}, which is not its own"
        raise ProtocolError(f"{ask.doing}: it was taken, and {told} [request {answer.request_id}]")
    return link


def is_done(registry: Registry, link: str) -> Flow[bool]:
    """Ask how an import goes.

    Raises:
        RefusedError: It failed, in the registry's words.
        UnavailableError: The registry did not say; asking again is safe.
    """
    look = Request(doing=f"Follow an import into registry {registry.name}", method="GET", url=link)
    answer = yield look
    answer.expect(look, 200, _ACCEPTED, _NO_CONTENT)
    return answer.status != _ACCEPTED
