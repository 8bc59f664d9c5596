"""What stands before scoring processes: who may ask, who answers, for how long, and what is measured of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import attrs
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from azureml_emulator.clock import CLOCK
from azureml_emulator.data_collection import DataCollection
from azureml_emulator.names import WorkspaceName
from azureml_emulator.online_front import OnlineFront
from azureml_emulator.online_keys import audience, keys_of
from azureml_emulator.online_metrics import MINUTE_S, RequestMetrics
from azureml_emulator.tokens import issue
from tests.unit.emulator.serving import serving
from tests.unit.emulator.world import World, eventually

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
GATE = "x-gate"


@attrs.define(eq=False)
class Process:
    """A scoring process as the front knows it."""

    url: str
    busy: int = 0


@attrs.define(eq=False)
class Model:
    """A model that says who it is, answers what its name says, and can be held up."""

    name: str
    asked: int = 0
    open: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.asked += 1
        if GATE in request.headers:
            await self.open.wait()
        await self._answer(request, await request.body())(scope, receive, send)

    def _answer(self, request: Request, body: bytes) -> Response:
        if body == b"bad":
            return PlainTextResponse("no such column", 400)
        headers = {"x-ms-run-function-failed": "False", "x-seen": request.headers.get("authorization", "nothing")}
        return PlainTextResponse(f"{self.name} {request.method} {request.url.path} {body.decode()}", headers=headers)


@attrs.define(eq=False)
class Endpoint:
    """An endpoint of a test's own, its processes, and a front before them."""

    world: World
    processes: dict[str, list[Process]] = attrs.field(factory=dict)
    draws: list[float] = attrs.field(factory=lambda: [0.0])
    metrics: RequestMetrics = attrs.field(init=False)
    front: OnlineFront = attrs.field(init=False)
    url: str = ""

    def __attrs_post_init__(self) -> None:
        self.metrics = RequestMetrics(self.world.store)
        collection = DataCollection(self.world.store, self.world.storage)
        self.front = OnlineFront(
            self.world.store, self, metrics=self.metrics, collection=collection, controlled=True, draw=self._draw
        )

    def _draw(self) -> float:
        self.draws.append(self.draws.pop(0))
        return self.draws[-1]

    def instances(self, deployment_id: str) -> Sequence[Process]:
        return self.processes.get(deployment_id.rpartition("/")[2], [])

    @property
    def arm_id(self) -> str:
        return f"{self.world.workspace}/onlineEndpoints/ep"

    @property
    def key(self) -> str:
        return keys_of(self.world.store, self.arm_id).primary

    def put(self, **properties: Any) -> None:
        body: Json = {"id": self.arm_id, "name": "ep", "properties": {"authMode": "Key", "traffic": {}, **properties}}
        self.world.store.put(self.arm_id, body)

    def deploy(self, name: str, *urls: str, **settings: Any) -> None:
        self.processes[name] = [Process(url) for url in urls]
        body: Json = {
            "id": f"{self.arm_id}/deployments/{name}",
            "name": name,
            "properties": {"requestSettings": settings},
        }
        self.world.store.put(body["id"], body)

    async def ask(self, body: str = "x", *, path: str = "score", key: str | None = None, **headers: str) -> Answered:
        authorization = {"authorization": f"Bearer {self.key if key is None else key}"}
        sent = authorization | {name.replace("_", "-"): value for name, value in headers.items()}
        method = "GET" if path == "swagger.json" else "POST"
        async with (
            aiohttp.ClientSession() as client,
            client.request(method, f"{self.url}/{path}", data=body, headers=sent) as answer,
        ):
            found = {name.lower(): value for name, value in answer.headers.items()}
            return Answered(answer.status, await answer.text(), found)

    def seen(self) -> Counter[tuple[str, int, int | None]]:
        """Count what was measured, by deployment, status and the model's status."""
        now = int(CLOCK.now_s()) // MINUTE_S
        minutes = self.metrics.minutes(self.arm_id, since=now - 5, until=now + 1).values()
        found: Counter[tuple[str, int, int | None]] = Counter()
        for minute in minutes:
            found.update({attrs.astuple(outcome): count for outcome, count in minute.requests.items()})
        return found


@attrs.frozen
class Answered:
    status: int
    text: str
    headers: dict[str, str]


@pytest.fixture
async def endpoint(world: World) -> AsyncIterator[Endpoint]:
    made = Endpoint(world)
    made.put()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answer = made.front.local(scope["path"])
        assert answer is not None
        await answer(scope, receive, send)

    name = WorkspaceName.of_arm_id(world.workspace)
    async with serving(app) as url:
        made.url = f"{url}/online/{name.subscription}/{name.group}/{name.name}/ep"
        yield made
    await made.front.close()


@contextlib.asynccontextmanager
async def models(*names: str) -> AsyncIterator[list[tuple[Model, str]]]:
    """Serve some models."""
    async with contextlib.AsyncExitStack() as stack:
        made = [Model(name) for name in names]
        yield [(model, await stack.enter_async_context(serving(model))) for model in made]


# who may ask


