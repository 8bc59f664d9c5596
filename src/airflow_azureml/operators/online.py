"""Online endpoints: creating them, deploying to them, moving their traffic, and taking deployments away."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve

from airflow_azureml.core.deploying import DIGEST_TAG, Step, Wanted, digest_of, plan
from airflow_azureml.core.online import (
    OnlineDeployment,
    OnlineEndpoint,
    check_removal,
    compute_id,
    model_id,
    name_faults,
    without_zeros,
)
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import ConfigError
from airflow_azureml.operators.serving import At, AzureMLServingOperator, Wait
from airflow_azureml.wire import online
from airflow_azureml.wire.online import DeploymentSpec, EndpointSpec

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.online import Authored

__all__ = [
    "AzureMLDeleteDeploymentOperator",
    "AzureMLOnlineDeploymentOperator",
    "AzureMLOnlineEndpointOperator",
    "AzureMLOnlineTrafficOperator",
]

ACTIONS = ("ensure", "delete")
AUTH_MODES = ("Key", "AMLToken", "AADToken")


class AzureMLOnlineEndpointOperator(AzureMLServingOperator):
    """Sees to it that an online endpoint is there and ready, or is not there; doing it twice is doing it once.

    ``ensure`` creates it without traffic, or adds tags and properties to one that is there, whose traffic, keys and
    deployments stay as they are. It refuses to change how callers prove themselves, since every caller would fail.
    ``delete`` is a success when there is none, and refuses one that takes traffic unless told otherwise. Use them as
    ``.as_setup()`` and ``.as_teardown()``, where an endpoint is for a test.

    Returns ``endpoint``, ``scoring_uri``, ``auth_mode``, ``state``, ``traffic``, ``mirror``, ``kind`` and ``done``;
    after ``delete`` only the first and the last.

    Args:
        endpoint: The endpoint's name, templated; one of a kind in its Azure region.
        action: ``ensure`` or ``delete``.
        auth_mode: How callers prove themselves: ``Key``, ``AMLToken`` or ``AADToken``.
        compute: An attached Kubernetes cluster, by its name or id, templated; empty for an endpoint that Azure manages.
        description: What it is for; empty to leave it as it is.
        tags: Tags, templated; others stay.
        properties: Properties; Azure lets nobody change one that is there.
        public: Whether it is reached from the internet; it counts at creation only.
        with_traffic: Whether ``delete`` may take away an endpoint that takes traffic.
        kwargs: What `airflow_azureml.operators.serving.AzureMLServingOperator` takes (``conn_id``, ``deferrable``,
            ``timeout``, ``patience``, ``poll_interval``), and Airflow's own.
    """

    template_fields: Sequence[str] = ("endpoint", "compute", "tags", "conn_id")
    template_fields_renderers = {"tags": "json"}  # noqa: RUF012  # Airflow's own attribute

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        endpoint: str,
        action: str = "ensure",
        auth_mode: str = "Key",
        compute: str = "",
        description: str = "",
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        public: bool = True,
        with_traffic: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.action = action
        self.auth_mode = auth_mode
        self.compute = compute
        self.description = description
        self.tags = tags
        self.properties = properties
        self.public = public
        self.with_traffic = with_traffic

    def endpoint_name(self) -> str:
        """Name the endpoint."""
        return self.endpoint

    def act(self, context: "Context", at: At) -> Wait | dict[str, Any]:
        """Ensure or delete."""
        del context
        self._check_options()
        found = at.client.run(online.read_endpoint(at.workspace, self.endpoint))
        return self._delete(at, found) if self.action == "delete" else self._ensure(at, found)

    def _ensure(self, at: At, found: OnlineEndpoint | None) -> Wait | dict[str, Any]:
        wait = Wait(condition="online_endpoint", arguments={"name": self.endpoint})
        if found is not None and not found.is_ready and not found.is_broken:
            return wait
        if found is not None and found.auth_mode.lower() != self.auth_mode.lower():
            raise ConfigError(
                f"Online endpoint {self.endpoint} is there with {found.auth_mode}, not with {self.auth_mode}: its "
                "callers would fail. Nothing was changed; choose another name, or delete it first."
            )
        if found is not None and found.is_ready and (at.done or self._has_all(found)):
            return found.to_wire()
        spec = EndpointSpec(
            name=self.endpoint,
            auth_mode=self.auth_mode,
            description=self.description,
            compute=compute_id(at.workspace, self.compute),
            tags={str(name): str(value) for name, value in (self.tags or {}).items()},
            properties=dict(self.properties or {}),
            public=self.public,
        )
        at.client.run(online.put_endpoint(at.workspace, spec, found=found))
        made = "created" if found is None else "changed"
        return Wait(condition=wait.condition, arguments=wait.arguments, done=f"endpoint {made}")

    def _has_all(self, found: OnlineEndpoint) -> bool:
        asked = {**(self.tags or {})}.items() <= found.tags.items()
        same = self.description in ("", (found.resource.get("properties") or {}).get("description"))
        return asked and same and (self.properties or {}).items() <= found.properties.items()

    def _delete(self, at: At, found: OnlineEndpoint | None) -> Wait | dict[str, Any]:
        if found is None:
            return {"endpoint": self.endpoint}
        wait = Wait(condition="online_gone", arguments={"endpoint": self.endpoint, "deployment": ""})
        if found.state == "Deleting":
            return wait
        if found.traffic and not self.with_traffic:
            raise ConfigError(
                f"Online endpoint {self.endpoint} {found.told()}, and was not deleted: move its callers elsewhere and "
                "take the traffic away, or say with_traffic=True."
            )
        at.client.run(online.delete_endpoint(at.workspace, self.endpoint))
        return Wait(condition=wait.condition, arguments=wait.arguments, done="endpoint deleted")

    def _check_options(self) -> None:
        wrong = name_faults(endpoint=self.endpoint)
        if self.action not in ACTIONS:
            wrong.append(f"action is {self.action!r}, not one of {ACTIONS}")
        if self.auth_mode not in AUTH_MODES:
            wrong.append(f"auth_mode is {self.auth_mode!r}, not one of {AUTH_MODES}")
        if wrong:
            raise ConfigError(f"Task {self.task_id}: {'; '.join(wrong)}.")


class AzureMLOnlineDeploymentOperator(AzureMLServingOperator):
    """Deploys a model to an online endpoint, beside what is there, and waits until it can take requests.

    It takes no traffic by that; `AzureMLOnlineTrafficOperator` or a rollout gives it some. What is there as wanted
    (made of the same, see ``airflow.deployment_digest`` among its tags) is left; one whose first start failed is
    deleted and created anew; one that takes traffic is not touched unless ``replace_live`` says so.

    Returns ``endpoint``, ``deployment``, ``state``, ``model``, ``instance_type``, ``instances``, ``tags`` and ``done``.

    Args:
        endpoint: The endpoint, templated.
        deployment: The deployment's name, templated.
        model: The model's version, templated: ``NAME:VERSION``, an ``azureml://registries/…`` id or another id; empty
            for the one that ``spec`` names.
        spec: What azure-ai-ml reads: a YAML file on the worker, or what stands in one, templated. Needs the extra
            ``sdk`` there. Without it, ``model`` must be an MLflow model, which Azure serves without a script.
        instance_type: The machines, templated; empty for those of ``spec``.
        instances: How many; None to create as many as ``spec`` says (or one), and to leave it to Azure's autoscaling
            from then on.
        tags: Tags, templated.
        properties: Without ``spec``: more of Azure's properties, by its names, such as ``requestSettings`` and
            ``dataCollector``.
        replace_live: Whether a deployment that takes traffic may become something else in its place.
        kwargs: What `airflow_azureml.operators.serving.AzureMLServingOperator` takes, and Airflow's own.
    """

    template_fields: Sequence[str] = ("endpoint", "deployment", "model", "spec", "instance_type", "tags", "conn_id")
    template_fields_renderers = {"spec": "json", "tags": "json"}  # noqa: RUF012  # Airflow's own attribute

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        endpoint: str,
        deployment: str,
        model: str = "",
        spec: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        instance_type: str = "",
        instances: int | None = None,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, Any] | None = None,
        replace_live: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.deployment = deployment
        self.model = model
        self.spec = spec
        self.instance_type = instance_type
        self.instances = instances
        self.tags = tags
        self.properties = properties
        self.replace_live = replace_live

    def endpoint_name(self) -> str:
        """Name the endpoint."""
        return self.endpoint

    def act(self, context: "Context", at: At) -> Wait | dict[str, Any]:
        """Find out what is still to do, and do it."""
        del context
        self._check_options()
        client, workspace = at.client, at.workspace
        endpoint = client.run(online.read_endpoint(workspace, self.endpoint))
        if endpoint is None:
            raise online.no_endpoint(workspace, self.endpoint)
        if not endpoint.is_ready:
            return Wait(condition="online_endpoint", arguments={"name": self.endpoint})
        found = client.run(online.read_deployment(workspace, self.endpoint, self.deployment))
        authored = self._authored()
        wanted = self._wanted(at.settings, authored)
        step = plan(endpoint, found, wanted)
        here = {"endpoint": self.endpoint, "deployment": self.deployment}
        if step is Step.NOTHING and found is not None:
            return found.to_wire()
        if step is Step.REMOVE:
            client.run(online.delete_deployment(workspace, self.endpoint, self.deployment))
            return Wait(condition="online_gone", arguments=here, done=f"deployment {step.value}")
        if step is Step.SCALE and found is not None and wanted.instances is not None:
            client.run(online.scale_deployment(workspace, found, wanted.instances))
        elif step in (Step.CREATE, Step.REPLACE):
            self._deploy(at, wanted, authored, kind=endpoint.kind)
        told = "" if step is Step.WAIT else f"deployment {step.value}"
        return Wait(condition="online_deployment", arguments=here, done=told)

    def _deploy(self, at: At, wanted: Wanted, authored: "Authored | None", *, kind: str) -> OnlineDeployment:
        if authored is not None:
            return authored.deploy(at.client, at.settings, wanted, self._changes(wanted))
        spec = DeploymentSpec(
            name=wanted.name,
            endpoint=wanted.endpoint,
            model=wanted.model,
            instance_type=wanted.instance_type,
            instances=wanted.instances or 1,
            compute_type=kind,
            tags={**self._tags(), DIGEST_TAG: wanted.digest},
            properties=self.properties or {},
        )
        return at.client.run(online.put_deployment(at.workspace, spec))

    def _wanted(self, settings: ConnectionSettings, authored: "Authored | None") -> Wanted:
        model = model_id(settings.workspace, self.model) if self.model else ""
        machines = self.instance_type or (authored.instance_type if authored else "")
        wanted = Wanted(
            endpoint=self.endpoint,
            name=self.deployment,
            digest="",
            model=model,
            instance_type=machines,
            instances=self.instances,
            replace_live=self.replace_live,
        )
        made_of = {"model": model, "instance_type": machines, "properties": self.properties or {}}
        digest = authored.digest(self._changes(wanted)) if authored else digest_of(made_of)
        return evolve(wanted, digest=digest)

    def _changes(self, wanted: Wanted) -> dict[str, Any]:
        """Say what is to be different from the YAML, by its names."""
        model = wanted.model if wanted.model.startswith("azureml:") else f"azureml:{wanted.model}"
        told = {
            "model": model if wanted.model else "",
            "instance_type": self.instance_type,
            "tags": self._tags(),
        }
        return {name: value for name, value in told.items() if value}

    def _tags(self) -> dict[str, str]:
        return {str(name): str(value) for name, value in (self.tags or {}).items()}

    def _authored(self) -> "Authored | None":
        from airflow_azureml.client.online import Authored  # noqa: PLC0415  # not when a DAG is parsed

        return Authored.read(self.spec) if self.spec else None

    def _check_options(self) -> None:
        wrong = name_faults(endpoint=self.endpoint, deployment=self.deployment)
        if self.spec and self.properties:
            wrong.append("properties stand in spec, where there is one")
        if not self.spec and not (self.model and self.instance_type):
            wrong.append("without spec, model and instance_type are needed")
        if self.instances is not None and self.instances < 1:
            wrong.append(f"instances is {self.instances}, less than 1")
        if wrong:
            raise ConfigError(f"Task {self.task_id}: {'; '.join(wrong)}.")


class AzureMLOnlineTrafficOperator(AzureMLServingOperator):
    """Divides an endpoint's requests among its deployments, and waits until that is in force.

    All at once; `airflow_azureml.task_groups.rollout` does it step by step. Returns what
    `AzureMLOnlineEndpointOperator` does.

    Args:
        endpoint: The endpoint, templated.
        traffic: Percent by deployment, templated: 100 in sum, or nothing at all.
        mirror: Percent that is copied to one deployment that takes no live traffic, templated: at most 50.
        kwargs: What `airflow_azureml.operators.serving.AzureMLServingOperator` takes, and Airflow's own.
    """

    template_fields: Sequence[str] = ("endpoint", "traffic", "mirror", "conn_id")
    template_fields_renderers = {"traffic": "json", "mirror": "json"}  # noqa: RUF012  # Airflow's own attribute

    def __init__(
        self, *, endpoint: str, traffic: Mapping[str, int], mirror: Mapping[str, int] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.traffic = traffic
        self.mirror = mirror

    def endpoint_name(self) -> str:
        """Name the endpoint."""
        return self.endpoint

    def act(self, context: "Context", at: At) -> Wait | dict[str, Any]:
        """Move the traffic."""
        del context
        traffic, mirror = self._percents(self.traffic), self._percents(self.mirror)
        before = at.client.run(online.read_endpoint(at.workspace, self.endpoint))
        if before is not None and not before.is_ready and not before.is_broken and not before.is_told(traffic, mirror):
            return Wait(condition="online_endpoint", arguments={"name": self.endpoint})
        found = at.client.run(online.set_traffic(at.workspace, self.endpoint, traffic, mirror))
        if found.carries(traffic, mirror):
            return found.to_wire()
        told = before.told() if before else ""
        return Wait(
            condition="online_traffic",
            arguments={"name": self.endpoint, "traffic": without_zeros(traffic), "mirror": without_zeros(mirror)},
            done="" if at.done else f"traffic moved; before, the endpoint {told}",
        )

    def _percents(self, raw: Mapping[str, Any] | None) -> dict[str, int]:
        """Read percentages, which a template makes texts of."""
        try:
            return {str(name): int(value) for name, value in (raw or {}).items()}
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"Task {self.task_id}: {raw!r} is no percentages by deployment.") from error


class AzureMLDeleteDeploymentOperator(AzureMLServingOperator):
    """Takes a deployment away that takes no traffic, and waits until it is gone; one that is not there is gone.

    Returns ``endpoint``, ``deployment`` and ``done``.

    Args:
        endpoint: The endpoint, templated.
        deployment: The deployment, templated.
        kwargs: What `airflow_azureml.operators.serving.AzureMLServingOperator` takes, and Airflow's own.
    """

    template_fields: Sequence[str] = ("endpoint", "deployment", "conn_id")

    def __init__(self, *, endpoint: str, deployment: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.deployment = deployment

    def endpoint_name(self) -> str:
        """Name the endpoint."""
        return self.endpoint

    def act(self, context: "Context", at: At) -> Wait | dict[str, Any]:
        """Delete it, unless somebody depends on it."""
        del context
        if not self.endpoint or not self.deployment:
            raise ConfigError(f"Task {self.task_id}: endpoint or deployment is empty.")
        here = {"endpoint": self.endpoint, "deployment": self.deployment}
        found = at.client.run(online.read_deployment(at.workspace, self.endpoint, self.deployment))
        if found is None:
            return dict(here)
        if found.state == "Deleting":
            return Wait(condition="online_gone", arguments=here)
        endpoint = at.client.run(online.read_endpoint(at.workspace, self.endpoint))
        if endpoint is not None:
            check_removal(endpoint, self.deployment)
        at.client.run(online.delete_deployment(at.workspace, self.endpoint, self.deployment))
        return Wait(condition="online_gone", arguments=here, done="deployment deleted")
