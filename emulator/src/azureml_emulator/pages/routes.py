"""The pages: which runs, models, endpoints, events and gaps they show, and how to find one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from azureml_emulator.names import WorkspaceName
from azureml_emulator.pages import batch, charts, graph, models, online, views
from azureml_emulator.record import MOST_EVENTS, Record
from azureml_emulator.runner import Runner
from azureml_emulator.serving import Deployments
from azureml_emulator.store import Run, Store

#: A page of the list shows this many jobs.
SHOWN_JOBS = 200
#: A page of something that still lives is renewed after so many seconds.
REFRESH_S = 2
#: What may change at any time, as all lists may, is renewed after so many seconds.
LIST_REFRESH_S = 5
#: What a page may load and do. What jobs, logs and names say is escaped; this is the second lock.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Under which word of the navigation a page stands, by its template.
_HERE = {
    "jobs.html": "jobs",
    "job.html": "jobs",
    "models.html": "models",
    "model.html": "models",
    "endpoints.html": "endpoints",
    "endpoint.html": "endpoints",
    "events.html": "events",
    "uncovered.html": "uncovered",
}
_SCRIPT = Path(__file__).with_name("static") / "renew.js"


def job_page_path(workspace: str, name: str) -> str:
    """Give the path of a job's page below the emulator's plain address.

    Args:
        workspace: The workspace's ARM id.
        name: The job's, or a step's run.
    """
    where = WorkspaceName.of_arm_id(workspace)
    exact = urlencode({"subscription": where.subscription, "group": where.group})
    return f"/ui/jobs/{quote(where.name, safe='')}/{quote(name, safe='')}?{exact}"


def routes(
    store: Store, runner: Runner, deployments: Deployments | None = None, record: Record | None = None
) -> list[Route]:
    """Make the pages' routes; they only read.

    Args:
        store: What there is.
        runner: Who has the logs of jobs.
        deployments: Who runs the processes of online endpoints; None where nobody does.
        record: What was told of, and what was answered with 501; None where nobody keeps it.
    """
    record = record or Record()
    environment = Environment(
        loader=PackageLoader("azureml_emulator.pages"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def page(template: str, status: int = 200, **values: object) -> Response:
        here = _HERE.get(template, "")
        text = environment.get_template(template).render(refused=record.refused, here=here, **values)
        return HTMLResponse(text, status, {"Content-Security-Policy": POLICY})

    async def front(_: Request) -> Response:
        return RedirectResponse("/ui")

    async def jobs(request: Request) -> Response:
        number = _page_number(request)
        found = store.jobs(most=SHOWN_JOBS + 1, skip=(number - 1) * SHOWN_JOBS)
        shown = found[:SHOWN_JOBS]
        rows = [views.row(run, path=job_page_path(run.workspace, run.name)) for run in shown]
        refresh_s = REFRESH_S if any(row.is_live for row in rows) else LIST_REFRESH_S
        older = number + 1 if len(found) > SHOWN_JOBS else 0
        return page("jobs.html", rows=rows, counts=views.counts(shown), number=number, older=older, refresh_s=refresh_s)

    async def job(request: Request) -> Response:
        workspace, name = request.path_params["workspace"], request.path_params["run"]
        run = _find(store, workspace, name, request)
        if run is None:
            return page("missing.html", 404, what="job", where=workspace, name=name, refresh_s=0)
        view = views.job(store, runner, run, path_of=lambda one: job_page_path(run.workspace, one))
        refresh_s = REFRESH_S if view.row.is_live else 0
        return page("job.html", job=view, box=graph, axes=charts, refresh_s=refresh_s)

    return [
        Route("/", front),
        Route("/ui", jobs),
        Route("/ui/renew.js", _renewing),
        Route("/favicon.ico", _no_icon),
        Route("/ui/jobs/{workspace}/{run}", job),
        *_model_routes(store, page),
        *_endpoint_routes(online.Sight(store, *_seen(deployments)), page),
        *_record_routes(record, page),
    ]


async def _no_icon(_: Request) -> Response:
    """Answer a browser, which asks for it with every answer that is no page."""
    return Response(status_code=204)


async def _renewing(_: Request) -> Response:
    return FileResponse(_SCRIPT, media_type="text/javascript", headers={"Cache-Control": "no-cache"})


def _record_routes(record: Record, page: Callable[..., Response]) -> list[Route]:
    since = views.moment(record.since)

    async def events(_: Request) -> Response:
        shown = [(views.moment(one.at), one) for one in record.events]
        return page("events.html", events=shown, most=MOST_EVENTS, since=since, refresh_s=REFRESH_S)

    async def uncovered(_: Request) -> Response:
        shown = [(views.moment(one.at), one) for one in record.uncovered]
        return page("uncovered.html", requests=shown, since=since, refresh_s=LIST_REFRESH_S)

    return [Route("/ui/events", events), Route("/ui/uncovered", uncovered)]


def _model_routes(store: Store, page: Callable[..., Response]) -> list[Route]:
    async def all_models(_: Request) -> Response:
        found = models.models(store)
        return page(
            "models.html", models=found, path_of=_model_path, job_path_of=job_page_path, refresh_s=LIST_REFRESH_S
        )

    async def model(request: Request) -> Response:
        wanted = request.query_params.get("id", "")
        found = models.model(store, wanted)
        if found is None:
            return page("missing.html", 404, what="model", where="", name=wanted, refresh_s=0)
        return page("model.html", model=found, job_path_of=job_page_path, refresh_s=LIST_REFRESH_S)

    return [Route("/ui/models", all_models), Route("/ui/model", model)]


def _seen(deployments: Deployments | None) -> tuple[Callable[[str], int], Callable[[str, int], str]]:
    """Say how to count a deployment's ready processes, and how to read its log."""
    if deployments is None:
        return lambda _: 0, lambda _, __: ""
    return (
        lambda arm_id: len(deployments.instances(arm_id)),
        lambda arm_id, lines: deployments.log(arm_id).tail(lines=lines),
    )


