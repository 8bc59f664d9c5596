"""Assets that arriving blobs update, and those that Azure ML's own events do."""

import re
from collections.abc import Mapping, Sequence
from typing import Required, TypedDict, Unpack

from airflow.sdk import Asset, AssetWatcher
from airflow.triggers.base import BaseEventTrigger

from airflow_azureml.core.filters import ArrivalFilter, FilterOptions
from airflow_azureml.core.layouts import ANY, NAMES, dates
from airflow_azureml.core.ml_events import is_place
from airflow_azureml.core.ml_filters import AnyFilter, DeploymentFilter, DriftFilter, JobFilter, ModelFilter
from airflow_azureml.core.models import is_model_name
from airflow_azureml.core.queues import queue_faults
from airflow_azureml.core.scan import Scan, Scanning
from airflow_azureml.errors import ConfigError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.triggers.arrivals import BlobArrivalTrigger
from airflow_azureml.triggers.ml_events import WorkspaceEventTrigger
from airflow_azureml.triggers.scan import BlobScanTrigger

__all__ = [
    "ANY",
    "NAMES",
    "Scanning",
    "blob_arrivals",
    "dates",
    "deployment_events",
    "drift_events",
    "job_events",
    "model_events",
    "registered_model",
]

_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")


def blob_arrivals(
    name: str,
    *,
    queue_url: str = "",
    account_url: str = "",
    scan: Scanning | None = None,
    account: str = "",
    conn_id: str = AzureMLHook.default_conn_name,
    **wanted: Unpack[FilterOptions],
) -> Asset:
    """Make an asset that is updated whenever a blob has been written completely.

    Schedule a DAG by it and let its first task be a `ClaimArrivalsOperator`: Airflow 3.3 does not hand every event to
    a run, so the events only wake the DAG, and its run takes whatever is open.

    An Event Grid subscription of the storage account must send ``Microsoft.Storage.BlobCreated`` to the queue. Several
    assets may share a queue as long as their DAGs are never paused separately: a message is deleted when every asset
    that listens *now* has seen it. Otherwise, give each asset a subscription and a queue of its own.

    Args:
        name: The asset's name.
        queue_url: ``https://ACCOUNT.queue.core.windows.net/QUEUE``, without a SAS token; on this machine
            ``http://127.0.0.1:PORT/devstoreaccount1/QUEUE``. Or of a Service Bus:
            ``sb://NAMESPACE.servicebus.windows.net/QUEUE`` or ``…/TOPIC/subscriptions/NAME``, which needs the extra
            ``servicebus`` in the triggerer, and ``account``.
        account_url: The blobs' storage account, ``https://ACCOUNT.blob.core.windows.net``; on this machine
            ``http://127.0.0.1:PORT/devstoreaccount1``. Where it is given, the container is scanned: instead of a queue,
            or beside it, for what no event tells of. Whoever takes the arrivals gets the same version twice then.
        scan: How it is scanned; see `Scanning`. As that says, unless given.
        account: The blobs' storage account; empty when it is the queue's, or that of ``account_url``. Messages of an
            account or a container that no asset of the queue names are put aside in the queue ``QUEUE-poison``, or
            among the dead letters of a Service Bus, as are those that cannot be read.
        conn_id: The connection of type ``azureml`` whose identity reads the queue, and lists the container.
        wanted: Which blobs: ``container``, and whatever else `airflow_azureml.core.filters.FilterOptions` has.

    Raises:
        ConfigError: An argument is wrong; the message lists all that are.
    """
    which = ArrivalFilter.of(**wanted)
    scanned = Scan(account_url=account_url, wanted=which, how=scan or Scanning())
    texts: dict[str, object] = {
        "name": name,
        "queue_url": queue_url,
        "account_url": account_url,
        "account": account,
        "conn_id": conn_id,
    }
    odd = [f"{each} is {given!r}, not a text" for each, given in texts.items() if not isinstance(given, str)]
    if not isinstance(scanned.how, Scanning):
        odd.append(f"scan is {scan!r}, not a Scanning")
    wrong = odd or [
        *([] if name.strip() else ["name is empty"]),
        *([] if queue_url or account_url else ["queue_url and account_url are empty; give one of them, or both"]),
        *(queue_faults(queue_url, account=account or account_url) if queue_url else []),
        *(scanned.faults() if account_url else which.faults()),
        *(["scan needs an account_url"] if scan is not None and not account_url else []),
        *([] if not account or _ACCOUNT.fullmatch(account) else [f"account {account!r} is no storage account's name"]),
        *([] if conn_id.strip() else ["conn_id is empty"]),
    ]
    if wrong:
        raise ConfigError(f"blob_arrivals({name!r}): {'; '.join(wrong)}.")
    triggers: dict[str, BaseEventTrigger] = {}
    if queue_url:
        account = account or (scanned.place.account if account_url else "")
        triggers["blob_arrivals"] = BlobArrivalTrigger(
            queue_url=queue_url, conn_id=conn_id, account=account, wanted=which.to_wire()
        )
    if account_url:
        triggers["blob_scan"] = BlobScanTrigger(asset=name, scan=scanned.to_wire(), conn_id=conn_id)
    return Asset(name, watchers=[AssetWatcher(name=each, trigger=trigger) for each, trigger in triggers.items()])


