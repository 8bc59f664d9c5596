"""The credential that a connection describes, for the async and for the blocking client alike."""

import base64
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from azure.core.credentials import AccessToken

from airflow_azureml.core.workspace import Authentication, ConnectionSettings
from airflow_azureml.errors import ConfigError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.core.credentials_async import AsyncTokenCredential

LOCAL_TENANT = "00000000-0000-0000-0000-000000000000"
LOCAL_LIFETIME_S = 3600
#: azure-identity's class for each kind, which both of its halves name alike, and which of our settings is which of its
#: arguments. A setting that is empty is left to azure-identity.
RECIPES: Mapping[Authentication, tuple[str, Mapping[str, str]]] = {
    Authentication.DEFAULT: ("DefaultAzureCredential", {}),
    Authentication.SERVICE_PRINCIPAL: (
        "ClientSecretCredential",
        {"tenant_id": "tenant_id", "client_id": "client_id", "client_secret": "client_secret"},
    ),
    Authentication.SERVICE_PRINCIPAL_CERTIFICATE: (
        "CertificateCredential",
        {
            "tenant_id": "tenant_id",
            "client_id": "client_id",
            "certificate_data": "certificate",
            "certificate_path": "certificate_path",
            "password": "certificate_password",
        },
    ),
    Authentication.MANAGED_IDENTITY: ("ManagedIdentityCredential", {"client_id": "client_id"}),
    Authentication.WORKLOAD_IDENTITY: (
        "WorkloadIdentityCredential",
        {"tenant_id": "tenant_id", "client_id": "client_id", "token_file_path": "token_file_path"},
    ),
}
#: Seconds, and tries beyond the first, of a request to Entra. azure-identity's own ten tries last seven minutes, while
#: everybody who needs a token waits. A machine's own identity has a schedule that its service asks for: left as it is.
_PATIENCE = {
    "retry_total": 3,
    "retry_backoff_factor": 0.4,
    "retry_backoff_max": 20,
    "connection_timeout": 10,
    "read_timeout": 30,
}
_OF_THE_MACHINE = frozenset({Authentication.DEFAULT, Authentication.MANAGED_IDENTITY})
#: Where AKS says which file holds the token. Source: azure-identity, ``WorkloadIdentityCredential``.
_FILE_VARIABLE = "AZURE_FEDERATED_TOKEN_FILE"


class LocalToken:
    """A token for an emulator on this machine: it is signed by nobody and proves nothing.

    Args:
        client_id: The application that the token is of; empty for nobody in particular.
    """

    def __init__(self, client_id: str = "") -> None:
        self.client_id = client_id

    def make(self, *scopes: str) -> AccessToken:
        """Make one for the audience of the first scope, valid for an hour."""
        now = int(time.time())
        claims = {
            "aud": scopes[0].removesuffix("/.default"),
            "iss": f"https://sts.windows.net/{LOCAL_TENANT}/",
            "tid": LOCAL_TENANT,
            "oid": LOCAL_TENANT,
            "iat": now,
            "nbf": now,
            "exp": now + LOCAL_LIFETIME_S,
            **({"appid": self.client_id} if self.client_id else {}),
        }
        head, body = _part({"alg": "none", "typ": "JWT"}), _part(claims)
        # azure-ai-ml reads the token before it submits a pipeline: the signature has to be base64, whatever it says.
        return AccessToken(f"{head}.{body}.{_encoded(b'local')}", now + LOCAL_LIFETIME_S)


def _part(content: dict[str, Any]) -> str:
    return _encoded(json.dumps(content).encode())


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class LocalCredential(LocalToken):
    """`LocalToken` as the blocking client wants it."""

    def get_token(self, *scopes: str, **_kwargs: Any) -> AccessToken:
        """Make a token for these scopes."""
        return self.make(*scopes)

    def close(self) -> None:
        """Do nothing; there is nothing to close."""


class AsyncLocalCredential(LocalToken):
    """`LocalToken` as the async client wants it."""

    async def get_token(self, *scopes: str, **_kwargs: Any) -> AccessToken:
        """Make a token for these scopes."""
        return self.make(*scopes)

    async def close(self) -> None:
        """Do nothing; there is nothing to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Do nothing; there is nothing to close."""


def credential(settings: ConnectionSettings) -> "TokenCredential":
    """Build the blocking credential; nothing is asked of anybody yet.

    Raises:
        ConfigError: A certificate or token file cannot be read, or a setting is none that Entra could know.
    """
    if settings.authentication is Authentication.EMULATOR:
        return LocalCredential(settings.client_id)
    from azure import identity  # noqa: PLC0415  # half a second that the user of an emulator need not wait

    return _build(identity, settings)  # type: ignore[no-any-return]


def async_credential(settings: ConnectionSettings) -> "AsyncTokenCredential":
    """Build the async credential; nothing is asked of anybody yet.

    Raises:
        ConfigError: A certificate or token file cannot be read, or a setting is none that Entra could know.
    """
    if settings.authentication is Authentication.EMULATOR:
        return AsyncLocalCredential(settings.client_id)
    from azure.identity import aio  # noqa: PLC0415  # as above

    return _build(aio, settings)  # type: ignore[no-any-return]


def proxies(settings: ConnectionSettings) -> dict[str, str] | None:
    """Say through which proxy Azure is reached, as azure-core wants it; None for what the environment says.

    Only https goes through it: all of Azure is https, and what is plain http is this machine's own, such as the
    address of its managed identity (169.254.169.254), which no proxy can reach.
    """
    return {"https": settings.proxy} if settings.proxy else None


def _build(module: Any, settings: ConnectionSettings) -> Any:
    kind = settings.authentication
    name, arguments = RECIPES[kind]
    chosen: dict[str, Any] = {theirs: getattr(settings, ours) for theirs, ours in arguments.items()}
    chosen = {theirs: value for theirs, value in chosen.items() if value}
    if "certificate_data" in chosen:
        chosen["certificate_data"] = chosen["certificate_data"].encode()
    if kind not in _OF_THE_MACHINE:
        chosen |= _PATIENCE
    if kind is not Authentication.MANAGED_IDENTITY and settings.proxy:
        chosen["proxies"] = proxies(settings)
    if kind is Authentication.WORKLOAD_IDENTITY:
        _check_token_file(settings)
    try:
        return getattr(module, name)(authority=settings.addresses.authority, **chosen)
    except (ValueError, TypeError, OSError) as error:
        raise ConfigError(f"Authentication {kind.value!r} cannot be used on this machine: {error}") from error


def _check_token_file(settings: ConnectionSettings) -> None:
    """Look for the token file now: azure-identity looks at the first request, and its halves differ in the error."""
    path = settings.token_file_path or os.environ.get(_FILE_VARIABLE, "")
    if path and not os.access(path, os.R_OK):
        raise ConfigError(
            f"Authentication 'workload_identity': {Path(path)} cannot be read on this machine. It is the token of a "
            "Kubernetes service account; look at token_file_path and at the pod's label azure.workload.identity/use."
        )
