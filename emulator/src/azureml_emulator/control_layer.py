"""What stands before everything that is served when the control interface is on: it counts, and lets faults strike."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket
import struct
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from azureml_emulator.blob_proxy import storage_error
from azureml_emulator.blob_proxy import unauthorized as storage_unauthorized
from azureml_emulator.control import Control, application
from azureml_emulator.errors import unauthorized
from azureml_emulator.faults import Fault
from azureml_emulator.names import Hosts, Plane
from azureml_emulator.routes.calls import CANCEL_NEVER_ENDS, LOCATION, WORKSPACE
from azureml_emulator.routes.front import canonical_path, host_name

#: What a request that no route takes is counted under.
UNROUTED = "not emulated"
_STORAGE = frozenset({Plane.BLOB.value, Plane.QUEUE.value})


class RouteNames:
    """Names the route of a request, also of one that never reached it.

    Args:
        routes: All routes of the control plane and of the login host.
        hosts: The names of Azure's hosts.
    """

    def __init__(self, routes: Sequence[BaseRoute], hosts: Hosts) -> None:
        self._hosts = hosts
        self._routes = [route for route in routes if isinstance(route, Route)]
        self._names: dict[Any, str] = {route.endpoint: _short(route.path) for route in self._routes}

    def name(self, scope: Scope) -> str:
        """Name the route of a request, ``{workspace}`` for a workspace's ARM id."""
        if (endpoint := scope.get("endpoint")) in self._names:
            return self._names[endpoint]
        plane = self._hosts.plane(host_name(Headers(scope=scope)))
        if plane in {Plane.BLOB, Plane.QUEUE}:
            return str(plane.value)
        path = canonical_path(scope["path"])
        if plane is Plane.SCORING and not path.startswith("/inference/"):
            path = f"/inference/-/-/-/-{path}"
        for route in self._routes:
            if scope["method"] in (route.methods or ()) and route.path_regex.match(path):
                return self._names[route.endpoint]
        return UNROUTED


def _short(path: str) -> str:
    return path.replace(WORKSPACE, "{workspace}").replace(LOCATION, "{location}")


class Connections:
    """The open connections of some servers, to end one without an answer."""

    def __init__(self) -> None:
        self._servers: list[uvicorn.Server] = []

    def watch(self, server: uvicorn.Server) -> None:
        """Know a server's connections, too."""
        self._servers.append(server)

    async def drop(self, scope: Scope, receive: Receive, *, reset: bool = False) -> None:
        """Close the connection that a request came by, and wait until it is.

        Args:
            scope: The request's scope.
            receive: The request's receiving end.
            reset: Whether the client sees a reset instead of an end.
        """
        transport = self._transport(scope)
        if transport is None:
            return
        if reset and (sock := transport.get_extra_info("socket")) is not None:
            with contextlib.suppress(OSError):  # the client has gone already
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass

    def _transport(self, scope: Scope) -> asyncio.Transport | None:
        wanted = (scope.get("server"), scope.get("client"))
        for server in self._servers:
            for protocol in server.server_state.connections:
                if (getattr(protocol, "server", None), getattr(protocol, "client", None)) == wanted:
                    found: asyncio.Transport = protocol.transport
                    return found
        return None


