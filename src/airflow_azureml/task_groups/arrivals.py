"""Scoring whatever arrives, in batches."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Unpack

from airflow.sdk import Asset, BaseOperator, TaskGroup

from airflow_azureml.core.arrivals import StorageUrl
from airflow_azureml.core.batches import Batching, Window
from airflow_azureml.core.files import FAULT_OF_FORMAT
from airflow_azureml.core.filters import ArrivalFilter, FilterOptions
from airflow_azureml.core.places import in_datastore
from airflow_azureml.core.plain import AnyPipeline
from airflow_azureml.core.scan import faults_of_account
from airflow_azureml.core.sets import Sets
from airflow_azureml.errors import ConfigError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.hooks.ledgers import AnyLedger, BlobLedger, SqlLedger
from airflow_azureml.operators.batches import (
    AzureMLClaimBatchesOperator,
    AzureMLMoreBatchesOperator,
    AzureMLReportBatchesOperator,
    AzureMLScoreBatchOperator,
)
from airflow_azureml.operators.claim_batches import CLAIM, SCORE
from airflow_azureml.operators.report_batches import ON_REJECTED

__all__ = ["Batching", "BlobLedger", "Sets", "SqlLedger", "score_arrivals"]

#: What every task of a group is told, unless it is told otherwise.
TASK_OPTIONS: Mapping[str, Any] = {"retries": 3, "retry_delay": timedelta(seconds=30)}


#: What some of a group's arguments must be.
KINDS: Mapping[str, type] = {
    **dict.fromkeys(("account_url", "outputs", "staging", "since", "until", "format"), str),
    **dict.fromkeys(("late", "reconcile_every"), timedelta),
    "parallel": int,
    "batch": Batching,
    "sets": Sets,
    "asset": Asset,
}
#: Those that may be None.
OPTIONAL = frozenset({"sets", "asset"})


def score_arrivals(  # noqa: PLR0913  # a group's options are its face, and all by name
    group_id: str,
    *,
    pipeline: AnyPipeline,
    account_url: str,
    outputs: str,
    asset: Asset | None = None,
    inputs: Mapping[str, Any] | None = None,
    data_input: str = "data",
    output_name: str = "predictions",
    format: str = "csv",  # noqa: A002  # the blobs' format
    batch: Batching | None = None,
    parallel: int = 4,
    ledger: AnyLedger | None = None,
    staging: str = "",
    sets: Sets | None = None,
    since: str = "",
    until: str = "",
    late: timedelta = timedelta(0),
    reconcile_every: timedelta = timedelta(hours=1),
    on_rejected: str = "warn",
    conn_id: str = AzureMLHook.default_conn_name,
    task_options: Mapping[str, Any] | None = None,
    score_options: Mapping[str, Any] | None = None,
    **wanted: Unpack[FilterOptions],
) -> TaskGroup:
    """Score every version of every blob that counts exactly once, in batches: claim, score, report.

    ``claim`` asks for everything that is open and claims it in the ledger; ``score`` runs the pipeline once for each
    batch, on a folder with its blobs; ``report`` tells what came of it. Whatever dies, a later run goes on with it: so
    give the DAG a slow tick beside the asset (``AssetOrTimeSchedule``).

    Args:
        group_id: The group's id.
        pipeline: The pipeline, which takes a folder of files; see
            `airflow_azureml.operators.pipeline.AzureMLPipelineOperator`.
        account_url: The blobs' storage account, ``https://ACCOUNT.blob.core.windows.net``; on this machine
            ``http://127.0.0.1:PORT/devstoreaccount1``. Templated.
        outputs: The folder for results, ``azureml://datastores/NAME/paths/FOLDER/``, templated. A batch's outputs are
            written below ``batches/BATCH/``, and count as soon as ``_published/BATCH.json`` is there.
        asset: The asset of `airflow_azureml.watchers.blob_arrivals` that tells of blobs; without one, each run lists
            the container.
        inputs: The pipeline's other inputs, templated.
        data_input: The input that takes the folder.
        output_name: The output that is written.
        format: What a blob must be by its first bytes, ``csv``; one that is not is rejected alone. Empty for anything.
        batch: How much goes into a batch, and how long it may wait for more; see `Batching`.
        parallel: How many batches of one run are scored at the same time.
        ledger: `BlobLedger`, beside the blobs, or `SqlLedger`. Groups with the same ledger score each version once
            between them.
        staging: The address of a folder, in the blobs' account, where batches are staged; templated. By default the
            container ``airflow-azureml-staging``, which is made when it is missing.
        sets: What says that blobs which belong together are all there, so that none of a set is scored before; see
            `Sets`. The sign of a set must pass the asset's filter, so that it wakes the DAG.
        since: Blobs that were written before do not count: a time in ISO 8601, or a partition's key, templated, such as
            ``{{ data_interval_start }}`` or ``{{ partition_date }}``; UTC where it has no zone.
        until: Blobs that were written then or later do not count: likewise, or a span from ``since`` on, as ``+1h``.
        late: How much earlier than ``since`` the window begins, for what came late; the ledger leaves out the rest.
        reconcile_every: How often the container is listed beside the events, for what no event told of.
        on_rejected: ``warn``, or ``fail`` the report when a blob was rejected; the others are scored in any case.
        conn_id: The Airflow connection of type ``azureml``, templated.
        task_options: Airflow's own options for every task of the group; three ``retries`` unless told otherwise.
        score_options: More options of `airflow_azureml.operators.score_batch.AzureMLScoreBatchOperator`.
        wanted: Which blobs: ``container``, and whatever else `airflow_azureml.core.filters.FilterOptions` has.

    Raises:
        ConfigError: An argument is wrong; the message lists all that are.
    """
    which, batching, kept = ArrivalFilter.of(**wanted), batch or Batching(), ledger or BlobLedger()
    given: dict[str, Any] = {"account_url": account_url, "outputs": outputs, "staging": staging}
    given |= {"since": since, "until": until, "late": late, "reconcile_every": reconcile_every, "parallel": parallel}
    given |= {"batch": batching, "sets": sets, "ledger": kept, "asset": asset, "format": format}
    given["on_rejected"] = on_rejected
    wrong = _wrong_kinds(given) or [
        *([] if _is_template(*wanted.values()) else which.faults()),
        *_faults(given),
        *([f"inputs has {data_input!r}, which is the folder of a batch"] if data_input in (inputs or {}) else []),
    ]
    if wrong:
        raise ConfigError(f"score_arrivals({group_id!r}): {'; '.join(wrong)}.")
    with TaskGroup(group_id) as group:
        shared: dict[str, Any] = {
            **TASK_OPTIONS,
            **(task_options or {}),
            "group": group.group_id,
            "account_url": account_url,
            "results": outputs,
            "staging": staging,
            "ledger": kept,
            "data_input": data_input,
            "output_name": output_name,
            "conn_id": conn_id,
        }
        claim = AzureMLClaimBatchesOperator(
            task_id=CLAIM,
            pipeline=pipeline,
            inputs=inputs,
            wanted=which.to_wire(),
            asset=asset,
            sets=None if sets is None else sets.to_wire(),
            batching=batching,
            since=since,
            until=until,
            late=late,
            reconcile_every=reconcile_every,
            **shared,
        )
        score = AzureMLScoreBatchOperator.partial(
            task_id=SCORE,
            pipeline=pipeline,
            inputs=inputs,
            format=format,
            map_index_template="{{ task.batch }}",
            **{**shared, "max_active_tis_per_dagrun": parallel, **(score_options or {})},
        ).expand(batch=claim.output)
        score >> _last_tasks(claim, score.output, asset, on_rejected=on_rejected, shared=shared)
    return group


def _last_tasks(
    claim: AzureMLClaimBatchesOperator, scored: Any, asset: Asset | None, *, on_rejected: str, shared: Mapping[str, Any]
) -> list[BaseOperator]:
    """Make the tasks that run whatever became of the batches."""
    always = {**shared, "trigger_rule": "all_done"}
    report = AzureMLReportBatchesOperator(
        task_id="report", batches=claim.output, scored=scored, on_rejected=on_rejected, **always
    )
    if asset is None:
        return [report]
    more = AzureMLMoreBatchesOperator(task_id="more", batches=claim.output, claim=claim.task_id, asset=asset, **always)
    return [report, more]


def _is_template(*given: object) -> bool:
    """Tell whether a value is made when a task runs, which judges it then."""
    return any(sign in str(each) for each in given for sign in ("{{", "{%"))


def _wrong_kinds(given: Mapping[str, Any]) -> list[str]:
    """Say which arguments are of another kind than they must be; what else is wrong cannot be told then."""
    return [
        f"{name} is {given[name]!r}, and must be {kind.__name__}"
        for name, kind in KINDS.items()
        if not isinstance(given[name], kind) and not (name in OPTIONAL and given[name] is None)
    ] + ([] if isinstance(given["ledger"], AnyLedger) else [f"ledger is {given['ledger']!r}, and none of ours"])


def _faults(given: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with arguments that are of the right kinds; what is a template is left to the tasks."""
    parallel, named, reaction = given["parallel"], given["format"], given["on_rejected"]
    return [
        *given["batch"].faults(),
        *(given["sets"].faults() if given["sets"] is not None else []),
        *given["ledger"].faults(),
        *_faults_of_places(given["account_url"], given["outputs"], given["staging"]),
        *_faults_of_window(given),
        *([] if parallel >= 1 else [f"parallel is {parallel}; it must be 1 or more"]),
        *([] if given["reconcile_every"] >= timedelta(0) else ["reconcile_every is negative"]),
        *([] if not named or named in FAULT_OF_FORMAT else [f"format is {named!r}; it is csv, or empty for anything"]),
        *([] if reaction in ON_REJECTED else [f"on_rejected is {reaction!r}; it is one of {', '.join(ON_REJECTED)}"]),
    ]


def _faults_of_places(account_url: str, outputs: str, staging: str) -> list[str]:
    faults = [] if _is_template(account_url) else faults_of_account(account_url)
    if not _is_template(outputs) and in_datastore(outputs) is None:
        faults.append(f"outputs is {outputs!r}, and no folder of a datastore: azureml://datastores/NAME/paths/FOLDER/")
    if not staging or faults or _is_template(account_url, staging):
        return faults
    try:
        own, other = StorageUrl.parse(account_url).account, StorageUrl.parse(staging).account
    except ConfigError as error:
        return [f"staging: {error}"]
    return [] if own == other else [f"staging is in the account {other}, and must be in that of the blobs, {own}"]


def _faults_of_window(given: Mapping[str, Any]) -> list[str]:
    since, until, late = given["since"], given["until"], given["late"]
    if late < timedelta(0):
        return ["late is negative"]
    if _is_template(since, until):
        return []
    try:
        Window.parse(since, until, late=late)
    except ConfigError as error:
        return [str(error).rstrip(".")]
    return []
