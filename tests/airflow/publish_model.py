"""Publish a pickled model, which adds a number, with azure-ai-ml; and the folder of numbers that it scores."""

import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any

SCRIPT = """
import glob, os, pathlib, pickle

def init():
    global model
    (path,) = glob.glob(os.environ["AZUREML_MODEL_DIR"] + "/*.pkl")
    model = pickle.loads(pathlib.Path(path).read_bytes())

def run(mini_batch):
    return [model(float(pathlib.Path(file).read_text())) for file in mini_batch]
"""


def main(subscription: str, resource_group: str, workspace: str) -> None:
    """Publish model, data, endpoint and deployment, and make the deployment the default."""
    from azure.ai.ml import MLClient  # four seconds
    from azure.ai.ml import entities as ml
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415

    client: Any = MLClient(
        DefaultAzureCredential(), subscription, resource_group, workspace, enable_telemetry=False, polling_interval=1
    )
    with tempfile.TemporaryDirectory() as scratch:
        code, data, model = (Path(scratch) / name for name in ("code", "data", "adding.pkl"))
        code.mkdir()
        data.mkdir()
        (code / "score.py").write_text(SCRIPT)
        for number in range(3):
            (data / f"{number}.txt").write_text(str(number))
        model.write_bytes(pickle.dumps((0.5).__add__))
        client.data.create_or_update(ml.Data(name="numbers", version="1", path=str(data), type="uri_folder"))
        client.compute.begin_create_or_update(ml.AmlCompute(name="adders", size="Standard_DS2_v2")).result()
        client.batch_endpoints.begin_create_or_update(ml.BatchEndpoint(name="adding")).result()
        deployment = ml.ModelBatchDeployment(
            name="half",
            endpoint_name="adding",
            model=client.models.create_or_update(ml.Model(name="adding", path=str(model), type="custom_model")),
            environment=ml.Environment(image="debian:bookworm"),
            code_configuration=ml.CodeConfiguration(code=str(code), scoring_script="score.py"),
            compute="adders",
            settings=ml.ModelBatchDeploymentSettings(mini_batch_size=2),
        )
        client.batch_deployments.begin_create_or_update(deployment).result()
    endpoint = client.batch_endpoints.get("adding")
    endpoint.defaults.deployment_name = "half"
    client.batch_endpoints.begin_create_or_update(endpoint).result()


if __name__ == "__main__":
    main(*sys.argv[1:])
