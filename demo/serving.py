"""Models that serve numbers at online endpoints of the emulator, sound ones and bad ones."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self, cast

import attrs
import httpx

from airflow_azureml.client.asking import target_of
from airflow_azureml.client.azureml import Client
from airflow_azureml.client.evaluations import EvaluationFolder
from airflow_azureml.client.models import open_registrar
from airflow_azureml.client.rollouts import helm
from airflow_azureml.client.sdk import environment
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.operators.online import (
    AzureMLOnlineDeploymentOperator,
    AzureMLOnlineEndpointOperator,
    AzureMLOnlineTrafficOperator,
)
from azureml_emulator.tokens import issue
from demo.azure import ROOT, WORKSPACE_ID, Emulator
from demo.pressing import Pressure, TrafficWatch
from demo.stack import airflow_environment

if TYPE_CHECKING:
    from airflow.sdk import Context

FILES = ROOT / "demo" / "online"
MODELS_VERSION = "2023-08-01-preview"
#: How models differ; what is left out is as a sound one has it.
SOUND: Mapping[str, Any] = {"slope": 2.0, "offset": 0.0, "wait_s": 0.0, "breaks_over": []}
BETTER: Mapping[str, Any] = {"slope": 2.02}
SLOW: Mapping[str, Any] = {"wait_s": 1.5}
WRONG: Mapping[str, Any] = {"offset": 60.0}
#: Breaks down over one number of a hundred.
CRASHING: Mapping[str, Any] = {"breaks_over": [7]}


@attrs.define
class Serving:
    """A workspace of the emulator in which models serve; use it with ``with``."""

    emulator: Emulator
    _exits: contextlib.ExitStack = attrs.field(init=False, factory=contextlib.ExitStack)
    _client: Client = attrs.field(init=False)

    @property
    def settings(self) -> ConnectionSettings:
        """The workspace, as a connection names it."""
        extra = json.loads(airflow_environment(self.emulator)["AIRFLOW_CONN_AZUREML_DEFAULT"])["extra"]
        return ConnectionSettings.parse(extra, conn_id="azureml_default")

    @property
    def headers(self) -> Mapping[str, str]:
        """What proves who asks."""
        return {"Authorization": f"Bearer {issue('https://management.azure.com')}"}

    def __enter__(self) -> Self:
        # Importing Airflow has everybody's records shown.
        for name in ("azure", "airflow.task.operators"):
            logging.getLogger(name).setLevel(logging.ERROR)
        # The tasks that are run here find the connection where a worker's do.
        self._exits.enter_context(
            environment({**self.emulator.client_environment, **airflow_environment(self.emulator)})
        )
        self._client = self._exits.enter_context(Client(self.settings))
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def register(self, model: str, version: str, behaviour: Mapping[str, Any]) -> str:
        """Register a version of a model that behaves so; returns ``NAME:VERSION``."""
        uri = f"azureml://datastores/workspaceblobstore/paths/models/{model}/{version}"
        folder = EvaluationFolder(self._client, self.settings, uri)
        folder.write("model.json", json.dumps({**SOUND, **behaviour}).encode())
        body = {"properties": {"modelType": "custom_model", "modelUri": uri}}
        url = f"{self.emulator.http}{WORKSPACE_ID}/models/{model}/versions/{version}?api-version={MODELS_VERSION}"
        httpx.put(url, json=body, headers=dict(self.headers), trust_env=False, timeout=30).raise_for_status()
        return f"{model}:{version}"

    def crown(self, model: str, version: str, *, instead_of: str = "") -> None:
        """Make a version the champion, as a person decides it."""
        with open_registrar(self.settings) as registrar:
            crowned = registrar.crown(model, version, expected=instead_of)
        if not crowned.crowned:
            raise RuntimeError(f"Version {version} of {model} is not the champion: {crowned.reason}")

    def deploy(self, endpoint: str, deployment: str, model: str) -> None:
        """Have a version serve all requests to an endpoint, which is created."""
        quick: dict[str, Any] = {"deferrable": False, "poll_interval": timedelta(seconds=0.2)}
        nobody = cast("Context", {})
        AzureMLOnlineEndpointOperator(task_id="endpoint", endpoint=endpoint, **quick).execute(nobody)
        AzureMLOnlineDeploymentOperator(
            task_id="deploy",
            endpoint=endpoint,
            deployment=deployment,
            model=model,
            spec=FILES / "deployment.yml",
            instances=1,
            **quick,
        ).execute(nobody)
        AzureMLOnlineTrafficOperator(task_id="traffic", endpoint=endpoint, traffic={deployment: 100}, **quick).execute(
            nobody
        )

    def pressed(self, endpoint: str, *, rate_per_s: float) -> Pressure:
        """Ask an endpoint so many times a second; use it with ``with``."""
        return Pressure(target_of(self._client, self.settings, endpoint), rate_per_s=rate_per_s)

    def watched(self, endpoint: str) -> TrafficWatch:
        """Watch where an endpoint's traffic goes; use it with ``with``."""
        return TrafficWatch(self.emulator.http, endpoint, headers=self.headers)

    def deployments(self, endpoint: str) -> dict[str, dict[str, Any]]:
        """List an endpoint's deployments, as Azure Resource Manager shows them."""
        url = f"{self.emulator.http}{WORKSPACE_ID}/onlineEndpoints/{endpoint}/deployments?api-version=2024-04-01"
        answer = httpx.get(url, headers=dict(self.headers), trust_env=False, timeout=30).raise_for_status()
        return {each["name"]: each for each in answer.json()["value"]}

    def rollout(self, endpoint: str) -> str:
        """Say in which phase an endpoint's last rollout is written down."""

        async def _read() -> str:
            async with helm(self.settings) as opened:
                return str((await opened.written.read(endpoint)).phase)

        return asyncio.run(_read())

    @contextlib.contextmanager
    def under_load(self, endpoint: str, *, rate_per_s: float) -> Iterator[tuple[Pressure, TrafficWatch]]:
        """Ask an endpoint, and watch its traffic, for as long as the block lasts."""
        with self.watched(endpoint) as watch, self.pressed(endpoint, rate_per_s=rate_per_s) as pressure:
            yield pressure, watch
