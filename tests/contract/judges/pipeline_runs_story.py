"""How pipelines run, as a user of azure-ai-ml sees it; prints what happened as JSON.

A chapter that fails is reported with its traceback and does not end the story.
"""

# ruff: noqa: T201, TID253  # a judge is a program, the SDK is whom it hears, and a failed chapter is told
import json
import os
import pathlib
import time
from typing import Any

from azure.ai.ml import Input, MLClient, dsl, load_component
from azure.ai.ml.entities import AmlCompute, BatchEndpoint, PipelineComponentBatchDeployment
from azure.core.exceptions import HttpResponseError
from azure.identity import DefaultAzureCredential

from telling import FINAL, chapter, found

SUBSCRIPTION, GROUP, NAME = os.environ["CONTRACT_WORKSPACE"].split("/")
SCRATCH = pathlib.Path(os.environ["CONTRACT_SCRATCH"])
COMPONENT = """
type: command
name: {name}
version: "1"
is_deterministic: {deterministic}
inputs: {inputs}
outputs: {{out: {{type: uri_folder}}}}
environment: {{image: "debian:bookworm"}}
command: >-
  {command}
"""

ml = MLClient(DefaultAzureCredential(), SUBSCRIPTION, GROUP, NAME, enable_telemetry=False)
made: dict[str, Any] = {}


def component(name: str, command: str, inputs: str = "{}", *, deterministic: bool = True) -> Any:
    """Write a command component to a file, and load it."""
    text = COMPONENT.format(name=name, command=command, inputs=inputs, deterministic=str(deterministic).lower())
    file = SCRATCH / f"{name}.yml"
    file.write_text(text)
    return load_component(file)


def run(job: Any, **settings: Any) -> Any:
    """Submit a pipeline, and wait for its end."""
    for setting, value in settings.items():
        setattr(job.settings, setting, value)
    submitted = ml.jobs.create_or_update(job, experiment_name="runs")
    return until(submitted.name, FINAL)


def until(name: str, words: set[str], patience_s: float = 90) -> Any:
    deadline = time.monotonic() + patience_s
    while (job := ml.jobs.get(name)).status not in words:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} is still {job.status}")
        time.sleep(0.1)
    return job


def children(name: str) -> dict[str, Any]:
    return {one.display_name: one for one in ml.jobs.list(parent_job_name=name)}


def statuses(name: str) -> dict[str, str]:
    return {node: one.status for node, one in children(name).items()}


write = component("write", "date +%N > ${{outputs.out}}/moment.txt && echo ${{inputs.word}}", "{word: {type: string}}")
use = component("use", "cp ${{inputs.data}}/moment.txt ${{outputs.out}}/", "{data: {type: uri_folder}}")
always = component("always", "date +%N > ${{outputs.out}}/moment.txt", deterministic=False)
wait = component("wait", "sleep ${{inputs.seconds}}", "{seconds: {type: number}}", deterministic=False)
fail = component("fail", "exit 3")


@dsl.pipeline(default_compute="serverless")  # type: ignore[untyped-decorator]  # the SDK's own
def two_steps(word: str) -> Any:
    first = write(word=word)
    second = use(data=first.outputs.out)
    return {"result": second.outputs.out}


def download(name: str, scratch: str) -> dict[str, str]:
    folder = SCRATCH / scratch
    ml.jobs.download(name, download_path=folder, output_name="out")
    return {path.name: path.read_text() for path in folder.rglob("*.txt")}


@chapter
def reuse() -> Any:
    first, second = run(two_steps(word="same")), run(two_steps(word="same"))
    before, after = children(first.name)["second"], children(second.name)["second"]
    return {
        "statuses": [first.status, second.status],
        "names": [first.name, before.name, after.name],
        "properties": {key: value for key, value in after.properties.items() if "reuse" in key},
        "step": statuses(second.name),
        "same": download(before.name, "before") == download(after.name, "after"),
    }


@chapter
def force_rerun() -> Any:
    forced = run(two_steps(word="same"), force_rerun=True)
    return {
        "enforced": forced.properties["azureml.enforceRerun"],
        "reused": [one.properties.get("azureml.isreused") for one in children(forced.name).values()],
    }


@chapter
def not_deterministic() -> Any:
    @dsl.pipeline(default_compute="serverless")  # type: ignore[untyped-decorator]  # the SDK's own
    def twice() -> None:
        always()

    ends = [run(twice()) for _ in range(2)]
    steps = [children(one.name)["always"] for one in ends]
    return {"reused": [step.properties.get("azureml.isreused") for step in steps]}


