"""What azure-mgmt-machinelearningservices does in a workspace that costs nothing; prints what happened as JSON."""

# ruff: noqa: T201  # a judge is a program
from __future__ import annotations

import json
from typing import Any

from mgmt import MARK, WHERE, client, deleted, models, refusal
from telling import chapter, found

LOCATION = client.workspaces.get(*WHERE).location
BLOBS = client.datastores.get(*WHERE, "workspaceblobstore").properties
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"


def place(path: str) -> str:
    return f"azureml://datastores/workspaceblobstore/paths/mgmt{MARK}/{path}"


def life(containers: Any, versions: Any, name: str, body: Any, changed: Any) -> dict[str, Any]:
    """Tell of an asset's first version from its creation to the deletion of its container."""
    first = versions.create_or_update(*WHERE, name, "1", body)
    versions.create_or_update(*WHERE, name, "2", body)
    again = versions.create_or_update(*WHERE, name, "1", changed)
    container = containers.get(*WHERE, name)
    listed = [one.name for one in versions.list(*WHERE, name)]
    newest = [one.name for one in versions.list(*WHERE, name, top=1, order_by="createdtime desc").by_page().next()]
    told = {
        "first": first.as_dict(),
        "got": versions.get(*WHERE, name, "1").as_dict(),
        "description": again.properties.description,
        "container": container.as_dict(),
        "listed": listed,
        "newest": newest,
        "among": name in [one.name for one in containers.list(*WHERE)],
        "never": refusal(lambda: versions.get(*WHERE, name, "9")),
    }
    versions.delete(*WHERE, name, "2")
    told["left"] = [one.name for one in versions.list(*WHERE, name)]
    gone = deleted(lambda: containers.delete(*WHERE, name), lambda: containers.get(*WHERE, name))
    return told | {"gone": gone}


@chapter
def datastores() -> Any:
    name = f"mgmt_blobs{MARK}".replace("-", "_")
    wanted = models.AzureBlobDatastore(
        account_name=BLOBS.account_name,
        container_name=BLOBS.container_name,
        credentials=models.NoneDatastoreCredentials(),
        description="of the client",
        tags={"a": "b"},
    )
    body = models.Datastore(properties=wanted)
    made = client.datastores.create_or_update(*WHERE, name, body, skip_validation=True)
    got = client.datastores.get(*WHERE, name)
    wanted.description = "changed"
    changed = client.datastores.create_or_update(*WHERE, name, body, skip_validation=True)
    listed = {one.name: one.properties.datastore_type for one in client.datastores.list(*WHERE)}
    default = [one.name for one in client.datastores.list(*WHERE, is_default=True)]
    secrets = client.datastores.list_secrets(*WHERE, "workspaceblobstore")
    gone = deleted(lambda: client.datastores.delete(*WHERE, name), lambda: client.datastores.get(*WHERE, name))
    return {
        "made": [type(made.properties).__name__, made.type, made.properties.is_default],
        "got": [got.properties.container_name == BLOBS.container_name, got.properties.description, got.properties.tags],
        "credentials": got.properties.credentials.credentials_type,
        "changed": changed.properties.description,
        "created": made.system_data.created_at == changed.system_data.created_at,
        "listed": [listed.get(name), listed["workspaceblobstore"], listed["workspacefilestore"]],
        "default": default,
        "secret": [type(secrets).__name__, bool(secrets.key)],
        "gone": gone,
    }


@chapter
def codes() -> Any:
    uri = f"https://{BLOBS.account_name}.blob.core.windows.net/{BLOBS.container_name}/mgmt{MARK}/code"
    said = models.CodeVersionProperties(code_uri=uri, properties={"hash_sha256": f"0{MARK}"})
    body = models.CodeVersion(properties=said)
    changed = models.CodeVersion(properties=models.CodeVersionProperties(code_uri=uri, description="changed"))
    name = f"mgmt-code{MARK}"
    pending = client.code_versions.create_or_get_start_pending_upload(
        *WHERE, name, "1", models.PendingUploadRequestDto(pending_upload_type="TemporaryBlobReference")
    )
    told = life(client.code_containers, client.code_versions, name, body, changed)
    reference = pending.blob_reference_for_consumption
    kinds = [pending.pending_upload_type, reference.credential.credential_type]
    return told | {"pending": kinds, "inside": reference.credential.sas_uri.startswith(reference.blob_uri)}


def environment(**more: Any) -> Any:
    conda = "dependencies:\n- python=3.11\n"
    said = models.EnvironmentVersionProperties(image=IMAGE, conda_file=conda, os_type="Linux", **more)
    return models.EnvironmentVersion(properties=said)


