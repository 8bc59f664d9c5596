"""What a user of azure-ai-ml does in a workspace that Event Grid tells of; prints what things were called as JSON."""

# ruff: noqa: T201, TID253  # a judge is a program, the SDK is whom it hears
import json
import os
import pathlib
from functools import partial
from typing import Any

from azure.ai.ml import MLClient, command, dsl
from azure.ai.ml.entities import (
    AmlCompute,
    BatchEndpoint,
    CodeConfiguration,
    Environment,
    Model,
    ModelBatchDeployment,
)
from azure.identity import DefaultAzureCredential

import telling
from telling import chapter, found

SUBSCRIPTION, GROUP, NAME = os.environ["CONTRACT_WORKSPACE"].split("/")
OTHER = os.environ["CONTRACT_OTHER_WORKSPACE"].split("/")
HERE = pathlib.Path(__file__).parent
SCRATCH = pathlib.Path(os.environ["CONTRACT_SCRATCH"])
IMAGE = Environment(image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04")

ml = MLClient(DefaultAzureCredential(), SUBSCRIPTION, GROUP, NAME)
ended = partial(telling.ended, ml)
known: dict[str, Any] = {}


def register(client: MLClient, name: str, **more: Any) -> Any:
    folder = SCRATCH / name
    folder.mkdir()
    (folder / "weight.txt").write_text("0.5")
    return client.models.create_or_update(Model(name=name, path=str(folder), type="custom_model", **more))


@chapter
def model() -> Any:
    made = register(ml, "told", tags={"stage": "candidate"})
    made.tags["stage"] = "production"
    ml.models.create_or_update(made)  # a change of tags registers nothing
    known["model"] = made
    return {"name": made.name, "version": made.version}


@chapter
def elsewhere() -> Any:
    return {"name": register(MLClient(DefaultAzureCredential(), *OTHER), "foreign").name}


@chapter
def deployment() -> Any:
    ml.compute.begin_create_or_update(AmlCompute(name="scorers", size="Standard_DS3_v2", max_instances=2)).result()
    ml.batch_endpoints.begin_create_or_update(BatchEndpoint(name="told-endpoint")).result()
    made = ModelBatchDeployment(
        name="blue",
        endpoint_name="told-endpoint",
        model=known["model"].id,
        environment=IMAGE,
        code_configuration=CodeConfiguration(code=str(HERE / "scoring"), scoring_script="score.py"),
        compute="scorers",
    )
    ml.batch_deployments.begin_create_or_update(made, skip_script_validation=True).result()
    return {"endpoint": "told-endpoint"}


@chapter
def job() -> Any:
    made = ml.jobs.create_or_update(
        command(command="echo hello", environment=IMAGE, experiment_name="told", tags={"owner": "contract"})
    )
    return {"name": made.name, "status": ended(made.name).status}


@chapter
def failing() -> Any:
    made = ml.jobs.create_or_update(command(command="exit 3", environment=IMAGE, experiment_name="told"))
    return {"name": made.name, "status": ended(made.name).status}


@chapter
def pipeline() -> Any:
    step = command(name="step", command="echo step", environment=IMAGE, is_deterministic=False)

    @dsl.pipeline(default_compute="serverless")  # type: ignore[untyped-decorator]  # the SDK says no types
    def one_step() -> None:
        step()

    made = ml.jobs.create_or_update(one_step(), experiment_name="told-pipeline")
    status = ended(made.name).status
    (child,) = ml.jobs.list(parent_job_name=made.name)
    return {"name": made.name, "status": status, "step": child.name}


print(json.dumps(found))
