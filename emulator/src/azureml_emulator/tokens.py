"""Tokens as Azure hands them out and looks at them.

The claims are checked (audience, expiry); the signature only by a strict authority, see `azureml_emulator.authority`.
What the emulator protects itself with is that it listens on the loopback address only.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import attrs
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from azureml_emulator.authority import AUTHORITY
from azureml_emulator.clock import CLOCK
from azureml_emulator.errors import unauthorized
from azureml_emulator.names import TENANT, guid

LOGIN = "login.microsoftonline.com"
LIFETIME_S = 24 * 60 * 60

#: Whose tokens each plane takes, without a trailing slash.
ARM_AUDIENCES = ("https://management.azure.com", "https://management.core.windows.net")
ML_AUDIENCES = ("https://ml.azure.com",)


def issue(audience: str, *, subject: str = "azureml-emulator", lifetime_s: int = LIFETIME_S) -> str:
    """Make a token that looks like Microsoft Entra's."""
    at = int(CLOCK.now_s())
    claims = {
        "aud": audience,
        "iss": f"https://sts.windows.net/{AUTHORITY.tenant}/",
        "iat": at,
        "nbf": at - 60,
        "exp": at + lifetime_s,
        "appid": subject,
        "idtyp": "app",
        "oid": guid("principal", subject),
        "sub": guid("principal", subject),
        "tid": AUTHORITY.tenant,
        "ver": "1.0",
    }
    signed = ".".join(_encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{signed}.{AUTHORITY.sign(signed)}"


def claims_of(token: str) -> dict[str, Any] | None:
    """Read a token's claims; None when it is no JSON web token."""
    try:
        middle = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    except (IndexError, ValueError, binascii.Error):
        return None
    return claims if isinstance(claims, dict) else None


def check(authorization: str | None, *, audiences: tuple[str, ...], demanded: bool) -> None:
    """Look at an ``Authorization`` header as Azure Resource Manager does.

    Args:
        authorization: The header; None when it was not sent.
        audiences: Whose tokens are taken; empty for any, opaque ones too.
        demanded: Whether a request without one is refused.

    Raises:
        WireError: 401, with ``WWW-Authenticate``.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        if demanded:
            raise unauthorized("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
        return
    claims = claims_of(token)
    if claims is None:
        if audiences or AUTHORITY.is_strict:
            raise unauthorized("InvalidAuthenticationToken", "The access token is invalid.")
        return
    _check_signer(token, claims)
    expiry, at = float(claims.get("exp", 0)), CLOCK.now_s()
    if expiry < at:
        said, current = (datetime.fromtimestamp(moment, UTC).strftime("%m/%d/%Y %H:%M:%S") for moment in (expiry, at))
        raise unauthorized(
            "ExpiredAuthenticationToken",
            f"The access token expiry UTC time '{said}' is earlier than current UTC time '{current}'.",
        )
    audience = str(claims.get("aud", "")).rstrip("/")
    if audiences and audience not in audiences:
        allowed = ",".join(f"'{one}'" for one in audiences)
        raise unauthorized(
            "InvalidAuthenticationTokenAudience",
            f"The access token has been obtained for wrong audience or resource '{audience}'. "
            f"It should exactly match with one of the allowed audiences {allowed}.",
        )


def _check_signer(token: str, claims: dict[str, Any]) -> None:
    if not AUTHORITY.is_strict:
        return
    theirs, ours = str(claims.get("iss", "")), f"https://sts.windows.net/{AUTHORITY.tenant}/"
    if theirs != ours:
        raise unauthorized(
            "InvalidAuthenticationTokenTenant",
            f"The access token is from the wrong issuer '{theirs}'. It must match the tenant '{ours}' associated with"
            " this subscription. Please use the authority (URL) of that tenant to get the token.",
        )
    if not AUTHORITY.takes(token):
        raise unauthorized("InvalidAuthenticationToken", "The access token is invalid: its signature is not.")


@attrs.define
class Lifetime:
    """How long tokens live that clients ask for, in seconds; those of jobs live `LIFETIME_S`."""

    seconds: int = LIFETIME_S


def identity_route(header: str, lifetime: Lifetime) -> Route:
    """Make the endpoint of a managed identity in App Service's shape; ``header`` is the secret it asks for."""

    async def managed_identity(request: Request) -> Response:
        if not secrets.compare_digest(request.headers.get("x-identity-header", ""), header):
            body = {
                "statusCode": 401,
                "message": "X-IDENTITY-HEADER is not IDENTITY_HEADER; see `azureml-emulator env`",
            }
            return JSONResponse(body, 401)
        resource = request.query_params.get("resource")
        if not resource:
            return JSONResponse({"statusCode": 400, "message": "The query has no resource"}, 400)
        identity = request.query_params.get("client_id", "managed-identity")
        answer = {
            "access_token": issue(resource, subject=identity, lifetime_s=lifetime.seconds),
            "expires_on": str(int(CLOCK.now_s()) + lifetime.seconds),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": guid("client", identity),
        }
        return JSONResponse(answer)

    return Route("/msi/token", managed_identity)


def login_routes(lifetime: Lifetime) -> list[Route]:
    """Make what an unmodified ``ClientSecretCredential`` asks of login.microsoftonline.com."""

    async def token(request: Request) -> Response:
        return await _token(request, lifetime.seconds)

    return [
        Route("/common/discovery/instance", _instance_discovery),
        Route("/{tenant}/v2.0/.well-known/openid-configuration", _openid_configuration),
        Route("/{tenant}/oauth2/v2.0/token", token, methods=["POST"]),
    ]


async def _instance_discovery(request: Request) -> Response:
    tenant = request.query_params.get("authorization_endpoint", "").partition("://")[2].split("/")
    name = tenant[1] if len(tenant) > 1 else TENANT
    answer = {
        "tenant_discovery_endpoint": f"https://{LOGIN}/{name}/v2.0/.well-known/openid-configuration",
        "api-version": "1.1",
        "metadata": [
            {
                "preferred_network": LOGIN,
                "preferred_cache": "login.windows.net",
                "aliases": [LOGIN, "login.windows.net", "login.microsoft.com", "sts.windows.net"],
            }
        ],
    }
    return JSONResponse(answer)


async def _openid_configuration(request: Request) -> Response:
    root = f"https://{LOGIN}/{request.path_params['tenant']}"
    answer = {
        "token_endpoint": f"{root}/oauth2/v2.0/token",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "jwks_uri": f"{root}/discovery/v2.0/keys",
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": f"{root}/v2.0",
        "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
        "device_authorization_endpoint": f"{root}/oauth2/v2.0/devicecode",
        "tenant_region_scope": "EU",
        "cloud_instance_name": "microsoftonline.com",
    }
    return JSONResponse(answer)


async def _token(request: Request, lifetime_s: int) -> Response:
    form = dict(parse_qsl((await request.body()).decode()))
    grant, scope, client = (form.get(name, "") for name in ("grant_type", "scope", "client_id"))
    tenant = request.path_params["tenant"]
    if AUTHORITY.is_strict and tenant != AUTHORITY.tenant:
        message = f"AADSTS90002: Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID."
        return _oauth_error("invalid_request", message)
    if grant != "client_credentials":
        return _oauth_error(
            "unsupported_grant_type", f"AADSTS70003: The emulator grants client_credentials, not {grant!r}."
        )
    if not scope.split() or not client:
        return _oauth_error("invalid_request", "AADSTS900144: The request body must contain 'scope' and 'client_id'.")
    if not (form.get("client_secret") or form.get("client_assertion")):
        message = "AADSTS7000218: The request body must contain 'client_assertion' or 'client_secret'."
        return _oauth_error("invalid_client", message, status=401)
    if AUTHORITY.is_strict and (refused := _sign_in(client, form.get("client_secret", ""))) is not None:
        return refused
    audience = scope.split()[0].removesuffix("/.default")
    answer = {
        "token_type": "Bearer",
        "expires_in": lifetime_s,
        "ext_expires_in": lifetime_s,
        "access_token": issue(audience, subject=client, lifetime_s=lifetime_s),
    }
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


def _sign_in(client: str, secret: str) -> Response | None:
    """Refuse a service principal that is not known, or has another secret."""
    known = AUTHORITY.clients.get(client)
    if known is None:
        message = f"AADSTS700016: Application with identifier '{client}' was not found in the directory."
        return _oauth_error("unauthorized_client", message)
    if not secrets.compare_digest(known.encode(), secret.encode()):
        message = f"AADSTS7000215: Invalid client secret provided for app '{client}'."
        return _oauth_error("invalid_client", message, status=401)
    return None


def _oauth_error(code: str, message: str, *, status: int = 400) -> Response:
    return JSONResponse({"error": code, "error_description": message, "error_codes": []}, status)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
