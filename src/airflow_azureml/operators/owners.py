"""Whether anybody still works on what a run has claimed."""

import logging
from collections.abc import Sequence
from typing import Any

from airflow.sdk.exceptions import AirflowRuntimeError
from attrs import define, field

from airflow_azureml.core.batches import parse_owner
from airflow_azureml.core.orphans import OVER
from airflow_azureml.wire.http import NOT_FOUND

log = logging.getLogger(__name__)

#: States of a run that has ended. Source: ``DagRunState`` of Airflow 3.3.
ENDED = frozenset({"success", "failed"})


@define
class Owners:
    """Asks Airflow for the owners of batches, each once.

    Args:
        ti: The task instance that runs; its static methods ask.
        tasks: The tasks of a group that work on its batches, as they are called within it.
    """

    ti: Any
    tasks: Sequence[str]
    _known: dict[str, bool] = field(factory=dict)

    def live(self, owner: str) -> bool:
        """Tell whether a run is still at work on its batches; one that Airflow does not know any more is not.

        Where Airflow does not answer, it is: its batches are left, and the next claim asks again.
        """
        if owner not in self._known:
            self._known[owner] = self._ask(owner)
        return self._known[owner]

    def _ask(self, owner: str) -> bool:
        dag_id, run_id, group = parse_owner(owner)
        if not (dag_id and run_id and group):
            return False
        task_ids = [f"{group}.{name}" for name in self.tasks]
        try:
            if self.ti.get_dagrun_state(dag_id=dag_id, run_id=run_id) in ENDED:
                return False
            seen = self.ti.get_task_states(dag_id=dag_id, task_ids=task_ids, run_ids=[run_id]).get(run_id) or {}
        except AirflowRuntimeError as error:
            if (error.error.detail or {}).get("status_code") == NOT_FOUND:
                return False
            log.warning("Airflow does not say whether %s is at work; its batches are left: %s", owner, error)
            return True
        return not seen or any(state not in OVER for state in seen.values())
