"""The control interface, off by default: scripts, the clock, faults, the lifetime of tokens, and counts of requests.

It is only served with ``--control``, on the loopback address of the plain http port.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import attrs
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator import allowances
from azureml_emulator.clock import CLOCK, ClockError
from azureml_emulator.control_bodies import ControlError, body_of, members, whole
from azureml_emulator.counts import RequestCounts
from azureml_emulator.errors import Json, bad_request
from azureml_emulator.event_faults import EventFaults
from azureml_emulator.fault_members import FaultError
from azureml_emulator.faults import FaultList
from azureml_emulator.names import WorkspaceName, guid
from azureml_emulator.online_faults import OnlineFaults
from azureml_emulator.routes import experiments
from azureml_emulator.scripts import Script, ScriptError, seconds
from azureml_emulator.settings import Settings
from azureml_emulator.store import Run, Store
from azureml_emulator.tokens import Lifetime

#: The property of a job or an invocation, and the tag or property of an endpoint or a deployment, that names a script.
PROPERTY = "emulator.script"
#: How many jobs one request creates at most.
MOST_JOBS = 100_000
_CLOCK, _TOKENS, _SCRIPTS, _EVENTS = "/control/clock", "/control/tokens", "/control/scripts", "/control/events"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


Faults = FaultList | EventFaults | OnlineFaults


class Control:
    """What the control interface has set; all but faults of requests, and counts, outlives a restart.

    Args:
        store: Where scripts are kept.
        settings: For the workspaces.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.settings = settings
        self.faults = FaultList()
        self.online = OnlineFaults()
        self.requests = RequestCounts()
        self.lifetime = Lifetime()
        events = (store.get(_EVENTS) or {}).get("faults", ())
        self.events = EventFaults(events, lambda shown: store.put(_EVENTS, {"faults": shown}))
        if kept := store.get(_CLOCK):
            CLOCK.restore(kept)
        if kept := store.get(_TOKENS):
            self.lifetime.seconds = int(kept["lifetime_s"])

    @property
    def fault_lists(self) -> Mapping[str, Faults]:
        """The faults of each kind, by the path under which they are set."""
        return {"/control/faults": self.faults, _EVENTS: self.events, "/control/online": self.online}

    def script(self, said: Any) -> Script:
        """Find a script by its name, or read it where it is written inline.

        Raises:
            ScriptError: There is none of that name, or it is wrong.
        """
        if not isinstance(said, str):
            return Script.from_wire(said)
        if said.lstrip()[:1] in {"{", "["}:
            return Script.parse(said)
        found = self.store.get(f"{_SCRIPTS}/{said}") if _NAME.fullmatch(said) else None
        if found is None:
            raise ScriptError(f"There is no script {said!r}; PUT it to {_SCRIPTS}/NAME first.")
        return Script.from_wire(found["script"])


def chosen(control: Control | None, *holders: Mapping[str, Any] | None) -> Script | None:
    """Find the script that a job is to take.

    Args:
        control: The control interface; None where it is off.
        holders: Properties and tags that may name it, the first before the others.

    Returns:
        The script; None where none is named, for a job that really runs.

    Raises:
        WireError: 400 where the script is not there or wrong, or the control interface is off.
    """
    said = next((holder[PROPERTY] for holder in holders if holder and holder.get(PROPERTY)), None)
    if said is None:
        return None
    if control is None:
        raise bad_request(f"The job asks for {PROPERTY}, and this emulator was started without --control.")
    try:
        return control.script(said)
    except ScriptError as error:
        raise bad_request(f"{PROPERTY}: {error}") from error


def add_scripted(store: Store, run: Run, script: Script) -> bool:
    """Add a scripted job and its steps; False when its name is taken."""
    return store.add_scripted(_family(run, script), [script, *script.steps.values()])


def _family(run: Run, script: Script) -> list[Run]:
    """Make the runs of a scripted job: its own first, then its steps."""
    steps = [
        Run(
            workspace=run.workspace,
            name=guid(run.workspace, run.name, node),
            kind="Step",
            parent=run.name,
            node=node,
            display_name=node,
            experiment=run.experiment,
            script=step.digest,
        )
        for node, step in script.steps.items()
    ]
    return [attrs.evolve(run, script=script.digest), *steps]


# the routes


