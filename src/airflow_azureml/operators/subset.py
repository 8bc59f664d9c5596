"""A subset of production's data for an environment before it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from airflow_azureml.core.batches import Window
from airflow_azureml.core.places import in_datastore
from airflow_azureml.core.subsets import Subset
from airflow_azureml.errors import AzureMLError, ConfigError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.batch_work import for_airflow

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.core.findings import Verdict

__all__ = ["AzureMLSubsetOperator", "Subset"]

#: What becomes of the task when the subset is not like its whole.
ON_FAIL = ("fail", "warn")


class AzureMLSubsetOperator(BaseOperator):
    """Makes a subset of data, the same rows each time, and sees that it resembles the whole.

    It is made once for each version of the data: a retry continues, and a run that finds it there takes it. Files are
    read one at a time into a temporary folder of the worker. The subset has the folder ``to/KEY/data/``, in which files
    keep their paths; beside it are ``report.html``, ``verdict.json`` and ``manifest.json``.

    Returns less than 4 kB, described at `airflow_azureml.core.subset_results.SubsetResult.to_wire`: ``uri`` is what a
    pipeline is given, ``accepted`` says whether it resembles the whole, and ``data``, which is an XCom of its own, too,
    is for evidence and lineage.

    Args:
        source: The whole, CSV or Parquet: a folder of a datastore, ``azureml://datastores/NAME/paths/FOLDER/``, or one
            file. Templated.
        to: The folder of a datastore below which each subset has one of its own, templated.
        subset: Which rows: `Subset(fraction=0.1, by="patient", stratify="sex", seed=7)`.
        since: Partitions of the folder that begin before are left out: a time in ISO 8601 or a partition's key,
            templated. A file without a date in its path counts only where neither ``since`` nor ``until`` is given.
        until: Partitions that begin then or later are left out: likewise.
        alpha: The chance that a fair subset is called unlike its whole.
        rows_at_least: How many values each column needs in both; below it nothing can be said, which is a no.
        on_fail: Whether the task fails (``fail``) or says so in its log (``warn``) when the subset is not like the
            whole. Either way the report is written first.
        source_conn_id: The Airflow connection of type ``azureml`` whose identity reads the whole, templated; by default
            that of ``conn_id``. It needs the role Storage Blob Data Reader there.
        conn_id: The one whose identity writes the subset, templated. It needs Storage Blob Data Contributor there.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("source", "to", "since", "until", "source_conn_id", "conn_id")
    ui_color = "#e8f1fb"

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        source: str,
        to: str,
        subset: Subset,
        since: str = "",
        until: str = "",
        alpha: float = 0.01,
        rows_at_least: int = 200,
        on_fail: str = "fail",
        source_conn_id: str = "",
        conn_id: str = AzureMLHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.to = to
        self.subset = subset
        self.since = since
        self.until = until
        self.alpha = alpha
        self.rows_at_least = rows_at_least
        self.on_fail = on_fail
        self.source_conn_id = source_conn_id
        self.conn_id = conn_id

    def execute(self, context: "Context") -> dict[str, Any]:
        """Make it, unless it is there, and judge it."""
        from airflow_azureml.client.subsets import Place, Wanted, make_subset  # noqa: PLC0415  # not for DAG parsing

        try:
            self._check()
            wanted = Wanted(
                subset=self.subset,
                window=Window.parse(self.since, self.until),
                alpha=self.alpha,
                rows_at_least=self.rows_at_least,
            )
            source, to = (AzureMLHook(name).settings for name in (self.source_conn_id or self.conn_id, self.conn_id))
            made, verdict = make_subset(
                wanted, Place(settings=source, uri=self.source), Place(settings=to, uri=self.to)
            )
        except AzureMLError as error:
            raise for_airflow(error) from error
        told = made.to_wire()
        for name, value in {"return_value": told, "data": told["data"]}.items():
            context["ti"].xcom_push(key=name, value=value)
        self.log.info("%s", made.sentence)
        self.log.info("The report: %s", made.report_uri)
        self._judge(verdict)
        return told

    def _judge(self, verdict: "Verdict") -> None:
        if verdict.accepted:
            return
        if self.on_fail == "fail":
            raise AirflowFailException(f"{verdict.sentence} Take more rows, stratify, or another seed.")
        self.log.warning("%s", verdict.sentence)

    def _check(self) -> None:
        """See that the options can be meant, now that templates are rendered.

        Raises:
            ConfigError: They cannot, or what cuts tables is not installed.
        """
        wrong = [
            *self.subset.faults(),
            *([] if in_datastore(self.to) else [f"to is {self.to!r}, no folder of a datastore"]),
            *([] if "/" in self.source.partition("://")[2] else [f"source is {self.source!r}, no folder and no file"]),
            *([] if self.on_fail in ON_FAIL else [f"on_fail is {self.on_fail!r}; it is none of {', '.join(ON_FAIL)}"]),
            *([] if 0 < self.alpha < 1 else [f"alpha is {self.alpha!r}, not between 0 and 1"]),
        ]
        if wrong:
            raise ConfigError(f"{self.task_id}: {'; '.join(wrong)}.")
        try:
            import airflow_azureml.quality.subset  # noqa: F401, PLC0415  # whether it is there
        except ImportError as error:
            raise ConfigError(
                f"{self.task_id}: install airflow-provider-azureml[quality] where tasks run ({error})."
            ) from error