@pytest.mark.parametrize(
    ("mode", "opened", "refused"),
    [
        ("Key", ["primary", "secondary"], {"": 401, "wrong": 401, "token": 401}),
        ("AMLToken", ["token"], {"": 401, "wrong": 401, "primary": 401, "expired": 401, "other": 403, "entra": 403}),
        ("AADToken", ["entra"], {"": 401, "wrong": 401, "primary": 401, "token": 401}),
    ],
)
async def test_only_what_opens_the_endpoint_is_let_in(
    endpoint: Endpoint, mode: str, opened: list[str], refused: dict[str, int]
) -> None:
    endpoint.put(authMode=mode, traffic={"blue": 100})
    keys = keys_of(endpoint.world.store, endpoint.arm_id)
    held = {
        "": "",
        "wrong": "wrong",
        "primary": keys.primary,
        "secondary": keys.secondary,
        "token": issue(audience(endpoint.arm_id)),
        "expired": issue(audience(endpoint.arm_id), lifetime_s=-10),
        "other": issue(audience(f"{endpoint.arm_id}x")),
        "entra": issue("https://ml.azure.com"),
    }
    async with models("blue") as [(_, url)]:
        endpoint.deploy("blue", url)
        let_in = [(await endpoint.ask(key=held[name])).status for name in opened]
        kept_out = {name: (await endpoint.ask(key=held[name])).status for name in refused}

    assert let_in == [200] * len(opened)
    assert kept_out == refused


async def test_the_key_is_for_the_front_and_not_for_the_model(endpoint: Endpoint) -> None:
    async with models("blue") as [(_, url)]:
        endpoint.deploy("blue", url)
        answer = await endpoint.ask(azureml_model_deployment="blue")

    assert answer.headers["x-seen"] == "nothing"


# which deployment answers


async def test_requests_go_where_the_traffic_says_and_where_the_header_says(endpoint: Endpoint) -> None:
    endpoint.put(traffic={"blue": 90, "green": 10})
    endpoint.draws = [0.0, 0.95, 0.5]
    async with models("blue", "green") as served:
        for model, url in served:
            endpoint.deploy(model.name, url)
        by_traffic = [(await endpoint.ask()).headers["azureml-model-deployment"] for _ in range(3)]
        named = await endpoint.ask(azureml_model_deployment="green")

    assert by_traffic == ["blue", "green", "blue"]
    assert (named.status, named.text) == (200, "green POST /score x")
    assert endpoint.seen() == {("blue", 200, 200): 2, ("green", 200, 200): 2}


async def test_an_answer_says_what_azure_says(endpoint: Endpoint) -> None:
    endpoint.put(traffic={"blue": 100})
    async with models("blue") as [(_, url)]:
        endpoint.deploy("blue", url)
        answer = await endpoint.ask(x_ms_client_request_id="my id/1" + "x" * 60, x_request_id="mine")

    assert (answer.headers["server"], answer.headers["azureml-model-deployment"]) == ("azureml-frontdoor", "blue")
    assert answer.headers["x-ms-run-function-failed"] == "False"
    assert answer.headers["x-ms-client-request-id"] == ("myid1" + "x" * 60)[:40]
    assert len(answer.headers["x-request-id"]) == 36
    assert "ms-azureml-model-time" in answer.headers


@pytest.mark.parametrize(
    ("traffic", "header", "status", "reason"),
    [
        ({}, "", 404, "no_deployment_with_traffic"),
        ({"blue": 0}, "", 404, "no_deployment_with_traffic"),
        ({"blue": 100}, "red", 404, "deployment_not_found"),
        ({"blue": 100}, "", 503, "model_not_ready"),
    ],
)
async def test_without_a_deployment_that_can_answer_the_reason_is_said(
    endpoint: Endpoint, traffic: dict[str, int], header: str, status: int, reason: str
) -> None:
    endpoint.put(traffic=traffic)
    endpoint.deploy("blue")
    answer = await endpoint.ask(azureml_model_deployment=header)

    assert (answer.status, answer.headers["ms-azureml-model-error-reason"]) == (status, reason)


async def test_a_mirror_gets_copies_whose_answers_nobody_waits_for(endpoint: Endpoint) -> None:
    endpoint.put(traffic={"blue": 100}, mirrorTraffic={"green": 10})
    endpoint.draws = [0.05]
    async with models("blue", "green") as [(blue, blue_url), (green, green_url)]:
        endpoint.deploy("blue", blue_url, maxConcurrentRequestsPerInstance=10)
        endpoint.deploy("green", green_url, maxConcurrentRequestsPerInstance=1)
        blue.open.set()
        answers = [await endpoint.ask(x_gate="closed") for _ in range(5)]
        await eventually(lambda: endpoint.seen()["green", 429, None] == 3, "what is too much for the mirror is dropped")
        green.open.set()
        await eventually(lambda: endpoint.seen()["green", 200, 200] == 2, "the mirror has answered")
        named = await endpoint.ask(azureml_model_deployment="blue")

    assert {(answer.status, answer.text) for answer in [*answers, named]} == {(200, "blue POST /score x")}
    assert endpoint.seen() == {("blue", 200, 200): 6, ("green", 200, 200): 2, ("green", 429, None): 3}
    assert green.asked == 2


