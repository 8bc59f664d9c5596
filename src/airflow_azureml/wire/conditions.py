"""One look at what a sensor waits for."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from airflow_azureml.core.conditions import Sight, State
from airflow_azureml.core.jobs import Phase
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError
from airflow_azureml.wire import endpoints, jobs, models, online_sights
from airflow_azureml.wire.absence import read
from airflow_azureml.wire.http import Flow, Request

#: What Azure says of a thing that is ready, and of one that will not become so without somebody's help.
#: Source: ``EndpointProvisioningState`` and ``DeploymentProvisioningState``, API version 2023-10-01.
READY, BROKEN = "Succeeded", frozenset({"Failed", "Canceled"})


def look(workspace: Workspace, condition: str, arguments: Mapping[str, Any]) -> Flow[Sight]:
    """Look once.

    Args:
        workspace: Where to look.
        condition: ``job``, ``model_version``, ``model_at_least``, ``endpoint``, ``online_endpoint``,
            ``online_deployment``, ``online_traffic`` or ``online_gone``.
        arguments: What that is told, by name.

    Raises:
        ConfigError: There is no such condition.
        RefusedError: We may not look, or there is no such job or workspace.
        UnavailableError: The service did not say; looking again is safe.
    """
    sight = _SIGHTS.get(condition)
    if sight is None:
        raise ConfigError(f"There is no condition {condition!r}; was it written by another version of the package?")
    return (yield from sight(workspace, **arguments))


def job_ended(workspace: Workspace, name: str) -> Flow[Sight]:
    """See whether a job has ended, well or badly."""
    job = yield from jobs.get(workspace, name)
    state = State.MET if job.phase.is_final else State.CHANGING
    if job.phase is Phase.UNCERTAIN:
        state = State.UNCERTAIN
    return Sight(what=f"Job {name}", state=state, told=f"is {job.status}", result=job.to_wire())


def model_version(workspace: Workspace, model: str, version: str) -> Flow[Sight]:
    """See whether a version of a model is there and ready; one that is archived is not."""
    found = yield from models.get(workspace, model, version)
    what = f"Version {version} of model {model}"
    if found is None or found.is_archived:
        return Sight(what=what, state=State.MISSING, told="is archived" if found else "is not there")
    return _ready(what, found.provisioning or READY, _result(model, found))


def model_at_least(workspace: Workspace, model: str, at_least: int) -> Flow[Sight]:
    """See whether a model has a version of that number or a higher one; the highest is the answer."""
    found = yield from models.versions(workspace, model)
    what = f"A version of model {model} from {at_least} on"
    enough = [one for one in found if one.number >= at_least and not one.is_archived]
    if not enough:
        highest = max((one.number for one in found), default=-1)
        told = f"is not there (the highest is {highest})" if highest >= 0 else "is not there (it has none)"
        return Sight(what=what, state=State.MISSING, told=told)
    best = max(enough, key=lambda one: (one.provisioning in {READY, ""}, one.number))
    return _ready(f"Version {best.version} of model {model}", best.provisioning or READY, _result(model, best))


def _result(model: str, found: models.ModelVersion) -> dict[str, str]:
    return {"model": model, "version": found.version, "uri": found.uri, "job": found.job}


def endpoint(workspace: Workspace, name: str, deployment: str) -> Flow[Sight]:
    """See whether a batch endpoint, and one of its deployments unless that is empty, are there and ready."""
    url, what = f"{workspace.url}/batchEndpoints/{quote(name, safe='')}", f"Batch endpoint {name}"
    found = yield from _resource(f"Look at batch endpoint {name}", url)
    properties = (found or {}).get("properties") or {}
    default = (properties.get("defaults") or {}).get("deploymentName")
    result = {"endpoint": name, "deployment": deployment, "default_deployment": default or ""}
    sight = _seen(what, found, result)
    if sight.state is not State.MET or not deployment:
        return sight
    doing = f"Look at deployment {deployment} of batch endpoint {name}"
    found = yield from _resource(doing, f"{url}/deployments/{quote(deployment, safe='')}")
    return _seen(f"Deployment {deployment} of batch endpoint {name}", found, result)


def _resource(doing: str, url: str) -> Flow[Mapping[str, Any] | None]:
    params = {"api-version": endpoints.API_VERSION}
    return (yield from read(Request(doing=doing, method="GET", url=url, params=params)))


def _seen(what: str, found: Mapping[str, Any] | None, result: Mapping[str, Any]) -> Sight:
    if found is None:
        return Sight(what=what, state=State.MISSING, told="is not there")
    word = str((found.get("properties") or {}).get("provisioningState") or "")
    return _ready(what, word, result)


def _ready(what: str, word: str, result: Mapping[str, Any]) -> Sight:
    if word == READY:
        return Sight(what=what, state=State.MET, told="is there", result=result)
    state = State.FAILED if word in BROKEN else State.CHANGING
    return Sight(what=what, state=state, told=f"is {word or 'in no state'}", result=result)


_SIGHTS: Mapping[str, Callable[..., Flow[Sight]]] = {
    "job": job_ended,
    "model_version": model_version,
    "model_at_least": model_at_least,
    "endpoint": endpoint,
    "online_endpoint": online_sights.endpoint_ready,
    "online_deployment": online_sights.deployment_ready,
    "online_traffic": online_sights.traffic_moved,
    "online_gone": online_sights.gone,
}
