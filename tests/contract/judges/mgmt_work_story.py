"""What azure-mgmt-machinelearningservices does with jobs and endpoints; prints what happened as JSON."""

# ruff: noqa: T201  # a judge is a program
from __future__ import annotations

import json
import time
from typing import Any

import requests
from azure.storage.blob import ContainerClient

from mgmt import MARK, WHERE, client, deleted, models, refusal
from telling import FINAL, chapter, found

LOCATION = client.workspaces.get(*WHERE).location
ENVIRONMENT = client.environment_versions.create_or_update(
    *WHERE,
    f"mgmt-run{MARK}",
    "1",
    models.EnvironmentVersion(properties=models.EnvironmentVersionProperties(image="python:3.11")),
).id


def ended(name: str) -> Any:
    deadline = time.monotonic() + 120
    while (job := client.jobs.get(*WHERE, name)).properties.status not in FINAL:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} is still {job.properties.status}")
        time.sleep(0.2)
    return job


def submitted(name: str, properties: Any) -> Any:
    return client.jobs.create_or_update(*WHERE, f"{name}{MARK}", models.JobBase(properties=properties))


@chapter
def command_job() -> Any:
    job = models.CommandJob(
        command="echo ${{inputs.word}} > ${{outputs.said}}/word.txt",
        environment_id=ENVIRONMENT,
        experiment_name="mgmt",
        display_name="says a word",
        inputs={"word": models.LiteralJobInput(value="hello")},
        outputs={"said": models.UriFolderJobOutput(mode="ReadWriteMount")},
        limits=models.CommandJobLimits(timeout="PT5M"),
        environment_variables={"A": "b"},
        resources=models.JobResourceConfiguration(instance_count=1),
        tags={"a": "b"},
    )
    first = submitted("mgmt-command", job)
    done = ended(first.name)
    again = refusal(lambda: submitted("mgmt-command", models.CommandJob(command="true", environment_id=ENVIRONMENT)))
    listed = [one.name for one in client.jobs.list(*WHERE, job_type="Command")]
    job.is_archived = True
    archived = submitted("mgmt-command", job)
    active = [one.name for one in client.jobs.list(*WHERE)]
    gone = deleted(lambda: client.jobs.begin_delete(*WHERE, first.name), lambda: client.jobs.get(*WHERE, first.name))
    properties = done.properties
    return {
        "first": [type(first.properties).__name__, first.properties.status],
        "done": [properties.status, properties.display_name, properties.experiment_name, properties.tags],
        "limits": [str(properties.limits.timeout), properties.resources.instance_count],
        "inputs": [type(properties.inputs["word"]).__name__, properties.inputs["word"].value],
        "output": type(properties.outputs["said"]).__name__,
        "services": sorted(properties.services),
        "created": bool(done.system_data.created_at),
        "again": again,
        "listed": [first.name in listed, archived.properties.is_archived, first.name in active],
        "gone": gone,
    }


@chapter
def cancelled_job() -> Any:
    first = submitted("mgmt-sleep", models.CommandJob(command="sleep 60", environment_id=ENVIRONMENT))
    client.jobs.begin_cancel(*WHERE, first.name).result(timeout=120)
    after = client.jobs.get(*WHERE, first.name).properties.status
    client.jobs.begin_cancel(*WHERE, first.name).result(timeout=120)
    return {"status": after, "type": first.type}


@chapter
def pipeline_job() -> Any:
    spec = {
        "type": "command",
        "name": f"mgmt_step{MARK}",
        "command": "echo ${{inputs.n}}",
        "environment": f"azureml:{ENVIRONMENT}",
        "inputs": {"n": {"type": "integer"}},
    }
    body = models.ComponentVersion(properties=models.ComponentVersionProperties(component_spec=spec))
    component = client.component_versions.create_or_update(*WHERE, f"mgmt_step{MARK}", "1", body)
    node = {"type": "command", "componentId": component.id, "inputs": {}}
    given = {"n": {"job_input_type": "literal", "value": "${{parent.inputs.n}}"}}
    job = models.PipelineJob(
        jobs={"one": node | {"inputs": given}, "two": node | {"inputs": given}},
        inputs={"n": models.LiteralJobInput(value="3")},
        settings={"force_rerun": True},
    )
    first = submitted("mgmt-pipeline", job)
    done = ended(first.name).properties
    return {
        "first": [type(first.properties).__name__, first.properties.status],
        "done": [done.status, sorted(done.jobs), done.inputs["n"].value],
        "listed": [first.name in [one.name for one in client.jobs.list(*WHERE, job_type="Pipeline")]],
    }


