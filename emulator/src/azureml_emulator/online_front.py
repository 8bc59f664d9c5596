"""What stands before the scoring processes of online endpoints: who may ask, which deployment answers, and how long.

Source of the answers: learn.microsoft.com, how-to-troubleshoot-online-endpoints, "HTTP status codes"; the headers were
recorded. As documented, a deployment has at most twice as many requests at a time as its processes take, and the time
limit holds for waiting and scoring together; ``maxQueueWait`` is deprecated there, and does nothing here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from azureml_emulator import data_collection, durations, rights
from azureml_emulator.data_collection import DataCollection
from azureml_emulator.errors import Json, WireError
from azureml_emulator.names import WorkspaceName
from azureml_emulator.online_auth import DeniedError, Lock, admit
from azureml_emulator.online_keys import audience, keys_of
from azureml_emulator.online_metrics import Outcome, RequestMetrics
from azureml_emulator.online_processes import (
    Asked,
    ClientGoneError,
    ModelAnswer,
    Processes,
    ProcessGoneError,
    TooLargeError,
)
from azureml_emulator.online_queue import Deployed, NobodyReadyError, Process, Queue
from azureml_emulator.online_split import Split
from azureml_emulator.store import Store

_log = logging.getLogger(__name__)
#: The header by which a client chooses a deployment, and by which it is told which one answered.
DEPLOYMENT = "azureml-model-deployment"
#: The size that the body of a request may have at most.
MOST_BYTES = 16 * 1024 * 1024
SCORE, SWAGGER = "/score", "/swagger.json"
_METHODS = {SCORE: ("GET", "POST"), SWAGGER: ("GET",)}
#: At the plain address, where endpoints have no hosts of their own.
_LOCAL = re.compile(r"/online/([^/]+)/([^/]+)/([^/]+)/([^/]+)(/.*)")
_REASON, _MODEL_STATUS = "ms-azureml-model-error-reason", "ms-azureml-model-error-statuscode"
_OK = 200
_NO_CLIENT_ID = re.compile(r"[^A-Za-z0-9_-]")
_CLIENT_ID_LENGTH = 40
#: How long copies for a mirror may still take when the emulator ends, in seconds.
_GRACE_S = 1.0


@attrs.frozen(kw_only=True)
class Place:
    """Where a request goes.

    Attributes:
        endpoint: The endpoint's ARM id.
        path: The path at the endpoint's own host.
    """

    endpoint: str
    path: str


@attrs.frozen(kw_only=True)
class Answer:
    """What the client is answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)
    deployment: str = ""
    model_status: int | None = None


class _RefusedError(Exception):
    """A request that no model answers."""

    def __init__(self, status: int, reason: str, message: str = "", *, deployment: str = "") -> None:
        super().__init__(f"{status}: {reason}")
        headers = {"content-type": "text/plain; charset=utf-8", _REASON: reason}
        if status == 401:  # noqa: PLR2004  # HTTP's own
            headers["www-authenticate"] = "Bearer"
        body = (message or reason).encode()
        self.answer = Answer(status=status, headers=headers, body=body, deployment=deployment)