# what becomes of a request


async def test_an_answer_of_the_model_that_is_no_200_is_a_424_with_its_body(endpoint: Endpoint) -> None:
    endpoint.put(traffic={"blue": 100})
    async with models("blue") as [(_, url)]:
        endpoint.deploy("blue", url)
        answer = await endpoint.ask("bad")

    assert (answer.status, answer.text) == (424, "no such column")
    assert answer.headers["ms-azureml-model-error-statuscode"] == "400"
    assert answer.headers["ms-azureml-model-error-reason"] == "model_error"
    assert endpoint.seen() == {("blue", 424, 400): 1}


async def test_a_model_that_takes_too_long_is_a_408_and_takes_no_place_any_more(endpoint: Endpoint) -> None:
    endpoint.put(traffic={"blue": 100})
    async with models("blue") as [(model, url)]:
        endpoint.deploy("blue", url, requestTimeout="PT0.2S")
        late = await endpoint.ask(x_gate="closed")
        model.open.set()
        next_one = await endpoint.ask()

    assert (late.status, next_one.status) == (408, 200)
    assert endpoint.processes["blue"][0].busy == 0


async def test_more_than_twice_what_the_processes_take_is_refused(endpoint: Endpoint) -> None:
    endpoint.put(traffic={"blue": 100})
    async with models("blue", "blue") as served:
        endpoint.deploy("blue", *[url for _, url in served], maxConcurrentRequestsPerInstance=2)
        tasks = [asyncio.create_task(endpoint.ask(x_gate="closed")) for _ in range(9)]
        await eventually(lambda: any(task.done() for task in tasks), "one is refused")
        busy = [process.busy for process in endpoint.processes["blue"]]
        for model, _ in served:
            model.open.set()
        answers = await asyncio.gather(*tasks)

    assert Counter(answer.status for answer in answers) == {200: 8, 429: 1}
    assert busy == [2, 2]
    assert [model.asked for model, _ in served] == [4, 4]


async def test_a_process_that_takes_no_connection_is_passed_over(endpoint: Endpoint) -> None:
    endpoint.put(traffic={"blue": 100})
    async with models("blue") as [(_, url)]:
        endpoint.deploy("blue", "http://127.0.0.1:9", url)
        answers = [await endpoint.ask() for _ in range(3)]

    assert [answer.status for answer in answers] == [200, 200, 200]


async def test_a_process_that_dies_over_a_request_is_a_502(endpoint: Endpoint) -> None:
    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    endpoint.put(traffic={"blue": 100})
    server = await asyncio.start_server(die, "127.0.0.1", 0)
    async with server:
        endpoint.deploy("blue", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        answer = await endpoint.ask()

    assert (answer.status, answer.headers["ms-azureml-model-error-reason"]) == (502, "model_gone")
    assert endpoint.seen() == {("blue", 502, None): 1}


async def test_the_schema_is_the_models_own_and_is_no_request_for_a_score(endpoint: Endpoint) -> None:
    endpoint.put(traffic={"blue": 100})
    async with models("blue") as [(_, url)]:
        endpoint.deploy("blue", url)
        schema = await endpoint.ask("", path="swagger.json")
        other = await endpoint.ask("", path="admin")

    assert (schema.status, schema.text) == (200, "blue GET /swagger.json ")
    assert other.status == 404
    assert endpoint.seen() == {}


# requests under way


async def test_a_request_is_pending_until_it_is_answered_whatever_becomes_of_its_deployment(endpoint: Endpoint) -> None:
    endpoint.put(traffic={"blue": 100})
    arm_id = f"{endpoint.arm_id}/deployments/blue"
    async with models("blue") as [(model, url)]:
        endpoint.deploy("blue", url)
        running, waiting = [asyncio.create_task(endpoint.ask(x_gate="closed")) for _ in range(2)]
        await eventually(lambda: endpoint.front.pending(arm_id) == 2, "both are there")
        endpoint.put(traffic={"green": 100})
        endpoint.world.store.delete(arm_id)
        refused = await endpoint.ask(azureml_model_deployment="blue")
        model.open.set()
        answers = [await running, await waiting]

    assert [answer.status for answer in answers] == [200, 200]
    assert refused.status == 404
    assert endpoint.front.pending(arm_id) == 0


async def test_rights_that_were_taken_away_count_for_an_endpoint_of_entra(endpoint: Endpoint) -> None:
    name = WorkspaceName.of_arm_id(endpoint.world.workspace)
    rights = {"person": {f"{name.subscription}/{name.group}/{name.name}": "read"}}
    endpoint.world.store.put("/control/rights", {"said": rights})
    endpoint.put(authMode="AADToken", traffic={"blue": 100})
    async with models("blue") as [(_, url)]:
        endpoint.deploy("blue", url)
        person = await endpoint.ask(key=issue("https://ml.azure.com", subject="person"))
        pipeline = await endpoint.ask(key=issue("https://ml.azure.com", subject="pipeline"))

    assert (person.status, pipeline.status) == (403, 200)