@chapter
def sweep_job() -> Any:
    trial = models.TrialComponent(command="echo ${{search_space.depth}}", environment_id=ENVIRONMENT)
    job = models.SweepJob(
        trial=trial,
        objective=models.Objective(goal="Maximize", primary_metric="auc"),
        sampling_algorithm=models.GridSamplingAlgorithm(),
        search_space={"depth": ["choice", [[1, 2]]]},
        limits=models.SweepJobLimits(max_total_trials=2, max_concurrent_trials=2),
    )
    first = submitted("mgmt-sweep", job)
    done = ended(first.name).properties
    return {
        "first": [type(first.properties).__name__, first.properties.objective.primary_metric],
        "sampling": type(done.sampling_algorithm).__name__,
        "limits": [done.limits.max_total_trials, done.limits.max_concurrent_trials],
        "status": done.status,
    }


@chapter
def batch_endpoint() -> Any:
    name, batch = f"mgmt-batch{MARK}", client.batch_endpoints
    properties = models.BatchEndpointProperties(auth_mode="AADToken", description="of the client")
    body = models.BatchEndpoint(location=LOCATION, properties=properties, tags={"a": "b"})
    made = batch.begin_create_or_update(*WHERE, name, body).result(timeout=120)
    model = client.model_versions.create_or_update(
        *WHERE,
        f"mgmt-scored{MARK}",
        "1",
        models.ModelVersion(
            properties=models.ModelVersionProperties(
                model_uri="azureml://datastores/workspaceblobstore/paths/mgmt/model", model_type="mlflow_model"
            )
        ),
    )
    cluster = models.AmlCompute(
        properties=models.AmlComputeProperties(
            vm_size="STANDARD_DS3_V2", scale_settings=models.ScaleSettings(max_node_count=1, min_node_count=0)
        )
    )
    wanted = models.ComputeResource(location=LOCATION, properties=cluster)
    compute = client.compute.begin_create_or_update(*WHERE, f"mgmt-score{MARK}", wanted).result(timeout=600)
    said = models.BatchDeploymentProperties(
        model=models.IdAssetReference(asset_id=model.id),
        compute=compute.id,
        mini_batch_size=5,
        error_threshold=-1,
        output_action="AppendRow",
        output_file_name="out.csv",
        retry_settings=models.BatchRetrySettings(max_retries=2, timeout="PT1M"),
        resources=models.DeploymentResourceConfiguration(instance_count=1),
    )
    deployment = models.BatchDeployment(location=LOCATION, properties=said)
    deployments = client.batch_deployments
    blue = deployments.begin_create_or_update(*WHERE, name, "blue", deployment).result(timeout=120)
    change = models.PartialBatchDeploymentPartialMinimalTrackedResourceWithProperties(
        tags={"x": "y"}, properties=models.PartialBatchDeployment(description="changed")
    )
    updated = deployments.begin_update(*WHERE, name, "blue", change).result(timeout=120)
    body.properties.defaults = models.BatchEndpointDefaults(deployment_name="blue")
    batch.begin_create_or_update(*WHERE, name, body).result(timeout=120)
    patched = batch.begin_update(
        *WHERE, name, models.PartialMinimalTrackedResourceWithIdentity(tags={"a": "c"})
    ).result(timeout=120)
    keys = refusal(lambda: batch.list_keys(*WHERE, name))
    got = deployments.get(*WHERE, name, "blue").properties
    told = {
        "made": [made.name, made.properties.auth_mode, made.properties.provisioning_state, made.tags],
        "uri": made.properties.scoring_uri,
        "blue": [blue.properties.provisioning_state, blue.properties.mini_batch_size, blue.properties.output_action],
        "got": [got.model.asset_id == model.id, str(got.retry_settings.timeout), got.resources.instance_count],
        "updated": [updated.tags, updated.properties.description],
        "patched": [patched.tags, patched.properties.defaults.deployment_name],
        "keys": keys,
        "listed": [
            name in [one.name for one in batch.list(*WHERE)],
            [one.name for one in deployments.list(*WHERE, name)],
        ],
        "default": refusal(lambda: deployments.begin_delete(*WHERE, name, "blue").result(timeout=60)),
        "gone": deleted(lambda: batch.begin_delete(*WHERE, name), lambda: batch.get(*WHERE, name)),
    }
    client.compute.begin_delete(*WHERE, f"mgmt-score{MARK}", "Delete").result(timeout=600)
    return told


SCRIPT = """
import json

def init():
    print("ready to score")

def run(body):
    return {"sum": sum(json.loads(body)["numbers"])}
"""


