"""One look at an online endpoint, at its traffic, or at a deployment that somebody waits for."""

from collections.abc import Mapping

from airflow_azureml.core.conditions import Sight, State
from airflow_azureml.core.online import OnlineDeployment, OnlineEndpoint
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ServiceError
from airflow_azureml.wire import online
from airflow_azureml.wire.http import Flow

#: Lines of a failed deployment's log that are told, and characters of them.
LOG_LINES, LOG_CHARACTERS = 40, 2000
#: The key of a sight's result with Azure's codes of what failed.
CODES = "codes"


def endpoint_ready(workspace: Workspace, name: str) -> Flow[Sight]:
    """See whether an endpoint is there and ready."""
    found = yield from online.read_endpoint(workspace, name)
    what = _endpoint(name)
    if found is None:
        return Sight(what=what, state=State.MISSING, told="is not there")
    if found.is_ready:
        return Sight(what=what, state=State.MET, told="is there", result=found.to_wire())
    if found.is_broken:
        return (yield from _broken(workspace, what, found))
    return Sight(what=what, state=State.CHANGING, told=f"is {found.state or 'in no state'}")


def traffic_moved(
    workspace: Workspace, name: str, traffic: Mapping[str, int], mirror: Mapping[str, int]
) -> Flow[Sight]:
    """See whether an endpoint divides its requests so; it is a failure when it was told something else meanwhile."""
    found = yield from online.read_endpoint(workspace, name)
    what = _endpoint(name)
    if found is None:
        return Sight(what=what, state=State.FAILED, told="is not there any more")
    if found.carries(traffic, mirror):
        return Sight(what=what, state=State.MET, told=found.told(), result=found.to_wire())
    if found.is_broken:
        return (yield from _broken(workspace, what, found))
    if found.is_ready:
        told = f"{found.told()}: the change was not kept, or somebody else has moved the traffic meanwhile"
        return Sight(what=what, state=State.FAILED, told=told)
    return Sight(what=what, state=State.CHANGING, told=found.told())


def deployment_ready(workspace: Workspace, endpoint: str, deployment: str) -> Flow[Sight]:
    """See whether a deployment can take requests; of one that cannot, what Azure and its log say."""
    found = yield from online.read_deployment(workspace, endpoint, deployment)
    what = _deployment(endpoint, deployment)
    if found is None:
        return Sight(what=what, state=State.MISSING, told="is not there")
    if found.is_ready:
        return Sight(what=what, state=State.MET, told="is ready", result=found.to_wire())
    if found.is_broken:
        return (yield from _broken(workspace, what, found))
    return Sight(what=what, state=State.CHANGING, told=f"is {found.state or 'in no state'}")


def gone(workspace: Workspace, endpoint: str, deployment: str) -> Flow[Sight]:
    """See whether a deployment, or the endpoint where that is empty, is not there any more."""
    found: OnlineEndpoint | OnlineDeployment | None
    if deployment:
        found = yield from online.read_deployment(workspace, endpoint, deployment)
        what = _deployment(endpoint, deployment)
    else:
        found = yield from online.read_endpoint(workspace, endpoint)
        what = _endpoint(endpoint)
    if found is None:
        return Sight(what=what, state=State.MET, told="is not there any more")
    return Sight(what=what, state=State.CHANGING, told=f"is {found.state or 'in no state'}")


def truth(workspace: Workspace, endpoint: str) -> Flow[str]:
    """Say what an endpoint does at the moment, for an error that tells of what did not become so."""
    try:
        found = yield from online.read_endpoint(workspace, endpoint)
    except ServiceError as error:
        return f"What online endpoint {endpoint} does now could not be seen: {error}."
    return f"Online endpoint {endpoint} {found.told() if found else 'is not there'} now."


def _broken(workspace: Workspace, what: str, found: OnlineEndpoint | OnlineDeployment) -> Flow[Sight]:
    """Gather why something failed; what cannot be had is left out."""
    told, codes = f"is {found.state}", ""
    try:
        operation = yield from online.last_operation(workspace, found)
    except ServiceError:
        operation = None
    if operation is not None and operation.trouble:
        told, codes = f"{told}. Azure says: {operation.trouble}", operation.code
    if isinstance(found, OnlineDeployment):
        log = yield from _log_end(workspace, found)
        told += f" Its log ends: {log}" if log else ""
    return Sight(what=what, state=State.FAILED, told=told, result={CODES: codes})


def _log_end(workspace: Workspace, found: OnlineDeployment) -> Flow[str]:
    try:
        text = yield from online.read_logs(workspace, found.endpoint, found.name, lines=LOG_LINES)
    except ServiceError:
        return ""
    return text.strip()[-LOG_CHARACTERS:]


def _endpoint(name: str) -> str:
    return f"Online endpoint {name}"


def _deployment(endpoint: str, name: str) -> str:
    return f"Deployment {name} of online endpoint {endpoint}"
