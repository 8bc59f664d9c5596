"""What a job has used: when it ran, on which machines, how many of them, and for how long, as run history tells it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import field, frozen

from airflow_azureml.core.costs import Use
from airflow_azureml.core.reports import Step
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ProtocolError
from airflow_azureml.wire import compute
from airflow_azureml.wire.http import Flow, Request
from airflow_azureml.wire.paging import all_pages

HISTORY_VERSION = "v1.0"
#: Pipelines in a pipeline whose steps are read; each costs a request.
PIPELINES_READ = 50


@frozen(kw_only=True)
class Usage:
    """What a job has used.

    Attributes:
        began: When it began, with its zone.
        ended: When it ended.
        uses: Of each step that ran, what it used; of a job without steps, what itself did.
    """

    began: datetime
    ended: datetime
    uses: tuple[Use, ...] = field(converter=tuple[Use, ...])

    @property
    def seconds(self) -> float:
        """How long it took, from its start to its end."""
        return (self.ended - self.began).total_seconds()


def read(workspace: Workspace, job: str, data_plane: str) -> Flow[Usage]:
    """Read what a job that has ended has used.

    Args:
        workspace: Where the job is.
        job: The job.
        data_plane: The address of the workspace's data plane, without a slash at its end.

    Raises:
        RefusedError: There is no such job, or we may not read it.
        UnavailableError: The service did not say; asking again is safe.
        ProtocolError: It has not ended, or has more pipelines in it than are read.
    """
    run, began, ended = yield from _run(workspace, job, data_plane)
    waiting, leaves, looked = [job], list[Mapping[str, Any]](), 0
    while waiting:
        if (looked := looked + 1) > PIPELINES_READ:
            raise ProtocolError(f"Job {job} has more than {PIPELINES_READ} pipelines in it, which are not all read.")
        children = yield from _children(workspace, waiting.pop(), data_plane)
        waiting += [str(each.get("runId")) for each in children if Step.from_wire(each).is_pipeline]
        leaves += [each for each in children if not Step.from_wire(each).is_pipeline]
    sizes = dict[str, str]()
    uses = list[Use]()
    for each in leaves or [run]:
        uses.append((yield from _use(workspace, each, sizes)))
    return Usage(began=began, ended=ended, uses=uses)


def times(workspace: Workspace, job: str, data_plane: str) -> Flow[tuple[datetime, datetime]]:
    """Read when a job that has ended began, and when it ended; see `read`."""
    _, began, ended = yield from _run(workspace, job, data_plane)
    return began, ended


def _run(workspace: Workspace, job: str, data_plane: str) -> Flow[tuple[Mapping[str, Any], datetime, datetime]]:
    look = Request(doing=f"Read the times of job {job}", method="GET", url=_url(workspace, job, data_plane))
    run = (yield look).expect(look, 200)
    began, ended = _time(run.get("startTimeUtc")), _time(run.get("endTimeUtc"))
    if began is None or ended is None:
        raise ProtocolError(f"Job {job} has no start or no end: it is {run.get('status')!r}.")
    return run, began, ended


def _use(workspace: Workspace, run: Mapping[str, Any], sizes: dict[str, str]) -> Flow[Use]:
    """Read what a run used; the size of a compute is asked for once."""
    step, told, asked = Step.from_wire(run), run.get("compute") or {}, run.get("computeRequest") or {}
    name = str(told.get("target") or run.get("target") or "")
    size = str(told.get("vmSize") or told.get("instanceType") or "")
    seconds = 0.0 if step.reused else step.seconds or 0.0
    if name and not size and seconds and name not in sizes:
        found = yield from compute.get(workspace, name)
        sizes[name] = "" if found is None else found.vm_size
    return Use(
        step=step.name,
        size=size or sizes.get(name, ""),
        compute=name,
        nodes=max(1, int(asked.get("nodeCount") or told.get("instanceCount") or 1)),
        seconds=seconds,
    )


def _children(workspace: Workspace, run: str, data_plane: str) -> Flow[list[Mapping[str, Any]]]:
    look = Request(
        doing=f"Read the steps of job {run}",
        method="GET",
        url=f"{_url(workspace, run, data_plane)}/children",
        params={"api-version": HISTORY_VERSION},
    )
    return list((yield from all_pages(look)))


def _url(workspace: Workspace, run: str, data_plane: str) -> str:
    return f"{data_plane}/history/v1.0{workspace.arm_id}/runs/{run}"


def _time(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
