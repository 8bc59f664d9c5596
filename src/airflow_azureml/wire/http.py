"""Requests, responses, and what an answer that was not expected means."""

import json
from collections.abc import Generator, Mapping
from enum import Enum
from typing import Any, TypeVar

from attrs import field, frozen

from airflow_azureml.errors import ProtocolError, RefusedError, UnavailableError

T = TypeVar("T")
NOT_FOUND = 404
#: Asking again later may work: request timeout, too many requests, and the gateway's own troubles.
#: Source: Azure Resource Manager, "Throttling" and "Common deployment errors". 501 is an answer, not a trouble.
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
WORDS_SHOWN = 600


class Audience(Enum):
    """For whom a token is made."""

    MANAGEMENT = "management"
    MACHINE_LEARNING = "machine_learning"
    #: No token goes along: the address itself is signed, and must not be shown.
    NOBODY = "nobody"


@frozen(kw_only=True)
class Request:
    """One thing to ask.

    Attributes:
        doing: What this is for, as the start of a sentence; an error begins with it.
        repeatable: Whether it may be sent again when its answer was lost.
    """

    doing: str
    method: str
    url: str
    params: Mapping[str, str] = field(factory=dict)
    headers: Mapping[str, str] = field(factory=dict)
    json: Any = None
    audience: Audience = Audience.MANAGEMENT
    repeatable: bool = True

    @property
    def address(self) -> str:
        """The URL as it may be shown: without its query, which may be a signature."""
        return self.url.partition("?")[0]


@frozen(kw_only=True)
class Response:
    """What came back.

    Attributes:
        headers: Names in lower case.
        body: The raw body.
    """

    status: int
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = b""

    @property
    def request_id(self) -> str:
        """The id by which Azure's support finds this answer; empty when there is none."""
        return next(
            (self.headers[name] for name in ("x-ms-request-id", "x-ms-correlation-request-id", "x-request-id")
             if self.headers.get(name)),
            "",
        )  # fmt: skip

    def expect(self, request: Request, *statuses: int) -> Mapping[str, Any]:
        """Return the body as a mapping, if the status is one of those expected; an empty body is an empty mapping.

        Raises:
            RefusedError: The answer is no.
            UnavailableError: The answer is "not now".
            ProtocolError: The body is no JSON object.
        """
        if self.status not in statuses:
            raise self._error(request)
        if not self.body.strip() or self.body.strip() == b"null":
            return {}
        parsed = _as_json(self.body)
        if not isinstance(parsed, dict):
            raise ProtocolError(
                f"{request.doing}: {self.status}, and a body that is no JSON object [request {self.request_id}]"
            )
        return parsed

    def _error(self, request: Request) -> RefusedError | UnavailableError:
        kind = UnavailableError if self.status in TRANSIENT else RefusedError
        code, message = _service_words(self.body)
        return kind(request.doing, status=self.status, code=code, message=message, request_id=self.request_id)


Flow = Generator[Request, Response, T]


def _as_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _service_words(body: bytes) -> tuple[str, str]:
    """Read code and message of an error body; the innermost code says most."""
    parsed = _as_json(body)
    error = parsed.get("error") if isinstance(parsed, dict) else None
    if not isinstance(error, dict):
        return "", body.decode("utf-8", "replace").strip()[:WORDS_SHOWN]
    codes = [str(error.get("code") or "")]
    inner = next(
        (
            extra.get("info", {}).get("value")
            for extra in error.get("additionalInfo") or []
            if isinstance(extra, dict) and extra.get("type") == "InnerError"
        ),
        error.get("innerError"),
    )
    while isinstance(inner, dict):
        codes.append(str(inner.get("code") or ""))
        inner = inner.get("innerError")
    details = [str(detail.get("message") or "") for detail in error.get("details") or [] if isinstance(detail, dict)]
    message = " ".join(words for words in (str(error.get("message") or ""), *details) if words)
    return "/".join(code for code in codes if code), message[:WORDS_SHOWN]
