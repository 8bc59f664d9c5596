"""Publish the diabetes pipelines to an Azure ML workspace: environment, components, batch endpoints, deployments.

    python pipelines/publish.py --subscription ID --resource-group NAME --workspace NAME [--train]

What is there already with the same content is left alone, so publishing twice is publishing once. With ``--train``
the published training runs, unless its model version is registered already. Progress goes to stderr; the last line of
stdout is one JSON object saying what is published.
"""

import argparse
import contextlib
import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FOLDER = Path(__file__).resolve().parent / "diabetes"

ENVIRONMENT = "diabetes"
COMPUTE = "cpu-cluster"
DEPLOYMENT = "ridge"
MODEL = "diabetes-ridge"
MODEL_VERSION = "1"
STEPS = ("prepare", "train", "evaluate", "score", "score_folder")

#: Seconds between two looks at an operation of the service (it may ask for more), and at the training job.
OPERATION_POLL_S = 1
JOB_POLL_S = (1.0, 15.0)
#: Seconds that the first training may take: on Azure the image is built and a node started before it.
TRAINING_DEADLINE_S = 3600
METRICS = ("rmse", "mae", "r2")
#: Words with which a job ends (azure-ai-ml's NotResponding and Paused may be followed by others).
FINAL = ("Completed", "Failed", "Canceled")


class PublishError(Exception):
    """Publishing cannot go on; the message is a sentence for the person who started it."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A pipeline component and the endpoint that runs it; ``kind`` is in the names of both."""

    kind: str
    file: str
    steps: tuple[str, ...]

    @property
    def component(self) -> str:
        """The name of the pipeline component."""
        return f"diabetes_{self.kind}"

    @property
    def endpoint(self) -> str:
        """The name of the batch endpoint."""
        return f"diabetes-{self.kind.replace('_', '-')}"


TRAINING = Pipeline(kind="training", file="train_pipeline.yml", steps=("prepare", "train", "evaluate"))
EVALUATION = Pipeline(kind="evaluation", file="evaluate_pipeline.yml", steps=("evaluate",))
SCORING = Pipeline(kind="scoring", file="score_pipeline.yml", steps=("score",))
BATCH_SCORING = Pipeline(kind="batch_scoring", file="batch_scoring_pipeline.yml", steps=("score_folder",))
PIPELINES = (TRAINING, EVALUATION, SCORING, BATCH_SCORING)


def model_uri(version: str) -> str:
    """Say where the model of a version lies; this is what callers of the scoring pass as its ``model``."""
    return f"azureml://datastores/workspaceblobstore/paths/models/{MODEL}/{version}/"


def digest(*paths: Path, also: str = "") -> str:
    """Name a content: 12 hexadecimal digits, the same for the same files."""
    found = hashlib.sha256(also.encode())
    for path in paths:
        found.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()[:12]


def versions(folder: Path = FOLDER) -> dict[str, str]:
    """Give the version of the environment and of each component: what it is made of, so a change is a new version."""
    environment = digest(folder / "environment.yml", folder / "conda.yml")
    code = digest(*sorted((folder / "src").glob("*.py")), also=environment)
    found = {ENVIRONMENT: environment}
    for step in STEPS:
        found[f"diabetes_{step}"] = digest(folder / f"components/{step}.yml", also=code)
    for pipeline in PIPELINES:
        steps = ",".join(found[f"diabetes_{step}"] for step in pipeline.steps)
        found[pipeline.component] = digest(folder / pipeline.file, also=steps)
    return found


