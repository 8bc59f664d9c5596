"""How Azure ML's answers look, as literals, and where an answer that came differs from them.

A shape is JSON with some places left open: a type stands for any value of it, a pattern for any text that it matches as
a whole, `Each` for a list or an object of like values, `Maybe` for a name that need not be there, `Either` for one of
several shapes. Everything else has to be there, exactly so, and nothing more.

The facts are those of recorded answers of Azure ML, 2022-08 to 2023-05. Where API versions differ, the shape is that of
the newest one that was recorded, with what only some have as `Maybe`.
"""

from __future__ import annotations

import contextlib
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

from azureml_emulator.names import WorkspaceName
from azureml_emulator.settings import DEV_ACCOUNT
from azureml_emulator.testing import emulator
from azureml_emulator.tokens import issue

WORKSPACE = WorkspaceName("00000000-0000-0000-0000-000000000001", "tests", "recorded")
SUBSCRIPTION, GROUP, NAME = WORKSPACE.subscription, WORKSPACE.group, WORKSPACE.name
GUID_OF_WORKSPACE, LOCATION = WORKSPACE.guid, "westeurope"
ARM, PROVIDER = "https://management.azure.com", "Microsoft.MachineLearningServices"
API = f"https://{LOCATION}.api.azureml.ms"
W = WORKSPACE.arm_id
L = f"{ARM}/subscriptions/{SUBSCRIPTION}/providers/{PROVIDER}/locations/{LOCATION}"
TYPE = f"{PROVIDER}/workspaces"
ACCOUNT = DEV_ACCOUNT
_PATIENCE_S = 120.0

# shapes


@attrs.frozen
class Maybe:
    """A name in an object that need not be there."""

    name: str


def maybe(shape: Any, *names: str) -> dict[Any, Any]:
    """Make members of one shape that need not be there."""
    return {Maybe(name): shape for name in names}


@attrs.frozen
class Each:
    """A list, or an object, of at least so many values that are all alike."""

    shape: Any
    at_least: int = 0


class Either(tuple[Any, ...]):
    """One of several shapes."""

    __slots__ = ()


_PLACES = {
    "<guid>": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "<time>": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?\+00:00",
    "<zulu>": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z",
    "<hex16>": r"[0-9a-f]{16}",
    "<hex32>": r"[0-9a-f]{32}",
    "<43>": r"[A-Za-z0-9_-]{43}",
    "<word>": r"\w+",
    "<any>": r".*",
}


def like(text: str) -> re.Pattern[str]:
    """Make the pattern of a text that has places for a ``<guid>``, a ``<time>``, … in it."""
    parts = re.split(r"(<\w+>)", text)
    return re.compile("".join(_PLACES.get(part) or re.escape(part) for part in parts), re.DOTALL)


GUID, TIME, ZULU = like("<guid>"), like("<time>"), like("<zulu>")
TEXT = Either([str, None])
EMPTY = b""
#: What an accepted operation has for a body: four characters.
NULL = b"null"
USER = {"createdBy": str, "createdByType": "User"}
#: By what they are of; none is like the others.
OF_JOB = {"createdAt": TIME, **USER}
OF_ASSET = {
    **OF_JOB,
    "lastModifiedAt": TIME,
    "lastModifiedBy": str,
    "lastModifiedByType": "User",
}
OF_ENDPOINT = {"createdAt": TIME, "createdBy": str, "lastModifiedAt": TIME}


def additional(*inner: str, more: Mapping[str, Any] | None = None) -> list[Any]:
    """Make the ``additionalInfo`` of an error, in its order; without inner codes there is no InnerError."""
    nested: Any = None
    for code in reversed(inner):
        nested = {"code": code, "innerError": nested}
    info: dict[str, Any] = {
        "ComponentName": "managementfrontend",
        "Correlation": {"operation": like("<hex32>"), "request": like("<hex16>")},
        "Environment": LOCATION,
        "Location": LOCATION,
        "Time": TIME,
        **({"InnerError": nested} if inner else {}),
        **(more or {}),
    }
    return [{"type": kind, "info": {"value": value}} for kind, value in info.items()]


def refused(code: str, message: Any, *inner: str, more: Mapping[str, Any] | None = None) -> Any:
    """Make the body of an error without details."""
    return {"error": {"code": code, "message": message, "details": [], "additionalInfo": additional(*inner, more=more)}}


def detailed(code: str, detail_code: str, detail: str) -> Any:
    """Make the body of a 404 that says in its details what is not there."""
    details = [{"code": detail_code, "message": detail, "details": [], "additionalInfo": []}]
    message = "The specified resource was not found."
    return {"error": {"code": code, "message": message, "details": details, "additionalInfo": additional()}}


