"""How an online endpoint is asked by those who have its workspace: its address, and a key or a token."""

import time
from typing import TYPE_CHECKING

from attrs import define

from airflow_azureml.client.azureml import scope_of
from airflow_azureml.client.credentials import credential
from airflow_azureml.client.load import Target
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import ConfigError, NotReadyError
from airflow_azureml.wire import online
from airflow_azureml.wire.http import Audience

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_azureml.client.azureml import Client
    from airflow_azureml.core.online import OnlineEndpoint


def target_of(
    client: "Client", settings: ConnectionSettings, endpoint: str, *, deployment: str = "", plain_http: bool = False
) -> Target:
    """Find out how an endpoint is asked.

    Args:
        client: Asks Azure ML; it has to stay open for as long as the endpoint is asked.
        settings: The connection.
        endpoint: The endpoint.
        deployment: Which deployment has to answer, whatever the traffic; empty for the endpoint's choice.
        plain_http: See `Target`.

    Raises:
        ConfigError: There is no such endpoint, or its key would be shown to everybody.
        NotReadyError: It has no address yet; trying again later may work.
        RefusedError: The identity may not read its key; the role AzureML Data Scientist lets it.
        UnavailableError: Azure ML does not say; trying again later may work.
    """
    found = client.run(online.read_endpoint(settings.workspace, endpoint))
    if found is None:
        raise ConfigError(f"There is no online endpoint {endpoint} in workspace {settings.workspace.name}.")
    if not found.scoring_uri:
        raise NotReadyError(f"Online endpoint {endpoint} {found.told()}; it cannot be asked yet.")
    target = Target(
        url=found.scoring_uri,
        secret=_secret(client, settings, found),
        deployment=deployment,
        plain_http=plain_http,
        proxy=settings.proxy,
    )
    target.check()
    return target


def _secret(client: "Client", settings: ConnectionSettings, found: "OnlineEndpoint") -> "Callable[[], str]":
    """Make what gives a key, or a token that is still good."""
    match found.auth_mode.lower():
        case "key":
            key = client.run(online.list_keys(settings.workspace, found.name)).primary
            return lambda: key
        case "amltoken":
            tokens = _Tokens(client, settings, found.name)
            tokens.fresh()
            return tokens.fresh
        case _:
            proof, scope = credential(settings), scope_of(settings, Audience.MACHINE_LEARNING)
            return lambda: proof.get_token(scope).token


@define(repr=False)
class _Tokens:
    """Tokens of an endpoint; one is used until Azure advises to ask for the next."""

    client: "Client"
    settings: ConnectionSettings
    endpoint: str
    _held: online.Token | None = None

    def fresh(self) -> str:
        """Give one that is good for a while."""
        if self._held is None or time.time() >= self._held.refresh_after:
            self._held = self.client.run(online.make_token(self.settings.workspace, self.endpoint))
        return self._held.token