def uploaded() -> str:
    """Upload the scoring script as a version of code; its id."""
    code, wish = f"mgmt-score{MARK}", models.PendingUploadRequestDto(pending_upload_type="TemporaryBlobReference")
    place = client.code_versions.create_or_get_start_pending_upload(
        *WHERE, code, "1", wish
    ).blob_reference_for_consumption
    with ContainerClient.from_container_url(place.credential.sas_uri) as container:
        container.upload_blob("score.py", SCRIPT, overwrite=True)
    body = models.CodeVersion(properties=models.CodeVersionProperties(code_uri=place.blob_uri))
    return str(client.code_versions.create_or_update(*WHERE, code, "1", body).id)


@chapter
def online_deployment() -> Any:
    name, online, deployments = f"mgmt-served{MARK}", client.online_endpoints, client.online_deployments
    wanted = models.OnlineEndpointProperties(auth_mode="Key")
    body = models.OnlineEndpoint(location=LOCATION, properties=wanted)
    online.begin_create_or_update(*WHERE, name, body).result(timeout=300)
    said = models.ManagedOnlineDeployment(
        code_configuration=models.CodeConfiguration(code_id=uploaded(), scoring_script="score.py"),
        environment_id=ENVIRONMENT,
        instance_type="Standard_DS3_v2",
        request_settings=models.OnlineRequestSettings(request_timeout="PT30S", max_concurrent_requests_per_instance=2),
    )
    sku = models.Sku(name="Default", capacity=1)
    deployment = models.OnlineDeployment(location=LOCATION, properties=said, sku=sku, tags={"a": "b"})
    made = deployments.begin_create_or_update(*WHERE, name, "blue", deployment).result(timeout=300)
    wanted.traffic = {"blue": 100}
    served = online.begin_create_or_update(*WHERE, name, body).result(timeout=300)
    key = online.list_keys(*WHERE, name).primary_key
    scored = requests.post(
        served.properties.scoring_uri, json={"numbers": [1, 2]}, headers={"Authorization": f"Bearer {key}"}, timeout=60
    )
    change = models.PartialMinimalTrackedResourceWithSku(tags={"a": "c"}, sku=models.PartialSku(capacity=2))
    changed = deployments.begin_update(*WHERE, name, "blue", change).result(timeout=300)
    logs = deployments.get_logs(*WHERE, name, "blue", models.DeploymentLogsRequest(tail=100))
    skus = [one.capacity.maximum for one in deployments.list_skus(*WHERE, name, "blue")]
    refused = refusal(lambda: deployments.begin_delete(*WHERE, name, "blue").result(timeout=60))
    wanted.traffic = {}
    online.begin_create_or_update(*WHERE, name, body).result(timeout=300)
    gone = deleted(
        lambda: deployments.begin_delete(*WHERE, name, "blue"), lambda: deployments.get(*WHERE, name, "blue")
    )
    online.begin_delete(*WHERE, name).result(timeout=120)
    return {
        "made": [type(made.properties).__name__, made.properties.provisioning_state, made.tags, made.sku.capacity],
        "settings": str(made.properties.request_settings.request_timeout),
        "served": [served.properties.traffic, scored.status_code, scored.json()],
        "changed": [changed.tags, changed.sku.capacity, changed.properties.provisioning_state],
        "logs": "ready to score" in logs.content,
        "skus": [most >= 1 for most in skus],
        "refused": refused,
        "gone": gone,
    }


@chapter
def online_endpoint() -> Any:
    name, online = f"mgmt-online{MARK}", client.online_endpoints
    body = models.OnlineEndpoint(
        location=LOCATION, properties=models.OnlineEndpointProperties(auth_mode="Key"), tags={"a": "b"}
    )
    made = online.begin_create_or_update(*WHERE, name, body).result(timeout=300)
    before = online.list_keys(*WHERE, name)
    new = models.RegenerateEndpointKeysRequest(key_type="Primary")
    online.begin_regenerate_keys(*WHERE, name, new).result(timeout=120)
    after = online.list_keys(*WHERE, name)
    token = refusal(lambda: online.get_token(*WHERE, name))
    change = models.PartialMinimalTrackedResourceWithIdentity(tags={"a": "c"})
    updated = online.begin_update(*WHERE, name, change).result(timeout=120)
    return {
        "made": [made.name, made.properties.auth_mode, made.properties.provisioning_state, made.tags],
        "keys": [before.primary_key != after.primary_key, before.secondary_key == after.secondary_key],
        "token": token,
        "updated": updated.tags,
        "listed": name in [one.name for one in online.list(*WHERE)],
        "deployments": [one.name for one in client.online_deployments.list(*WHERE, name)],
        "gone": deleted(lambda: online.begin_delete(*WHERE, name), lambda: online.get(*WHERE, name)),
    }


print("\n" + json.dumps(found, default=str))