def of_service(message: Any, inner: Any, component: Any, *, code: str = "UserError") -> Any:
    """Make the body of an error of a service behind the workspace, which is a failed run's error, too."""
    unsaid = ("severity", "messageFormat", "messageParameters", "referenceCode", "detailsUri", "target")
    return {
        "error": {
            "code": code,
            "message": message,
            **dict.fromkeys(unsaid),
            "details": [],
            "innerError": inner,
            "debugInfo": None,
            "additionalInfo": None,
        },
        "correlation": {"operation": like("<hex32>"), "request": like("<hex16>")},
        "environment": LOCATION,
        "location": LOCATION,
        "time": TIME,
        "componentName": component,
    }


def differences(shape: Any, found: Any, at: str = "") -> list[str]:
    """Say where a value is not as a shape has it; nothing where it is."""
    if isinstance(shape, Either):
        told = [differences(one, found, at) for one in shape]
        return [] if [] in told else min(told, key=len)
    if isinstance(shape, Mapping):
        return _of_object(shape, found, at)
    if isinstance(shape, Each):
        return _of_each(shape, found, at)
    if isinstance(shape, list):
        if not isinstance(found, list) or len(found) != len(shape):
            return [f"{at}: {found!r:.200} is no list of {len(shape)}"]
        pairs = zip(shape, found, strict=True)
        return [line for number, pair in enumerate(pairs) for line in differences(*pair, f"{at}[{number}]")]
    return [] if _is(shape, found) else [f"{at}: {found!r:.200} is not {shape!r:.200}"]


def _of_object(shape: Mapping[Any, Any], found: Any, at: str) -> list[str]:
    if not isinstance(found, Mapping):
        return [f"{at}: {found!r:.200} is no object"]
    needed = {name: each for name, each in shape.items() if not isinstance(name, Maybe)}
    known = needed | {name.name: each for name, each in shape.items() if isinstance(name, Maybe)}
    told = [f"{at}.{name}: is missing" for name in needed if name not in found]
    told += [f"{at}.{name}: was not recorded" for name in found if name not in known]
    return told + [
        line for name in known if name in found for line in differences(known[name], found[name], f"{at}.{name}")
    ]


def _of_each(shape: Each, found: Any, at: str) -> list[str]:
    if not isinstance(found, list | Mapping) or len(found) < shape.at_least:
        return [f"{at}: {found!r:.200} is neither list nor object of at least {shape.at_least}"]
    items = found.items() if isinstance(found, Mapping) else enumerate(found)
    return [line for name, each in items for line in differences(shape.shape, each, f"{at}[{name}]")]


def _is(shape: Any, found: Any) -> bool:
    if isinstance(shape, re.Pattern):
        return isinstance(found, str) and shape.fullmatch(found) is not None
    if isinstance(shape, type):
        return type(found) is shape
    return type(found) is type(shape) and bool(found == shape)


# exchanges

Answers = dict[str, httpx.Response]


@attrs.frozen
class Exchange:
    """A request, and how its answer was recorded.

    Attributes:
        name: The method, and of what; how it is called in tests.
        path: Below the workspace; with a leading slash below Azure Resource Manager; with a scheme a URL; or what says
            it from the answers before.
        status: The answer's.
        body: Its shape; bytes for a body that is no JSON.
        sent: The body that is sent, or what says it from the answers before.
        version: The API version; empty for none.
        headers: Shapes of headers that matter for this one; None for a header that is not there.
        asks: Headers that are sent, or what says them from the answers before.
        until: Asks again until the answer is so.
        is_usual: Whether the answer has the headers of most others.
    """

    name: str
    path: str | Callable[[Answers], str]
    status: int
    body: Any
    sent: Any = attrs.field(default=None, kw_only=True)
    version: str = attrs.field(default="2023-04-01-preview", kw_only=True)
    headers: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)
    asks: Mapping[str, str] | Callable[[Answers], Mapping[str, str]] = attrs.field(factory=dict, kw_only=True)
    until: Callable[[httpx.Response], bool] | None = attrs.field(default=None, kw_only=True)
    is_usual: bool = attrs.field(default=True, kw_only=True)

    @property
    def method(self) -> str:
        return self.name.partition(" ")[0]


def judged(exchange: Exchange, answer: httpx.Response) -> list[str]:
    """Say what an answer has that the recorded one has not, and the other way."""
    told = [] if answer.status_code == exchange.status else [f"status: {answer.status_code}, not {exchange.status}"]
    if isinstance(exchange.body, bytes):
        told += [] if answer.content == exchange.body else [f"body: {answer.content!r:.300} is not {exchange.body!r}"]
    else:
        told += differences(exchange.body, answer.json() if answer.content else None)
    is_gateway = answer.request.url.host == "management.azure.com"
    usual = usual_headers(exchange.method, answer.status_code, is_gateway=is_gateway) if exchange.is_usual else {}
    wanted = {**usual, **exchange.headers}
    if answer.headers.get("x-ms-failure-cause"):  # never reached the service
        wanted |= dict.fromkeys(("x-aml-cluster", "x-request-time", "Server-Timing"))
    if exchange.is_usual and answer.content and not isinstance(exchange.body, bytes):
        wanted |= {"Content-Type": "application/json; charset=utf-8"}
    return told + _of_headers(wanted, answer.headers)