def _endpoint_routes(sight: online.Sight, page: Callable[..., Response]) -> list[Route]:
    async def endpoints(_: Request) -> Response:
        found, batches = sight.endpoints(), batch.endpoints(sight.store, job_page_path)
        is_live = any(one.is_live for one in found) or any(one.is_live for one in batches)
        refresh_s = REFRESH_S if is_live else LIST_REFRESH_S
        return page("endpoints.html", endpoints=found, batches=batches, path_of=_endpoint_path, refresh_s=refresh_s)

    async def endpoint(request: Request) -> Response:
        wanted = request.query_params.get("id", "")
        found = sight.endpoint(wanted)
        if found is None:
            return page("missing.html", 404, what="endpoint", where="", name=wanted, refresh_s=0)
        return page("endpoint.html", endpoint=found, refresh_s=REFRESH_S if found.is_live else LIST_REFRESH_S)

    return [Route("/ui/endpoints", endpoints), Route("/ui/endpoint", endpoint)]


def _endpoint_path(arm_id: str) -> str:
    """Give the path of an online endpoint's page."""
    return f"/ui/endpoint?{urlencode({'id': arm_id})}"


def _model_path(container_id: str) -> str:
    """Give the path of a model's page."""
    return f"/ui/model?{urlencode({'id': container_id})}"


def _page_number(request: Request) -> int:
    """Read which page of the list is wanted; anything that is none is the first."""
    said = request.query_params.get("page", "")
    return max(1, int(said)) if said.isascii() and said.isdecimal() and len(said) <= 9 else 1  # noqa: PLR2004  # fits SQLite


def _find(store: Store, workspace: str, name: str, request: Request) -> Run | None:
    """Find a run by its workspace's exact name, or in the first workspace that is called so."""
    subscription, group = request.query_params.get("subscription"), request.query_params.get("group")
    if subscription and group:
        return store.run(WorkspaceName(subscription, group, workspace).arm_id, name)
    return next(
        (run for run in store.runs(name=name) if WorkspaceName.of_arm_id(run.workspace).name == workspace), None
    )