@chapter
def environments() -> Any:
    made = environment(tags={"a": "b"})
    name = f"mgmt-env{MARK}"
    return life(
        client.environment_containers, client.environment_versions, name, made, environment(description="changed")
    )


def component(**more: Any) -> Any:
    spec = {
        "$schema": "https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json",
        "name": f"mgmt_component{MARK}",
        "type": "command",
        "command": "echo ${{inputs.rows}}",
        "environment": f"azureml:mgmt-env{MARK}-kept:1",
        "inputs": {"rows": {"type": "integer", "default": "3", "optional": True}},
    }
    said = models.ComponentVersionProperties(component_spec=spec, **more)
    return models.ComponentVersion(properties=said)


@chapter
def components() -> Any:
    client.environment_versions.create_or_update(*WHERE, f"mgmt-env{MARK}-kept", "1", environment())
    made, name = component(tags={"a": "b"}), f"mgmt_component{MARK}"
    return life(client.component_containers, client.component_versions, name, made, component(tags={"a": "c"})) | {
        "refused": refusal(lambda: client.component_versions.create_or_update(*WHERE, name, "1", {"properties": {}}))
    }


@chapter
def data() -> Any:
    name, kinds = f"mgmt-data{MARK}", {}
    for number, kind in enumerate((models.UriFileDataVersion, models.UriFolderDataVersion, models.MLTableData)):
        more: dict[str, Any] = {"referenced_uris": []} if kind is models.MLTableData else {}
        body = models.DataVersionBase(properties=kind(data_uri=place(f"kind-{number}"), **more))
        other = f"{name}-{number}"
        made = client.data_versions.create_or_update(*WHERE, other, "1", body)
        client.data_containers.delete(*WHERE, other)
        kinds[made.properties.data_type] = type(made.properties).__name__

    def version(**more: Any) -> Any:
        return models.DataVersionBase(properties=models.UriFileDataVersion(data_uri=place("rows.csv"), **more))

    told = life(
        client.data_containers, client.data_versions, name, version(tags={"a": "b"}), version(description="changed")
    )
    return told | {"kinds": kinds}


@chapter
def models_of_the_workspace() -> Any:
    def version(**more: Any) -> Any:
        said = models.ModelVersionProperties(model_uri=place("model"), model_type="custom_model", **more)
        return models.ModelVersion(properties=said)

    name = f"mgmt-model{MARK}"
    other = client.model_versions.create_or_update(*WHERE, f"{name}-other", "1", version(stage="Production"))
    container = models.ModelContainer(properties=models.ModelContainerProperties(description="all", tags={"x": "y"}))
    client.model_containers.create_or_update(*WHERE, f"{name}-other", container)
    kept = client.model_containers.get(*WHERE, f"{name}-other")
    client.model_containers.delete(*WHERE, f"{name}-other")
    told = life(
        client.model_containers, client.model_versions, name, version(tags={"a": "b"}), version(description="changed")
    )
    return told | {"stage": other.properties.stage, "kept": [kept.properties.description, kept.properties.tags]}


@chapter
def pages() -> Any:
    name = f"mgmt-pages{MARK}"
    body = models.ModelVersion(properties=models.ModelVersionProperties(model_uri=place("model")))
    for number in range(7):
        client.model_versions.create_or_update(*WHERE, name, str(number), body)
    sizes = [len(list(page)) for page in client.model_versions.list(*WHERE, name, top=3).by_page()]
    listed = [one.name for one in client.model_versions.list(*WHERE, name, top=3)]
    body.properties.is_archived = True
    client.model_versions.create_or_update(*WHERE, name, "6", body)
    active = [one.name for one in client.model_versions.list(*WHERE, name, list_view_type="ActiveOnly")]
    archived = [one.name for one in client.model_versions.list(*WHERE, name, list_view_type="ArchivedOnly")]
    client.model_containers.delete(*WHERE, name)
    return {"sizes": sizes, "listed": listed, "active": active, "archived": archived}


