"""Making what a publication consists of: environments and components by azure-ai-ml, the rest by REST; in a worker."""

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import define, field

from airflow_azureml.client.azureml import Client
from airflow_azureml.client.sdk import INSTALL, asking
from airflow_azureml.core.bundle_parts import Kind, Part
from airflow_azureml.core.publication import BROKEN, BUNDLE_TAG, READY, Wanted
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import ConfigError, RefusedError, UnavailableError
from airflow_azureml.wire import assets, batch_endpoints, compute
from airflow_azureml.wire.compute import FINAL, Operation

#: Seconds that one operation of Azure may take, and between two looks at it.
OPERATION_S, LOOK_S = 30 * 60.0, 2.0


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep azure-ai-ml from telling each of its requests in the log, where the steps are told."""
    talkative = logging.getLogger("azure.core.pipeline.policies.http_logging_policy")
    before = talkative.level
    talkative.setLevel(logging.WARNING)
    try:
        yield
    finally:
        talkative.setLevel(before)


@define(kw_only=True)
class Maker:
    """Makes things, one at a time; each is there afterwards, or an error says why not.

    Args:
        client: Speaks with the workspace.
        settings: The connection.
        wanted: What is published.
        folder: Where its files are.
    """

    client: Client
    settings: ConnectionSettings
    wanted: Wanted
    folder: Path
    _read: set[str] = field(factory=set, init=False)

    def check(self, part: Part) -> None:
        """Have azure-ai-ml read a file, once.

        Raises:
            ConfigError: It is not installed, or says that the file is wrong.
        """
        if part.key not in self._read:
            self._loaded(part)
            self._read.add(part.key)

    def create(self, part: Part) -> None:
        """Create an environment, a component, a compute cluster or an endpoint."""
        if part.kind is Kind.ENDPOINT:
            self._create_endpoint(part)
            return
        made = self._loaded(part)
        with _quietly(), asking(self.settings, f"Create {part.key} of {part.file}") as client:
            match part.kind:
                case Kind.ENVIRONMENT:
                    client.environments.create_or_update(made)
                case Kind.COMPONENT:
                    client.components.create_or_update(made)
                case _:
                    client.compute.begin_create_or_update(made).result()

    def deploy(self, endpoint: str) -> None:
        """Create the wanted deployment of an endpoint, beside its default; one that is ready stays as it is."""
        wanted, workspace = self.wanted.deployments[endpoint], self.settings.workspace
        self._settle(endpoint)
        found = self.client.run(batch_endpoints.look(workspace, wanted.address))
        there = found.deployments.get(wanted.name) if found else None
        if there is not None and there.state == READY:
            return
        component = assets.asset_id(workspace, Kind.COMPONENT, wanted.component, self.wanted.source.version)
        self.follow(
            self.client.run(
                batch_endpoints.put_component_deployment(
                    workspace,
                    wanted.address,
                    wanted.name,
                    component_id=component,
                    settings=wanted.settings,
                    description=wanted.description,
                    tags=wanted.tags,
                )
            )
        )

    def follow(self, operation: Operation | None) -> None:
        """Wait for the end of an operation.

        Raises:
            RefusedError: It failed, in Azure's words.
            UnavailableError: It takes too long.
        """
        deadline = time.monotonic() + OPERATION_S
        while operation is not None and operation.url and operation.status not in FINAL:
            if time.monotonic() > deadline:
                raise UnavailableError(operation.doing, message=f"It takes longer than {OPERATION_S:.0f} s.")
            time.sleep(min(operation.retry_after_s, LOOK_S))
            with contextlib.suppress(UnavailableError):
                operation = self.client.run(compute.follow(operation))
        if operation is not None and operation.status in BROKEN:
            raise RefusedError(operation.doing, code=operation.code, message=operation.trouble)

    def _loaded(self, part: Part) -> Any:
        """Have azure-ai-ml read a file.

        Raises:
            ConfigError: It is not installed, or says that the file is wrong.
        """
        try:
            from azure.ai.ml import load_component, load_compute, load_environment  # four seconds
        except ImportError as error:
            raise ConfigError(f"Publishing needs azure-ai-ml: {INSTALL} ({error}).") from error
        readers = {Kind.ENVIRONMENT: load_environment, Kind.COMPONENT: load_component, Kind.COMPUTE: load_compute}
        override = [] if part.kind is Kind.COMPUTE else part.override(self.wanted.source.version)
        try:
            made = readers[part.kind](self.folder / part.file, params_override=override)
        except Exception as error:
            words = str(getattr(error, "message", "") or error).strip()[:800]
            raise ConfigError(f"azure-ai-ml cannot read {part.file}: {words}") from error
        made.tags = {**(made.tags or {}), **self.wanted.source.tags(self.wanted.bundle.name)}
        return made

    def _create_endpoint(self, part: Part) -> None:
        tags = {str(name): str(value) for name, value in (part.spec.get("tags") or {}).items()}
        self.follow(
            self.client.run(
                batch_endpoints.put_endpoint(
                    self.settings.workspace,
                    self.wanted.environment.endpoint(part.name),
                    description=str(part.spec.get("description") or ""),
                    auth_mode=str(part.spec.get("auth_mode") or ""),
                    tags={**tags, BUNDLE_TAG: self.wanted.bundle.name},
                )
            )
        )

    def _settle(self, endpoint: str) -> None:
        """Wait while an earlier try's work on an endpoint or its new deployment goes on."""
        wanted = self.wanted.deployments[endpoint]
        deadline = time.monotonic() + OPERATION_S
        while True:
            found = self.client.run(batch_endpoints.look(self.settings.workspace, wanted.address))
            there = found.deployments.get(wanted.name) if found else None
            states = {each.state for each in (found, there) if each is not None}
            if states <= {READY, *BROKEN}:
                return
            if time.monotonic() > deadline:
                told = f"It is still {', '.join(sorted(states - {READY}))} after {OPERATION_S:.0f} s."
                raise UnavailableError(f"Deploy {wanted.name} to endpoint {wanted.address}", message=told)
            time.sleep(LOOK_S)