@chapter
def nested() -> Any:
    @dsl.pipeline(default_compute="serverless")  # type: ignore[untyped-decorator]  # the SDK's own
    def outer(word: str) -> Any:
        inner = two_steps(word=word)
        after = use(data=inner.outputs.result)
        return {"result": after.outputs.out}

    job = run(outer(word="nested"))
    steps = children(job.name)
    return {
        "status": job.status,
        "steps": {node: one.status for node, one in steps.items()},
        "inner": statuses(steps["inner"].name),
        "runs": [job.name, children(steps["inner"].name)["second"].name],
        "output": sorted(download(steps["after"].name, "nested")),
    }


@chapter
def nested_cancel() -> Any:
    @dsl.pipeline(default_compute="serverless")  # type: ignore[untyped-decorator]  # the SDK's own
    def long() -> None:
        wait(seconds=600)

    @dsl.pipeline(default_compute="serverless")  # type: ignore[untyped-decorator]  # the SDK's own
    def outer() -> None:
        long()

    job = ml.jobs.create_or_update(outer(), experiment_name="runs")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        inner = children(job.name).get("long")
        if inner is not None and statuses(inner.name) == {"wait": "Running"}:
            break
        time.sleep(0.1)
    ml.jobs.begin_cancel(job.name).result()
    return [ml.jobs.get(job.name).status, statuses(job.name), statuses(children(job.name)["long"].name)]


@chapter
def continue_on_step_failure() -> Any:
    listed = component("touch", "touch ${{outputs.out}}/x; ls ${{inputs.data}}", "{data: {type: uri_folder}}")

    @dsl.pipeline(default_compute="serverless")  # type: ignore[untyped-decorator]  # the SDK's own
    def some() -> None:
        bad = fail()
        after = listed(data=bad.outputs.out)
        after.name = "after"
        slow = wait(seconds=0.5)
        last = listed(data=slow.outputs.out)
        last.name = "last"

    goes_on, stops = run(some(), continue_on_step_failure=True), run(some())
    return {
        "properties": [one.properties["azureml.continue_on_step_failure"] for one in (goes_on, stops)],
        "statuses": [goes_on.status, stops.status],
        "goes_on": statuses(goes_on.name),
        "stops": {node: status for node, status in statuses(stops.name).items() if node in ("fail", "bad", "last")},
    }


@chapter
def queue() -> Any:
    small = ml.compute.begin_create_or_update(AmlCompute(name="small", size="Standard_DS3_v2", max_instances=1))
    before = small.result()

    @dsl.pipeline(default_compute="small")  # type: ignore[untyped-decorator]  # the SDK's own
    def three() -> None:
        for _ in range(3):
            wait(seconds=1)

    job = ml.jobs.create_or_update(three(), experiment_name="runs")
    most, words, seen = 0, set(), []
    while ml.jobs.get(job.name).status not in FINAL:
        now = list(statuses(job.name).values())
        words |= set(now)
        most = max(most, sum(word in {"Preparing", "Running", "Finalizing"} for word in now))
        shown = ml.compute._operation.get(GROUP, NAME, "small").properties.properties
        seen.append((shown.current_node_count, shown.node_state_counts.running_node_count))
        time.sleep(0.05)
    return {
        "before": before.provisioning_state,
        "status": ml.jobs.get(job.name).status,
        "most": most,
        "queued": "Queued" in words,
        "nodes": [max(current for current, _ in seen), max(running for _, running in seen)],
    }


@chapter
def no_such_compute() -> Any:
    @dsl.pipeline(default_compute="nowhere")  # type: ignore[untyped-decorator]  # the SDK's own
    def lost() -> None:
        always()

    try:
        ml.jobs.create_or_update(lost(), experiment_name="runs")
    except HttpResponseError as error:
        return {"status": error.status_code, "text": str(error)}
    return {"status": "none"}


@chapter
def batch() -> Any:
    registered = ml.components.create_or_update(
        two_steps._pipeline_builder.build(), name="two_steps_batch", version="1"
    )
    ml.batch_endpoints.begin_create_or_update(BatchEndpoint(name="runs-batch")).result()
    for name, settings in (("plain", {}), ("forced", {"force_rerun": True})):
        deployment = PipelineComponentBatchDeployment(
            name=name, endpoint_name="runs-batch", component=registered, settings=settings
        )
        ml.batch_deployments.begin_create_or_update(deployment).result()
    told = {}
    for name in ("plain", "plain", "forced"):
        inputs = {"word": Input(type="string", default="batch")}
        job = ml.batch_endpoints.invoke(endpoint_name="runs-batch", deployment_name=name, inputs=inputs)
        until(job.name, FINAL)
        told[name] = [one.properties.get("azureml.isreused") for one in children(job.name).values()]
    return told


print(json.dumps(found, default=str))
