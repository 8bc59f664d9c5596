"""What a user of azure-ai-ml does with online endpoints; prints what happened as JSON."""

# ruff: noqa: T201, TID253  # a judge is a program, the SDK is whom it hears, and a failed chapter is told
import concurrent.futures
import json
import os
import pathlib
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from azure.ai.ml import MLClient
from azure.ai.ml.constants._endpoint import EndpointInvokeFields
from azure.ai.ml.entities import (
    CodeConfiguration,
    Environment,
    KubernetesOnlineDeployment,
    KubernetesOnlineEndpoint,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
    OnlineRequestSettings,
)
from azure.ai.ml.exceptions import MlException
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential
from sklearn.linear_model import LinearRegression

from telling import chapter, found

SUBSCRIPTION, GROUP, NAME = os.environ["CONTRACT_WORKSPACE"].split("/")
HERE = pathlib.Path(__file__).parent
SCRATCH = pathlib.Path(os.environ["CONTRACT_SCRATCH"])
ENDPOINT = "line"

ml = MLClient(DefaultAzureCredential(), SUBSCRIPTION, GROUP, NAME)
known: dict[str, Any] = {}


def error_of(call: Callable[[], object]) -> dict[str, Any]:
    try:
        call()
    except HttpResponseError as error:
        return {"status": error.status_code, "text": str(error)}
    except MlException as error:  # what an invocation raises
        return {"status": "MlException", "text": str(error)}
    return {}


def deploy(name: str, folder: str = "good", **settings: Any) -> Any:
    deployment = ManagedOnlineDeployment(
        name=name,
        endpoint_name=ENDPOINT,
        model=known["model"],
        environment=Environment(image="mcr.microsoft.com/azureml/minimal-py312-inference"),
        code_configuration=CodeConfiguration(code=str(HERE / "online" / folder), scoring_script="score.py"),
        instance_type="Standard_DS3_v2",
        **{"instance_count": 1, **settings},
    )
    return ml.online_deployments.begin_create_or_update(deployment, skip_script_validation=True).result()


def invoke(given: Any, deployment: str | None = None, endpoint: str = ENDPOINT) -> Any:
    # azure-ai-ml keeps the headers of all calls in one dictionary: a deployment named once would be named for ever.
    EndpointInvokeFields.DEFAULT_HEADER.pop(EndpointInvokeFields.MODEL_DEPLOYMENT, None)
    file = SCRATCH / f"request-{uuid.uuid4().hex}.json"
    file.write_text(json.dumps(given))
    answer = ml.online_endpoints.invoke(endpoint_name=endpoint, request_file=str(file), deployment_name=deployment)
    return json.loads(answer)


def set_traffic(**traffic: int) -> Any:
    endpoint = ml.online_endpoints.get(ENDPOINT)
    endpoint.traffic = traffic
    return ml.online_endpoints.begin_create_or_update(endpoint).result()


@chapter
def endpoint() -> Any:
    made = ManagedOnlineEndpoint(name=ENDPOINT, auth_mode="key", tags={"team": "contract"}, description="A line")
    ml.online_endpoints.begin_create_or_update(made).result()
    got = ml.online_endpoints.get(ENDPOINT)
    return {
        "words": [got.auth_mode, got.provisioning_state, got.kind, got.description, got.public_network_access],
        "uris": [got.scoring_uri, got.openapi_uri],
        "tags": got.tags,
        "traffic": got.traffic,
        "identity": got.identity.type,
        "listed": [one.name for one in ml.online_endpoints.list()],
        "nobody": error_of(lambda: ml.online_endpoints.get("nobody"))["status"],
    }


