"""Setting how many instances a deployment has, and how many requests each of them works on at once."""

from collections.abc import Mapping
from typing import Any

from airflow_azureml.core.online import OnlineDeployment
from airflow_azureml.core.profiling import Setting
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError
from airflow_azureml.wire import online
from airflow_azureml.wire.http import Flow

#: What of a deployment is not written: what Azure tells of it, and what has a place of its own.
#: Source: ``ManagedOnlineDeployment`` and ``KubernetesOnlineDeployment``, API version 2024-04-01.
_NOT_WRITTEN = frozenset({"provisioningState", "endpointComputeType", "model", "instanceType"})
_ASYNC = "AzureAsyncOperationUri"
CONCURRENCY = "maxConcurrentRequestsPerInstance"
#: How many of them Azure's inference server works on at once. Source:
#: https://learn.microsoft.com/azure/machine-learning/how-to-deploy-online-endpoints: it should be the same number.
WORKERS = "WORKER_COUNT"


def setting_of(found: OnlineDeployment) -> Setting:
    """Read how a deployment is set."""
    asked = (found.resource.get("properties") or {}).get("requestSettings") or {}
    return Setting(instances=found.instances, concurrency=int(asked.get(CONCURRENCY) or 1))


def put_setting(workspace: Workspace, found: OnlineDeployment, setting: Setting) -> Flow[OnlineDeployment]:
    """Have a deployment set so; all else stays, and what is so already is not written.

    A deployment that says how many workers its inference server has (``WORKER_COUNT``) gets as many as requests at
    once.

    Args:
        workspace: Where.
        found: What a look just before has shown.
        setting: What is wanted.

    Raises:
        ConfigError: The deployment scales by itself, so that its instances are not ours to set.
        RefusedError: Azure refuses it: the quota, the permission, or a change is under way (409).
        UnavailableError: The service did not take it; asking again is safe.
    """
    now = setting_of(found)
    if now == setting:
        return found
    inner: Mapping[str, Any] = found.resource.get("properties") or {}
    if (inner.get("scaleSettings") or {}).get("scaleType") == "TargetUtilization":
        raise ConfigError(
            f"Deployment {found.name} of online endpoint {found.endpoint} scales by itself (TargetUtilization); give it"
            " scale_settings of type default to measure it."
        )
    if now.concurrency == setting.concurrency:
        yield from online.scale_deployment(workspace, found, setting.instances)
        return found
    kept = {name: value for name, value in inner.items() if name not in _NOT_WRITTEN and value is not None}
    variables: Mapping[str, str] = kept.get("environmentVariables") or {}
    workers = {WORKERS: str(setting.concurrency)} if WORKERS in variables else {}
    own = {name: value for name, value in (kept.get("properties") or {}).items() if name != _ASYNC}
    spec = online.DeploymentSpec(
        name=found.name,
        endpoint=found.endpoint,
        model=found.model,
        instance_type=found.instance_type,
        instances=setting.instances,
        compute_type=found.kind or "Managed",
        tags=found.tags,
        properties={
            **kept,
            "properties": own,
            "environmentVariables": {**variables, **workers},
            "requestSettings": {**(kept.get("requestSettings") or {}), CONCURRENCY: setting.concurrency},
        },
    )
    return (yield from online.put_deployment(workspace, spec))