class WorkspaceQueue(TypedDict, total=False):
    """Where the events of a workspace come from, for all assets that they update.

    An Event Grid subscription of the workspace must send them to the queue; blobs' events may come through it as well.

    Attributes:
        queue_url: As `blob_arrivals` takes it.
        workspace: ``subscription/resource group/name``; left out for the workspace of the connection. Messages of a
            workspace that no asset of the queue names are put aside like those of another storage account.
        conn_id: The connection of type ``azureml`` whose identity reads the queue.
    """

    queue_url: Required[str]
    workspace: str
    conn_id: str


def model_events(
    name: str, *, model: str = "", tags: Mapping[str, str] | None = None, **queue: Unpack[WorkspaceQueue]
) -> Asset:
    """Make an asset that is updated whenever a version of a model is registered (``ModelRegistered``).

    The payload is a list of what `ModelEvent.to_wire` writes. It only wakes the DAG: let its first task ask the
    workspace what is registered.

    Args:
        name: The asset's name.
        model: A pattern of the model's name, as the shell has them: ``*``, ``?``, ``[…]``; empty for any.
        tags: Tags that the model must have, with these values.
        queue: See `WorkspaceQueue`.

    Raises:
        ConfigError: An argument is wrong; the message lists all that are.
    """
    return _of_workspace("model_events", name, ModelFilter(model=model, tags=tags or {}), **queue)


def registered_model(name: str) -> Asset:
    """Make the asset that `AzureMLRegisterModelOperator` updates when it has registered a version; nobody listens.

    Schedule a DAG by it to release what is registered: each event's ``extra`` has ``model``, ``version``, ``stage``,
    ``job`` and ``digest``. Airflow may hand several events to one run. For what others register, in the studio or with
    MLflow, see `model_events`.

    Args:
        name: The model's name; the asset is called ``azureml-model-NAME``.

    Raises:
        ConfigError: It is no model's name.
    """
    if not is_model_name(name):
        raise ConfigError(
            f"registered_model({name!r}): a model's name has up to 255 letters, digits, '-', '_' and '.'."
        )
    return Asset(f"azureml-model-{name}")


def deployment_events(
    name: str,
    *,
    endpoint: str = "",
    model: str = "",
    tags: Mapping[str, str] | None = None,
    **queue: Unpack[WorkspaceQueue],
) -> Asset:
    """Make an asset that is updated whenever models are deployed to an endpoint (``ModelDeployed``).

    Args:
        name: The asset's name.
        endpoint: A pattern of the endpoint's name; empty for any.
        model: A pattern of the models' names, which one of them must be like; empty for any.
        tags: Tags that the deployment must have, with these values.
        queue: See `WorkspaceQueue`.

    Raises:
        ConfigError: An argument is wrong; the message lists all that are.
    """
    wanted = DeploymentFilter(endpoint=endpoint, model=model, tags=tags or {})
    return _of_workspace("deployment_events", name, wanted, **queue)


def job_events(
    name: str,
    *,
    job: str = "",
    experiment: str = "",
    statuses: Sequence[str] = (),
    steps: bool = False,
    tags: Mapping[str, str] | None = None,
    **queue: Unpack[WorkspaceQueue],
) -> Asset:
    """Make an asset that is updated whenever a job's status changes (``RunStatusChanged`` and ``RunCompleted``).

    Every asset of a workspace's events, this one or another, also ends the waits of `AzureMLPipelineOperator` and its
    like earlier: an event of a job that the same triggerer waits for has it looked at within seconds.

    Args:
        name: The asset's name.
        job: A pattern of the job's name; empty for any.
        experiment: A pattern of its experiment's name; empty for any.
        statuses: Azure's words, such as ``Completed`` and ``Failed``; empty for any.
        steps: Whether steps of pipelines count as well.
        tags: Tags that the job must have, with these values.
        queue: See `WorkspaceQueue`.

    Raises:
        ConfigError: An argument is wrong; the message lists all that are.
    """
    wanted = JobFilter(job=job, experiment=experiment, statuses=statuses, steps=steps, tags=tags or {})
    return _of_workspace("job_events", name, wanted, **queue)


def drift_events(name: str, *, monitor: str = "", at_least: float = 0.0, **queue: Unpack[WorkspaceQueue]) -> Asset:
    """Make an asset that is updated whenever a monitor finds that data has drifted (``DatasetDriftDetected``).

    Args:
        name: The asset's name.
        monitor: A pattern of the monitor's name; empty for any.
        at_least: The smallest coefficient that counts, from 0 to 1.
        queue: See `WorkspaceQueue`.

    Raises:
        ConfigError: An argument is wrong; the message lists all that are.
    """
    return _of_workspace("drift_events", name, DriftFilter(monitor=monitor, at_least=at_least), **queue)


def _of_workspace(
    watcher: str,
    name: str,
    wanted: AnyFilter,
    *,
    queue_url: str,
    workspace: str = "",
    conn_id: str = AzureMLHook.default_conn_name,
) -> Asset:
    wrong = [
        *([] if name.strip() else ["name is empty"]),
        *queue_faults(queue_url, account="any"),  # these events are of no storage account
        *wanted.faults(),
        *([] if not workspace or is_place(workspace) else [f"workspace {workspace!r} is not SUBSCRIPTION/GROUP/NAME"]),
        *([] if conn_id.strip() else ["conn_id is empty"]),
    ]
    if wrong:
        raise ConfigError(f"{watcher}({name!r}): {'; '.join(wrong)}.")
    trigger = WorkspaceEventTrigger(queue_url=queue_url, conn_id=conn_id, workspace=workspace, wanted=wanted.to_wire())
    return Asset(name, watchers=[AssetWatcher(name=watcher, trigger=trigger)])