def application(control: Control) -> Starlette:
    """Make the application below ``/control``."""
    handlers: dict[Any, Any] = {HTTPException: _unknown}
    found = [
        _route("GET", f"{_SCRIPTS}/{{name}}", control, get_script),
        _route("PUT", f"{_SCRIPTS}/{{name}}", control, put_script),
        _route("DELETE", f"{_SCRIPTS}/{{name}}", control, delete_script),
        _route("POST", "/control/jobs", control, post_jobs),
        _route("GET", _CLOCK, control, get_clock),
        _route("POST", _CLOCK, control, post_clock),
        _route("POST", f"{_CLOCK}/advance", control, post_advance),
        _route("GET", _TOKENS, control, get_tokens),
        _route("PUT", _TOKENS, control, put_tokens),
        _route("GET", "/control/requests", control, get_requests),
        _route("DELETE", "/control/requests", control, delete_requests),
    ]
    for path, faults in control.fault_lists.items():
        found.append(_route("GET", path, control, partial(get_faults, faults)))
        found.append(_route("PUT", path, control, partial(put_faults, faults)))
        found.append(_route("DELETE", path, control, partial(delete_faults, faults)))
    for kind in allowances.READERS:
        found.append(_route("GET", allowances.path_of(kind), control, partial(get_allowance, kind)))
        found.append(_route("PUT", allowances.path_of(kind), control, partial(put_allowance, kind)))
    app = Starlette(routes=found, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return app


_Handler = Callable[[Control, Request], Awaitable[Response]]


def _route(method: str, path: str, control: Control, handler: _Handler) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            return await handler(control, request)
        except (ScriptError, FaultError, ClockError, allowances.AllowanceError) as error:
            return _refused(str(error), 400)
        except ControlError as error:
            return _refused(str(error), error.status)

    made = Route(path, endpoint, methods=[method])
    made.methods = {method}  # Starlette adds HEAD to GET
    return made


async def _unknown(request: Request, error: HTTPException) -> Response:
    del error
    return _refused(f"The control interface has no {request.method} {request.url.path}.", 501)


def _refused(message: str, status: int) -> Response:
    code = "NotEmulated" if status == 501 else "BadControlRequest"  # noqa: PLR2004  # HTTP's own
    return JSONResponse({"error": {"code": code, "message": message}}, status)


# scripts


def _script_id(request: Request) -> str:
    name = request.path_params["name"]
    if not _NAME.fullmatch(name):
        raise ControlError(f"{name!r} is no name of a script; use letters, digits, '-', '_' and '.', at most 100.")
    return f"{_SCRIPTS}/{name}"


async def put_script(control: Control, request: Request) -> Response:
    """PUT a script; jobs that have begun keep the one they began with."""
    arm_id = _script_id(request)
    script = Script.from_wire(await body_of(request))
    new = control.store.put(arm_id, {"script": script.to_wire()})
    return JSONResponse(script.to_wire(), 201 if new else 200)


async def get_script(control: Control, request: Request) -> Response:
    """GET a script."""
    found = control.store.get(_script_id(request))
    if found is None:
        raise ControlError(f"There is no script {request.path_params['name']!r}.", 404)
    return JSONResponse(found["script"])


async def delete_script(control: Control, request: Request) -> Response:
    """DELETE a script; jobs that have begun go on."""
    if not control.store.delete(_script_id(request)):
        raise ControlError(f"There is no script {request.path_params['name']!r}.", 404)
    return Response(status_code=204)


async def post_jobs(control: Control, request: Request) -> Response:
    """POST to create many scripted jobs at once: ``PREFIX-00000`` and so on."""
    optional = ("workspace", "endpoint", "deployment", "experiment")
    body = await members(request, needed=("count", "script", "prefix"), optional=optional)
    count = whole(body["count"], "count", least=1, most=MOST_JOBS)
    for name in ("prefix", *(name for name in optional if name in body)):
        if not isinstance(body[name], str) or not body[name]:
            raise ControlError(f"{name} is {json.dumps(body[name])[:80]}; give a text.")
    if not _NAME.fullmatch(body["prefix"]):
        raise ControlError(f"The prefix {body['prefix']!r} is no beginning of a job's name.")
    script = control.script(body["script"])
    first = _first_run(control, body, script)
    names = [f"{body['prefix']}-{number:05d}" for number in range(count)]
    runs = [each for name in names for each in _family(attrs.evolve(first, name=name, display_name=name), script)]
    if not control.store.add_scripted(runs, [script, *script.steps.values()]):
        raise ControlError(f"There are jobs with names that begin with {body['prefix']}-; choose another prefix.", 409)
    answer = {"count": count, "workspace": first.workspace, "first": names[0], "last": names[-1]}
    return JSONResponse(answer, 201)


def _first_run(control: Control, body: Json, script: Script) -> Run:
    """Make the run that all jobs of one request are like.

    Raises:
        ControlError: The workspace, endpoint or deployment is not there.
    """
    text = str(body.get("workspace") or control.settings.workspaces[0])
    found = control.store.get(WorkspaceName.parse(text).arm_id) if text.count("/") == 2 else None  # noqa: PLR2004  # S/G/N
    if found is None:
        raise ControlError(f"There is no workspace {text!r}; write SUBSCRIPTION/RESOURCE_GROUP/NAME of one that is.")
    workspace = WorkspaceName.of_arm_id(found["id"])
    endpoint, deployment = body.get("endpoint"), body.get("deployment")
    for arm_id in _started_by(workspace.arm_id, endpoint, deployment):
        if control.store.get(arm_id) is None:
            raise ControlError(f"There is no {arm_id}; create it first.")
    experiment = str(body.get("experiment") or endpoint or "Default")
    experiments.ensure(control.store, workspace, experiment)
    pipeline = bool(endpoint or script.steps)
    spec: Json = {"jobType": "Pipeline", "settings": {}} if pipeline else {"jobType": "Command", "command": "scripted"}
    return Run(
        workspace=workspace.arm_id,
        name="",
        kind=str(spec["jobType"]),
        experiment=experiment,
        spec=spec,
        endpoint=endpoint,
        deployment=deployment,
    )


def _started_by(workspace: str, endpoint: str | None, deployment: str | None) -> list[str]:
    if endpoint is None and deployment is None:
        return []
    if endpoint is None or deployment is None:
        raise ControlError("endpoint and deployment go together; give both or none.")
    return [f"{workspace}/batchEndpoints/{endpoint}/deployments/{deployment}"]


# the clock


async def get_clock(control: Control, request: Request) -> Response:
    """GET the clock."""
    del control, request
    return JSONResponse(CLOCK.shown())


async def post_clock(control: Control, request: Request) -> Response:
    """POST to freeze the clock, or to let it go on."""
    frozen = (await members(request, needed=("frozen",)))["frozen"]
    if not isinstance(frozen, bool):
        raise ControlError(f"frozen is {json.dumps(frozen)[:80]}; give true or false.")
    CLOCK.freeze() if frozen else CLOCK.thaw()
    return _kept_clock(control)


async def post_advance(control: Control, request: Request) -> Response:
    """POST to move the clock on, frozen or not."""
    body = await members(request, needed=("seconds",))
    CLOCK.advance(seconds(body["seconds"], "the advance"))
    return _kept_clock(control)


def _kept_clock(control: Control) -> Response:
    control.store.put(_CLOCK, CLOCK.shown())
    return JSONResponse(CLOCK.shown())


# faults of each kind; tokens, requests


async def get_faults(faults: Faults, control: Control, request: Request) -> Response:
    """GET the faults of one kind, with how often each struck."""
    del control, request
    return JSONResponse(faults.shown())


async def put_faults(faults: Faults, control: Control, request: Request) -> Response:
    """PUT the whole list of faults of one kind."""
    del control
    faults.replace(await body_of(request))
    return JSONResponse(faults.shown())


async def delete_faults(faults: Faults, control: Control, request: Request) -> Response:
    """DELETE all faults of one kind."""
    del control, request
    faults.replace([])
    return Response(status_code=204)


async def get_tokens(control: Control, request: Request) -> Response:
    """GET how long tokens live."""
    del request
    return JSONResponse({"lifetime_s": control.lifetime.seconds})


async def put_tokens(control: Control, request: Request) -> Response:
    """PUT how long the tokens live that are issued from now on."""
    body = await members(request, needed=("lifetime_s",))
    control.lifetime.seconds = whole(body["lifetime_s"], "lifetime_s", least=1, most=10 * 365 * 86400)
    control.store.put(_TOKENS, {"lifetime_s": control.lifetime.seconds})
    return JSONResponse({"lifetime_s": control.lifetime.seconds})


async def get_requests(control: Control, request: Request) -> Response:
    """GET the counts of requests."""
    del request
    return JSONResponse(control.requests.shown())


async def delete_requests(control: Control, request: Request) -> Response:
    """DELETE the counts, and count from now on."""
    del request
    control.requests.clear()
    return Response(status_code=204)


# what the subscription has and allows


async def get_allowance(kind: str, control: Control, request: Request) -> Response:
    """GET what was set of one kind."""
    del request
    return JSONResponse(allowances.kept(control.store, kind))


async def put_allowance(kind: str, control: Control, request: Request) -> Response:
    """PUT all that is to be set of one kind, in the place of what was."""
    return JSONResponse(allowances.keep(control.store, kind, await body_of(request)))
