"""The hook: an Airflow connection of type ``azureml`` becomes a client."""

import json
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import AzureMLError, ConfigError

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_azureml.client.azureml import AsyncClient, Client


class AzureMLHook(BaseHook):
    """Reaches the workspace that an Airflow connection names.

    Args:
        conn_id: The connection.
    """

    conn_name_attr = "conn_id"
    default_conn_name = "azureml_default"
    conn_type = "azureml"
    hook_name = "Azure Machine Learning"

    def __init__(self, conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.conn_id = conn_id

    @property
    def settings(self) -> ConnectionSettings:
        """Read the connection.

        Raises:
            ConfigError: It is not one of ours, or its fields are wrong.
        """
        return _parse(self.get_connection(self.conn_id))

    @classmethod
    async def aget(cls, conn_id: str) -> ConnectionSettings:
        """Read the connection without blocking the triggerer's loop.

        Raises:
            ConfigError: It is not one of ours, or its fields are wrong.
        """
        return _parse(await cls.aget_connection(conn_id))

    def get_conn(self) -> "Client":
        """Open a client; use it with ``with``."""
        return self.open(self.settings)

    @classmethod
    def open(cls, settings: ConnectionSettings) -> "Client":
        """Open a client; use it with ``with``."""
        from airflow_azureml.client.azureml import Client  # noqa: PLC0415  # Azure's libraries stay out of DAG parsing

        return Client(settings)

    @classmethod
    def open_async(cls, settings: ConnectionSettings) -> "AsyncClient":
        """Open a client for an event loop; use it with ``async with``."""
        from airflow_azureml.client.azureml import AsyncClient  # noqa: PLC0415  # as above

        return AsyncClient(settings)

    def test_connection(self) -> tuple[bool, str]:
        """Read the workspace, list its jobs, look into its storage, and say which field or which right is wrong."""
        from airflow_azureml.client.azureml import Client  # noqa: PLC0415  # as above
        from airflow_azureml.hooks.checks import check  # noqa: PLC0415  # only the test button needs it

        try:
            settings = self.settings
            with Client(settings) as client:
                findings = list(check(client, settings))
        except AzureMLError as error:
            return False, str(error)
        return all(each.passed for each in findings), " ".join(each.sentence for each in findings)


def _parse(connection: "Connection") -> ConnectionSettings:
    """Read Airflow's connection into ours; ``extra_dejson`` would mask secrets with a call that blocks."""
    conn_id = connection.conn_id
    if connection.conn_type != AzureMLHook.conn_type:
        raise ConfigError(f"Connection {conn_id!r} is of type {connection.conn_type!r}, not azureml.")
    try:
        extra: Any = json.loads(connection.extra or "{}")
    except ValueError as error:
        raise ConfigError(f"Connection {conn_id!r} of type azureml: its extra is no JSON.") from error
    if not isinstance(extra, dict):
        raise ConfigError(f"Connection {conn_id!r} of type azureml: its extra is no JSON object.")
    twice = sorted({"login", "password", "host", "port", "schema"} & set(extra))
    if twice:
        raise ConfigError(f"Connection {conn_id!r} of type azureml: {', '.join(twice)} must not stand in its extra.")
    own = {name: getattr(connection, name) for name in ("login", "password", "host", "port", "schema")}
    return ConnectionSettings.parse({**extra, **own}, conn_id=str(conn_id))