@chapter
def deployment() -> Any:
    (SCRATCH / "slope.txt").write_text("2.5")
    known["model"] = ml.models.create_or_update(Model(name="slope", path=str(SCRATCH / "slope.txt"))).id
    settings = OnlineRequestSettings(request_timeout_ms=9000, max_concurrent_requests_per_instance=2)
    deploy("blue", environment_variables={"GREETING": "hello"}, request_settings=settings, tags={"color": "blue"})
    got = ml.online_deployments.get("blue", ENDPOINT)
    return {
        "model": got.model == known["model"],
        "words": [got.provisioning_state, got.instance_type, got.instance_count, got.code_configuration.scoring_script],
        "requests": [
            got.request_settings.request_timeout_ms,
            got.request_settings.max_concurrent_requests_per_instance,
        ],
        "probe": [got.readiness_probe.failure_threshold, got.readiness_probe.period],
        "variables": got.environment_variables,
        "tags": got.tags,
        "listed": [one.name for one in ml.online_deployments.list(ENDPOINT)],
        "logs": ml.online_deployments.get_logs("blue", ENDPOINT, lines=50),
        "storage": ml.online_deployments.get_logs("blue", ENDPOINT, 50, container_type="storage-initializer"),
    }


@chapter
def traffic() -> Any:
    refused = {
        "sum": error_of(lambda: set_traffic(blue=60)),
        "nobody": error_of(lambda: set_traffic(nobody=100)),
    }
    set_traffic(blue=100)
    return {**refused, "now": ml.online_endpoints.get(ENDPOINT).traffic}


@chapter
def invocation() -> Any:
    return {"scores": invoke({"data": [1, 2, 4]})["scores"], "named": invoke({"data": [3]}, "blue")["scores"]}


@chapter
def scale() -> Any:
    got = ml.online_deployments.get("blue", ENDPOINT)
    before = invoke({"data": [1]})["process"]
    got.instance_count = 2
    ml.online_deployments.begin_create_or_update(got, skip_script_validation=True).result()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        processes = {one["process"] for one in pool.map(invoke, [{"data": [1], "sleep_s": 0.5}] * 4)}
    return {
        "instances": ml.online_deployments.get("blue", ENDPOINT).instance_count,
        "processes": len(processes),
        "old_one_stays": before in processes,
    }


@chapter
def mlflow() -> Any:
    import mlflow.sklearn  # its import takes seconds

    table = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [1.0, 0.0, 1.0]})
    fitted = LinearRegression().fit(table, np.array([1.0, 3.0, 7.0]))
    folder = SCRATCH / "fitted"
    how = {"signature": mlflow.models.infer_signature(table, [1.0]), "serialization_format": "cloudpickle"}
    mlflow.sklearn.save_model(fitted, str(folder), **how)
    model = ml.models.create_or_update(Model(name="fitted", path=str(folder), type="mlflow_model"))
    green = ManagedOnlineDeployment(name="green", endpoint_name=ENDPOINT, model=model.id, instance_count=1)
    ml.online_deployments.begin_create_or_update(green).result()
    rows = {"columns": ["a", "b"], "index": [0, 1], "data": [[1, 0], [2, 1]]}
    return {
        "state": ml.online_deployments.get("green", ENDPOINT).provisioning_state,
        "split": invoke({"input_data": rows}, "green"),
        "rows": invoke({"input_data": [[1, 0], [2, 1]]}, "green"),
        "expected": [float(one) for one in fitted.predict(table.iloc[1:])],
        "no_input_data": error_of(lambda: invoke({"data": [1]}, "green")),
    }


@chapter
def mirror() -> Any:
    def mirrored(**share: int) -> Any:
        endpoint = ml.online_endpoints.get(ENDPOINT)
        endpoint.mirror_traffic = share
        return ml.online_endpoints.begin_create_or_update(endpoint).result()

    refused = [error_of(lambda: mirrored(green=60)), error_of(lambda: mirrored(blue=10))]
    mirrored(green=10)
    now = ml.online_endpoints.get(ENDPOINT)
    held = error_of(lambda: ml.online_deployments.begin_delete("green", ENDPOINT).result())
    mirrored()
    return {
        "refused": [one["text"] for one in refused],
        "now": [now.traffic, now.mirror_traffic],
        "held": held["text"],
        "after": ml.online_endpoints.get(ENDPOINT).mirror_traffic,
    }


