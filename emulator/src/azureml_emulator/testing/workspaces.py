"""A workspace of a running emulator, and the official clients pointed at it."""

from __future__ import annotations

import contextlib
import json
import os
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from azureml_emulator import cli
from azureml_emulator.authority import AUTHORITY
from azureml_emulator.names import WorkspaceName
from azureml_emulator.processes import tracking_uri
from azureml_emulator.settings import Addresses
from azureml_emulator.testing.control import Control
from azureml_emulator.tokens import LIFETIME_S, issue

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken

#: The subscription of workspaces that are made without one.
SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
_API_VERSION = "2024-04-01"
_TIMEOUT_S = 60


class LocalCredential:
    """A credential for the emulator, which takes any; it asks nobody."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Make a token."""
        from azure.core.credentials import AccessToken  # noqa: PLC0415  # a client's library

        del options
        audience = scopes[0].removesuffix("/.default") if scopes else "https://management.azure.com"
        return AccessToken(issue(audience), int(time.time()) + LIFETIME_S)


@attrs.frozen
class Workspace:
    """A workspace.

    Attributes:
        subscription: The subscription's id.
        resource_group: The resource group.
        name: Its name.
    """

    subscription: str
    resource_group: str
    name: str
    _state_dir: Path
    _addresses: Addresses

    @property
    def arm_id(self) -> str:
        """Its id in Azure Resource Manager."""
        return WorkspaceName(self.subscription, self.resource_group, self.name).arm_id

    @property
    def path(self) -> str:
        """``SUBSCRIPTION/RESOURCE_GROUP/NAME``, as the control interface and the command line name it."""
        return f"{self.subscription}/{self.resource_group}/{self.name}"

    @property
    def control(self) -> Control:
        """A hand on the emulator's clock, its jobs and its faults."""
        return Control(self._addresses.http)

    @property
    def tracking_uri(self) -> str:
        """What ``mlflow.set_tracking_uri`` takes; ``MLFLOW_TRACKING_TOKEN`` is in `environment`."""
        return tracking_uri(self._addresses.http, self.arm_id)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with which unmodified clients of another process reach it."""
        token = issue("https://management.azure.com")
        return {
            **cli.environment(self._state_dir),
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "MLFLOW_TRACKING_TOKEN": token,
            "AZURE_SUBSCRIPTION_ID": self.subscription,
            "AZURE_RESOURCE_GROUP": self.resource_group,
            "AZURE_ML_WORKSPACE": self.name,
        }

    @contextlib.contextmanager
    def in_reach(self) -> Iterator[None]:
        """Let the clients of this process reach it while the block lasts: its environment has `environment` then."""
        told = self.environment
        before = {name: os.environ.get(name) for name in told}
        os.environ.update(told)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def ml_client(self, **options: Any) -> Any:
        """Open azure-ai-ml's `MLClient`, which has to be installed; use it within `in_reach`."""
        from azure.ai.ml import MLClient  # four seconds, and not a dependency

        told = {"enable_telemetry": False, **options}
        return MLClient(LocalCredential(), self.subscription, self.resource_group, self.name, **told)


def make_workspace(state_dir: Path, addresses: Addresses, path: str) -> Workspace:
    """Make a workspace of a running emulator, or find it.

    Args:
        state_dir: The emulator's state.
        addresses: Where it answers.
        path: ``SUBSCRIPTION/RESOURCE_GROUP/NAME``.
    """
    name = WorkspaceName.parse(path)
    AUTHORITY.adopt(state_dir)
    request = urllib.request.Request(  # noqa: S310  # the emulator's own address
        f"{addresses.http}{name.arm_id}?api-version={_API_VERSION}",
        data=json.dumps({"properties": {}}).encode(),
        method="PUT",
        headers={
            "Authorization": f"Bearer {issue('https://management.azure.com')}",
            "Content-Type": "application/json",
        },
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=_TIMEOUT_S):
        return Workspace(name.subscription, name.group, name.name, state_dir, addresses)
