"""One published pipeline, and the two ways to invoke it; each function runs in a process of its own."""

import importlib.metadata
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from demo.azure import RESOURCE_GROUP, SUBSCRIPTION, WORKSPACE

ENDPOINT, DEPLOYMENT = "bench-echo", "echo"
COMPONENT = """
$schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json
type: pipeline
name: bench_echo
version: "1"
inputs: {word: {type: string}}
jobs:
  echo:
    type: command
    component:
      type: command
      name: echo
      command: echo ${{inputs.word}}
      environment: {image: "debian:bookworm"}
      inputs: {word: {type: string}}
    inputs: {word: "${{parent.inputs.word}}"}
"""


class _Count(logging.Handler):
    """Counts what urllib3, below both clients, has sent."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.requests += record.getMessage().startswith("http")


def _counting() -> _Count:
    count = _Count()
    logger = logging.getLogger("urllib3.connectionpool")
    logging.disable(logging.NOTSET)
    logger.handlers, logger.propagate = [count], False
    logger.setLevel(logging.DEBUG)
    return count


def _sdk_client() -> Any:
    """Make a client with the emulator's unsigned token, so that no token is asked of anybody."""
    from azure.ai.ml import MLClient  # noqa: PLC0415  # four seconds, part of what is measured

    from airflow_azureml.client.credentials import LocalCredential  # noqa: PLC0415

    return MLClient(LocalCredential(), SUBSCRIPTION, RESOURCE_GROUP, WORKSPACE, enable_telemetry=False)


def publish() -> dict[str, Any]:
    """Publish a pipeline that does nothing but echo, with azure-ai-ml."""
    from azure.ai.ml import load_component  # noqa: PLC0415
    from azure.ai.ml.entities import BatchEndpoint, PipelineComponentBatchDeployment  # noqa: PLC0415

    client = _sdk_client()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "echo.yml"
        file.write_text(COMPONENT)
        component = client.components.create_or_update(load_component(file))
    client.batch_endpoints.begin_create_or_update(BatchEndpoint(name=ENDPOINT)).result()
    deployment = PipelineComponentBatchDeployment(
        name=DEPLOYMENT, endpoint_name=ENDPOINT, component=component, settings={"continue_on_step_failure": False}
    )
    client.batch_deployments.begin_create_or_update(deployment).result()
    return {"component": component.name}


def ours() -> dict[str, Any]:
    """Invoke it as our operator does, twice."""
    from airflow_azureml.client.azureml import Client  # noqa: PLC0415  # part of what is measured
    from airflow_azureml.core.jobs import JobKey, Situation  # noqa: PLC0415
    from airflow_azureml.core.passed import Passed  # noqa: PLC0415
    from airflow_azureml.core.pipelines import BatchEndpoint  # noqa: PLC0415
    from airflow_azureml.core.workspace import Authentication, ConnectionSettings, Workspace  # noqa: PLC0415
    from airflow_azureml.operators.backends import Order, backend_of  # noqa: PLC0415
    from airflow_azureml.operators.start import Try, find_or_start  # noqa: PLC0415

    count = _counting()
    workspace = Workspace(
        subscription_id=SUBSCRIPTION,
        resource_group=RESOURCE_GROUP,
        name=WORKSPACE,
        endpoint=os.environ["EMULATOR_HTTP"],
    )
    settings = ConnectionSettings(workspace=workspace, authentication=Authentication.EMULATOR)
    with Client(settings) as client:

        def invoke(key: str) -> None:
            mine = JobKey.given("bench", "invoke", key)
            this = Try(key=mine, memory=None, number=1, situation=Situation(), owner="bench")
            order = Order(passed=Passed.parse({"word": "hello"}, {}), outputs={})
            backend = backend_of(client, settings, BatchEndpoint(ENDPOINT, DEPLOYMENT), order)
            find_or_start(client, workspace, this, backend)

        return _cost(count, lambda number: invoke(f"{os.getpid()}-{number}"))


def sdk() -> dict[str, Any]:
    """Invoke it with azure-ai-ml, twice."""
    client = _sdk_client()
    from azure.ai.ml import Input  # noqa: PLC0415

    def invoke(_: int) -> None:
        client.batch_endpoints.invoke(
            endpoint_name=ENDPOINT, deployment_name=DEPLOYMENT, inputs={"word": Input(type="string", default="hello")}
        )

    return {**_cost(_counting(), invoke), "version": importlib.metadata.version("azure-ai-ml")}


def _cost(count: _Count, invoke: Any) -> dict[str, Any]:
    """Invoke twice; the first has its requests counted, the second its own CPU seconds taken."""
    invoke(1)
    requests = count.requests
    began = time.process_time()
    invoke(2)
    return {"requests": requests, "more_cpu_s": time.process_time() - began}