@chapter
def keys() -> Any:
    first = ml.online_endpoints.get_keys(ENDPOINT)
    ml.online_endpoints.begin_regenerate_keys(ENDPOINT, key_type="primary").result()
    second = ml.online_endpoints.get_keys(ENDPOINT)
    ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="guarded", auth_mode="aml_token")).result()
    token = ml.online_endpoints.get_keys("guarded")
    return {
        "lengths": [len(first.primary_key), len(first.secondary_key)],
        "primary_changed": first.primary_key != second.primary_key,
        "secondary_stayed": first.secondary_key == second.secondary_key,
        "still_works": invoke({"data": [2]}, "blue")["scores"],
        "token": [bool(token.access_token), token.token_type, token.expiry_time_utc - token.refresh_after_time_utc],
    }


@chapter
def failures() -> Any:
    told = {}
    for name in ("broken", "raising"):
        told[name] = error_of(partial(deploy, name, name))
        told[f"{name}_state"] = ml.online_deployments.get(name, ENDPOINT).provisioning_state
        told[f"{name}_log"] = ml.online_deployments.get_logs(name, ENDPOINT, lines=100)
    got = ml.online_endpoints.get(ENDPOINT)
    return {
        **told,
        "endpoint": [got.provisioning_state, got.traffic["blue"]],
        "still": invoke({"data": [2]})["scores"],
    }


@chapter
def update() -> Any:
    """A new script for a deployment that serves: it fails, and what served goes on serving; then it works."""
    failed = error_of(lambda: deploy("blue", "raising", instance_count=2))
    still = invoke({"data": [2]})["scores"]
    deploy("blue", environment_variables={"GREETING": "again"})
    return {
        "failed": failed["text"],
        "still": still,
        "state": ml.online_deployments.get("blue", ENDPOINT).provisioning_state,
        "after": invoke({"data": [4]})["scores"],
        "log": ml.online_deployments.get_logs("blue", ENDPOINT, lines=100),
    }


@chapter
def crash() -> Any:
    """A request that ends its process: it is not answered, and the next one is, by another process."""
    refused = error_of(lambda: invoke({"crash": True}))["text"]
    scores: list[Any] = []
    deadline = time.monotonic() + 60
    while error_of(lambda: scores.append(invoke({"data": [2]})["scores"])) and time.monotonic() < deadline:
        time.sleep(0.2)
    return {"refused": refused, "next": scores}


@chapter
def deletion() -> Any:
    refused = error_of(lambda: ml.online_deployments.begin_delete("blue", ENDPOINT).result())
    set_traffic(green=100)
    ml.online_deployments.begin_delete("blue", ENDPOINT).result()
    left = sorted(one.name for one in ml.online_deployments.list(ENDPOINT))
    ml.online_endpoints.begin_delete(ENDPOINT).result()
    return {
        "refused": refused,
        "left": left,
        "endpoints": [one.name for one in ml.online_endpoints.list()],
        "gone": error_of(lambda: ml.online_deployments.get("green", ENDPOINT))["status"],
    }


@chapter
def kubernetes() -> Any:
    compute = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.MachineLearningServices"
    compute += f"/workspaces/{NAME}/computes/aks"
    made = KubernetesOnlineEndpoint(name="cluster", auth_mode="key", compute=compute)
    ml.online_endpoints.begin_create_or_update(made).result()
    deployment = KubernetesOnlineDeployment(
        name="only",
        endpoint_name="cluster",
        model=known["model"],
        environment=Environment(image="mcr.microsoft.com/azureml/minimal-py312-inference"),
        code_configuration=CodeConfiguration(code=str(HERE / "online" / "good"), scoring_script="score.py"),
        instance_type="small",
        instance_count=1,
    )
    ml.online_deployments.begin_create_or_update(deployment, skip_script_validation=True).result()
    got = ml.online_endpoints.get("cluster")
    return {
        "endpoint": [type(got).__name__, got.compute.rpartition("/")[2], got.kind],
        "deployment": type(ml.online_deployments.get("only", "cluster")).__name__,
        "scores": invoke({"data": [2]}, "only", "cluster")["scores"],
    }


print()  # the SDK has written dots into the line, one for each second of an operation
print(json.dumps(found, default=str))