def say(sentence: str) -> None:
    """Tell of progress."""
    print(f"publish: {sentence}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """Turn the errors of the SDK into one sentence with the service's own words and its request id.

    Raises:
        PublishError: The block failed.
    """
    from azure.ai.ml.exceptions import MlException  # noqa: PLC0415  # 4 seconds; see main
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError  # noqa: PLC0415

    try:
        yield
    except HttpResponseError as error:
        if error.response is None:
            cure = " Sign in, e.g. with `az login`." if isinstance(error, ClientAuthenticationError) else ""
            raise PublishError(f"{what} failed: {error.message.splitlines()[0]}{cure}") from error
        code = getattr(error.error, "code", None) or error.reason or ""
        said = getattr(error.error, "message", None) or error.message
        request = getattr(error.response, "headers", {}).get("x-ms-request-id", "unknown")
        raise PublishError(f"{what} failed: {error.status_code} {code}. {said} [request {request}]") from error
    except (AzureError, MlException) as error:
        raise PublishError(f"{what} failed: {error}") from error


def ensure(what: str, find: Callable[[], Any], create: Callable[[], Any]) -> Any:
    """Find a resource, or create it where it is not there (404) or is not as it should be (None).

    Raises:
        PublishError: The service refused or did not answer.
    """
    from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415

    with doing(f"Looking for {what}"):
        try:
            found = find()
        except ResourceNotFoundError:
            found = None
    if found is not None:
        say(f"{what} is there already")
        return found
    with doing(f"Publishing {what}"):
        created = create()
    say(f"{what} is published")
    return created


def connect(subscription: str, resource_group: str, workspace: str) -> Any:
    """Open a client and see that the workspace is there.

    Raises:
        PublishError: It is not, or nobody may see it with these credentials.
    """
    from azure.ai.ml import MLClient  # noqa: PLC0415
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415

    for talkative in ("azure.identity", "azure.ai.ml"):
        logging.getLogger(talkative).setLevel(logging.ERROR)
    # show_progress stays on: without it azure-ai-ml 1.35 waits for ever after an upload that failed.
    client = MLClient(
        DefaultAzureCredential(),
        subscription,
        resource_group,
        workspace,
        enable_telemetry=False,
        polling_interval=OPERATION_POLL_S,
    )
    with doing(f"Looking for workspace {workspace} in resource group {resource_group} of subscription {subscription}"):
        client.workspaces.get(workspace)
    return client


def publish_steps(client: Any, version: Mapping[str, str]) -> None:
    """Register the steps with their environment, and the compute cluster they run on."""
    from azure.ai.ml import load_component, load_compute, load_environment  # noqa: PLC0415

    ensure(
        f"environment {ENVIRONMENT}:{version[ENVIRONMENT]}",
        lambda: client.environments.get(ENVIRONMENT, version[ENVIRONMENT]),
        lambda: client.environments.create_or_update(
            load_environment(FOLDER / "environment.yml", params_override=[{"version": version[ENVIRONMENT]}])
        ),
    )
    ensure(
        f"compute {COMPUTE}",
        lambda: client.compute.get(COMPUTE),
        lambda: client.compute.begin_create_or_update(load_compute(FOLDER / "compute.yml")).result(),
    )
    for step in STEPS:
        name = f"diabetes_{step}"
        override = [{"version": version[name]}, {"environment": f"azureml:{ENVIRONMENT}:{version[ENVIRONMENT]}"}]
        component = load_component(FOLDER / f"components/{step}.yml", params_override=override)
        publish_component(client, component)


def publish_component(client: Any, component: Any) -> str:
    """Register a component under its version; gives its ARM id."""
    found = ensure(
        f"component {component.name}:{component.version}",
        lambda: client.components.get(component.name, component.version),
        lambda: client.components.create_or_update(component),
    )
    return str(found.id)


def publish_pipeline(client: Any, pipeline: Pipeline, version: Mapping[str, str]) -> None:
    """Register a pipeline component, and make it the default deployment of its endpoint."""
    from azure.ai.ml import load_batch_endpoint, load_component  # noqa: PLC0415

    steps = [
        {f"jobs.{step}.component": f"azureml:diabetes_{step}:{version[f'diabetes_{step}']}"} for step in pipeline.steps
    ]
    override = [{"version": version[pipeline.component]}, *steps]
    component = publish_component(client, load_component(FOLDER / pipeline.file, params_override=override))
    endpoints, name = client.batch_endpoints, pipeline.endpoint
    endpoint = ensure(
        f"endpoint {name}",
        lambda: endpoints.get(name),
        lambda: endpoints.begin_create_or_update(
            load_batch_endpoint(FOLDER / f"endpoints/{pipeline.kind}.yml")
        ).result(),
    )
    publish_deployment(client, pipeline, component)
    defaults = getattr(endpoint, "defaults", None)
    if getattr(defaults, "deployment_name", None) != DEPLOYMENT:
        endpoint.defaults = {"deployment_name": DEPLOYMENT}
        with doing(f"Making {DEPLOYMENT} the default deployment of endpoint {name}"):
            endpoints.begin_create_or_update(endpoint).result()
        say(f"{DEPLOYMENT} is the default deployment of endpoint {name}")


def publish_deployment(client: Any, pipeline: Pipeline, component: str) -> None:
    """Deploy a pipeline component unless the deployment is of that component and those settings already.

    What it was made of is in its tags: azure-ai-ml does not give back the component of a deployment.
    """
    import yaml  # noqa: PLC0415  # azure-ai-ml's; its loader of this kind of file is not public
    from azure.ai.ml.entities import PipelineComponentBatchDeployment  # noqa: PLC0415

    path = FOLDER / f"endpoints/{pipeline.kind}-{DEPLOYMENT}.yml"
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    tags = {"component": component, "content": digest(path)}
    deployments = client.batch_deployments

    def same() -> Any:
        found = deployments.get(name=DEPLOYMENT, endpoint_name=pipeline.endpoint)
        return found if tags.items() <= (found.tags or {}).items() else None

    deployment = PipelineComponentBatchDeployment(
        name=spec["name"],
        endpoint_name=spec["endpoint_name"],
        description=spec["description"],
        component=component,
        settings=spec["settings"],
        tags=tags,
    )
    what = f"deployment {DEPLOYMENT} of endpoint {pipeline.endpoint}"
    ensure(what, same, lambda: deployments.begin_create_or_update(deployment).result())


def train(client: Any, fraction: float) -> dict[str, Any]:
    """Train the first model through the published endpoint and register it, unless its version is registered already.

    Args:
        client: The workspace.
        fraction: Share of the rows that it learns from, over 0 and at most 1.

    Raises:
        PublishError: The training did not complete in time, or logged no metrics.
    """
    from azure.ai.ml.entities import Model  # noqa: PLC0415

    def create() -> Any:
        job = start_training(client, fraction)
        wait(client, job)
        metrics = read_metrics(client, job)
        properties = {name: repr(value) for name, value in metrics.items()}
        return client.models.create_or_update(
            Model(
                name=MODEL,
                version=MODEL_VERSION,
                type="custom_model",
                path=model_uri(MODEL_VERSION),
                description="Ridge regression on scikit-learn's diabetes data.",
                tags={"training_job": job},
                properties=properties,
            )
        )

    found = ensure(f"model {MODEL}:{MODEL_VERSION}", lambda: client.models.get(MODEL, MODEL_VERSION), create)
    return {
        "name": MODEL,
        "version": MODEL_VERSION,
        "uri": model_uri(MODEL_VERSION),
        "training_job": found.tags.get("training_job"),
        "metrics": {name: float(found.properties[name]) for name in METRICS if name in found.properties},
    }


def start_training(client: Any, fraction: float) -> str:
    """Invoke the training; gives the name of the job."""
    from azure.ai.ml import Input, Output  # noqa: PLC0415

    # The deployment is always named: azure-ai-ml keeps the headers of an invocation for the next one.
    job = client.batch_endpoints.invoke(
        endpoint_name=TRAINING.endpoint,
        deployment_name=DEPLOYMENT,
        inputs={"fraction": Input(type="number", default=fraction)},
        outputs={"model": Output(type="uri_folder", path=model_uri(MODEL_VERSION))},
    )
    say(f"training job {job.name} is started")
    return str(job.name)


def wait(client: Any, job: str) -> None:
    """Wait until the job is completed, and tell of each change; any other end is a PublishError."""
    began, seen, pause = time.monotonic(), "", JOB_POLL_S[0]
    while True:
        found = client.jobs.get(job)
        age = time.monotonic() - began
        status = str(getattr(found.status, "value", found.status))  # an enum or a word, by the kind of job
        if status != seen:
            seen = status
            say(f"training job {job} is {seen} after {age:.0f} s")
        if seen == "Completed":
            return
        if seen in FINAL:
            raise PublishError(f"Training job {job} is {seen}; its steps and logs are at {found.studio_url}.")
        if age > TRAINING_DEADLINE_S:
            raise PublishError(f"Training job {job} is still {seen} after {age:.0f} s; it is left running.")
        time.sleep(pause)
        pause = min(JOB_POLL_S[1], pause * 1.2)


def read_metrics(client: Any, job: str) -> dict[str, float]:
    """Read what the evaluation logged on the job; a figure that is not there is a PublishError.

    azure-ai-ml has no call for metrics; this is MLflow's REST API as the workspace serves it.
    """
    from azure.core import PipelineClient  # noqa: PLC0415
    from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy  # noqa: PLC0415
    from azure.core.rest import HttpRequest, HttpResponse  # noqa: PLC0415
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415

    workspace = client.workspaces.get(client.workspace_name)
    host = urlsplit(workspace.mlflow_tracking_uri).netloc
    base = f"https://{host}/mlflow/v2.0{workspace.id}/api/2.0/mlflow"
    token = BearerTokenCredentialPolicy(DefaultAzureCredential(), "https://management.azure.com/.default")
    rest: PipelineClient[HttpRequest, HttpResponse] = PipelineClient(base, policies=[RetryPolicy(), token])
    with rest:
        response = rest.send_request(HttpRequest("GET", f"{base}/runs/get", params={"run_id": job}))
        response.raise_for_status()
        data = response.json()["run"]["data"]
    found = {metric["key"]: float(metric["value"]) for metric in data.get("metrics", [])}
    missing = [name for name in METRICS if name not in found]
    if missing:
        raise PublishError(
            f"Training job {job} is completed but logged no {', '.join(missing)}; the model is not registered."
        )
    return {name: found[name] for name in METRICS}


def arguments() -> argparse.Namespace:
    """Read the command line; what is not given comes from the environment."""
    parser = argparse.ArgumentParser(description="Publish the diabetes pipelines to an Azure ML workspace.")
    for option, variable in (
        ("--subscription", "AZURE_SUBSCRIPTION_ID"),
        ("--resource-group", "AZURE_RESOURCE_GROUP"),
        ("--workspace", "AZURE_ML_WORKSPACE"),
    ):
        value = os.environ.get(variable)
        parser.add_argument(option, default=value, required=not value, help=f"default: {variable}")
    parser.add_argument("--train", action="store_true", help="train and register the first model")
    parser.add_argument(
        "--fraction", type=float, default=1.0, help="share of the rows that the first model learns from"
    )
    return parser.parse_args()


def main() -> None:
    """Publish, and print what is published."""
    asked = arguments()
    say("loading the Azure ML SDK")
    try:
        client = connect(asked.subscription, asked.resource_group, asked.workspace)
        version = versions()
        publish_steps(client, version)
        for pipeline in PIPELINES:
            publish_pipeline(client, pipeline, version)
        model = train(client, asked.fraction) if asked.train else None
    except PublishError as error:
        sys.exit(f"publish: {error}")
    except KeyboardInterrupt:
        sys.exit("publish: stopped; start it again to go on (a training job that was started goes on running)")
    endpoints = {each.endpoint: {"deployment": DEPLOYMENT, "component": each.component} for each in PIPELINES}
    print(json.dumps({"endpoints": endpoints, "versions": version, "compute": COMPUTE, "model": model}))


if __name__ == "__main__":
    main()
