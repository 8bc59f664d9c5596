"""The front door: which service a request is for, whether it may come in, and the headers every answer carries."""

from __future__ import annotations

import ipaddress
import logging
import re
import secrets
import time
import uuid
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from azureml_emulator import rights, tokens
from azureml_emulator.authority import AUTHORITY
from azureml_emulator.errors import WireError, not_emulated, refusal
from azureml_emulator.names import PROVIDER, Hosts, Plane, WorkspaceName
from azureml_emulator.online_front import OnlineFront
from azureml_emulator.pages import job_page_path
from azureml_emulator.routes import clouds
from azureml_emulator.routes.batch import no_endpoint
from azureml_emulator.routes.calls import REAL, Services
from azureml_emulator.throttle import Throttle

_OPEN = frozenset({"/", "/msi/token", "/discovery", clouds.PATH})
_log = logging.getLogger(__name__)
_CANONICAL = re.compile(
    r"^(?P<before>.*?)/subscriptions/(?P<sub>[^/]+)(?:/resourcegroups/(?P<group>[^/]+))?"
    r"/providers/microsoft\.machinelearningservices/",
    re.IGNORECASE,
)
_AUDIENCES = {
    Plane.ARM: tokens.ARM_AUDIENCES,
    Plane.DATA: (*tokens.ML_AUDIENCES, *tokens.ARM_AUDIENCES),
    Plane.SCORING: tokens.ML_AUDIENCES,
}
#: What recorded answers say is left, for who is not throttled.
_UNLIMITED = {"GET": ("reads", 11999), "DELETE": ("deletes", 14999)}
_WRITES = ("writes", 1199)
#: Recorded: a PUT of a deployment is counted for itself.
_DEPLOYMENT = re.compile(r".*/(?:batch|online)Endpoints/[^/]+/deployments/[^/]+", re.IGNORECASE)
_RESOURCES = ("resource-requests", 24)
#: What the gateway of Azure Resource Manager says of HTTPS, and what the services' own hosts say.
_GATEWAY_HTTPS = "max-age=31536000; includeSubDomains"
_SERVICE_HTTPS = "max-age=15724800; includeSubDomains; preload"
_NO_TIMING = frozenset({202})
#: What the throttle says is left, in the scope of a request.
_LEFT = "azureml.left"
_SUBSCRIPTION = re.compile(r"/subscriptions/([^/]+)/", re.IGNORECASE)
_APP_ID = f"appId=cid-v1:{uuid.uuid4()}"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def error_response(error: WireError) -> Response:
    """Make the answer of an error; one without a body has none."""
    if error.body is None:
        return Response(status_code=error.status, headers=error.headers)
    return JSONResponse(error.body, error.status, error.headers)


