"""Jobs whose names are ours to choose: the name is the key, so submitting twice is submitting once."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from airflow_azureml.core.jobs import ATTEMPT_PROPERTY, KEY_PROPERTY, OWNER_PROPERTY, JobKey, JobSnapshot
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ProtocolError, RefusedError, UnavailableError
from airflow_azureml.wire import jobs
from airflow_azureml.wire.http import NOT_FOUND, Flow, Request

#: A key with more attempts than this is a loop somewhere, not a task that is retried.
MOST_ATTEMPTS = 1000
#: What Azure ML says of a job of that name that is there already. Source: issue threads of azure-sdk-for-python and
#: azure-docs; identical bodies are refused, too.
TAKEN = ("JobPropertyImmutable", "already exists")


def named(workspace: Workspace, key: JobKey) -> Flow[Sequence[JobSnapshot]]:
    """Look for the jobs of a key, attempt by attempt, up to the first that is not there.

    Raises:
        RefusedError: We may not look.
        UnavailableError: The service did not say; asking again is safe.
    """
    found: list[JobSnapshot] = []
    for attempt in range(1, MOST_ATTEMPTS + 1):
        try:
            found.append((yield from jobs.get(workspace, key.job_name(attempt))))
        except RefusedError as error:
            if error.status == NOT_FOUND:
                return found
            raise
    raise ProtocolError(f"Look for the jobs of key {key.digest}: more than {MOST_ATTEMPTS} attempts")


def put(
    workspace: Workspace,
    key: JobKey,
    attempt: int,
    body: Mapping[str, Any],
    *,
    owner: str,
    besides: Mapping[str, str] = MappingProxyType({}),
) -> Flow[JobSnapshot]:
    """Start a job; one of that name that is there already is adopted, and so is one whose answer was lost.

    Args:
        workspace: Where to start it.
        key: The key; with the attempt it makes the name.
        attempt: Which attempt at the key this is.
        body: The ``properties`` of Azure's job resource; ours are added to theirs.
        owner: Whose job it is.
        besides: What else the job is to say of its task, among its properties.

    Raises:
        RefusedError: The specification is wrong, or the caller may not submit.
        UnavailableError: The service did not take it; submitting again is safe.
    """
    name = key.job_name(attempt)
    ours = {**besides, KEY_PROPERTY: key.digest, ATTEMPT_PROPERTY: str(attempt), OWNER_PROPERTY: owner}
    create = Request(
        doing=f"Submit job {name}",
        method="PUT",
        url=f"{workspace.url}/jobs/{name}",
        params={"api-version": jobs.API_VERSION},
        json={"properties": {**body, "properties": {**(body.get("properties") or {}), **ours}}},
        repeatable=False,
    )
    try:
        return JobSnapshot.from_wire((yield create).expect(create, 200, 201))
    except RefusedError as error:
        if not any(word in str(error) for word in TAKEN):
            raise
        return (yield from jobs.get(workspace, name))
    except UnavailableError as lost:
        try:
            return (yield from jobs.get(workspace, name))
        except RefusedError:
            raise lost from None
