"""Which ledger a DAG uses; a task opens it."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from airflow.sdk import BaseHook
from attrs import frozen

from airflow_azureml.core.arrivals import StorageUrl
from airflow_azureml.core.filters import is_container
from airflow_azureml.core.ledger import faults_of_name
from airflow_azureml.core.scan import faults_of_account
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import ConfigError

if TYPE_CHECKING:
    from airflow_azureml.client.ledger import Ledger

__all__ = ["AnyLedger", "BlobLedger", "SqlLedger", "sql_url"]

#: Where ledgers are kept beside the blobs, unless told otherwise.
CONTAINER = "airflow-azureml-ledger"


@frozen(kw_only=True)
class BlobLedger:
    """A ledger in the storage account of the blobs; its container is made when it is missing.

    Attributes:
        name: Tells it from other ledgers. Groups that share one score each version once between them.
        container: The container it is kept in.
        account_url: Another storage account's blob service; empty for that of the blobs.
    """

    name: str = "default"
    container: str = CONTAINER
    account_url: str = ""

    def faults(self) -> list[str]:
        """Say what is wrong with it; an empty list when nothing is."""
        is_right = is_container(self.container)
        return [
            *faults_of_name(self.name),
            *([] if is_right else [f"the ledger's container {self.container!r} is no container's name"]),
            *([f"the ledger's {fault}" for fault in faults_of_account(self.account_url)] if self.account_url else []),
        ]

    @contextlib.asynccontextmanager
    async def open(self, settings: ConnectionSettings, account_url: str) -> "AsyncIterator[Ledger]":
        """Open it.

        Args:
            settings: The connection whose identity reads and writes (role Storage Blob Data Contributor).
            account_url: The blob service of the blobs.

        Raises:
            ConfigError: The address is none of Azure Storage, or the name is none.
        """
        from airflow_azureml.client.blob_documents import BlobDocuments  # noqa: PLC0415  # not when a DAG is parsed
        from airflow_azureml.client.ledger import Ledger  # noqa: PLC0415  # as above

        base = StorageUrl.parse(self.account_url or account_url).blob_base
        async with BlobDocuments(settings, f"{base}/{self.container}") as documents:
            yield Ledger(documents=documents, name=self.name)


@frozen(kw_only=True)
class SqlLedger:
    """A ledger in a SQL database, through SQLAlchemy; its table is made when it is missing.

    Attributes:
        conn_id: The Airflow connection of the database, of type ``postgres`` or ``sqlite`` (a file that all workers
            reach). The extra ``sql`` of this package and the database's driver have to be installed.
        name: Tells it from other ledgers of the same database.
    """

    conn_id: str
    name: str = "default"

    def faults(self) -> list[str]:
        """Say what is wrong with it; an empty list when nothing is."""
        return [*faults_of_name(self.name), *([] if self.conn_id else ["the ledger's conn_id is empty"])]

    @contextlib.asynccontextmanager
    async def open(self, settings: ConnectionSettings, account_url: str) -> "AsyncIterator[Ledger]":
        """Open it.

        Args:
            settings: Not used.
            account_url: Not used.

        Raises:
            ConfigError: The connection is none of a database that is supported, or SQLAlchemy is not installed.
        """
        from airflow_azureml.client.ledger import Ledger  # noqa: PLC0415  # not when a DAG is parsed
        from airflow_azureml.client.sql_documents import SqlDocuments  # noqa: PLC0415  # as above

        del settings, account_url
        connection = await BaseHook.aget_connection(self.conn_id)
        async with SqlDocuments(sql_url(connection)) as documents:
            yield Ledger(documents=documents, name=self.name)


AnyLedger = BlobLedger | SqlLedger


def sql_url(connection: Any) -> str:
    """Write SQLAlchemy's URL of an Airflow connection: of type ``postgres``, or ``sqlite`` with the file as its host.

    Members of its extra, such as ``sslmode``, go to the driver, which refuses those it does not know.

    Raises:
        ConfigError: It is of another type, or its extra is no JSON object.
    """
    backend = {"postgres": "postgresql", "postgresql": "postgresql", "sqlite": "sqlite"}.get(connection.conn_type)
    if backend is None:
        raise ConfigError(
            f"Connection {connection.conn_id!r} is of type {connection.conn_type!r}; a ledger is kept in a database of "
            "type postgres or sqlite."
        )
    if backend == "sqlite":
        return f"sqlite:///{connection.host or connection.schema or ''}"
    try:
        extra = json.loads(connection.extra or "{}")
        more = urlencode({name: str(value) for name, value in extra.items()})
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"Connection {connection.conn_id!r}: its extra is no JSON object.") from error
    user, password = (quote(each or "", safe="") for each in (connection.login, connection.password))
    proof = f"{user}:{password}@" if password else f"{user}@" if user else ""
    host = f"[{connection.host}]" if ":" in (connection.host or "") else connection.host or ""
    port = f":{connection.port}" if connection.port else ""
    return f"{backend}://{proof}{host}{port}/{quote(connection.schema or '', safe='')}{'?' if more else ''}{more}"
