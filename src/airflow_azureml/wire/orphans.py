"""Finding the jobs that Airflow's tasks have submitted and that have not ended."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow_azureml.core.jobs import OWNER_PROPERTY, JobSnapshot
from airflow_azureml.core.orphans import OwnedJob
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ProtocolError
from airflow_azureml.wire import jobs
from airflow_azureml.wire.http import Flow, Request
from airflow_azureml.wire.paging import MOST_PAGES


def living(workspace: Workspace, *, since: float) -> Flow[Sequence[OwnedJob]]:
    """List the jobs that carry an owner and have not ended, newest first.

    Azure lists jobs newest first; reading ends with a page on which every job is older than ``since``.

    Args:
        workspace: Where the jobs are.
        since: Seconds since 1970, UTC.

    Raises:
        RefusedError: We may not list them.
        UnavailableError: The service did not give a page; asking for the list again is safe.
        ProtocolError: A page has no list, leads elsewhere, or the list does not end.
    """
    found: list[OwnedJob] = []
    doing = f"List the jobs of workspace {workspace.name}"
    url, params = f"{workspace.url}/jobs", {"api-version": jobs.API_VERSION, "listViewType": "All"}
    for _ in range(MOST_PAGES):
        request = Request(doing=doing, method="GET", url=url, params=params)
        page = (yield request).expect(request, 200)
        entries = page.get("value")
        if not isinstance(entries, list):
            raise ProtocolError(f"{doing}: a page without a list: {sorted(page)}")
        times = [created_at(entry) for entry in entries]
        found += [
            OwnedJob(job=job, owner_text=job.properties[OWNER_PROPERTY], created_at=at)
            for job, at in ((_readable(entry), at) for entry, at in zip(entries, times, strict=True))
            if job is not None and OWNER_PROPERTY in job.properties and not job.phase.is_final
        ]
        following = str(page.get("nextLink") or "")
        if not following or (times and all(at is not None and at < since for at in times)):
            return found
        if not following.startswith(f"{workspace.endpoint}/"):
            raise ProtocolError(f"{doing}: the next page is elsewhere; the token is not sent there")
        url, params = following, {}
    raise ProtocolError(f"{doing}: more than {MOST_PAGES} pages; look back less far")


def created_at(entry: Mapping[str, Any]) -> float | None:
    """Read when a resource was created: seconds since 1970, UTC; None when it does not say."""
    try:
        at = datetime.fromisoformat(str((entry.get("systemData") or {}).get("createdAt") or ""))
    except ValueError:
        return None
    return at.timestamp() if at.tzinfo else None


def _readable(entry: Mapping[str, Any]) -> JobSnapshot | None:
    """Read an entry; one that cannot be read shows no owner either."""
    try:
        return JobSnapshot.from_wire(entry)
    except ProtocolError:
        return None
