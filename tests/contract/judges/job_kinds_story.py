"""Sweep, Spark and AutoML jobs, and a Spark step, as a user of azure-ai-ml meets them; prints what happened as JSON.

A chapter that fails is reported with its traceback and does not end the story.
"""

# ruff: noqa: T201, TID253, BLE001  # a judge is a program, the SDK is whom it hears, and a failed chapter is told
import contextlib
import io
import json
import logging
import os
import pathlib
import time
from functools import partial
from typing import Any

from azure.ai.ml import Input, MLClient, automl, command, dsl, load_job, spark
from azure.ai.ml.entities import AmlCompute, Environment
from azure.ai.ml.sweep import Choice, Uniform
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential

import telling
from telling import chapter, found

logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)
SUBSCRIPTION, GROUP, NAME = os.environ["CONTRACT_WORKSPACE"].split("/")
SCRATCH = pathlib.Path(os.environ["CONTRACT_SCRATCH"])
ENVIRONMENT = Environment(image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04")
SEARCH = """
import sys
import mlflow
accuracy = float(sys.argv[1]) * int(sys.argv[2])
mlflow.log_metric("accuracy", accuracy / 2, step=0)
mlflow.log_metric("accuracy", accuracy, step=1)
open(sys.argv[3] + "/model.txt", "w").write(str(accuracy))
print("rate", sys.argv[1], "depth", sys.argv[2])
"""
SWEEP = """
$schema: https://azuremlschemas.azureedge.net/latest/sweepJob.schema.json
type: sweep
name: grid
trial:
  command: python search.py ${{search_space.rate}} ${{search_space.depth}} ${{outputs.model}}
  code: code
  environment: {image: "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"}
sampling_algorithm: grid
search_space:
  rate: {type: choice, values: [0.5, 0.25]}
  depth: {type: choice, values: [2, 3]}
outputs: {model: {type: uri_folder}}
objective: {primary_metric: accuracy, goal: GOAL}
limits: {max_total_trials: 4, max_concurrent_trials: 2, timeout: 300}
experiment_name: sweeps
"""

ml = MLClient(DefaultAzureCredential(), SUBSCRIPTION, GROUP, NAME)
ended = partial(telling.ended, ml)


def streamed(name: str) -> dict[str, str]:
    """Follow a job to its end, and tell what was said and with what error that ended."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            ml.jobs.stream(name)
    except Exception as error:
        return {"said": said.getvalue(), "error": str(error)}
    return {"said": said.getvalue(), "error": ""}


def failed(job: Any, name: str) -> dict[str, Any]:
    """Submit a job that the emulator does not run, and look at it in every way there is."""
    job.name = name
    submitted = ml.jobs.create_or_update(job)
    told = streamed(name)
    last = ml.jobs.get(name)
    listed = [one.name for one in ml.jobs.list()]
    return {"type": submitted.type, "status": last.status, "listed": name in listed, **told}


def sweep_of(goal: str, name: str) -> Any:
    code = SCRATCH / "code"
    code.mkdir(exist_ok=True)
    (code / "search.py").write_text(SEARCH)
    file = SCRATCH / f"{goal}.yml"
    file.write_text(SWEEP.replace("GOAL", goal).replace("name: grid", f"name: {name}"))
    return load_job(file)


ml.compute.begin_create_or_update(AmlCompute(name="cpu", size="STANDARD_DS3_V2", max_instances=2)).result()


@chapter
def grid() -> Any:
    submitted = ml.jobs.create_or_update(sweep_of("maximize", "grid"))
    told = streamed("grid")
    job = ended("grid")
    ml.jobs.download("grid", download_path=SCRATCH / "best")
    # With all=True 1.35 leaves it out: https://github.com/Azure/azure-sdk-for-python/issues/48941
    ml.jobs.download("grid", download_path=SCRATCH / "best", output_name="model")
    files = (SCRATCH / "best").rglob("*.txt")
    children = list(ml.jobs.list(parent_job_name="grid"))
    return {
        "first": [submitted.type, submitted.status in {"Starting", "Running", "Queued", "Preparing"}],
        "status": job.status,
        "space": {name: one.values for name, one in job.search_space.items()},
        "limits": [job.limits.max_total_trials, job.limits.max_concurrent_trials, job.limits.timeout],
        "objective": [job.objective.primary_metric, job.objective.goal.lower()],
        "sampling": str(job.sampling_algorithm),
        "best": job.properties["best_child_run_id"],
        "score": job.properties["score"],
        "children": sorted((one.name, one.status) for one in children),
        "tried": {name: json.loads(told) for name, told in job.tags.items() if name.startswith("_aml_system_grid_")},
        "streamed": told,
        "files": {str(file.relative_to(SCRATCH / "best")): file.read_text() for file in files},
        "listed": [one.name for one in ml.jobs.list()],
        "child": ml.jobs.get("grid_0").status,
    }


@chapter
def minimized() -> Any:
    ml.jobs.create_or_update(sweep_of("minimize", "small"))
    job = ended("small")
    return {"status": job.status, "best": json.loads(job.tags[f"_aml_system_{job.properties['best_child_run_id']}"])}


@chapter
def drawn() -> Any:
    """A command of the SDK's own builder, swept at random; two of its trials fail."""
    trial = command(
        command="test ${{inputs.depth}} -lt 3 && echo ${{inputs.rate}} ${{inputs.word}}",
        environment=ENVIRONMENT,
        inputs={"rate": 0.1, "depth": 1, "word": "fixed"},
        compute="cpu",
    )
    sweep = trial(rate=Uniform(0.5, 1.0), depth=Choice([1, 2, 3, 4])).sweep(
        sampling_algorithm="random", primary_metric="accuracy", goal="maximize"
    )
    sweep.set_limits(max_total_trials=8, max_concurrent_trials=4, timeout=300)
    sweep.name = "drawn"
    ml.jobs.create_or_update(sweep)
    job = ended("drawn")
    tried = {name[12:]: json.loads(told) for name, told in job.tags.items() if name.startswith("_aml_system_drawn_")}
    statuses = {one.name: one.status for one in ml.jobs.list(parent_job_name="drawn")}
    return {
        "status": job.status,
        "trials": [[tried[name]["rate"], tried[name]["depth"], statuses[name]] for name in sorted(tried)],
        "best": job.properties.get("best_child_run_id"),
    }


@chapter
def cancelled() -> Any:
    trial = command(command="sleep ${{inputs.seconds}}", environment=ENVIRONMENT, inputs={"seconds": 1})
    sweep = trial(seconds=Choice([60, 61, 62])).sweep(sampling_algorithm="grid", primary_metric="a", goal="maximize")
    sweep.set_limits(max_total_trials=3, max_concurrent_trials=1)
    sweep.name = "cancelled"
    ml.jobs.create_or_update(sweep)
    deadline = time.monotonic() + 60
    while not list(ml.jobs.list(parent_job_name="cancelled")) and time.monotonic() < deadline:
        time.sleep(0.2)
    ml.jobs.begin_cancel("cancelled").wait()
    children = {one.name: one.status for one in ml.jobs.list(parent_job_name="cancelled")}
    return {"status": ended("cancelled").status, "children": children}


@chapter
def timed_out() -> Any:
    trial = command(command="sleep 60", environment=ENVIRONMENT, inputs={"one": 1})
    sweep = trial(one=Choice([1, 2])).sweep(sampling_algorithm="grid", primary_metric="a", goal="maximize")
    sweep.set_limits(max_total_trials=2, max_concurrent_trials=2, timeout=1)
    sweep.name = "timed_out"
    ml.jobs.create_or_update(sweep)
    return {"status": ended("timed_out").status, "error": streamed("timed_out")["error"]}


@chapter
def none_completed() -> Any:
    trial = command(command="exit ${{inputs.code}}", environment=ENVIRONMENT, inputs={"code": 1})
    sweep = trial(code=Choice([3, 4])).sweep(sampling_algorithm="grid", primary_metric="a", goal="maximize")
    sweep.set_limits(max_total_trials=2)
    sweep.name = "none_completed"
    ml.jobs.create_or_update(sweep)
    return {"status": ended("none_completed").status, "error": streamed("none_completed")["error"]}


@chapter
def bayesian() -> Any:
    job = sweep_of("maximize", "bayesian")
    job.sampling_algorithm = "bayesian"
    return failed(job, "bayesian")


@chapter
def wrong() -> Any:
    job = sweep_of("maximize", "wrong")
    job.search_space["rate"] = Uniform(0.1, 0.2)
    try:
        ml.jobs.create_or_update(job)
    except HttpResponseError as error:
        return {"status": error.status_code, "text": str(error)}
    return {"status": 201, "text": ""}


def counting() -> Any:
    code = SCRATCH / "spark"
    code.mkdir(exist_ok=True)
    (code / "count.py").write_text("print(1)\n")
    return spark(
        name="count",
        code=str(code),
        entry={"file": "count.py"},
        driver_cores=1,
        driver_memory="2g",
        executor_cores=2,
        executor_memory="2g",
        executor_instances=2,
        resources={"instance_type": "standard_e4s_v3", "runtime_version": "3.4"},
    )


@chapter
def spark_job() -> Any:
    return failed(counting(), "spark_job")


@chapter
def spark_step() -> Any:
    step = counting()

    @dsl.pipeline(default_compute="cpu")  # type: ignore[untyped-decorator]  # azure-ai-ml's
    def counted() -> None:
        step()

    return failed(counted(), "spark_step")


@chapter
def automl_job() -> Any:
    data = Input(type="mltable", path="azureml://datastores/workspaceblobstore/paths/table/")
    job = automl.classification(
        compute="cpu", training_data=data, target_column_name="y", primary_metric="accuracy", experiment_name="automl"
    )
    job.set_limits(timeout_minutes=30, max_trials=2)
    return failed(job, "automl_job")


print(json.dumps(found, default=str))
