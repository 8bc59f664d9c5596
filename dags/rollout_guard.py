"""# Look after rollouts

What a release has begun is finished, though the run that began it was killed, deleted, or ended by hand: each five
minutes this DAG looks at what is written of every endpoint's last rollout.

* A rollout whose run may still go on is left alone. So is one of another Airflow, until nothing was heard of it for two
  days.
* A rollout whose run is over gets its traffic back: what served before serves again, all of it.
* One whose new deployment is proven is seen to its end: the deployments that it replaces are removed, and not paid for.
* Traffic that a task which is no more has set late is set right, for ten minutes after its rollout has ended.

Where traffic cannot be given back, its task is red and says what Azure complains of; the next run tries again.

Turn it on in each Airflow that rolls out. `ROLLOUT_CONNECTIONS` names the connections of the workspaces where it does,
with commas between them; `guard` runs once for each.
"""

import os
from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable

from airflow_azureml.operators.rollout_guard import AzureMLRolloutGuardOperator

CONNECTIONS = [each.strip() for each in os.environ.get("ROLLOUT_CONNECTIONS", "azureml_default").split(",")]

with DAG(
    "rollout_guard",
    schedule=CronTriggerTimetable("*/5 * * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    # A run that hangs would keep the next ones from looking.
    dagrun_timeout=timedelta(hours=1),
    doc_md=__doc__,
    tags=["azureml", "release"],
):
    # Before others that wait for a slot, as all that gives traffic back.
    AzureMLRolloutGuardOperator.partial(task_id="guard", priority_weight=1000).expand(conn_id=CONNECTIONS)
