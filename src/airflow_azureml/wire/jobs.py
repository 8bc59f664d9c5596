"""Looking at a job, cancelling it, and reading why it ended as it did."""

import contextlib
from collections.abc import Container, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from attrs import define, evolve, frozen

from airflow_azureml.core.jobs import JobSnapshot
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import AzureMLError, ProtocolError
from airflow_azureml.wire import logs
from airflow_azureml.wire.http import TRANSIENT, Flow, Request, Response

T = TypeVar("T")

#: The version that azure-ai-ml 1.35 uses for jobs.
API_VERSION = "2024-01-01-preview"
HISTORY_VERSION = "v1.0"


def _job_url(workspace: Workspace, name: str) -> str:
    return f"{workspace.url}/jobs/{name}"


def get(workspace: Workspace, name: str) -> Flow[JobSnapshot]:
    """Look at a job.

    Raises:
        RefusedError: There is no such job, or we may not read it.
        UnavailableError: The service did not say; looking again is safe.
    """
    look = Request(
        doing=f"Look at job {name}",
        method="GET",
        url=_job_url(workspace, name),
        params={"api-version": API_VERSION},
    )
    return JobSnapshot.from_wire((yield look).expect(look, 200))


def cancel(workspace: Workspace, name: str) -> Flow[None]:
    """Ask for a job's end; a job that has ended stays as it is. What comes of it, only looking tells.

    Raises:
        RefusedError: There is no such job, or we may not cancel it.
        UnavailableError: The service did not take it; asking again is safe.
    """
    ask = Request(
        doing=f"Cancel job {name}",
        method="POST",
        url=f"{_job_url(workspace, name)}/cancel",
        params={"api-version": API_VERSION},
    )
    (yield ask).expect(ask, 200, 202)


def list_newest(workspace: Workspace) -> Flow[int]:
    """Read one page of the workspace's jobs, to prove that we may; return how many it had."""
    look = Request(
        doing=f"List the jobs of workspace {workspace.name}",
        method="GET",
        url=f"{workspace.url}/jobs",
        params={"api-version": API_VERSION, "listViewType": "ActiveOnly"},
    )
    return len((yield look).expect(look, 200).get("value") or [])


@frozen(kw_only=True)
class Glimpse:
    """What one request of a poller showed: jobs, or why it shows none.

    Attributes:
        jobs: The jobs that were asked for and are shown.
        names: All jobs of a page, in its order; empty for one that was asked for and cannot be read.
        link: The page after it; empty when there is none.
        trouble: Why nothing is shown; None when something is.
        retry_after_s: Seconds for which the service wants to be left alone; None when it does not say.
        reads_left: Reads that Azure Resource Manager still allows this identity; None when it does not say.
    """

    jobs: Sequence[JobSnapshot] = ()
    names: Sequence[str] = ()
    link: str = ""
    trouble: AzureMLError | None = None
    retry_after_s: float | None = None
    reads_left: int | None = None


def glance(workspace: Workspace, name: str, *, now: float) -> Flow[Glimpse]:
    """Look at a job, as a poller does: asked once, and whatever comes of it is told with what the service says of pace.

    Args:
        workspace: Where the job is.
        name: The job.
        now: Seconds since 1970, UTC, by which a ``Retry-After`` that is a date is read.
    """
    look = Request(
        doing=f"Look at job {name}",
        method="GET",
        url=_job_url(workspace, name),
        params={"api-version": API_VERSION},
        repeatable=False,
    )
    try:
        answer = yield look
    except AzureMLError as error:
        return Glimpse(trouble=error)
    told = _pace(answer, now)
    try:
        return Glimpse(jobs=(JobSnapshot.from_wire(answer.expect(look, 200)),), **told)
    except AzureMLError as error:
        return Glimpse(trouble=error, **told)


