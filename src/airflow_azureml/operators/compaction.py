"""Making training data of what was scored and of the labels that came later."""

from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowSkipException
from attrs import asdict, evolve

from airflow_azureml.core.batches import Window
from airflow_azureml.core.compaction import Compaction, Matching
from airflow_azureml.core.documents import check_ids
from airflow_azureml.core.scoring_logs import Dated, Published, ScoringLogs, collected
from airflow_azureml.core.windows import Windows
from airflow_azureml.errors import AzureMLError, ConfigError, ProtocolError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.batch_work import for_airflow

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.compaction import Compactor
    from airflow_azureml.client.scoring_logs import Folder
    from airflow_azureml.core.workspace import ConnectionSettings

__all__ = ["AzureMLCompactionOperator", "Dated", "Published", "Windows", "collected"]

#: Partitions that the result names.
NAMED = 20


class AzureMLCompactionOperator(BaseOperator):
    """Joins predictions with labels that come late, by key, into partitions of training data; each pair exactly once.

    A partition is ``TRAINING_DATA/WINDOW/part.csv``, or ``part.parquet``: the pairs of which the later came in that
    window. It is written whole and never changed. Whatever dies, the next try or the next run goes on; whoever runs
    beside it does not do it twice. See `airflow_azureml.core.compaction.Matching` for repeats of a key and for what
    comes too late.

    Returns less than 4 kB: ``partitions``, the last 20 that this run made, each with ``window``, ``uri`` and ``rows``;
    ``until``, the watermark; ``waiting_predictions`` and ``waiting_labels``; and the sums of
    `airflow_azureml.core.compaction.Counts`.

    Args:
        predictions: Where predictions are: `Published` for those of
            `airflow_azureml.task_groups.arrivals.score_arrivals`, `collected` for Azure ML's data collector, or
            `Dated`. The folder is templated.
        labels: Where labels are; likewise.
        training_data: The folder for it, templated: ``azureml://datastores/NAME/paths/FOLDER/``. Nothing else may
            be in it. What waits is kept in its ``_compaction/``.
        keys: The columns that predictions and labels both have, and by which they are matched, as text.
        label_columns: The columns that are taken of the labels; empty for all.
        labels_within: How long a prediction waits for its label.
        predictions_within: How long a label waits for its prediction.
        windows: How partitions are cut, and how long after its end a window is left open.
        format: What a partition is written as, ``csv`` or ``parquet``.
        since: Files that were written before do not count, templated: a time in ISO 8601. It matters to the first
            run alone.
        asset: An asset that is updated when there is a new partition; where there is none, the task is skipped then.
        conn_id: The Airflow connection of type ``azureml``, templated. Its identity needs the role Storage Blob Data
            Contributor on the account of the training data, and Reader on the others.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("predictions", "labels", "training_data", "since", "conn_id")

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        predictions: ScoringLogs,
        labels: Dated,
        training_data: str,
        keys: Sequence[str] | str,
        label_columns: Sequence[str] = (),
        labels_within: timedelta = timedelta(days=30),
        predictions_within: timedelta = timedelta(days=7),
        windows: Windows | None = None,
        format: str = "csv",  # noqa: A002  # the partitions' format
        since: str = "",
        asset: Asset | None = None,
        conn_id: str = AzureMLHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        outlets = [*kwargs.pop("outlets", ()), *([asset] if asset is not None else [])]
        super().__init__(outlets=outlets, **kwargs)
        self.predictions = evolve(predictions)
        self.labels = evolve(labels)
        self.training_data = training_data
        self.keys = keys
        self.label_columns = label_columns
        self.labels_within = labels_within
        self.predictions_within = predictions_within
        self.windows = windows or Windows()
        self.format = format
        self.since = since
        self.asset = asset
        self.conn_id = conn_id

    def execute(self, context: "Context") -> dict[str, Any]:
        """Make all partitions that are due."""
        try:
            result = self._make(AzureMLHook(self.conn_id).settings)
        except AzureMLError as error:
            raise for_airflow(error) from error
        self._tell(context, result)
        return result

    def compactor(self, **parts: Any) -> "Compactor":
        """Make what does the work, of the opened folders."""
        from airflow_azureml.client.compaction import Compactor  # noqa: PLC0415  # not when a DAG is parsed

        return Compactor(**parts)

    def _make(self, settings: "ConnectionSettings") -> dict[str, Any]:
        from airflow_azureml.client.blob_documents import BlobDocuments  # noqa: PLC0415  # not when a DAG is parsed
        from airflow_azureml.client.compaction import Logs  # noqa: PLC0415  # as above
        from airflow_azureml.client.scoring_logs import folder_of  # noqa: PLC0415  # as above
        from airflow_azureml.client.sdk import emulator_in_reach  # noqa: PLC0415  # as above

        compaction = self._checked()
        with (
            emulator_in_reach(settings),
            folder_of(settings, self.predictions.folder) as predictions,
            folder_of(settings, self.labels.folder) as labels,
            folder_of(settings, self.training_data.rstrip("/") + "/") as output,
        ):
            _check_places(output, predictions, labels)
            worker = self.compactor(
                compaction=compaction,
                predictions=Logs(self.predictions, predictions),
                labels=Logs(self.labels, labels, tuple(self.label_columns)),
                output=output,
                documents=lambda: BlobDocuments(settings, output.container_url),
            )
            for step in worker.work():
                self.log.debug("Next: %s", step)
        return self._result(worker)

    def _checked(self) -> Compaction:
        """Read the options, now that templates are rendered.

        Raises:
            ConfigError: They are wrong, or what joins is not installed.
        """
        compaction = Compaction(
            matching=Matching(
                keys=self.keys, labels_within=self.labels_within, predictions_within=self.predictions_within
            ),
            windows=self.windows,
            output=self.format,
            since=Window.parse(self.since, "").since,
        )
        wrong = [
            *compaction.faults(),
            *(f"predictions: {fault}" for fault in self.predictions.faults()),
            *(f"labels: {fault}" for fault in self.labels.faults()),
        ]
        if wrong:
            raise ConfigError(f"{self.task_id}: {'; '.join(wrong)}.")
        try:
            import airflow_azureml.quality.joining  # noqa: F401, PLC0415  # whether it is there
        except ImportError as error:
            raise ConfigError(
                f"{self.task_id}: install airflow-provider-azureml[quality] where tasks run ({error})."
            ) from error
        return compaction

    def _result(self, worker: "Compactor") -> dict[str, Any]:
        made = [each for each in worker.made if each.rows]
        folder = self.training_data.rstrip("/")
        partitions = [
            {"window": each.window, "uri": f"{folder}/{each.window}/part.{self.format}", "rows": each.rows}
            for each in made
        ]
        for each in partitions:
            self.log.info("Partition %s: %d rows, %s", each["window"], each["rows"], each["uri"])
        mark = worker.watermark
        if mark is None:
            return {"partitions": [], "until": ""}
        predictions, labels = mark.waiting
        return {
            "partitions": partitions[-NAMED:],
            "until": mark.until.astimezone(UTC).isoformat(),
            "waiting_predictions": predictions,
            "waiting_labels": labels,
            **asdict(mark.counts),
        }

    def _tell(self, context: "Context", result: dict[str, Any]) -> None:
        """Say what there is; a retry may be of a try that made partitions and did not live to say so."""
        ti: Any = context["ti"]
        self.log.info(
            "%s", ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in result.items() if count != [])
        )
        if self.asset is None:
            return
        if not result["partitions"] and ti.try_number <= 1:
            ti.xcom_push(key="return_value", value=result)
            raise AirflowSkipException("There is no new partition.")
        context["outlet_events"][self.asset].extra = {"until": result["until"], "partitions": len(result["partitions"])}


def _check_places(output: "Folder", *logs: "Folder") -> None:
    """See that partitions are not taken for logs, and that the watermark can be kept beside them.

    Raises:
        ConfigError: They would be, or it cannot.
    """
    from airflow_azureml.client.compaction import WATERMARK  # noqa: PLC0415  # not when a DAG is parsed

    for each in logs:
        is_within = output.path.startswith(each.path) or each.path.startswith(output.path)
        if output.container_url == each.container_url and is_within:
            raise ConfigError(
                f"The training data ({output.path}) and what it is made of ({each.path}) lie within each other; give"
                " each a folder of its own."
            )
    try:
        check_ids([f"{output.path}{WATERMARK}"])
    except ProtocolError as error:
        raise ConfigError(
            f"training_data is in {output.path!r}; the names of its folders may have letters, digits, '.', '_' and '-'."
        ) from error