class ControlLayer:
    """The application in front of one port's.

    Args:
        app: What answers.
        control: What the control interface has set.
        connections: To drop one.
        name: Names a request's route once it was answered.
        interface: Answers ``/control`` to who came by the loopback address; None where it is not served.
    """

    def __init__(  # each is another collaborator
        self,
        app: ASGIApp,
        control: Control,
        *,
        connections: Connections,
        name: Callable[[Scope], str],
        interface: ASGIApp | None = None,
    ) -> None:
        self._app = app
        self._control = control
        self._connections = connections
        self._name = name
        self._interface = interface

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._interface is not None and _is_control(scope):
            await self._interface(scope, receive, send)
            return
        method, status = scope["method"], 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        fault = self._control.faults.strike(method, scope["path"])
        try:
            if fault is None:
                await self._app(scope, receive, sending)
            else:
                await self._strike(fault, scope, receive, sending)
        finally:
            self._control.requests.add(method, self._name(scope), status)

    async def _strike(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.status is not None or fault.expired_token:
            refusal = _storage_refusal if self._name(scope) in _STORAGE else _refusal
            await refusal(fault, scope)(scope, receive, send)
        elif fault.reset:
            while (await receive()).get("more_body"):  # a client that still writes would see an end and no reset
                pass
            await self._connections.drop(scope, receive, reset=True)
        elif fault.apply_then_drop:
            await self._app(scope, receive, _silence)
            await self._connections.drop(scope, receive)
        elif fault.truncate_bytes is not None:
            await self._app(scope, receive, _Truncating(fault.truncate_bytes, send))
            await self._connections.drop(scope, receive)
        elif fault.status_word:
            await self._app(scope, receive, _Rewriting(fault.status_word, send))
        else:
            if fault.slow_s is not None:
                await asyncio.sleep(fault.slow_s)
            scope[CANCEL_NEVER_ENDS] = fault.cancel_never_ends
            await self._app(scope, receive, send)


def guard(
    app: ASGIApp, control: Control | None, *, connections: Connections, names: RouteNames
) -> tuple[ASGIApp, ASGIApp]:
    """Stand before the applications of the plain http port and of the TLS port; before neither without ``control``."""
    if control is None:
        return app, app
    interface = application(control)
    plain = ControlLayer(app, control, connections=connections, name=names.name, interface=interface)
    return plain, ControlLayer(app, control, connections=connections, name=names.name)


def guard_storage(app: ASGIApp, control: Control | None, *, connections: Connections, plane: Plane) -> ASGIApp:
    """Stand before the proxy of a storage service."""
    if control is None:
        return app
    return ControlLayer(app, control, connections=connections, name=lambda _: plane.value)


async def _silence(message: Message) -> None:
    """Send nothing."""


def _is_control(scope: Scope) -> bool:
    """Whether a request is for the control interface, and comes from this machine under a name of it.

    A web page elsewhere can make a browser send requests here, but not under a loopback name.
    """
    path: str = scope["path"]
    if path != "/control" and not path.startswith("/control/"):
        return False
    client = scope.get("client")
    return client is not None and _is_loopback(client[0]) and _is_loopback(host_name(Headers(scope=scope)))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _refusal(fault: Fault, scope: Scope) -> Response:
    """Answer in the shape of Azure Resource Manager's gateway."""
    if fault.expired_token:
        error = unauthorized("ExpiredAuthenticationToken", "The access token expired, by a fault of the emulator.")
        status, body, headers = error.status, error.body, dict(error.headers)
    else:
        status, headers = fault.status or 500, dict(fault.headers)
        message = f"{scope['method']} {scope['path']} was struck by a fault of the emulator's control interface."
        body = {"error": {"code": fault.error_code, "message": message}}
    usual = {"x-ms-request-id": str(uuid.uuid4()), "x-ms-failure-cause": "gateway"}
    if client_id := Headers(scope=scope).get("x-ms-client-request-id"):
        usual["x-ms-client-request-id"] = client_id
    return JSONResponse(body, status, usual | headers)


def _storage_refusal(fault: Fault, scope: Scope) -> Response:
    """Answer in the shape of Azure Storage."""
    if fault.expired_token:
        answer = storage_unauthorized("Lifetime validation failed. The token is expired, by a fault of the emulator.")
    else:
        said = f"{scope['method']} {scope['path']} was struck by a fault of the emulator's control interface."
        answer = storage_error(fault.status or 500, fault.error_code, said)
        answer.headers.update(fault.headers)
    answer.headers["x-ms-request-id"] = str(uuid.uuid4())
    if client_id := Headers(scope=scope).get("x-ms-client-request-id"):
        answer.headers["x-ms-client-request-id"] = client_id
    return answer


class _Truncating:
    """Sends an answer's head as it is, and the first bytes of its body; it never says that this is all."""

    def __init__(self, most: int, send: Send) -> None:
        self._left = most
        self._send = send

    async def __call__(self, message: Message) -> None:
        """Take one part of the answer."""
        if message["type"] == "http.response.body":
            body = message.get("body", b"")[: self._left]
            self._left -= len(body)
            message = {"type": "http.response.body", "body": body, "more_body": True}
        await self._send(message)


class _Rewriting:
    """Sends an answer with another word for the status of each job in it."""

    def __init__(self, word: str, send: Send) -> None:
        self._word = word
        self._send = send
        self._head: Message = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        """Take one part of the answer, and send all with the last one."""
        if message["type"] == "http.response.start":
            self._head = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        with contextlib.suppress(ValueError):  # an answer that is no JSON stays as it is
            self._body = json.dumps(_with_word(json.loads(self._body), self._word)).encode()
            MutableHeaders(scope=self._head)["content-length"] = str(len(self._body))
        await self._send(self._head)
        await self._send({"type": "http.response.body", "body": self._body})


def _with_word(body: Any, word: str) -> Any:
    """Replace the status of a job, of a run of run history, or of each in a list."""
    if not isinstance(body, dict):
        return body
    if isinstance(body.get("value"), list):
        return body | {"value": [_with_word(one, word) for one in body["value"]]}
    if isinstance(body.get("properties"), dict) and "status" in body["properties"]:
        return body | {"properties": body["properties"] | {"status": word}}
    return body | {"status": word} if "runId" in body and "status" in body else body