@chapter
def schedules() -> Any:
    name = f"mgmt-daily{MARK}"
    job = models.CommandJob(command="echo hello", environment_id=f"azureml:mgmt-env{MARK}-kept:1", display_name="x")

    def schedule(trigger: Any, **more: Any) -> Any:
        action = models.JobScheduleAction(job_definition=job)
        return models.Schedule(properties=models.ScheduleProperties(action=action, trigger=trigger, **more))

    cron = schedule(models.CronTrigger(expression="0 3 * * *", time_zone="UTC"), is_enabled=False, display_name="d")
    made = client.schedules.begin_create_or_update(*WHERE, name, cron).result(timeout=120)
    pattern = models.RecurrenceSchedule(hours=[3], minutes=[0], week_days=["Monday"])
    weekly = models.RecurrenceTrigger(frequency="Week", interval=1, schedule=pattern, time_zone="UTC")
    client.schedules.begin_create_or_update(*WHERE, name, schedule(weekly, is_enabled=False)).result(timeout=120)
    got = client.schedules.get(*WHERE, name)
    enabled = [one.name for one in client.schedules.list(*WHERE, list_view_type="EnabledOnly")]
    every = [one.name for one in client.schedules.list(*WHERE, list_view_type="All")]
    gone = deleted(lambda: client.schedules.begin_delete(*WHERE, name), lambda: client.schedules.get(*WHERE, name))
    return {
        "made": [made.name, type(made.properties.trigger).__name__, made.properties.trigger.expression],
        "state": [made.properties.provisioning_state, made.properties.is_enabled, made.properties.display_name],
        "action": type(got.properties.action.job_definition).__name__,
        "trigger": [got.properties.trigger.frequency, got.properties.trigger.schedule.week_days],
        "listed": [name in enabled, name in every],
        "gone": gone,
    }


@chapter
def region() -> Any:
    usages = list(client.usages.list(LOCATION))
    quotas = list(client.quotas.list(LOCATION))
    sizes = client.virtual_machine_sizes.list(LOCATION).value
    return {
        "usages": [len(usages) > 0, all(isinstance(one.limit, int) for one in usages), usages[0].unit],
        "used": all(isinstance(one.current_value, int) for one in usages),
        "quotas": [len(quotas) > 0, all(one.name.value for one in quotas)],
        "sizes": [all(one.v_cp_us > 0 for one in sizes), all(one.memory_gb > 0 for one in sizes)],
        "known": "standard_ds3_v2" in [one.name.lower() for one in sizes],
        "compute": sorted({kind for one in sizes for kind in one.supported_compute_types or []})[:2],
    }


@chapter
def connections() -> Any:
    name = f"mgmt-git{MARK}"
    credentials = models.WorkspaceConnectionPersonalAccessToken(pat="not-shown")
    said = models.PATAuthTypeWorkspaceConnectionProperties(
        category="Git", target="https://example.com/r", credentials=credentials
    )
    body = models.WorkspaceConnectionPropertiesV2BasicResource(properties=said)
    made = client.workspace_connections.create(*WHERE, name, body)
    got = client.workspace_connections.get(*WHERE, name)
    listed = [one.name for one in client.workspace_connections.list(*WHERE)]
    others = [one.name for one in client.workspace_connections.list(*WHERE, category="PythonFeed")]
    gone = deleted(
        lambda: client.workspace_connections.delete(*WHERE, name),
        lambda: client.workspace_connections.get(*WHERE, name),
    )
    return {
        "made": [made.name, type(made.properties).__name__, made.properties.category, made.properties.target],
        "hidden": [got.properties.credentials is None, "not-shown" in json.dumps(got.as_dict())],
        "listed": [name in listed, name in others],
        "gone": gone,
    }


@chapter
def missing() -> Any:
    calls = {
        "datastore": lambda: client.datastores.get(*WHERE, "never"),
        "code": lambda: client.code_versions.get(*WHERE, "never", "1"),
        "environment": lambda: client.environment_containers.get(*WHERE, "never"),
        "component": lambda: client.component_versions.get(*WHERE, "never", "1"),
        "data": lambda: client.data_containers.get(*WHERE, "never"),
        "model": lambda: client.model_versions.get(*WHERE, "never", "1"),
        "job": lambda: client.jobs.get(*WHERE, "never"),
        "schedule": lambda: client.schedules.get(*WHERE, "never"),
        "batch endpoint": lambda: client.batch_endpoints.get(*WHERE, "never"),
        "online endpoint": lambda: client.online_endpoints.get(*WHERE, "never"),
        "compute": lambda: client.compute.get(*WHERE, "never"),
        "connection": lambda: client.workspace_connections.get(*WHERE, "never"),
        "workspace": lambda: client.workspaces.get(WHERE[0], "never"),
        "version of a path": lambda: client.data_versions.create_or_update(
            *WHERE, "never", "1", models.DataVersionBase(properties=models.UriFileDataVersion(data_uri=""))
        ),
    }
    return {what: refusal(call) for what, call in calls.items()}


client.environment_containers.delete(*WHERE, f"mgmt-env{MARK}-kept")
print("\n" + json.dumps(found, default=str))