class FrontDoor:
    """The outermost application of the control plane's ports.

    Args:
        app: Answers Azure Resource Manager, the data plane, invocations and the pages.
        login: Answers Microsoft Entra's host.
        storage: The proxies before Azurite, for the storage account's hosts.
        hosts: The names answered here.
        services: For the owner of an endpoint's name, for rights that were taken away, for the pages' address, and for
            the record of what was answered with 501.
        online: Answers requests for scores; None where there are no online endpoints.
    """

    def __init__(  # each is another destination
        self,
        app: ASGIApp,
        *,
        login: ASGIApp,
        storage: Mapping[Plane, ASGIApp],
        hosts: Hosts,
        services: Services,
        online: OnlineFront | None = None,
    ) -> None:
        self._app = app
        self._elsewhere = {**storage, Plane.LOGIN: login}
        self._hosts = hosts
        self._store = services.store
        self._addresses = services.addresses
        self._record = services.record
        self._is_controlled = services.control is not None
        self._online = online
        self._throttle = Throttle() if services.settings.throttle else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        host = host_name(headers)
        plane = self._hosts.plane(host)
        if plane in self._elsewhere:
            counted = self._record.watching(scope, send) if plane is Plane.LOGIN else send
            await self._elsewhere[plane](scope, receive, counted)
            return
        if (scoring := self._scoring(scope, plane, host)) is not None:
            await scoring(scope, receive, send)
            return
        send = self._record.watching(scope, send)
        send = _with_headers(scope, headers, plane, location=self._hosts.location, send=send)
        try:
            self._admit(scope, headers, plane, host=host)
            answer: ASGIApp = self._studio(scope) if plane is Plane.STUDIO else self._app
        except WireError as error:
            answer = error_response(error)
        await answer(scope, receive, send)

    def _scoring(self, scope: Scope, plane: Plane | None, host: str) -> ASGIApp | None:
        """Find what answers a request for a score, which has rules of its own; None for any other request."""
        if self._online is None:
            return None
        if plane is None and _is_local(host):
            return self._online.local(scope["path"])
        owner = self._owner(host) if plane is Plane.SCORING else None
        if owner is None or owner.get("kind") != "online":
            return None
        return self._online.at(f"{owner['workspace']}/onlineEndpoints/{owner['endpoint']}", scope["path"])

    def _owner(self, host: str) -> dict[str, Any] | None:
        return self._store.get(f"/endpoint-names/{self._hosts.location}/{host.partition('.')[0]}")

    def _admit(self, scope: Scope, headers: Headers, plane: Plane | None, *, host: str) -> None:
        """Check the token, and bring the path into the form that the routes know.

        Raises:
            WireError: 401, 403, 404 for an endpoint that is not there, or 421 for a host name that is not local.
        """
        scope[REAL] = plane is not None
        if plane is None:
            if scope["path"].startswith("/control"):
                what = "the control interface needs --control, and a loopback address of the plain http port"
                raise not_emulated(scope["method"], scope["path"], what)
            if not _is_local(host):
                message = f"{host} is not a name of this machine; use 127.0.0.1, or Azure's names through the proxy."
                raise refusal(421, message, code="MisdirectedRequest")
            demanded = scope["method"] not in _SAFE
        else:
            demanded = plane is not Plane.STUDIO and scope["path"] not in {"/discovery", clouds.PATH}
        if AUTHORITY.is_strict:  # then looking needs a token, too, but for what a browser looks at and where to sign in
            demanded |= plane is None and scope["path"] not in _OPEN and not scope["path"].startswith("/ui")
        audiences = _AUDIENCES.get(plane, ()) if plane else ()
        tokens.check(headers.get("authorization"), audiences=audiences, demanded=demanded)
        if self._throttle is not None:
            self._take(scope, headers)
        if plane is Plane.SCORING:
            self._to_endpoint(scope, host)
        _to_canonical(scope)
        if self._is_controlled:
            claims = rights.claims_of(headers.get("authorization"))
            rights.check(self._store, claims, method=scope["method"], path=scope["path"])

    def _take(self, scope: Scope, headers: Headers) -> None:
        """Count a request to Azure Resource Manager.

        Raises:
            WireError: 429.
        """
        found = _SUBSCRIPTION.match(scope["path"])
        if found is not None and self._throttle is not None:
            who = str(rights.claims_of(headers.get("authorization")).get("appid", ""))
            scope[_LEFT] = self._throttle.take(found[1], who, scope["method"])

    def _to_endpoint(self, scope: Scope, host: str) -> None:
        """Put the workspace into the path, which Azure's scoring hosts leave out."""
        owner = self._owner(host)
        if owner is None:
            raise no_endpoint(host.partition(".")[0], self._hosts.location)
        name = WorkspaceName.of_arm_id(owner["workspace"])
        where = f"/inference/{name.subscription}/{name.group}/{name.name}/{owner['endpoint']}"
        scope["path"] = where + scope["path"]
        scope["raw_path"] = scope["path"].encode()

    def _studio(self, scope: Scope) -> Response:
        """Send a studio link to the emulator's own page of the run."""
        found = re.fullmatch(r"/runs/([^/]+)", scope["path"])
        query = dict(part.partition("=")[::2] for part in scope["query_string"].decode().replace("%2F", "/").split("&"))
        where = query.get("wsid", "").strip("/").split("/")
        if not found or len(where) != 6:  # noqa: PLR2004  # subscriptions/S/resourcegroups/G/workspaces/W
            raise not_emulated(scope["method"], f"https://ml.azure.com{scope['path']}")
        workspace = WorkspaceName(where[1], where[3], where[5])
        return RedirectResponse(self._addresses.http + job_page_path(workspace.arm_id, found[1]), 302)


