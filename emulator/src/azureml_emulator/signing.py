"""SharedKey signatures, and the check of bearer tokens, for requests that go on to Azurite.

Azurite takes bearer tokens only over its own TLS. The proxy ends TLS itself, so it checks the token as Azure Storage
would (audience and lifetime; signatures of tokens mean nothing here) and signs the request with the account's key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import attrs

from azureml_emulator.authority import AUTHORITY
from azureml_emulator.tokens import claims_of

#: The headers of the string to sign after the verb, in their order.
#: Source: https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key (2015-02-21 and later).
SIGNED_HEADERS = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
#: Whom a token for Azure Storage may be addressed to, beside the account's own hosts.
STORAGE_AUDIENCES = frozenset({"https://storage.azure.com"})
#: Clocks may differ by this much, as in Microsoft's own token validation.
CLOCK_SKEW_S = 300


@attrs.frozen(kw_only=True)
class Signable:
    """What a signature covers of a request.

    Attributes:
        method: The verb.
        path: The path as it goes on the wire, percent-encoded.
        query: The query string as it goes on the wire, without the question mark.
        headers: The headers, names in lower case.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


def string_to_sign(request: Signable, account: str) -> str:
    """Write what SharedKey signs for blob and queue requests."""
    headers = request.headers
    signed = ["" if (name, headers.get(name)) == ("content-length", "0") else headers.get(name, "")
              for name in SIGNED_HEADERS]  # fmt: skip
    own = sorted((name for name in headers if name.startswith("x-ms-")), key=_collation)
    lines = [request.method.upper(), *signed, *(f"{name}:{headers[name].strip()}" for name in own)]
    parameters: dict[str, list[str]] = {}
    for name, value in parse_qsl(request.query, keep_blank_values=True):
        parameters.setdefault(name.lower(), []).append(value)
    resource = [f"/{account}{request.path or '/'}"]
    resource += [f"{name}:{','.join(sorted(parameters[name]))}" for name in sorted(parameters)]
    return "\n".join([*lines, *resource])


def authorization(request: Signable, *, account: str, key: str) -> str:
    """Make the ``Authorization`` header for a request; ``key`` is the account key in base64."""
    text = string_to_sign(request, account).encode()
    digest = hmac.new(base64.b64decode(key), text, hashlib.sha256).digest()
    return f"SharedKey {account}:{base64.b64encode(digest).decode()}"


def refusal(token: str, *, account: str, now_s: float) -> str | None:
    """Say why a bearer token is not good for this account's storage; None when it is.

    Args:
        token: The JWT, without the word Bearer.
        account: The storage account.
        now_s: Unix time in seconds.
    """
    claims = claims_of(token)
    if claims is None:
        return "The token is not a JWT."
    if not AUTHORITY.takes(token):
        return "Signature validation failed."
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if not _is_for(account, (str(one) for one in audiences)):
        return f"Audience validation failed. Audience did not match: {audience}."
    return _untimely(claims, now_s)


def _untimely(claims: Mapping[str, Any], now_s: float) -> str | None:
    times = {name: claims.get(name) for name in ("nbf", "exp")}
    for name, value in times.items():
        if value is not None and not isinstance(value, int | float):
            return f"The token's {name} is not a time."
    if (times["exp"] or 0) + CLOCK_SKEW_S <= now_s:
        return "Lifetime validation failed. The token is expired."
    if (times["nbf"] or 0) - CLOCK_SKEW_S > now_s:
        return "Lifetime validation failed. The token is not yet valid."
    return None


def _is_for(account: str, audiences: Iterable[str]) -> bool:
    hosts = {f"https://{account}.{service}.core.windows.net" for service in ("blob", "queue")}
    return any(audience.rstrip("/") in STORAGE_AUDIENCES | hosts for audience in audiences)


def _collation(name: str) -> str:
    """Order header names as Azurite does: an underscore (in metadata names) before a hyphen, unlike ASCII."""
    return name.replace("_", "\x00")
