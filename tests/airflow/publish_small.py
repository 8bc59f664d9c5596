"""Publish a pipeline of one small step with azure-ai-ml; it does what its inputs say."""

import sys
import tempfile
from pathlib import Path
from typing import Any

COMPONENT = """
$schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json
type: pipeline
name: small
version: "1"
inputs:
  word: {type: string}
  seconds: {type: number, default: 0}
  code: {type: integer, default: 0}
outputs:
  result: {type: uri_folder}
jobs:
  say:
    type: command
    component:
      type: command
      name: say
      command: >-
        echo "saying ${{inputs.word}}" && sleep ${{inputs.seconds}} &&
        echo ${{inputs.word}} > ${{outputs.result}}/word.txt && exit ${{inputs.code}}
      environment: {image: "debian:bookworm"}
      inputs:
        word: {type: string}
        seconds: {type: number}
        code: {type: integer}
      outputs:
        result: {type: uri_folder}
    inputs:
      word: ${{parent.inputs.word}}
      seconds: ${{parent.inputs.seconds}}
      code: ${{parent.inputs.code}}
    outputs:
      result: ${{parent.outputs.result}}
"""


def main(subscription: str, resource_group: str, workspace: str) -> None:
    """Publish component, endpoint and deployment, and make the deployment the default."""
    from azure.ai.ml import MLClient, load_component  # four seconds
    from azure.ai.ml.entities import BatchEndpoint, PipelineComponentBatchDeployment
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415

    client: Any = MLClient(
        DefaultAzureCredential(), subscription, resource_group, workspace, enable_telemetry=False, polling_interval=1
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "small.yml"
        file.write_text(COMPONENT)
        component = client.components.create_or_update(load_component(file))
    client.batch_endpoints.begin_create_or_update(BatchEndpoint(name="small")).result()
    deployment = PipelineComponentBatchDeployment(
        name="one", endpoint_name="small", component=component, settings={"continue_on_step_failure": False}
    )
    client.batch_deployments.begin_create_or_update(deployment).result()
    endpoint = client.batch_endpoints.get("small")
    endpoint.defaults.deployment_name = "one"
    client.batch_endpoints.begin_create_or_update(endpoint).result()


if __name__ == "__main__":
    main(*sys.argv[1:])