@attrs.frozen(kw_only=True)
class _Target:
    """A deployment that is to answer a request.

    Attributes:
        body: The deployment's resource.
        queue: Who has a request for it.
    """

    body: Json
    queue: Queue

    @property
    def name(self) -> str:
        """Its name, as it was created."""
        return str(self.body["name"])

    @property
    def most(self) -> int:
        """How many requests a process takes at a time."""
        return int(self._settings.get("maxConcurrentRequestsPerInstance") or 1)

    @property
    def limit_s(self) -> float:
        """How long a request may take, waiting included."""
        return durations.seconds(str(self._settings.get("requestTimeout") or "PT5S"))

    @property
    def _settings(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.body["properties"].get("requestSettings") or {}
        return found


async def _scored(request: Request) -> Response:
    """Stand for the front in the list of routes."""
    raise NotImplementedError(request.url.path)


#: What requests for scores are counted under.
ROUTES = [Route("/online/{sub}/{group}/{ws}/{name}/{path:path}", _scored, methods=["GET", "POST"])]


class OnlineFront:
    """Answers requests for scores.

    Args:
        store: The endpoints and deployments.
        deployments: Their processes.
        metrics: Is told of every request.
        collection: Is given the payloads that a deployment collects.
        controlled: Whether rights that were taken away count.
        draw: Gives a number that is equally likely anywhere from 0 to below 1.
    """

    def __init__(  # each is another collaborator
        self,
        store: Store,
        deployments: Deployed,
        *,
        metrics: RequestMetrics,
        collection: DataCollection,
        controlled: bool = False,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._deployments = deployments
        self._metrics = metrics
        self._collection = collection
        self._controlled = controlled
        self._draw = draw
        self._processes = Processes()
        self._queues: dict[str, Queue] = {}
        self._copies: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Give up the copies for mirrors that are not done soon, and close the connections to the processes."""
        if self._copies:
            await asyncio.wait(self._copies, timeout=_GRACE_S)
        for copy in self._copies:
            copy.cancel()
        await asyncio.gather(*self._copies, return_exceptions=True)
        await self._processes.close()

    def pending(self, deployment_id: str) -> int:
        """Count the requests for a deployment that are not answered yet, by its ARM id; those that wait, too."""
        queue = self._queues.get(deployment_id.lower())
        return queue.pending if queue else 0

    def at(self, endpoint: str, path: str) -> ASGIApp:
        """Give what answers a request at an endpoint's own host; the endpoint by its ARM id."""
        return partial(self.serve, Place(endpoint=endpoint, path=path))

    def local(self, path: str) -> ASGIApp | None:
        """Give what answers a request at the plain address; None for one that is no business of endpoints."""
        if path == data_collection.PATH:
            return self._collection
        if (found := _LOCAL.fullmatch(path)) is None:
            return None
        workspace = WorkspaceName(found[1], found[2], found[3])
        return self.at(f"{workspace.arm_id}/onlineEndpoints/{found[4]}", found[5])

    async def serve(self, place: Place, scope: Scope, receive: Receive, send: Send) -> None:  # ASGI's
        """Answer one request."""
        began, request_id = time.perf_counter(), str(uuid.uuid4())
        scope["endpoint"] = _scored
        with contextlib.ExitStack() as held:
            try:
                asked = await Asked.read(scope, receive, most_bytes=MOST_BYTES)
                answer = await self._answer(place, asked, request_id, held)
            except ClientGoneError:
                return
            except TooLargeError:
                message = f"The body is larger than {MOST_BYTES} bytes."
                answer = _RefusedError(413, "payload_too_large", message).answer
            except _RefusedError as refused:
                answer = refused.answer
            if place.path == SCORE:
                self._count(place, answer, began)
            await _send(answer, scope, send, request_id=request_id)

    def _count(self, place: Place, answer: Answer, began: float) -> None:
        outcome = Outcome(answer.deployment, answer.status, answer.model_status)
        self._metrics.add(place.endpoint, outcome, (time.perf_counter() - began) * 1000)

    async def _answer(self, place: Place, asked: Asked, request_id: str, held: contextlib.ExitStack) -> Answer:
        endpoint = self._store.get(place.endpoint)
        if endpoint is None:
            raise _RefusedError(404, "endpoint_not_found", f"There is no endpoint {place.endpoint}.")
        if asked.method not in _METHODS.get(place.path, ()):
            raise _RefusedError(404, "not_found", f"{asked.method} {place.path} is nothing that a model answers here.")
        self._admit(endpoint, asked)
        split, chosen = Split.of(endpoint["properties"]), asked.headers.get(DEPLOYMENT, "")
        name = chosen or split.choose(self._draw())
        if name is None:
            raise _RefusedError(404, "no_deployment_with_traffic", "No deployment of the endpoint takes traffic.")
        target = self._target(endpoint, name)
        if split.mirror and place.path == SCORE and not chosen:
            self._copy(endpoint, split.mirrored(self._draw()), asked, request_id)
        held.enter_context(target.queue.request())
        return await self._score(target, place, asked, request_id)

    def _admit(self, endpoint: Json, asked: Asked) -> None:
        keys = keys_of(self._store, endpoint["id"])
        mode = str(endpoint["properties"].get("authMode") or "Key")
        lock = Lock(mode=mode, keys=(keys.primary, keys.secondary), audience=audience(endpoint["id"]))
        try:
            claims = admit(lock, asked.headers.get("authorization"))
            if self._controlled and mode.lower() == "aadtoken":
                rights.check(self._store, claims, method="POST", path=f"{endpoint['id']}/score")
        except DeniedError as denied:
            raise _RefusedError(denied.status, denied.word) from denied
        except WireError as error:
            raise _RefusedError(error.status, "aad_auth_access_denied") from error

    def _target(self, endpoint: Json, name: str) -> _Target:
        """Find a deployment.

        Raises:
            _RefusedError: 404 where there is none of that name.
        """
        body = self._store.get(f"{endpoint['id']}/deployments/{name}")
        if body is None:
            message = f"There is no deployment {name} in endpoint {endpoint['name']}."
            raise _RefusedError(404, "deployment_not_found", message)
        arm_id = str(body["id"])
        if (queue := self._queues.get(arm_id.lower())) is None:
            queue = self._queues[arm_id.lower()] = Queue(lambda: self._deployments.instances(arm_id))
        return _Target(body=body, queue=queue)

    def _copy(self, endpoint: Json, name: str | None, asked: Asked, request_id: str) -> None:
        """Send a mirror its copy, for whose answer nobody waits."""
        if name is None:
            return

        async def sending() -> None:
            began, place = time.perf_counter(), Place(endpoint=endpoint["id"], path=SCORE)
            try:
                target = self._target(endpoint, name)
                with target.queue.request():
                    answer = await self._score(target, place, asked, request_id)
            except _RefusedError as refused:
                answer = attrs.evolve(refused.answer, deployment=name)
            self._count(place, answer, began)

        task = asyncio.create_task(sending())
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)

    async def _score(self, target: _Target, place: Place, asked: Asked, request_id: str) -> Answer:
        """Have a process answer, within the deployment's time limit; its hold on the deployment is the caller's.

        Raises:
            _RefusedError: 408, 429, 502 or 503.
        """
        queue, name = target.queue, target.name
        if queue.pending > max(1, 2 * target.most * len(queue.ready())):
            raise _RefusedError(429, "too_many_pending_request", deployment=name)
        try:
            async with asyncio.timeout(target.limit_s):
                found, took_s = await self._asked(target, asked, path=place.path, request_id=request_id)
        except TimeoutError:
            message = f"The model did not answer within {target.limit_s:g} s."
            raise _RefusedError(408, "request_timeout", message, deployment=name) from None
        except NobodyReadyError:
            raise _not_ready(name) from None
        except ProcessGoneError as error:
            _log.warning("Deployment %s did not answer request %s: %s", name, request_id, error)
            message = "The model's process ended while it had the request."
            raise _RefusedError(502, "model_gone", message, deployment=name) from error
        if place.path == SCORE:
            self._collection.payloads(target.body, asked, found, request_id=request_id)
        return _passed_on(found, name, took_s)

    async def _asked(self, target: _Target, asked: Asked, *, path: str, request_id: str) -> tuple[ModelAnswer, float]:
        """Give a request to the process that is least busy; one that takes no connection is passed over."""
        more, without = {"x-request-id": request_id, "x-ms-request-id": request_id}, list[Process]()
        while True:
            async with target.queue.process(most=target.most, without=without) as process:
                began = time.perf_counter()
                try:
                    found = await self._processes.ask(f"{process.url}{path}", asked, more=more)
                except ProcessGoneError as error:
                    if error.asked:
                        raise
                    without.append(process)
                else:
                    return found, time.perf_counter() - began


def _not_ready(deployment: str) -> _RefusedError:
    message = f"No process of deployment {deployment} is ready."
    return _RefusedError(503, "model_not_ready", message, deployment=deployment)


def _passed_on(found: ModelAnswer, deployment: str, took_s: float) -> Answer:
    """Make the answer of a model's; one that is no 200 becomes a 424, as in Azure."""
    headers = dict(found.headers) | {"ms-azureml-model-time": f"{took_s * 1000:.0f}"}
    status = found.status
    if status != _OK:
        status = 424
        headers |= {_REASON: "model_error", _MODEL_STATUS: str(found.status)}
    return Answer(status=status, headers=headers, body=found.body, deployment=deployment, model_status=found.status)


async def _send(answer: Answer, scope: Scope, send: Send, *, request_id: str) -> None:
    headers = {
        **answer.headers,
        "server": "azureml-frontdoor",
        "x-request-id": request_id,
        "content-length": str(len(answer.body)),
    }
    if answer.deployment:
        headers[DEPLOYMENT] = answer.deployment
    for name, value in scope["headers"]:
        if name.lower() == b"x-ms-client-request-id":
            headers["x-ms-client-request-id"] = _NO_CLIENT_ID.sub("", value.decode("latin-1"))[:_CLIENT_ID_LENGTH]
    raw = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": answer.body})
