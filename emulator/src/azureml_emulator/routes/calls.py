"""One request as the handlers see it, and the addresses that its answer may name."""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import attrs
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.control import Control
from azureml_emulator.errors import (
    Json,
    WireError,
    bad_request,
    no_group,
    no_registry,
    no_subscription,
    no_workspace,
)
from azureml_emulator.listings import Wanted
from azureml_emulator.names import PROVIDER, RegistryName, WorkspaceName
from azureml_emulator.online_metrics import RequestMetrics
from azureml_emulator.pages import job_page_path
from azureml_emulator.record import Record
from azureml_emulator.routes.body_shapes import DEEPEST, MEMBERS, MLFLOW_MEMBERS, faults, too_deep
from azureml_emulator.runner import Runner
from azureml_emulator.scheduler import Scheduler
from azureml_emulator.serving import Deployments
from azureml_emulator.settings import Addresses, Settings
from azureml_emulator.storage import Storage
from azureml_emulator.store import Run, Store, now

WORKSPACE = f"/subscriptions/{{sub}}/resourceGroups/{{group}}/providers/{PROVIDER}/workspaces/{{ws}}"
REGISTRY = f"/subscriptions/{{sub}}/resourceGroups/{{group}}/providers/{PROVIDER}/registries/{{registry}}"
LOCATION = f"/subscriptions/{{sub}}/providers/{PROVIDER}/locations/{{loc}}"
REAL = "azureml_emulator.real_host"
#: In a request's scope: whether a job that it cancels shall never end.
CANCEL_NEVER_ENDS = "azureml_emulator.cancel_never_ends"
USER = {"createdBy": "Local User", "createdByType": "User"}

_DIGITS = 10
_T = TypeVar("_T")


@attrs.frozen(kw_only=True)
class Services:
    """What the handlers work with.

    Attributes:
        control: None where the control interface is off.
        scheduler: None where nobody keeps time.
        deployments: Who runs the processes of online deployments; None where nobody does.
        request_metrics: What was measured of requests for scores; None where nobody asks for any.
        record: What the pages show that no store keeps.
    """

    store: Store
    settings: Settings
    addresses: Addresses
    runner: Runner
    storage: Storage
    control: Control | None = None
    scheduler: Scheduler | None = None
    deployments: Deployments | None = None
    request_metrics: RequestMetrics | None = None
    record: Record = attrs.field(factory=Record)


def _nowhere(store: Store, asked: WorkspaceName) -> WireError:
    """Say which word of a workspace's name is the first that means nothing."""
    known = [WorkspaceName.of_arm_id(body["id"]) for body in store.of_type(f"{PROVIDER}/workspaces")]
    same_subscription = [each for each in known if each.subscription.lower() == asked.subscription.lower()]
    if not same_subscription:
        return no_subscription(asked.subscription)
    if all(each.group.lower() != asked.group.lower() for each in same_subscription):
        return no_group(asked.group)
    return no_workspace(asked.name, asked.group)


@attrs.frozen
class Origin:
    """The addresses in an answer: Azure's host names for who came by them, else the host the client used.

    Attributes:
        root: ``https://management.azure.com``, or e.g. ``http://127.0.0.1:41234``.
        real: Whether the client came by one of Azure's host names.
        services: For the location and the storage account.
    """

    root: str
    real: bool
    services: Services

    @property
    def api(self) -> str:
        """The data plane's root."""
        return f"https://{self.services.settings.location}.api.azureml.ms" if self.real else self.root

    def scoring(self, workspace: WorkspaceName, endpoint: str) -> str:
        """A batch endpoint's scoring URI."""
        if self.real:
            return f"https://{endpoint}.{self.services.settings.location}.inference.ml.azure.com/jobs"
        return f"{self.root}/inference/{workspace.subscription}/{workspace.group}/{workspace.name}/{endpoint}/jobs"

    def online(self, workspace: WorkspaceName, endpoint: str) -> tuple[str, str]:
        """An online endpoint's scoring URI, and that of its description."""
        if self.real:
            root = f"https://{endpoint}.{self.services.settings.location}.inference.ml.azure.com"
        else:
            root = f"{self.root}/online/{workspace.subscription}/{workspace.group}/{workspace.name}/{endpoint}"
        return f"{root}/score", f"{root}/swagger.json"

    def studio(self, workspace: WorkspaceName, run: str) -> str:
        """The page that shows a run."""
        if self.real:
            return f"https://ml.azure.com/runs/{run}?wsid=/{workspace.short}"
        return self.root + job_page_path(workspace.arm_id, run)

    def tracking(self, workspace: WorkspaceName) -> str:
        """MLflow's address with the scheme of Azure's plugin."""
        return f"azureml://{urlsplit(self.api).netloc}/mlflow/v1.0{workspace.arm_id}"

    def blob(self, container: str) -> str:
        """A container's URL."""
        account = self.services.settings.account
        if self.real:
            return f"https://{account}.blob.core.windows.net/{container}"
        port = urlsplit(self.services.addresses.blob).port
        return f"http://{urlsplit(self.root).hostname}:{port}/{account}/{container}"


