"""The load generator against a server that counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from attrs import define, field

from airflow_azureml.client.load import Asker, Load, Target, press
from airflow_azureml.core.answers import Tally
from airflow_azureml.errors import ConfigError

pytestmark = pytest.mark.anyio
SECRET = "k3y-of-nobody"  # noqa: S105  # a test's own word


@define
class Server:
    """What is asked of it, and what it answers."""

    url: str = ""
    asked: list[tuple[str, str, bytes]] = field(factory=list)
    open_now: int = 0
    most_open: int = 0


Respond = Callable[[web.Request], Awaitable[web.Response]]


@asynccontextmanager
async def serving(respond: Respond) -> AsyncIterator[Server]:
    server = Server()

    async def handle(request: web.Request) -> web.Response:
        headers = request.headers
        server.asked.append(
            (headers.get("Authorization", ""), headers.get("azureml-model-deployment", ""), await request.read())
        )
        server.open_now += 1
        server.most_open = max(server.most_open, server.open_now)
        try:
            return await respond(request)
        finally:
            server.open_now -= 1

    application = web.Application()
    application.router.add_post("/score", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}/score"
    try:
        yield server
    finally:
        await runner.cleanup()


async def fine(_: web.Request) -> web.Response:
    return web.json_response([1.5], headers={"azureml-model-deployment": "blue"})


def target(server: Server, *, deployment: str = "") -> Target:
    return Target(url=server.url, secret=lambda: SECRET, deployment=deployment)


async def test_a_request_carries_the_key_and_names_the_deployment_and_an_answer_says_whose_it_is() -> None:
    async with serving(fine) as server, Asker(target(server, deployment="blue")) as asker:
        answer = await asker.ask(b"{}")

    assert server.asked == [(f"Bearer {SECRET}", "blue", b"{}")]
    assert (answer.status, answer.body, answer.deployment) == (200, b"[1.5]", "blue")
    assert answer.latency_ms > 0


async def test_a_models_own_refusal_is_read_through_azures() -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=424, text="bad", headers={"ms-azureml-model-error-statuscode": "400"})

    async with serving(refuse) as server, Asker(target(server)) as asker:
        answer = await asker.ask(b"{}")

    assert (answer.status, answer.body) == (400, b"bad")


async def test_who_does_not_answer_in_time_and_who_is_not_there_have_no_status() -> None:
    async def sleep(_: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    async with serving(sleep) as server, Asker(target(server), timeout_s=0.1) as asker:
        late = await asker.ask(b"{}")
    async with Asker(target(server)) as asker:
        gone = await asker.ask(b"{}")

    assert (late.status, gone.status) == (0, 0)
    assert late.fault
    assert "refused" in gone.fault.lower() or "connect" in gone.fault.lower()


async def test_as_many_are_asked_as_the_load_says_each_body_in_turn() -> None:
    async with serving(fine) as server, Asker(target(server)) as asker:
        tally = await press(asker, [b"1", b"2"], Load(rate_per_s=200, seconds=0.25))

    assert (tally.requests, tally.failed) == (50, 0)
    assert sorted(body for *_, body in server.asked) == [b"1"] * 25 + [b"2"] * 25
    assert tally.deployments == {"blue": 50}


async def test_who_is_slow_cannot_lower_the_load_and_waits_count_as_latency() -> None:
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(0.1)
        return web.Response()

    async with serving(slow) as server, Asker(target(server)) as asker:
        tally = await press(asker, [b""], Load(rate_per_s=100, seconds=0.2, most_open=2))

    # 20 requests, two at a time, 0.1 s each: the last ones waited for almost a second.
    assert (tally.requests, tally.failed) == (20, 0)
    assert server.most_open == 2
    assert tally.percentile_ms(100) > 600


async def test_what_cannot_be_sent_in_time_counts_as_failed() -> None:
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(0.2)
        return web.Response()

    async with serving(slow) as server, Asker(target(server)) as asker:
        tally = await press(asker, [b""], Load(rate_per_s=100, seconds=0.2, most_open=1, timeout_s=0.3))

    assert tally.requests == 20
    assert tally.failed >= 15
    assert "it could not be sent in time" in "".join(tally.failures)


async def test_a_load_ends_when_it_is_told_to_and_what_is_under_way_is_counted() -> None:
    stop, tally = asyncio.Event(), Tally()

    async def until_ten(_: web.Request) -> web.Response:
        if tally.requests >= 10:
            stop.set()
        return web.Response()

    async with serving(until_ten) as server, Asker(target(server)) as asker:
        await press(asker, [b""], Load(rate_per_s=500, seconds=60), tally=tally, stop=stop)

    assert 10 <= tally.requests == len(server.asked) < 500


@pytest.mark.parametrize("url", ["http://models.example.com/score", "ftp://127.0.0.1/score", ""])
def test_a_key_is_not_shown_to_everybody_on_the_way(url: str) -> None:
    with pytest.raises(ConfigError, match="nothing was sent") as error:
        Asker(Target(url=url, secret=lambda: SECRET))

    assert SECRET not in f"{error.value} {Target(url=url, secret=lambda: SECRET)!r}"
    if url.startswith("http://"):
        Asker(Target(url=url, secret=lambda: SECRET, plain_http=True))
