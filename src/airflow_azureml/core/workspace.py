"""A workspace, and the settings with which it is reached."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Self
from urllib.parse import SplitResult, quote, urlsplit

from attrs import field, frozen

from airflow_azureml.core.certificates import mend_pem
from airflow_azureml.core.clouds import CLOUDS, Cloud, CloudAddresses, cloud_of, host_of
from airflow_azureml.errors import ConfigError

#: Azure Resource Manager of the public cloud.
PUBLIC_ENDPOINT = CLOUDS[Cloud.PUBLIC].resource_manager
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


def is_loopback(url: str) -> bool:
    """Tell whether a URL names this machine, the only place to which plain ``http`` is allowed."""
    return host_of(url) in LOOPBACK_HOSTS


@frozen(kw_only=True)
class Workspace:
    """One Azure ML workspace, named the way Azure names it.

    Attributes:
        endpoint: Azure Resource Manager's address, without a slash at its end.
    """

    subscription_id: str
    resource_group: str
    name: str
    endpoint: str = PUBLIC_ENDPOINT

    @property
    def arm_id(self) -> str:
        """The workspace's id in Azure Resource Manager, which begins with a slash."""
        return (
            f"/subscriptions/{quote(self.subscription_id, safe='')}"
            f"/resourceGroups/{quote(self.resource_group, safe='')}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{quote(self.name, safe='')}"
        )

    @property
    def url(self) -> str:
        """The workspace's address."""
        return self.endpoint + self.arm_id


class Authentication(StrEnum):
    """How a connection proves who it is."""

    DEFAULT = "default"
    SERVICE_PRINCIPAL = "service_principal"
    SERVICE_PRINCIPAL_CERTIFICATE = "service_principal_certificate"
    MANAGED_IDENTITY = "managed_identity"
    WORKLOAD_IDENTITY = "workload_identity"
    EMULATOR = "emulator"


#: The credential fields that each kind needs, and those it may have besides. A certificate needs one more, see
#: `_certificate_faults`.
CREDENTIAL_FIELDS: Mapping[Authentication, tuple[frozenset[str], frozenset[str]]] = {
    Authentication.DEFAULT: (frozenset(), frozenset()),
    Authentication.SERVICE_PRINCIPAL: (frozenset({"tenant_id", "login", "password"}), frozenset()),
    Authentication.SERVICE_PRINCIPAL_CERTIFICATE: (
        frozenset({"tenant_id", "login"}),
        frozenset({"password", "certificate_path", "certificate_password"}),
    ),
    Authentication.MANAGED_IDENTITY: (frozenset(), frozenset({"login"})),
    Authentication.WORKLOAD_IDENTITY: (frozenset(), frozenset({"tenant_id", "login", "token_file_path"})),
    Authentication.EMULATOR: (frozenset(), frozenset({"login"})),
}
#: What a person calls the two fields that Airflow itself owns.
SPOKEN = {"login": "login (client id)", "password": "password (client secret)"}
CERTIFICATE_SPOKEN = {"password": "password (certificate)"}
REQUIRED = ("subscription_id", "resource_group", "workspace")
#: The credential fields that stand in the extra.
CREDENTIAL_EXTRA = ("tenant_id", "certificate_path", "certificate_password", "token_file_path")
OPTIONAL = ("authentication", "cloud", *CREDENTIAL_EXTRA, "endpoint", "proxy")


@frozen(kw_only=True)
class ConnectionSettings:
    """An Airflow connection of type ``azureml``, parsed once.

    Attributes:
        workspace: The workspace it names.
        cloud: The cloud whose Entra makes the tokens, and for whose services.
        authentication: How it proves who it is.
        tenant_id: Entra tenant; for a service principal or a workload identity.
        client_id: Application id of a service principal or workload identity, or client id of a user-assigned managed
            identity; for an emulator, the name of the application that its tokens are to be of.
        client_secret: A service principal's secret; never shown.
        certificate: A service principal's certificate with its private key, as PEM text; never shown.
        certificate_path: The file on the worker that holds it instead, PEM or PKCS #12.
        certificate_password: What the private key is encrypted with; empty for one that is not; never shown.
        token_file_path: The file with a workload identity's token; empty for the one that its environment names.
        proxy: The proxy through which Azure is reached; empty for what the environment says.
    """

    workspace: Workspace
    cloud: Cloud = Cloud.PUBLIC
    authentication: Authentication = Authentication.DEFAULT
    tenant_id: str = ""
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    certificate_path: str = ""
    certificate_password: str = field(default="", repr=False)
    token_file_path: str = ""
    proxy: str = ""

    @property
    def addresses(self) -> CloudAddresses:
        """Where the connection's cloud answers, and for whom tokens are made."""
        return CLOUDS[self.cloud]

    @classmethod
    def parse(cls, fields: Mapping[str, Any], *, conn_id: str) -> Self:
        """Read a connection's fields, and complain once of all that is wrong.

        Args:
            fields: The connection's extra, with Airflow's own ``login``, ``password``, ``host``, ``port`` and
                ``schema`` where they are set.
            conn_id: The connection's name, for the message.

        Raises:
            ConfigError: Fields are missing, unknown, or do not go together; the message lists all of them.
        """
        given = {name: str(value).strip() for name, value in fields.items() if value is not None}
        given = {name: value for name, value in given.items() if value}
        wrong = [
            *_naming_faults(given),
            *_credential_faults(given),
            *_cloud_faults(given),
            *_endpoint_faults(given),
            *_proxy_faults(given),
        ]
        if wrong:
            raise ConfigError(f"Connection {conn_id!r} of type azureml: {'; '.join(wrong)}.")
        return cls._of(given)

    @classmethod
    def _of(cls, given: Mapping[str, str]) -> Self:
        cloud = Cloud(given.get("cloud", Cloud.PUBLIC))
        kind = Authentication(given.get("authentication", Authentication.DEFAULT))
        password = given.get("password", "")
        by_certificate = kind is Authentication.SERVICE_PRINCIPAL_CERTIFICATE
        return cls(
            workspace=Workspace(
                subscription_id=given["subscription_id"],
                resource_group=given["resource_group"],
                name=given["workspace"],
                endpoint=given.get("endpoint", CLOUDS[cloud].resource_manager).rstrip("/"),
            ),
            cloud=cloud,
            authentication=kind,
            client_id=given.get("login", ""),
            client_secret="" if by_certificate else password,
            certificate=mend_pem(password) if by_certificate and password else "",
            proxy=given.get("proxy", "").rstrip("/"),
            **{name: given.get(name, "") for name in CREDENTIAL_EXTRA},
        )