class Call:
    """A request with its workspace, body and addresses."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.services: Services = request.app.state.services
        self.store: Store = self.services.store
        real = bool(request.scope.get(REAL))
        root = "https://management.azure.com" if real else f"{request.url.scheme}://{request.url.netloc}"
        self.origin = Origin(root, real, self.services)
        self.query: Mapping[str, str] = request.query_params

    @property
    def location(self) -> str:
        """The region of everything here."""
        return self.services.settings.location

    @property
    def names(self) -> Mapping[str, str]:
        """What the path names."""
        return self.request.path_params

    @property
    def workspace(self) -> WorkspaceName:
        """The workspace the path names, spelled as it was created.

        Raises:
            WireError: 404 as Azure Resource Manager says it.
        """
        asked = WorkspaceName(self.names["sub"], self.names["group"], self.names["ws"])
        found = self.store.get(asked.arm_id)
        if found is None:
            raise _nowhere(self.store, asked)
        return WorkspaceName.of_arm_id(found["id"])

    @property
    def url(self) -> str:
        """The request's own URL, as a ``Location`` header repeats it."""
        path, query = quote(self.request.url.path, safe="/%:@!$&'()*+,;="), self.request.url.query
        return f"{self.origin.root}{path}" + (f"?{query}" if query else "")

    @property
    def version(self) -> str:
        """The API version that was asked for."""
        return self.query.get("api-version", "")

    async def json(self) -> Json:
        """Read the body.

        Raises:
            WireError: 400 when it is no JSON object.
        """
        text = await self.request.body()
        try:
            body = json.loads(text or b"{}")
            if b"\\u" in text:
                json.dumps(body, ensure_ascii=False).encode()  # half a character can be escaped, but not stored
        except (ValueError, RecursionError) as error:
            raise bad_request(f"The request body is no JSON: {error}.") from error
        if not isinstance(body, dict):
            raise bad_request("The request body is no JSON object.")
        if too_deep(body):
            raise bad_request(f"The request body is nested more than {DEEPEST} deep.")
        members = MLFLOW_MEMBERS if "/api/2.0/" in self.request.url.path else MEMBERS
        if wrong := "; ".join(faults(body, members)):
            raise bad_request(f"The request body is wrong: {wrong:.1000}.")
        return body

    async def properties(self) -> Json:
        """Read the body's ``properties``, which every resource must have."""
        found = (await self.json()).get("properties")
        if not isinstance(found, dict):
            raise bad_request("The request body has no properties.")
        return found

    @property
    def registry(self) -> RegistryName:
        """The registry the path names, spelled as it was created.

        Raises:
            WireError: 404 as Azure Resource Manager says it.
        """
        asked = RegistryName(self.names["sub"], self.names["group"], self.names["registry"])
        found = self.store.get(asked.arm_id)
        if found is None:
            raise no_registry(asked.name, asked.group)
        return RegistryName.of_arm_id(found["id"])

    @property
    def top(self) -> int | None:
        """How many items the query wants at most; None where it does not say.

        Raises:
            WireError: 400 where that is no number from 1 on.
        """
        given = self.query.get("$top") or ""
        if not given:
            return None
        if not (given.isascii() and given.isdecimal() and len(given) < _DIGITS and int(given)):
            raise bad_request(f"$top is {given[:_DIGITS]!r}, which is no number of items.")
        return int(given)

    def run(self, name: str, missing: Callable[[str], Exception]) -> Run:
        """Find a run of the workspace, or raise what ``missing`` makes."""
        found = self.store.run(self.workspace.arm_id, name)
        if found is None:
            raise missing(name)
        return found

    def page(
        self, items: Sequence[_T], *, key: Callable[[_T], str], size: int, token: str
    ) -> tuple[list[_T], str | None]:
        """Cut one page out of a listing.

        Args:
            items: All of it, in its order.
            key: What identifies an item, so that a page starts behind it wherever it has moved to.
            size: How many at most.
            token: The query parameter that says where to go on.

        Returns:
            The page, and the absolute URL of the next; None on the last one.
        """
        start = 0
        if last := self._last_seen(token):
            keys = [key(item) for item in items]
            if last not in keys:
                raise _bad_token(token)
            start = keys.index(last) + 1
        page = list(items[start : start + size])
        if start + size >= len(items):
            return page, None
        return page, self._next_link(token, key(page[-1]))

    def jobs_page(self, wanted: Wanted, *, size: int, token: str = "$skip") -> tuple[list[Run], str | None]:  # noqa: S107  # no password
        """Find one page of the workspace's jobs, newest first, and the absolute URL of the next page.

        Raises:
            WireError: 400 when the token of the query is none that was given out.
        """
        try:
            found = self.store.listed(self.workspace.arm_id, wanted, most=size + 1, after=self._last_seen(token))
        except LookupError:
            raise _bad_token(token) from None
        link = self._next_link(token, found[size - 1].name) if len(found) > size else None
        return found[:size], link

    def _last_seen(self, token: str) -> str:
        """Read what identifies the last item of the page before; empty for the first page."""
        given = self.query.get(token)
        if not given:
            return ""
        if not (last := _unseal(given)):
            raise _bad_token(token)
        return last

    def _next_link(self, token: str, last: str) -> str:
        query = [(name, value) for name, value in parse_qsl(self.request.url.query) if name != token]
        query.append((token, _seal(last)))
        root = self.origin.root if self.request.url.path.startswith("/subscriptions") else self.origin.api
        return f"{root}{self.request.url.path}?{urlencode(query, safe='$')}"


