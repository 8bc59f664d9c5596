"""Train, crown and release a model; how it behaves stands in the run's conf."""  # noqa: INP001  # a folder of DAG files, no package

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG

from airflow_azureml.core.rollout import Limits, Policy
from airflow_azureml.operators.pipeline import PipelineComponent
from airflow_azureml.task_groups.release import Stage, release
from airflow_azureml.task_groups.retraining import train_evaluate_register

FILES = Path(__file__).resolve().parents[1] / "online"
MODEL = "numbers"
# Airflow counts a try for each queued task that it takes back from a scheduler that died, too.
OPTIONS = {"retries": 20, "retry_delay": timedelta(seconds=2)}

with DAG("chaos_promotion", schedule=None, is_paused_upon_creation=False, max_active_runs=1):
    learned = train_evaluate_register(
        "learn",
        model=MODEL,
        pipeline=PipelineComponent("numbers-training"),
        inputs={"model_json": "{{ dag_run.conf['model'] | tojson }}", "rmse": "{{ dag_run.conf['rmse'] }}"},
        outputs="azureml://datastores/workspaceblobstore/paths/trained/",
        policy={
            "schema": 1,
            "name": "numbers",
            "version": "1",
            "no_champion": "accept",
            "thresholds": [{"metric": "rmse", "at_most": 60}],
            "comparisons": [{"metric": "rmse", "better": "lower"}],
        },
        task_options=OPTIONS,
        train_options={"poll_interval": timedelta(seconds=2)},
    )
    released = release(
        "release",
        model=f"{MODEL}:{{{{ ti.xcom_pull(task_ids='learn.register')['version'] }}}}",
        spec=FILES / "deployment.yml",
        tests=FILES / "smoke.yaml",
        production=Stage(endpoint="numbers"),
        policy=Policy(
            steps=(10, 100),
            looks=1,
            look_every=timedelta(seconds=5),
            least_requests=50,
            least_time=timedelta(0),
            soak=timedelta(0),
            limits=Limits(failures_at_most=0.002, p95_ms_at_most=1200, p95_times_champion=None),
        ),
        task_options=OPTIONS,
    )
    learned >> released