def _of_headers(wanted: Mapping[str, Any], found: httpx.Headers) -> list[str]:
    told = []
    for name, shape in wanted.items():
        value = found.get(name)
        if shape is None or value is None:
            told += [] if shape is value else [f"header {name}: {value!r}, not {shape!r}"]
        else:
            told += differences(shape, value, f"header {name}")
    return told


def usual_headers(method: str, status: int, *, is_gateway: bool) -> dict[str, Any]:
    """Tell the headers of every answer: of Azure Resource Manager, and of the workspace's own hosts."""
    error = status >= 400
    found: dict[str, Any] = {
        "x-aml-cluster": like(f"vienna-{LOCATION}-<any>"),
        "x-request-time": re.compile(r"\d+\.\d{3}"),
        "x-ms-response-type": "error" if error else "standard",
        "Request-Context": like("appId=cid-v1:<guid>"),
        "X-Content-Type-Options": "nosniff",
        "ETag": None,
    }
    kinds = {"GET": "reads", "DELETE": "deletes"}
    counted = f"x-ms-ratelimit-remaining-subscription-{kinds.get(method, 'writes')}"
    if not is_gateway:
        unsent = ("Cache-Control", "Pragma", "x-ms-correlation-request-id", "x-ms-routing-request-id", counted)
        sent = {"Strict-Transport-Security": "max-age=15724800; includeSubDomains; preload"}
        return {**found, **sent, **dict.fromkeys(unsent)}
    return {
        **found,
        "Cache-Control": "no-cache",
        "Pragma": "no-cache",
        "Expires": "-1",
        "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
        "x-ms-correlation-request-id": GUID,
        "x-ms-routing-request-id": re.compile(rf"[A-Z0-9]+:\d{{8}}T\d{{6}}Z:{_PLACES['<guid>']}"),
        counted: re.compile(r"\d+"),
        "Server-Timing": None if error or status == 202 else like('traceparent;desc="00-<hex32>-<hex16>-01"'),
    }


# the emulator


@attrs.frozen
class Azure:
    """A client of the emulator that names Azure's hosts."""

    http: httpx.Client

    def send(self, exchange: Exchange, before: Answers) -> httpx.Response:
        """Send the request, until the answer is as the exchange wants it."""
        path = exchange.path if isinstance(exchange.path, str) else exchange.path(before)
        url = path if "://" in path else f"{ARM}{path if path.startswith('/') else f'{W}/{path}'.rstrip('/')}"
        if exchange.version and "api-version=" not in url and url.startswith(ARM):
            url += f"{'&' if '?' in url else '?'}api-version={exchange.version}"
        scope = ARM if url.startswith(ARM) else "https://ml.azure.com"
        asks = exchange.asks(before) if callable(exchange.asks) else exchange.asks
        headers = {"Authorization": f"Bearer {issue(scope)}", **asks}
        sent = exchange.sent(before) if callable(exchange.sent) else exchange.sent
        body = {} if sent is None else {"json": sent}
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            answer = self.http.request(exchange.method, url, headers=headers, **body)
            if exchange.until is None or exchange.until(answer) or time.monotonic() > deadline:
                return answer
            time.sleep(0.05)

    def upload(self, sas_uri: str, files: Mapping[str, str]) -> None:
        """Write texts into a container."""
        container = httpx.URL(sas_uri)
        for name, text in files.items():
            url = container.copy_with(path=f"{container.path}/{name}")
            answer = self.http.put(url, content=text.encode(), headers={"x-ms-blob-type": "BlockBlob"})
            assert answer.status_code == 201, answer.text

    def tell(self, exchanges: Sequence[Exchange], *, after: Answers | None = None) -> Answers:
        """Send them all, in their order, after those that have been sent already."""
        told = dict(after or {})
        for exchange in exchanges:
            told[exchange.name] = self.send(exchange, told)
        return told


@contextlib.contextmanager
def azure(folder: Path, blob_port: int, queue_port: int) -> Iterator[Azure]:
    """Run an emulator in this process, with one workspace."""
    blob, queue = (f"http://127.0.0.1:{port}" for port in (blob_port, queue_port))
    with emulator(folder=folder, azurite_blob=blob, azurite_queue=queue) as running:
        env = running.workspace(NAME, group=GROUP, subscription=SUBSCRIPTION).environment
        trusted = ssl.create_default_context(cafile=env["SSL_CERT_FILE"])
        with httpx.Client(proxy=env["HTTPS_PROXY"], verify=trusted, trust_env=False, timeout=60) as http:
            yield Azure(http)


def each(exchanges: Sequence[Exchange]) -> pytest.MarkDecorator:
    """Let a test be told of each exchange, by its name."""
    return pytest.mark.parametrize("exchange", exchanges, ids=[one.name for one in exchanges])