#: What of a path a client chooses, and what that may be. Source: azure-ai-ml's own checks of names and versions.
_NAMED = ("name", "version", "deployment", "registry", "ws", "sub", "group")
_NAME = re.compile(r"[A-Za-z0-9_(][A-Za-z0-9_.()-]{0,254}", re.ASCII)
Handler = Callable[[Call], Awaitable[Response]]


def route(method: str, path: str, handler: Handler) -> Route:
    """Make a route whose handler takes a `Call`; one method each, so that the others are not emulated."""

    async def endpoint(request: Request) -> Response:
        call = Call(request)
        if method == "PUT":
            _check_names(call)
        return await handler(call)

    made = Route(path, endpoint, methods=[method])
    made.methods = {method}  # Starlette adds HEAD to GET
    return made


def _check_names(call: Call) -> None:
    """Refuse to make what Azure ML could not call so.

    Raises:
        WireError: 400 that says which name it is.
    """
    for what in _NAMED:
        name = call.names.get(what)
        if name is not None and not _NAME.fullmatch(name):
            raise bad_request(
                f"{name!r:.60} is no {what}: 1 to 255 letters, digits, '.', '_' and '-', and the first no '.' or '-'."
            )


def listing(items: Sequence[Json], next_link: str | None = None) -> Response:
    """Answer a list; ``nextLink`` is absent on the last page."""
    return JSONResponse({"value": list(items)} | ({"nextLink": next_link} if next_link else {}))


def null(status: int, headers: Mapping[str, str]) -> Response:
    """Answer the four characters that Azure sends as the body of an accepted operation."""
    return Response(b"null", status, media_type="application/json; charset=utf-8", headers=dict(headers))


def operation(call: Call, prefix: str) -> str:
    """Name a new long-running operation; its status URL is what clients poll."""
    workspace = call.workspace
    root = f"{call.origin.root}/subscriptions/{workspace.subscription}/providers/{PROVIDER}/locations/{call.location}"
    own = secrets.token_urlsafe(32) if prefix == "s" else new_guid()  # recorded: a schedule's is no GUID
    return f"{root}/mfeOperationsStatus/{prefix}:{workspace.guid}:{own}?api-version={call.version}"


def new_guid() -> str:
    """Make a random GUID."""
    return str(uuid.uuid4())


def system_data(before: Json | None = None, *, keep: bool = False) -> Json:
    """Say who made an asset and when; ``keep`` leaves both times at the first creation."""
    if before and keep:
        return before
    at = now()
    created = before or {"createdAt": at, **USER}
    return {
        **{name: created[name] for name in ("createdAt", "createdBy", "createdByType")},
        "lastModifiedAt": at,
        "lastModifiedBy": USER["createdBy"],
        "lastModifiedByType": USER["createdByType"],
    }


def _bad_token(token: str) -> WireError:
    return bad_request(f"The {token} of the query is not one that was given out.")


def _seal(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def _unseal(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
