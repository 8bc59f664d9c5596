"""What an online endpoint and its deployments may say, and what they say back.

Bodies and defaults are those of recorded answers of Azure ML, 2022-10 (API version 2022-02-01-preview), with the
members that 2024-04-01 has added. The rules for traffic are documented:
https://learn.microsoft.com/azure/machine-learning/concept-online-deployment-model-specification and
https://learn.microsoft.com/azure/machine-learning/how-to-safely-rollout-online-endpoints.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from azureml_emulator import allowances, data_collection
from azureml_emulator.durations import seconds
from azureml_emulator.errors import Json, WireError, bad_request, not_emulated, not_found, refusal
from azureml_emulator.names import PROVIDER, TENANT, WorkspaceName, guid, is_inside
from azureml_emulator.online_specs import PROBE, REQUESTS
from azureml_emulator.steps import SpecificationError
from azureml_emulator.store import Store

TYPE = f"{PROVIDER}/workspaces/onlineEndpoints"
MANAGED, KUBERNETES = "Managed", "Kubernetes"
#: Source: azure-rest-api-specs, Microsoft.MachineLearningServices, OnlineDeploymentProperties.
DEFAULT_SIZE = "Standard_F4s_v2"
#: Source: https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas, "online endpoints".
MOST_INSTANCES = 50
MOST_MIRRORED = 50
_ALL = 100
_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{1,30}[A-Za-z0-9])")
_MODES = {"key": "Key", "amltoken": "AMLToken", "aadtoken": "AADToken"}
_SIZE = re.compile(r"standard_\w+", re.IGNORECASE)
#: Azure keeps a fifth of the instances free for upgrades (how-to-manage-quotas, "Virtual machine quota allocation").
_RESERVE = 1.2


def check_name(name: str, what: str) -> None:
    """Refuse a name that Azure does not take.

    Raises:
        WireError: 400.
    """
    if not _NAME.fullmatch(name):
        raise bad_request(
            f"The name {name!r} of the {what} is not valid: 3 to 32 letters, digits and '-', from a letter to no '-'.",
            "BadArgument",
            "ArgumentInvalid",
        )


def endpoint(workspace: WorkspaceName, name: str, sent: Mapping[str, Any]) -> Json:
    """Make the resource of an endpoint, but for what depends on the moment.

    Raises:
        WireError: 400 for what is wrong in itself.
    """
    properties = sent.get("properties") or {}
    mode = str(properties.get("authMode") or "Key")
    if mode.lower() not in _MODES:
        raise bad_request(f"authMode is {mode!r}, which is none of {', '.join(_MODES.values())}.")
    arm_id = f"{workspace.arm_id}/onlineEndpoints/{name}"
    compute = properties.get("compute") or None
    own = {"azureml.onlineendpointid": arm_id.lower()}
    return {
        "id": arm_id,
        "name": name,
        "type": TYPE,
        "properties": {
            "description": properties.get("description"),
            "properties": _texts(properties.get("properties")) | own,
            "scoringUri": None,
            "swaggerUri": None,
            "authMode": _MODES[mode.lower()],
            "provisioningState": "Succeeded",
            "compute": compute,
            "traffic": percents(properties.get("traffic"), "traffic"),
            "mirrorTraffic": percents(properties.get("mirrorTraffic"), "mirrorTraffic"),
            "publicNetworkAccess": properties.get("publicNetworkAccess") or "Enabled",
        },
        "tags": sent.get("tags") or {},
        "kind": KUBERNETES if compute else MANAGED,
        "identity": _identity(arm_id, sent.get("identity")),
    }


def _identity(arm_id: str, sent: Mapping[str, Any] | None) -> Json:
    given = dict(sent or {"type": "SystemAssigned"})
    return given | {"principalId": guid("principal", arm_id), "tenantId": TENANT}


def _texts(sent: Mapping[str, Any] | None) -> dict[str, str]:
    return {str(name): str(value) for name, value in (sent or {}).items()}


def percents(sent: Any, member: str) -> dict[str, int]:
    """Read traffic: the percentage of each deployment.

    Raises:
        WireError: 400 where one is no whole number of 0 to 100.
    """
    found = {}
    for name, share in (sent or {}).items():
        if isinstance(share, bool) or not isinstance(share, int) or not 0 <= share <= _ALL:
            raise bad_request(f"The {member} of deployment {name} is {share!r}; give a whole number of 0 to 100.")
        found[str(name)] = share
    return found


def check_traffic(traffic: Mapping[str, int], mirror: Mapping[str, int], deployments: Collection[str]) -> None:
    """Refuse traffic that cannot be.

    Args:
        traffic: Percent by deployment.
        mirror: The same for what is copied.
        deployments: The names of those that are there.

    Raises:
        WireError: 400.
    """
    if (total := sum(traffic.values())) not in (0, _ALL):
        raise bad_request(f"The sum of the traffic of all deployments is {total}; it must be 0 or 100.")
    mirrored = {name: share for name, share in mirror.items() if share}
    if unknown := sorted({*traffic, *mirrored} - set(deployments)):
        raise bad_request(f"There is no deployment {', '.join(unknown)} to give traffic to; create it first.")
    if len(mirrored) > 1:
        raise bad_request(f"Traffic can be mirrored to one deployment only, not to {', '.join(sorted(mirrored))}.")
    for name, share in mirrored.items():
        if share > MOST_MIRRORED:
            raise bad_request(f"{share} % of the traffic cannot be mirrored to {name}; give at most {MOST_MIRRORED}.")
        if traffic.get(name):
            raise bad_request(f"Deployment {name} cannot take live traffic and mirrored traffic at once.")


# deployments


def deployment(store: Store, found: Mapping[str, Any], name: str, sent: Mapping[str, Any]) -> Json:
    """Make the resource of a deployment, but for what depends on the moment.

    Args:
        store: Holds the model, the code and the environment.
        found: The endpoint.
        name: The deployment's name.
        sent: What came.

    Raises:
        WireError: 404 for a model or code that is not there, 400 for what is wrong in itself, 501 for what is not
            emulated.
    """
    properties = sent.get("properties") or {}
    kind = found["kind"]
    said = str(properties.get("endpointComputeType") or kind)
    if said.lower() != kind.lower():
        raise bad_request(f"Deployment {name} is {said}, and endpoint {found['name']} is {kind}.")
    _check_files(store, name, properties)
    made = {
        "description": properties.get("description"),
        "properties": _texts(properties.get("properties")),
        "codeConfiguration": properties.get("codeConfiguration"),
        "environmentId": properties.get("environmentId"),
        "environmentVariables": _texts(properties.get("environmentVariables")),
        "scaleSettings": properties.get("scaleSettings") or {"scaleType": "Default"},
        "requestSettings": _durations(REQUESTS, properties.get("requestSettings"), "requestSettings"),
        "modelMountPath": properties.get("modelMountPath"),
        "appInsightsEnabled": bool(properties.get("appInsightsEnabled")),
        "livenessProbe": _durations(PROBE, properties.get("livenessProbe"), "livenessProbe"),
        "readinessProbe": _durations(PROBE, properties.get("readinessProbe"), "readinessProbe"),
        "provisioningState": "Updating",
        "instanceType": _size(properties.get("instanceType"), kind),
        "model": properties.get("model"),
        "dataCollector": data_collection.checked(properties.get("dataCollector")),
        "endpointComputeType": kind,
    }
    if kind == MANAGED:
        made |= {
            "privateNetworkConnection": bool(properties.get("privateNetworkConnection")),
            "egressPublicNetworkAccess": properties.get("egressPublicNetworkAccess") or "Enabled",
        }
    else:
        # azure-ai-ml reads their parts without asking whether there are any.
        made["containerResourceRequirements"] = properties.get("containerResourceRequirements") or {
            "containerResourceRequests": {"cpu": "100m", "memory": "512Mi", "gpu": None},
            "containerResourceLimits": {"cpu": None, "memory": None, "gpu": None},
        }
    return {
        "id": f"{found['id']}/deployments/{name}",
        "name": name,
        "type": f"{TYPE}/deployments",
        "properties": made,
        "tags": sent.get("tags") or {},
        "kind": kind,
        "sku": {"name": "Default", "tier": "Standard", "capacity": capacity(sent.get("sku"))},
    }


def capacity(sku: Mapping[str, Any] | None) -> int:
    """Read the number of instances; 1 where none is said.

    Raises:
        WireError: 400 where it is none, or out of its bounds.
    """
    said = (sku or {}).get("capacity")
    if said is None:
        return 1
    if isinstance(said, bool) or not isinstance(said, int) or not 1 <= said <= MOST_INSTANCES:
        raise bad_request(f"The instance count is {said!r}; give a whole number of 1 to {MOST_INSTANCES}.")
    return said


def _size(said: Any, kind: str) -> str | None:
    if kind == KUBERNETES:
        return said or None
    size = str(said or DEFAULT_SIZE)
    if not _SIZE.fullmatch(size):
        raise bad_request(f"{size} is no machine size; its name begins with Standard_.")
    return size


def _durations(defaults: Mapping[str, Any], sent: Mapping[str, Any] | None, member: str) -> Json:
    """Fill in the defaults of settings, and see that durations are some."""
    made = {**defaults, **{name: value for name, value in (sent or {}).items() if value is not None}}
    for name, default in defaults.items():
        if isinstance(default, str):
            try:
                seconds(str(made[name]), f"{member}.{name}")
            except SpecificationError as error:
                raise bad_request(str(error)) from error
        elif isinstance(made[name], bool) or not isinstance(made[name], int) or made[name] < 1:
            raise bad_request(f"{member}.{name} is {made[name]!r}; give a whole number of at least 1.")
    return made


def _check_files(store: Store, name: str, properties: Mapping[str, Any]) -> None:
    model_id, code = properties.get("model"), properties.get("codeConfiguration")
    model = store.get(str(model_id).removeprefix("azureml:")) if model_id else None
    if model_id and model is None:
        raise not_found("ModelNotFound", f"Model {model_id} not found.")
    environment_id = str(properties.get("environmentId") or "").removeprefix("azureml:")
    environment = store.get(environment_id) if environment_id else None
    if environment and environment["properties"].get("inferenceConfig") and not code:
        raise not_emulated("PUT", f"deployments/{name}", "an environment with an inference server of its own")
    if code:
        if not code.get("scoringScript") or not code.get("codeId"):
            raise bad_request(f"The codeConfiguration of deployment {name} needs a codeId and a scoringScript.")
        if store.get(str(code["codeId"]).removeprefix("azureml:")) is None:
            raise not_found("CodeNotFound", f"Code {code['codeId']} of deployment {name} not found.")
        if not is_inside(str(code["scoringScript"])):
            raise bad_request(f"The scoringScript of deployment {name} is no path within its code.")
        if not environment_id:
            raise bad_request(f"Deployment {name} has no environmentId; only an MLflow model needs none.")
    elif model is None or model["properties"].get("modelType") != "mlflow_model":
        raise bad_request(f"Deployment {name} has no codeConfiguration; only an MLflow model needs no scoring script.")


def check_quota(size: str | None, count: int, *, subscription: str, told: Mapping[str, Any]) -> None:
    """Refuse instances for which the control interface has left no quota.

    Args:
        size: The machine size.
        count: How many instances more than there are.
        subscription: Whose quota it is.
        told: The quotas that were set; what was not set is not counted.

    Raises:
        WireError: 400, in recorded words.
    """
    found = next((one for one in allowances.VM_SIZES if one.name.lower() == str(size).lower()), None)
    quota = told.get(allowances.family_usage(found.family, "Dedicated")) if found else None
    if found is None or quota is None or quota.get("limit", -1) < 0 or count < 1:
        return
    used, limit, needed = quota.get("used", 0), quota["limit"], math.ceil(_RESERVE * count) * found.cores
    if used + needed > limit:
        raise _out_of_quota(
            f"Not enough quota available for {found.name} in SubscriptionId {subscription}. Current usage/limit:"
            f" {used}/{limit}. Additional needed: {needed} Please see troubleshooting guide, available here:"
            " https://aka.ms/oe-tsg#error-outofquota"
        )


def _out_of_quota(message: str) -> WireError:
    return refusal(400, message, code="OutOfQuota", inner_codes=("BadArgument", "OutOfQuota"))
