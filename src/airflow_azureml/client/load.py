"""Asking an endpoint: once, or as many times a second as wanted, within bounds."""

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self
from urllib.request import getproxies

from attrs import field, frozen

from airflow_azureml.core.answers import Answer, Tally
from airflow_azureml.core.workspace import is_loopback
from airflow_azureml.errors import AzureMLError, ConfigError

if TYPE_CHECKING:
    import aiohttp

#: Of a model's own answer that is no 200, Azure says 424, and the model's status here.
#: Source: https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints, "HTTP status codes".
MODEL_STATUS = "ms-azureml-model-error-statuscode"
MODEL_FAILED = 424
#: Which deployment is asked, and which answered.
DEPLOYMENT = "azureml-model-deployment"
#: Seconds in which a connection has to be there.
CONNECT_S = 10.0
#: Seconds between two lines of those who wait for their turn, at least.
_SLICE_S = 0.002


@frozen(kw_only=True)
class Target:
    """Who is asked.

    Attributes:
        url: The scoring address.
        secret: Gives the key or the token; it is asked for each request, so that it may be a fresh one.
        deployment: Which deployment has to answer, whatever the traffic; empty for the endpoint's choice.
        plain_http: Whether a key may go over plain http to another machine, as to a Kubernetes endpoint without TLS.
        proxy: The address of a proxy for https; empty for what the environment says.
    """

    url: str
    secret: Callable[[], str] = field(repr=False)
    deployment: str = ""
    plain_http: bool = False
    proxy: str = ""

    def headers(self) -> Mapping[str, str]:
        """Write what goes along with a request; never to be logged."""
        chosen = {DEPLOYMENT: self.deployment} if self.deployment else {}
        secret = self.secret()
        proof = {"Authorization": f"Bearer {secret}"} if secret else {}
        return {"Content-Type": "application/json", **proof, **chosen}

    def check(self) -> None:
        """See that a key is not shown to everybody.

        Raises:
            ConfigError: The address is plain http on another machine, or none.
        """
        is_tls = self.url.startswith("https://")
        if is_tls or (self.url.startswith("http://") and (self.plain_http or is_loopback(self.url))):
            return
        where = self.url.partition("?")[0]
        raise ConfigError(
            f"The scoring address {where!r} is not https, so that anybody on the way could read the key; nothing was"
            " sent. Give the endpoint TLS, or say plain_http=True where the network is yours."
        )


@frozen(kw_only=True)
class Load:
    """How often somebody is asked.

    Attributes:
        rate_per_s: Requests a second. They are sent at their times whether those before were answered or not, and
            their latency counts from that time: who is slow cannot lower the load.
        seconds: For how long.
        most_open: Most requests that wait for an answer at once; further ones are sent late.
        timeout_s: When one counts as not answered.
    """

    rate_per_s: float
    seconds: float
    most_open: int = 64
    timeout_s: float = 30.0


class Asker:
    """Asks; use it with ``async with``. Connections are kept.

    Args:
        target: Whom.
        most_open: Most connections.
        timeout_s: When a request counts as not answered. Seconds.

    Raises:
        ConfigError: The key would be shown to everybody.
    """

    def __init__(self, target: Target, *, most_open: int = 64, timeout_s: float = 30.0) -> None:
        target.check()
        self._target = target
        self._most_open = most_open
        self._timeout_s = timeout_s
        self._exits = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        import aiohttp  # noqa: PLC0415  # not when a DAG is parsed

        url = self._target.url
        bundle = os.environ.get("REQUESTS_CA_BUNDLE")
        tls = ssl.create_default_context(cafile=bundle) if bundle and url.startswith("https://") else True
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._most_open, ssl=tls, keepalive_timeout=30),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s, connect=CONNECT_S),
            trust_env=not is_loopback(url) and bool(getproxies()),
        )
        self._session = await self._exits.enter_async_context(session)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()

    async def ask(self, body: bytes, *, since: float | None = None) -> Answer:
        """Ask once; what goes wrong on the way, or with the key, is an answer without a status.

        Args:
            body: What is sent.
            since: The loop's time from which latency counts; from now on by default.
        """
        import aiohttp  # noqa: PLC0415  # as above

        if self._session is None:
            raise ConfigError("Use an Asker with `async with`.")
        url, clock = self._target.url, asyncio.get_running_loop().time
        proxy = self._target.proxy if url.startswith("https://") and not is_loopback(url) else ""
        began = clock() if since is None else since
        try:
            headers = self._target.headers()
            async with self._session.post(url, data=body, headers=headers, proxy=proxy or None) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError, AzureMLError) as error:
            words = str(error) or type(error).__name__
            return Answer(status=0, latency_ms=(clock() - began) * 1000, fault=words[:200])
        own = answer.headers.get(MODEL_STATUS, "")
        status = int(own) if answer.status == MODEL_FAILED and own.isdecimal() else answer.status
        return Answer(
            status=status,
            latency_ms=(clock() - began) * 1000,
            body=content,
            deployment=answer.headers.get(DEPLOYMENT, ""),
        )


async def press(
    asker: Asker, bodies: Sequence[bytes], load: Load, *, tally: Tally | None = None, stop: asyncio.Event | None = None
) -> Tally:
    """Ask as often as the load says, each of the bodies in turn, and count the answers.

    Args:
        asker: Asks.
        bodies: What is asked; one at least.
        load: How often.
        tally: Where they are counted, so that somebody may watch; by default a new one.
        stop: Ends it earlier.

    Returns:
        The counts. What could not be sent in time, since too many were waiting, counts as not answered.
    """
    counted = tally or Tally()
    loop = asyncio.get_running_loop()
    began = loop.time()
    room = asyncio.Semaphore(load.most_open)
    late_from = began + load.seconds + load.timeout_s

    async def one(number: int) -> None:
        due = began + number / load.rate_per_s
        try:
            if loop.time() < late_from:
                counted.add(await asker.ask(bodies[number % len(bodies)], since=due))
            else:
                counted.add(Answer(status=0, latency_ms=0.0, fault="it could not be sent in time"))
        finally:
            room.release()

    async with asyncio.TaskGroup() as group:
        number = 0
        while number < load.rate_per_s * load.seconds and not (stop and stop.is_set()):
            wait_s = began + number / load.rate_per_s - loop.time()
            if wait_s > _SLICE_S:
                await asyncio.sleep(min(wait_s, 0.1))
                continue
            await room.acquire()
            group.create_task(one(number))
            number += 1
    return counted
