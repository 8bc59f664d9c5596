"""What a promotion of code does for the release of the version that it has made."""

from collections.abc import Mapping
from typing import Any

from airflow.providers.standard.operators.python import ShortCircuitOperator
from airflow.sdk import BaseOperator, TaskGroup

from airflow_azureml.operators.evidence import AzureMLRequireEvidenceOperator
from airflow_azureml.operators.models import AzureMLChampionOperator
from airflow_azureml.task_groups.promotion_parts import JOINS, Parts


def is_of(proven: Any, champion: Any) -> bool:
    """Tell whether the champion is the version that evidence tells of."""
    told = proven.get("model") if isinstance(proven, Mapping) else None
    reigning = f"{champion.get('model')}:{champion.get('version')}" if isinstance(champion, Mapping) else None
    return bool(told) and told == reigning


def release_ours(parts: Parts, release: Any, *, after: Any) -> TaskGroup | BaseOperator:
    """Release the version that the commit has made, also where a run before this one has made it and got no further.

    Another version may have become the champion since; then this one is not released.

    Args:
        parts: Makes the tasks of the promotion.
        release: See `airflow_azureml.task_groups.promotion.promote_code`.
        after: The tasks after one of which this comes.

    Returns:
        What ``release`` has made.
    """
    here = parts.environments[-1]
    champion = AzureMLChampionOperator(
        task_id="champion", model=parts.training.model, conn_id=here.conn_id, trigger_rule=JOINS, **parts.options
    )
    proven = AzureMLRequireEvidenceOperator(
        task_id="proven", environment=here.name, sha=parts.commit, conn_id=here.conn_id, **parts.signing
    )
    made: TaskGroup | BaseOperator = release(champion.output)
    ours = ShortCircuitOperator(
        task_id="ours",
        python_callable=is_of,
        op_args=[proven.output, champion.output],
        ignore_downstream_trigger_rules=False,
        **parts.options,
    )
    after >> champion >> proven >> ours >> made
    return made