def host_name(headers: Headers) -> str:
    """Read the host that a request names, lower case and without its port."""
    host = headers.get("host", "").lower()
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _is_local(host: str) -> bool:
    """Whether a name can only mean this machine or its own network: what a web page elsewhere cannot rebind."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".internal"))
    return True


def _to_canonical(scope: Scope) -> None:
    path: str = scope["path"]
    if (canonical := canonical_path(path)) != path:
        scope["path"] = canonical
        scope["raw_path"] = canonical.encode()


def canonical_path(path: str) -> str:
    """Spell the fixed words of an ARM id as the routes do; Azure compares them without case."""
    found = _CANONICAL.match(path)
    if not found:
        return path
    group = f"/resourceGroups/{found['group']}" if found["group"] else ""
    tail = path[found.end() :]
    for word in ("workspaces/", "registries/"):
        if tail[:11].lower() == word:
            tail = word + tail[11:]
    return f"{found['before']}/subscriptions/{found['sub']}{group}/providers/{PROVIDER}/{tail}"


def _with_headers(scope: Scope, asked: Headers, plane: Plane | None, *, location: str, send: Send) -> Send:
    """Add what Azure's answers carry: ids for support, and what the gateway says of caching and limits."""
    start = time.perf_counter()
    request_id = str(uuid.uuid4())

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            error = message["status"] >= 400  # noqa: PLR2004  # HTTP's own line
            headers["x-ms-request-id"] = request_id
            if client_id := asked.get("x-ms-client-request-id"):
                headers["x-ms-client-request-id"] = client_id
            headers["X-Content-Type-Options"] = "nosniff"
            said = error and headers.get("content-length") != "0"  # recorded: an empty 404 is "standard"
            headers["x-ms-response-type"] = "error" if said else "standard"
            if headers.get("content-type") == "application/json":
                headers["content-type"] = "application/json; charset=utf-8"
            headers["Request-Context"] = _APP_ID
            if headers.get("x-ms-failure-cause") is None:
                headers["x-request-time"] = f"{time.perf_counter() - start:.3f}"
                headers["x-aml-cluster"] = f"vienna-{location}-01"
            if plane is not None:
                headers["Strict-Transport-Security"] = _GATEWAY_HTTPS if plane is Plane.ARM else _SERVICE_HTTPS
            if plane is Plane.ARM or (plane is None and scope["path"].startswith("/subscriptions/")):
                _add_gateway(headers, scope.get(_LEFT) or _unlimited(scope), location=location)
                if not error and message["status"] not in _NO_TIMING:
                    span = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
                    headers["Server-Timing"] = f'traceparent;desc="{span}"'
            _log.debug("%s %s -> %s", scope["method"], scope["path"], message["status"])
        await send(message)

    return sending


def _add_gateway(headers: MutableHeaders, remaining: tuple[str, int], *, location: str) -> None:
    correlation = str(uuid.uuid4())
    kind, left = remaining
    headers["Cache-Control"] = "no-cache"
    headers["Pragma"] = "no-cache"
    headers["Expires"] = "-1"
    headers["x-ms-correlation-request-id"] = correlation
    headers["x-ms-routing-request-id"] = (
        f"{location.upper()}:{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}:{correlation}"
    )
    headers.setdefault(f"x-ms-ratelimit-remaining-subscription-{kind}", str(left))


def _unlimited(scope: Scope) -> tuple[str, int]:
    """Say what is left for who is not throttled."""
    if scope["method"] == "PUT" and _DEPLOYMENT.fullmatch(scope["path"]):
        return _RESOURCES
    return _UNLIMITED.get(scope["method"], _WRITES)
