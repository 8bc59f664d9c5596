"""A DAG of one task, which deploys a script to an online endpoint; which one is in the run's conf."""

from datetime import timedelta

from airflow.sdk import DAG

from airflow_azureml.operators.online import AzureMLOnlineDeploymentOperator

with DAG("small_online", schedule=None, is_paused_upon_creation=False) as dag:
    AzureMLOnlineDeploymentOperator(
        task_id="run",
        endpoint="{{ dag_run.conf['endpoint'] }}",
        deployment="blue",
        spec={
            "code_configuration": {"code": "{{ dag_run.conf['code'] }}", "scoring_script": "score.py"},
            "environment": {"image": "mcr.microsoft.com/azureml/minimal-py312-inference"},
            "instance_type": "Standard_DS3_v2",
        },
        poll_interval=timedelta(seconds=1),
    )
