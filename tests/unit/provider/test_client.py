"""Both clients against a service that counts, and that refuses when it is told to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any, TypeVar

import pytest
from azure.core import AsyncPipelineClient, PipelineClient
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.core.rest import HttpRequest

from airflow_azureml.client.azureml import AsyncClient, Client, scope_of
from airflow_azureml.client.tokens import AsyncTokenPolicy, AsyncTokens, TokenPolicy, Tokens
from airflow_azureml.core.clouds import CLOUDS, Cloud
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import ConfigError, RefusedError, UnavailableError
from airflow_azureml.wire.http import Audience, Flow, Request
from tests.unit.provider.service import NAMES, SECRET, AsyncPurse, AsyncRemembering, Purse, Remembering, Service

T = TypeVar("T")
HALVES = ["blocking", "async"]


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as started:
        yield started


def ask(service: Service, method: str = "GET", *, audience: Audience = Audience.MANAGEMENT) -> Flow[int]:
    request = Request(
        doing="Ask",
        method=method,
        url=f"{service.url}/thing",
        json=None if method == "GET" else {"a": 1},
        audience=audience,
        repeatable=method != "POST",
    )
    answer = yield request
    answer.expect(request, 200)
    return answer.status


def hold(half: str, service: Service, purse: Purse, *flows: Flow[T]) -> list[T]:
    """Hold conversations one after the other with one client."""
    if half == "blocking":
        with Client(service.settings, credential=purse) as client:
            return [client.run(flow) for flow in flows]

    async def held() -> list[T]:
        async with AsyncClient(service.settings, credential=purse) as client:  # type: ignore[arg-type]  # AsyncPurse
            return [await client.run(flow) for flow in flows]

    return asyncio.run(held())


def purse_for(half: str, lifetime_s: int = 3600) -> Purse:
    return (Purse if half == "blocking" else AsyncPurse)(lifetime_s)


# Pain 9: a token that is over in the middle of a wait


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_a_refused_token_makes_one_new_token_and_one_repeat_for_every_method(
    service: Service, half: str, method: str
) -> None:
    purse = purse_for(half)
    service.refused = {f"{SECRET}-1"}

    assert hold(half, service, purse, ask(service, method), ask(service, method)) == [200, 200]
    assert [(asked[0], asked[2][-1]) for asked in service.asked] == [(method, "1"), (method, "2"), (method, "2")]
    assert purse.given == 2


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_second_refusal_is_the_end(service: Service, half: str, method: str) -> None:
    purse = purse_for(half)
    service.refuses_all = True

    with pytest.raises(RefusedError, match=r"Ask: 401 ExpiredAuthenticationToken.*\[request req-1\]") as refused:
        hold(half, service, purse, ask(service, method))

    assert (len(service.asked), purse.given, refused.value.retryable) == (2, 2, False)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("status", [400, 403, 404, 409])
def test_another_refusal_is_no_reason_for_a_new_token(service: Service, half: str, status: int) -> None:
    purse = purse_for(half)
    service.answers = {"/thing": (status, {"error": {"code": "No", "message": "no"}})}

    with pytest.raises(RefusedError):
        hold(half, service, purse, ask(service, "POST"))

    assert (len(service.asked), purse.given) == (1, 1)


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_post_that_got_no_certain_answer_is_never_sent_again(service: Service, half: str, status: int) -> None:
    service.answers = {"/thing": (status, {"error": {"code": "Busy", "message": "later"}})}

    with pytest.raises(UnavailableError):
        hold(half, service, purse_for(half), ask(service, "POST"))

    assert len(service.asked) == 1


@pytest.mark.parametrize("half", HALVES)
def test_a_token_is_kept_while_it_is_good_and_renewed_before_it_is_over(service: Service, half: str) -> None:
    lasting, short = purse_for(half, lifetime_s=3600), purse_for(half, lifetime_s=120)

    hold(half, service, lasting, *(ask(service) for _ in range(5)))
    hold(half, service, short, *(ask(service) for _ in range(5)))

    assert (lasting.given, short.given) == (1, 5)


def test_requests_that_were_refused_together_share_one_new_token(service: Service) -> None:
    purse = AsyncPurse()
    service.refused = {f"{SECRET}-1"}

    async def held() -> list[int]:
        async with AsyncClient(service.settings, credential=purse) as client:
            return await asyncio.gather(*(client.run(ask(service, "POST")) for _ in range(50)))

    assert asyncio.run(held()) == [200] * 50
    assert purse.given == 2
    assert sum(asked[2].endswith("-1") for asked in service.asked) <= 50
    assert sum(asked[2].endswith("-2") for asked in service.asked) == 50


def test_a_credential_of_our_own_is_made_anew_so_that_it_forgets_the_refused_token() -> None:
    made: list[Remembering] = []

    def make() -> Remembering:
        made.append(Remembering())
        return made[-1]

    with Tokens(make) as tokens:
        before = [tokens.get_token_info("s").token for _ in range(2)]
        tokens.forget()
        after = tokens.get_token_info("s").token
        assert [each.closed for each in made] == [True, False]

    assert before == [before[0]] * 2
    assert after != before[0]
    assert [each.closed for each in made] == [True, True]


def test_a_refused_token_that_the_credential_remembers_is_not_sent_again(service: Service) -> None:
    made: list[Remembering] = []

    def make() -> Remembering:
        made.append(Remembering())
        service.refused.add(made[0].get_token().token)
        return made[-1]

    with Tokens(make) as tokens, _pipeline(TokenPolicy(tokens, "s"), service) as client:
        answer = client.send_request(HttpRequest("GET", f"{service.url}/thing"), enforce_https=False)

    assert (answer.status_code, len(made), made[0].closed) == (200, 2, True)


@pytest.mark.anyio
async def test_a_refused_token_that_an_async_credential_remembers_is_not_sent_again(service: Service) -> None:
    made: list[AsyncRemembering] = []

    def make() -> AsyncRemembering:
        made.append(AsyncRemembering())
        service.refused.add(Remembering.get_token(made[0]).token)
        return made[-1]

    async with AsyncTokens(make) as tokens:
        policy = AsyncTokenPolicy(tokens, "s")
        async with AsyncPipelineClient[Any, Any](service.url, policies=[policy]) as client:
            asked = HttpRequest("GET", f"{service.url}/thing")
            answer = await client.send_request(asked, enforce_https=False)

    assert (answer.status_code, len(made), made[0].closed) == (200, 2, True)


def _pipeline(policy: TokenPolicy, service: Service) -> PipelineClient[Any, Any]:
    return PipelineClient(service.url, policies=[policy])


def test_a_credential_of_the_callers_is_neither_closed_nor_made_anew() -> None:
    mine = Remembering()

    with Tokens(lambda: mine, own=False) as tokens:
        tokens.get_token_info("s")
        tokens.forget()
        tokens.get_token_info("s")

    assert not mine.closed


@pytest.mark.parametrize("half", HALVES)
def test_no_token_is_in_the_logs(service: Service, half: str, caplog: pytest.LogCaptureFixture) -> None:
    service.refused = {f"{SECRET}-1"}

    with caplog.at_level(logging.DEBUG):
        hold(half, service, purse_for(half), ask(service, "POST"))

    assert SECRET not in caplog.text


# Tokens are for the services of the connection's cloud


@pytest.mark.parametrize("half", HALVES)
def test_each_audience_has_a_token_of_its_own(service: Service, half: str) -> None:
    purse = purse_for(half)

    hold(half, service, purse, ask(service), ask(service, audience=Audience.MACHINE_LEARNING))

    assert purse.scopes == ["https://management.azure.com/.default", "https://ml.azure.com/.default"]


@pytest.mark.parametrize("cloud", list(Cloud))
def test_scopes_follow_the_cloud_and_not_the_address(cloud: Cloud) -> None:
    settings = ConnectionSettings.parse({**NAMES, "cloud": cloud.value, "endpoint": "https://gw.example"}, conn_id="c")

    assert scope_of(settings, Audience.MANAGEMENT) == f"{CLOUDS[cloud].resource_manager}/.default"
    assert scope_of(settings, Audience.MACHINE_LEARNING) == f"{CLOUDS[cloud].machine_learning}/.default"


# A file that is gone


class Bare(Purse):
    """A credential whose file is gone, and says so as azure-identity's async half does."""

    def get_token(self, *_scopes: str, **_: Any) -> AccessToken:
        raise FileNotFoundError(2, "No such file or directory", "/var/run/token")


class Wrapped(Bare):
    """The same in the words of its blocking half."""

    def get_token(self, *scopes: str, **more: Any) -> AccessToken:
        try:
            return super().get_token(*scopes, **more)
        except FileNotFoundError as error:
            raise ClientAuthenticationError(f"Authentication failed: {error}") from error


@pytest.mark.parametrize("purse", [Bare(), Wrapped()], ids=["bare", "wrapped"])
def test_a_token_file_that_is_gone_is_a_wrong_connection_and_not_an_outage(service: Service, purse: Purse) -> None:
    with pytest.raises(ConfigError, match=r"a file on this machine cannot be read: .*/var/run/token"):
        hold("blocking", service, purse, ask(service))
