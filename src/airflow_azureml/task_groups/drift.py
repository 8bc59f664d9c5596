"""Watching what is scored for drift, and asking for a retraining."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, TaskGroup

from airflow_azureml.core.data_tests import EVERY, Distribution, Drift
from airflow_azureml.core.drift import DriftPolicy
from airflow_azureml.core.scoring_logs import Dated, Published, ScoringLogs, collected
from airflow_azureml.core.windows import Windows
from airflow_azureml.errors import ConfigError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.drift import (
    RETRAIN,
    AzureMLDriftDecisionOperator,
    AzureMLDriftWindowsOperator,
    AzureMLRetrainOperator,
)

__all__ = [
    "Dated",
    "Distribution",
    "Drift",
    "DriftPolicy",
    "Published",
    "Windows",
    "collected",
    "drift_of",
    "drift_watch",
]

#: What every task of a group is told, unless it is told otherwise.
TASK_OPTIONS: Mapping[str, Any] = {"retries": 3, "retry_delay": timedelta(seconds=30)}
#: How far columns may be from the reference, unless told otherwise: above, many call it a shift.
TESTS = Distribution(columns={EVERY: Drift(psi=0.25)})


def drift_of(model: str) -> Asset:
    """Name the asset that is updated when drift asks for a retraining of a model; schedule the DAG that retrains by it.

    The event's ``extra`` has ``model``, ``window``, ``columns`` (the first that violate in the latest window) and
    ``decided_by``.
    """
    return Asset(f"drift of {model}")


def drift_watch(  # noqa: PLR0913  # a group's options are its face, and all by name
    group_id: str,
    *,
    model: str,
    recent: ScoringLogs | Sequence[ScoringLogs],
    reference: str,
    windows: Windows | None = None,
    policy: DriftPolicy | None = None,
    tests: Distribution | None = None,
    retraining: Sequence[str] = ("weekly_retraining",),
    asset: Asset | None = None,
    at: str = "",
    conn_id: str = AzureMLHook.default_conn_name,
    task_options: Mapping[str, Any] | None = None,
) -> TaskGroup:
    """Test what was scored lately against what a model was trained on, window by window, and ask for a retraining.

    ``look`` makes a profile of each of the last windows that has none; ``decide`` compares them with the reference,
    decides once for each window, and shows why in a table; ``retrain`` updates the asset, or is skipped. However often
    the DAG runs, and whatever dies or races, a window asks at most once.

    Args:
        group_id: The group's id.
        model: The model's name: letters, digits, ``.``, ``_`` and ``-``.
        recent: Where what was scored is, inputs and predictions: `Published` for the results of
            `airflow_azureml.task_groups.arrivals.score_arrivals`, `collected` for a collection of Azure ML's data
            collector, `Dated` for other files; or several of them.
        reference: What is compared with, templated: the URI of a profile (``.json``), or of the data that the model was
            trained on (``.csv``, ``.parquet``, ``.jsonl``), with the predictions where these are to be tested, too.
        windows: How time is cut, and how long after its end a window is left open; by days unless told otherwise.
        policy: When a retraining is asked for.
        tests: How far columns may be from the reference; each column's population stability index at most 0.25 unless
            told otherwise.
        retraining: The DAGs that retrain the model. While a run of one is queued or runs, none is asked for, and
            neither while a run holds the model otherwise.
        asset: What is updated; `drift_of` the model unless told otherwise.
        at: As of when to look, templated: a time in ISO 8601; empty for now.
        conn_id: The Airflow connection of type ``azureml``, templated. Its identity needs the role Storage Blob Data
            Contributor on the account of the first of ``recent``, where decisions are kept, in a container
            ``airflow-azureml-drift``.
        task_options: Airflow's own options for every task of the group; three ``retries`` unless told otherwise.

    Raises:
        ConfigError: An argument is wrong; the message lists all that are.
    """
    logs = list(recent) if isinstance(recent, Sequence) else [recent]
    cut, rules = windows or Windows(), policy or DriftPolicy()
    wrong = [
        *([] if model.strip() else ["model is empty"]),
        *([] if logs else ["recent is empty"]),
        *(fault for each in logs for fault in each.faults()),
        *([] if reference.strip() else ["reference is empty"]),
        *cut.faults(),
        *rules.faults(),
    ]
    if wrong:
        raise ConfigError(f"drift_watch({group_id!r}): {'; '.join(wrong)}.")
    with TaskGroup(group_id) as group:
        shared: dict[str, Any] = {
            **TASK_OPTIONS,
            **(task_options or {}),
            "group": group.group_id,
            "model": model,
            "recent": logs,
            "windows": cut,
            "policy": rules,
            "at": at,
            "conn_id": conn_id,
        }
        look = AzureMLDriftWindowsOperator(task_id="look", **shared)
        choice = AzureMLDriftDecisionOperator(
            task_id="decide", reference=reference, tests=tests or TESTS, retraining=retraining, **shared
        )
        ask = AzureMLRetrainOperator(task_id=RETRAIN, asset=asset or drift_of(model), **shared)
        look >> choice >> ask
    return group