def _naming_faults(given: Mapping[str, str]) -> Iterator[str]:
    missing = [name for name in REQUIRED if name not in given]
    unknown = sorted(set(given) - {*REQUIRED, *OPTIONAL, *SPOKEN})
    if missing:
        yield f"missing {', '.join(missing)}"
    if unknown:
        known = ", ".join([*REQUIRED, *OPTIONAL, *SPOKEN.values()])
        yield f"unknown {', '.join(unknown)} (the fields are {known})"


def _credential_faults(given: Mapping[str, str]) -> Iterator[str]:
    try:
        kind = Authentication(given.get("authentication", Authentication.DEFAULT))
    except ValueError:
        kinds = ", ".join(kind.value for kind in Authentication)
        yield f"authentication {given['authentication']!r} is none of {kinds}"
        return
    needed, allowed = CREDENTIAL_FIELDS[kind]
    present = {name for name in (*SPOKEN, *CREDENTIAL_EXTRA) if name in given}
    for name in sorted(needed - present):
        yield f"authentication {kind.value!r} needs {SPOKEN.get(name, name)}"
    for name in sorted(present - needed - allowed):
        yield f"authentication {kind.value!r} has no use for {SPOKEN.get(name, name)}"
    if kind is Authentication.SERVICE_PRINCIPAL_CERTIFICATE:
        yield from _certificate_faults(given)


def _certificate_faults(given: Mapping[str, str]) -> Iterator[str]:
    spoken = CERTIFICATE_SPOKEN["password"]
    if ("password" in given) == ("certificate_path" in given):
        yield f"authentication 'service_principal_certificate' needs either {spoken} or certificate_path"
    if "password" in given:
        try:
            mend_pem(given["password"])
        except ValueError as error:
            yield f"{spoken} {error}"


def _cloud_faults(given: Mapping[str, str]) -> Iterator[str]:
    said = given.get("cloud", Cloud.PUBLIC)
    if said not in list(Cloud):
        yield f"cloud {said!r} is none of {', '.join(Cloud)}"
        return
    own = cloud_of(given.get("endpoint", ""))
    if own is not None and own != said:
        yield f"the endpoint is of cloud {own.value!r}, and tokens are of cloud {said!r}: set cloud to {own.value!r}"


def _endpoint_faults(given: Mapping[str, str]) -> Iterator[str]:
    endpoint = given.get("endpoint", PUBLIC_ENDPOINT)
    local = given.get("authentication") == Authentication.EMULATOR
    if "@" in endpoint:
        yield "endpoint must hold no user and no password"
        return
    parts = _address(endpoint)
    if parts is None:
        yield f"endpoint is no address such as {PUBLIC_ENDPOINT}"
    elif local and not is_loopback(endpoint):
        yield "authentication 'emulator' is for an endpoint on this machine (127.0.0.1, localhost)"
    elif parts.scheme == "http" and not is_loopback(endpoint):
        yield f"endpoint {endpoint!r} is not https; http is for an emulator on this machine"
    elif parts.scheme == "http" and not local:
        yield "an http endpoint takes no real credential: set authentication to 'emulator', or use https"


def _proxy_faults(given: Mapping[str, str]) -> Iterator[str]:
    proxy = given.get("proxy")
    if proxy is None:
        return
    if "@" in proxy:
        yield "proxy must hold no user and no password"
        return
    parts = _address(proxy)
    if parts is None or parts.path not in ("", "/"):
        yield "proxy is no address such as http://proxy.example:3128"
    if given.get("authentication") == Authentication.EMULATOR:
        yield "authentication 'emulator' has no use for proxy"


def _address(text: str) -> SplitResult | None:
    """Read an http or https address; None for anything else, which no message repeats: it may be a secret astray."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    plain = text.isprintable() and " " not in text and "\\" not in text
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        return None
    return parts if plain and not parts.query and not parts.fragment else None
