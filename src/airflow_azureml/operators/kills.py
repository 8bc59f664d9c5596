"""Why a worker's task is being killed."""

import logging
import sys
import threading
from typing import Any

from airflow.sdk.exceptions import AirflowTaskTimeout

from airflow_azureml.operators.tries import map_index

log = logging.getLogger(__name__)

#: States in which Airflow will try the task again, or does so already; None is one that is about to be scheduled. A
#: person's word leaves another one: success, failed, skipped, restarting.
GOES_ON = frozenset({None, "scheduled", "queued", "running", "deferred", "up_for_retry", "up_for_reschedule"})
#: How long Airflow may take to say it. Seconds; a task that is killed has five.
ASKED_S = 1.5


def comes_again(ti: Any) -> bool:
    """Tell whether another try of a task that is being killed will look for its job.

    Airflow kills a worker where a person ended the task, but also where it took the task back since a scheduler's or a
    worker's sign of life came late; and a worker may be shut down. What cannot be known is no: in the middle of a
    question to Airflow, no other may be asked.
    """
    from airflow.sdk.execution_time import task_runner  # noqa: PLC0415  # there in a running task alone

    if isinstance(sys.exception(), AirflowTaskTimeout):
        return False
    lock = getattr(getattr(task_runner, "SUPERVISOR_COMMS", None), "_thread_lock", None)
    if lock is None or lock.locked():
        return False
    found: list[Any] = []

    def _ask() -> None:
        try:
            states = task_runner.RuntimeTaskInstance.get_task_states(
                dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=map_index(ti)
            )
            found.extend(states.get(ti.run_id, {}).values())
        except Exception as error:  # noqa: BLE001  # whatever Airflow raises, a kill is believed
            log.warning("Airflow does not say what becomes of this task: %r", error)

    asking = threading.Thread(target=_ask, name="asking why this task is killed", daemon=True)
    asking.start()
    asking.join(ASKED_S)
    is_last = "running" in found and ti.try_number > ti.max_tries
    return bool(found) and set(found) <= GOES_ON and not is_last
