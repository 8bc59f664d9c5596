"""The keys of evidence, from an Airflow connection of any type."""

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook

from airflow_azureml.errors import ConfigError

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_azureml.client.signatures import Keys

#: The connection that holds the keys, unless told otherwise.
EVIDENCE_CONNECTION = "azureml_evidence"


def evidence_keys(conn_id: str = EVIDENCE_CONNECTION) -> "Keys":
    """Read the keys, in a task.

    Args:
        conn_id: The connection: the private key is its password, and its extra has the public keys that are
            ``trusted``.

    Raises:
        ConfigError: There is no such connection, or a key of it is none.
    """
    from airflow.sdk.exceptions import AirflowNotFoundException  # noqa: PLC0415  # not when a DAG is parsed

    try:
        return keys_of(BaseHook.get_connection(conn_id))
    except AirflowNotFoundException as error:
        raise ConfigError(
            f"There is no connection {conn_id!r}: make a key by `airflow azureml evidence key`, and put it there."
        ) from error


def keys_of(connection: "Connection") -> "Keys":
    """Read the keys of a connection.

    Raises:
        ConfigError: A key of it is none.
    """
    from airflow_azureml.client.signatures import Keys  # noqa: PLC0415  # not when a DAG is parsed

    source = f"Connection {connection.conn_id!r}"
    return Keys.parse(password=connection.password, extra=connection.extra, source=source)
