"""Sharing a model with a registry, and waiting until it is there."""

import logging
import time
from typing import TYPE_CHECKING

from airflow_azureml.errors import ConfigError, ServiceError, UnavailableError
from airflow_azureml.wire import registries

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import Client
    from airflow_azureml.core.workspace import Workspace
    from airflow_azureml.wire.registries import Registry, SharedModel

log = logging.getLogger(__name__)

#: Seconds between two questions of how an import goes, and how long that may take: it copies the files.
EVERY_S, LIMIT_S = 2.0, 30 * 60.0
_CONFLICT = 409


def share(client: "Client", workspace: "Workspace", model: str, version: str, *, registry: str) -> "SharedModel":
    """Share a version with a registry, under the same name and number; one that is there already is fine.

    Args:
        client: Speaks with both.
        workspace: Where the version is.
        model: The model.
        version: The version.
        registry: The registry's name.

    Raises:
        ConfigError: There is no such registry, or it has another model under that name and number.
        RefusedError: The registry refuses it.
        UnavailableError: It did not say, or did not get ready in time; asking again is safe.
    """
    place = client.run(registries.find(workspace, registry))
    source = client.run(registries.asset_id(workspace, model, version))
    found = client.run(registries.get(place, model, version))
    if found is None:
        _import(client, place, model, version, source=source)
        found = client.run(registries.get(place, model, version))
    if found is None:
        doing = f"Share version {version} of model {model} with registry {registry}"
        raise UnavailableError(doing, message="The import has ended, and the version is not there.")
    if found.origin.lower() != source.lower():
        raise ConfigError(
            f"Registry {registry} has a version {version} of model {model} already, and it is another one"
            f" ({found.origin or 'it does not say of what it was made'}): share under another model's name."
        )
    log.info("Version %s of model %s is in registry %s: %s", version, model, registry, found.id)
    return found


def _import(client: "Client", place: "Registry", model: str, version: str, *, source: str) -> None:
    """Have the registry copy the version, unless somebody does already, and wait for the end of it."""
    deadline = time.monotonic() + LIMIT_S
    try:
        link = client.run(registries.begin_import(place, model, version, source=source))
    except ServiceError as error:
        # The answer was lost, or another try was faster: then it will be there.
        if error.status != _CONFLICT and not error.retryable:
            raise
        if not _comes(client, place, model, version, deadline=min(deadline, time.monotonic() + 10 * EVERY_S)):
            raise
        return
    while link and not client.run(registries.is_done(place, link)):
        _wait(place, model, version, deadline)


def _comes(client: "Client", place: "Registry", model: str, version: str, *, deadline: float) -> bool:
    while client.run(registries.get(place, model, version)) is None:
        if time.monotonic() + EVERY_S >= deadline:
            return False
        time.sleep(EVERY_S)
    return True


def _wait(place: "Registry", model: str, version: str, deadline: float) -> None:
    if time.monotonic() + EVERY_S >= deadline:
        doing = f"Share version {version} of model {model} with registry {place.name}"
        raise UnavailableError(doing, message=f"The import takes longer than {LIMIT_S:.0f} s.")
    time.sleep(EVERY_S)
