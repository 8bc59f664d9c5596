"""Two switches of a batch endpoint, one after the other, to be run by ``dag.test()``; their jobs really run."""

from airflow.sdk import DAG

from airflow_azureml.task_groups.batch_switch import OutputRules, batch_switch

RULES = OutputRules(key=["row"], changed_at_most=0.0, tolerance=0.0, distribution=None)

with DAG("switches", schedule=None) as dag:
    before = None
    for name in ("green", "red"):
        group = batch_switch(
            name,
            endpoint="switched",
            deployment=name,
            inputs={"rows": 5},
            output="result",
            rules=RULES,
            task_options={"retries": 0},
        )
        if before is not None:
            before >> group
        before = group
