"""One look at an online endpoint in the middle of a rollout."""

from airflow_azureml.core.rollout import Look
from airflow_azureml.core.rollout_limits import Figures
from airflow_azureml.core.rollout_record import Phase, Rollout
from airflow_azureml.core.rollout_steps import Split
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import AzureMLError
from airflow_azureml.wire import online
from airflow_azureml.wire.http import Flow
from airflow_azureml.wire.live_metrics import live_metrics


def look(workspace: Workspace, rollout: Rollout, *, until: float) -> Flow[Look]:
    """See where the traffic goes, whether the deployments are sound, and how they have answered at the present step.

    What cannot be seen is the look's trouble; nothing is raised. Before a step is written down as in force nobody is
    asked for figures.

    Args:
        workspace: Where.
        rollout: What is written of the rollout.
        until: Now: seconds since 1970, UTC.
    """
    try:
        endpoint = yield from online.read_endpoint(workspace, rollout.endpoint)
        if endpoint is None:
            return Look(trouble=f"Online endpoint {rollout.endpoint} is not there any more.")
        deployments = yield from online.list_deployments(workspace, rollout.endpoint)
        seen = Look(
            split=Split.of(endpoint), state=endpoint.state, deployments={each.name: each.state for each in deployments}
        )
        since = rollout.since_s
        if since is None or rollout.phase is not Phase.ROLLING:
            return seen
        new = yield from figures(workspace, rollout.endpoint, rollout.deployment, since=since, until=until)
        if not rollout.main or rollout.is_last:
            return Look(split=seen.split, state=seen.state, deployments=seen.deployments, new=new)
        champion = yield from figures(workspace, rollout.endpoint, rollout.main, since=since, until=until)
    except AzureMLError as error:
        return Look(trouble=str(error))
    return Look(split=seen.split, state=seen.state, deployments=seen.deployments, new=new, champion=champion)


def figures(workspace: Workspace, endpoint: str, deployment: str, *, since: float, until: float) -> Flow[Figures]:
    """Ask how a deployment has answered.

    Raises:
        RefusedError: We may not read metrics (role Monitoring Reader), or there is no such endpoint.
        UnavailableError: The service did not say; asking again is safe.
    """
    return Figures.of((yield from live_metrics(workspace, endpoint, deployment, since=since, until=until)))
