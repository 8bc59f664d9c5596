"""What every task of a group that scores batches does alike."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from airflow_azureml.core.arrivals import StorageUrl
from airflow_azureml.core.batches import owner_of
from airflow_azureml.core.jobs import JobKey
from airflow_azureml.core.places import in_datastore
from airflow_azureml.core.staging import CONTAINER, Places
from airflow_azureml.core.triage import may_pass
from airflow_azureml.errors import AzureMLError, ConfigError
from airflow_azureml.hooks.ledgers import AnyLedger, BlobLedger
from airflow_azureml.operators.settling import Desk, desk

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from airflow.sdk import Context

    from airflow_azureml.core.workspace import ConnectionSettings


class BatchWork(BaseOperator):
    """Base of the tasks of a group that scores batches.

    Args:
        group: The group's id; it and the run are whose the batches are.
        account_url: The blobs' account, ``https://ACCOUNT.blob.core.windows.net``, templated.
        results: The URI of the folder for results, ``azureml://datastores/NAME/paths/…``, templated.
        staging: The address of a folder in the blobs' account where batches are staged, templated; by default a
            container of its own.
        ledger: Which ledger.
        data_input: The pipeline's input that takes the folder of a batch.
        output_name: The pipeline's output that is written.
        kwargs: Airflow's own, and those of the operator beside this one.
    """

    #: What a subclass adds to its ``template_fields``.
    batch_fields: Sequence[str] = ("account_url", "results", "staging")

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        group: str,
        account_url: str,
        results: str,
        staging: str = "",
        ledger: AnyLedger | None = None,
        data_input: str = "data",
        output_name: str = "predictions",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.group = group
        self.account_url = account_url
        self.results = results
        self.staging = staging
        self.ledger = ledger or BlobLedger()
        self.data_input = data_input
        self.output_name = output_name

    @property
    def places(self) -> Places:
        """Where batches are staged and published, now that templates are rendered.

        Raises:
            ConfigError: It is no such place.
        """
        if in_datastore(self.results) is None:
            raise ConfigError(
                f"outputs is {self.results!r}; results are published in a folder of a datastore:"
                " azureml://datastores/NAME/paths/FOLDER/."
            )
        staging = self.staging or f"{StorageUrl.parse(self.account_url).blob_base}/{CONTAINER}"
        return Places(staging=staging, results=self.results)

    def owner_in(self, context: "Context") -> str:
        """Name whose the batches of this run are."""
        ti: Any = context["ti"]
        return owner_of(ti.dag_id, ti.run_id, self.group)

    def desk(self, settings: "ConnectionSettings") -> "AbstractAsyncContextManager[Desk]":
        """Open what is needed to work on batches; use it with ``async with``."""
        return desk(settings, self.ledger, self.places, account_url=self.account_url)

    def passed_for(self, batch_id: str, inputs: Mapping[str, Any] | None) -> dict[str, Any]:
        """Write a pipeline's inputs for a batch."""
        folder = {"uri": self.places.data(batch_id), "type": "uri_folder"}
        return {**(inputs or {}), self.data_input: folder}


def key_of(batch_id: str) -> JobKey:
    """Name the job of a batch, whoever runs it."""
    return JobKey(digest=batch_id, lasting=True)


def for_airflow(error: AzureMLError) -> Exception:
    """Let Airflow retry what a retry can help, and nothing else."""
    return error if may_pass(error) else AirflowFailException(str(error))