def browse(workspace: Workspace, link: str, wanted: Container[str], *, now: float) -> Flow[Glimpse]:
    """Read a page of the jobs that are not archived, newest first, as a poller does; see `glance`.

    Args:
        workspace: Where the jobs are.
        link: The page; empty for the first.
        wanted: The jobs to read; of the others only the names are told.
        now: Seconds since 1970, UTC.
    """
    look = Request(
        doing=f"List the jobs of workspace {workspace.name}",
        method="GET",
        url=link or f"{workspace.url}/jobs",
        params={} if link else {"api-version": API_VERSION, "listViewType": "ActiveOnly"},
        repeatable=False,
    )
    try:
        answer = yield look
    except AzureMLError as error:
        return Glimpse(trouble=error)
    told = _pace(answer, now)
    try:
        page = answer.expect(look, 200)
    except AzureMLError as error:
        return Glimpse(trouble=error, **told)
    entries = page.get("value")
    if not isinstance(entries, list):
        return Glimpse(trouble=ProtocolError(f"{look.doing}: a page without a list: {sorted(page)}"), **told)
    named = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("name"), str)]
    seen = [job for entry in named if entry["name"] in wanted for job in _readable(entry)]
    shown = {job.name for job in seen}
    following = str(page.get("nextLink") or "")
    # The link carries our token to where it points: to Azure Resource Manager, or nowhere.
    is_ours = following.startswith(f"{workspace.endpoint}/")
    names = [name if name in shown or name not in wanted else "" for name in (entry["name"] for entry in named)]
    return Glimpse(jobs=seen, names=names, link=following if is_ours else "", **told)


def _readable(entry: Mapping[str, Any]) -> list[JobSnapshot]:
    """Read an entry of the list; one that cannot be read is left to a point read, which says why."""
    try:
        return [JobSnapshot.from_wire(entry)]
    except ProtocolError:
        return []


def _pace(answer: Response, now: float) -> dict[str, Any]:
    """Read what the service says of pace. Source: "Throttling Resource Manager requests"."""
    left = answer.headers.get("x-ms-ratelimit-remaining-subscription-reads", "")
    return {"reads_left": int(left) if left.isdecimal() else None, "retry_after_s": _retry_after_s(answer, now)}


def _retry_after_s(answer: Response, now: float) -> float | None:
    for name, unit_s in (("retry-after-ms", 0.001), ("x-ms-retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = answer.headers.get(name, "").strip()
        if text.isdecimal():
            return int(text) * unit_s
    try:
        return max(0.0, parsedate_to_datetime(answer.headers.get("retry-after", "")).timestamp() - now)
    except ValueError:
        return None


@define
class Meter:
    """What a conversation has cost, and what the service said of pace.

    Attributes:
        requests: How many were sent.
        retry_after_s: For how many seconds the service wants to be left alone; None when it does not say.
        is_refused: Whether the last answer was "not now", or there was none.
    """

    requests: int = 0
    retry_after_s: float | None = None
    is_refused: bool = False


def metered(flow: Flow[T], meter: Meter, *, now: float) -> Flow[T]:
    """Hold another conversation so that each request is sent once, whatever comes of it, and count.

    Args:
        flow: The conversation.
        meter: Is told what it costs.
        now: Seconds since 1970, UTC, by which a ``Retry-After`` that is a date is read.
    """
    with contextlib.closing(flow):
        try:
            request = next(flow)
            while True:
                meter.requests += 1
                try:
                    answer = yield evolve(request, repeatable=False)
                except AzureMLError as error:
                    meter.is_refused = True
                    request = flow.throw(error)
                else:
                    meter.is_refused = answer.status in TRANSIENT
                    meter.retry_after_s = _retry_after_s(answer, now) if meter.is_refused else meter.retry_after_s
                    request = flow.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result


def explain(workspace: Workspace, job: JobSnapshot, data_plane: str) -> Flow[JobSnapshot]:
    """Read why a job ended as it did: its own error, and that of each failed step.

    A job's resource holds no error; run history does. An explanation that cannot be had is told as such and never
    hides the job's end.

    Args:
        workspace: Where the job is.
        job: A look at the job, which has ended.
        data_plane: The address of the workspace's data plane, without a slash at its end.
    """
    told = yield from logs.why(workspace, job, data_plane)
    return job.saying(told.reason)
