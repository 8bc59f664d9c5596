"""The connection that a command uses."""

from typing import TYPE_CHECKING, Any

from airflow.cli.cli_config import Arg

from airflow_azureml.errors import ConfigError

if TYPE_CHECKING:
    from airflow_azureml.hooks.azureml import AzureMLHook

CONNECTION = Arg(("--conn-id",), default="azureml_default", help="The connection of type azureml (azureml_default)")


def hook_of(conn_id: str) -> "AzureMLHook":
    """Make the hook of a connection, for a command.

    A hook reads connections as a task may, without Airflow's database; a command is no task, and reads that, too.

    Raises:
        ConfigError: There is no such connection.
    """
    from airflow.models.connection import Connection  # noqa: PLC0415  # likewise
    from airflow.sdk.exceptions import AirflowNotFoundException  # noqa: PLC0415  # not for every command of Airflow's

    from airflow_azureml.hooks.azureml import AzureMLHook  # noqa: PLC0415  # likewise

    class CommandHook(AzureMLHook):
        @classmethod
        def get_connection(cls, conn_id: str) -> Any:
            try:
                return Connection.get_connection_from_secrets(conn_id)
            except AirflowNotFoundException as error:
                raise ConfigError(f"There is no connection {conn_id!r}: name one with --conn-id.") from error

    return CommandHook(conn_id)
