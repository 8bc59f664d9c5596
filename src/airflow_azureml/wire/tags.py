"""Tags of a job that is there already: one at a time, so that nobody's other tags are lost."""

from airflow_azureml.core.workspace import Workspace
from airflow_azureml.wire.http import Flow, Request


def put(workspace: Workspace, job: str, data_plane: str, *, name: str, value: str) -> Flow[None]:
    """Set a tag of a job, in whatever state that is; the same twice changes nothing.

    Source: MLflow's REST API, "Set Tag", which Azure ML's data plane answers for its own jobs.

    Args:
        workspace: Where the job is.
        job: The job.
        data_plane: The address of the workspace's data plane, without a slash at its end.
        name: The tag.
        value: Its value.

    Raises:
        RefusedError: There is no such job, or we may not write to it.
        UnavailableError: The service did not take it; asking again is safe.
    """
    ask = Request(
        doing=f"Tag job {job} with {name}",
        method="POST",
        url=f"{data_plane}/mlflow/v2.0{workspace.arm_id}/api/2.0/mlflow/runs/set-tag",
        json={"run_id": job, "key": name, "value": value},
    )
    (yield ask).expect(ask, 200)
