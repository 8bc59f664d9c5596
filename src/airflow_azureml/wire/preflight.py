"""Looking, before a job is submitted, at all that it needs to be there. Nothing is written, whatever is found."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from attrs import frozen

from airflow_azureml.core import preflight as core
from airflow_azureml.core.needs import SERVERLESS, Needs, Part, Passed, completed, named, part_of, parts_of
from airflow_azureml.core.pipelines import BatchEndpoint, PipelineComponent
from airflow_azureml.core.preflight import Compute, Finding, Usage, VmSize
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.wire import components, compute, endpoints
from airflow_azureml.wire.findings import Findings, existing, version_of
from airflow_azureml.wire.http import Flow, Request
from airflow_azureml.wire.paging import all_pages
from airflow_azureml.wire.stores import Place, Stores, check_output, input_place

#: The version of a region's usages and machine sizes.
REGION_VERSION = "2024-10-01"
#: Pipelines in pipelines that are looked into; deeper ones are not Azure ML's.
DEPTH = 5


@frozen(kw_only=True)
class Seen:
    """What a look has shown, and where to look on."""

    findings: Sequence[Finding]
    places: Sequence[Place]


def look(workspace: Workspace, needs: Needs, *, domain: str) -> Flow[Seen]:
    """Look at the computes, environments, datastores and assets that a job needs, and at the right to write.

    Args:
        workspace: Where the job will be.
        needs: What it needs.
        domain: The storage domain of the workspace's cloud.
    """
    found = Findings()
    parts = yield from _completed(workspace, needs.parts, found)
    yield from _computes(workspace, parts, found)
    yield from _environments(workspace, parts, found)
    stores = Stores(workspace=workspace, found=found)
    places = []
    for name, passed in needs.inputs.items():
        place = yield from input_place(stores, f"Input {name!r}", passed, domain=domain)
        places += [place] if place else []
    for name, passed in needs.outputs.items():
        yield from check_output(stores, f"Output {name!r}", passed)
    for written in needs.datastores:
        store = named(written, "datastores", workspace_id=workspace.arm_id)
        if store is not None:
            yield from stores.get(store.name, "The job's default datastore")
    return Seen(findings=found.all, places=places)


# what a published pipeline needs


def of_pipeline(
    workspace: Workspace, pipeline: BatchEndpoint | PipelineComponent, *, settings: Mapping[str, Any]
) -> Flow[tuple[Needs, Sequence[Finding]]]:
    """Find out what a published pipeline needs to run on, and the types of its inputs, which carry no URI yet.

    Args:
        workspace: Where it is published.
        pipeline: It.
        settings: The settings of a component's job; a deployment has its own.
    """
    found = Findings()
    if isinstance(pipeline, BatchEndpoint):
        what, deployment = yield from _deployment(workspace, pipeline, found)
        if deployment.get("model"):
            return Needs(parts=[part_of(what[0].lower() + what[1:], deployment)]), found.all
        configuration = deployment.get("deploymentConfiguration") or {}
        component = str((configuration.get("componentId") or {}).get("assetId") or "")
        settings = configuration.get("settings") or {}
        if what and not component:
            found.wrong(f"{what} serves neither a pipeline nor a model: name one that does.")
    else:
        version = pipeline.version or components.DEFAULT
        component = f"{workspace.arm_id}/components/{pipeline.name}/versions/{version}"
    spec = (yield from _component(workspace, component, f"The {pipeline}", found)) if component else None
    if spec is None:
        return Needs(), found.all
    default = str(settings.get("default_compute") or "")
    needs = Needs(
        parts=list(parts_of(spec.get("jobs") or {}, default_compute=default)),
        inputs={
            name: Passed(uri="", type=str(one.get("type") or "")) for name, one in (spec.get("inputs") or {}).items()
        },
        datastores=[str(settings["default_datastore"])] if settings.get("default_datastore") else [],
    )
    return needs, found.all


def _deployment(workspace: Workspace, pipeline: BatchEndpoint, found: Findings) -> Flow[tuple[str, Mapping[str, Any]]]:
    """Read a deployment, with what to call it; nothing where it is not there, or nobody could tell."""
    base = f"{workspace.url}/batchEndpoints/{quote(pipeline.name, safe='')}"
    name = pipeline.deployment
    if not name:
        endpoint = yield from existing(found, f"Batch endpoint {pipeline.name}", base, endpoints.API_VERSION)
        name = str((((endpoint or {}).get("properties") or {}).get("defaults") or {}).get("deploymentName") or "")
        if endpoint is not None and not name:
            found.wrong(f"Batch endpoint {pipeline.name} has no default deployment: name one.")
        if not name:
            return "", {}
    what = f"Deployment {name} of batch endpoint {pipeline.name}"
    url = f"{base}/deployments/{quote(name, safe='')}"
    deployment = yield from existing(found, what, url, endpoints.API_VERSION)
    return ("", {}) if deployment is None else (what, deployment.get("properties") or {})


def _component(workspace: Workspace, written: str, what: str, found: Findings) -> Flow[Mapping[str, Any] | None]:
    """Read a component's specification; None where it is not there, or nobody could tell."""
    component = named(written, "components", workspace_id=workspace.arm_id)
    if component is None:
        found.unknown(f"{what}: its component {written!r} is not one of workspace {workspace.name}; it was not read.")
        return None
    version = component.version or components.DEFAULT
    url = f"{workspace.url}/components/{quote(component.name, safe='')}/versions/{quote(version, safe='')}"
    raw = yield from existing(found, f"{what} (component {component})", url, components.API_VERSION)
    return None if raw is None else (raw.get("properties") or {}).get("componentSpec") or {}


def _completed(workspace: Workspace, parts: Iterable[Part], found: Findings) -> Flow[Sequence[Part]]:
    """Read the components of steps, each once, and the steps of those that are pipelines themselves."""
    specs: dict[str, Mapping[str, Any] | None] = {}
    left, done, depth = list(parts), list[Part](), 0
    while left and depth < DEPTH:
        deeper: list[Part] = []
        for part in left:
            if not part.component:
                done.append(part)
                continue
            if part.component not in specs:
                specs[part.component] = yield from _component(workspace, part.component, part.name.capitalize(), found)
            spec = specs[part.component] or {}
            if spec.get("type") == "pipeline":
                within = f"{part.name.removeprefix('step ')}/"
                deeper += parts_of(spec.get("jobs") or {}, default_compute=part.compute, within=within)
            else:
                done.append(completed(part, spec))
        left, depth = deeper, depth + 1
    for part in left:
        found.unknown(f"{part.name.capitalize()} is in a pipeline within {DEPTH} others, and was not looked at.")
    return done


# computes and their quota


def _computes(workspace: Workspace, parts: Iterable[Part], found: Findings) -> Flow[None]:
    users: dict[str, list[Part]] = {}
    for part in parts:
        written = part.compute.removeprefix("azureml:")
        if not written or written.lower().rpartition("/")[2] == SERVERLESS:
            continue
        compute_name = named(part.compute, "computes", workspace_id=workspace.arm_id)
        if compute_name is None:
            found.unknown(f"Compute {part.compute!r} ({part.name}) is no name in workspace {workspace.name} yet.")
        else:
            users.setdefault(compute_name.name, []).append(part)
    growing = []
    for name, using in users.items():
        answer = yield from found.ask(compute.get(workspace, name))
        if answer.value is not None:
            seen = Compute.from_wire(name, answer.value.resource, trouble=answer.value.trouble)
            judged = list(core.judge_compute(seen, parts=using))
            found.all += judged
            if not judged and core.needs_quota(seen, parts=using):
                growing.append((seen, using))
        elif answer.told:
            found.all.append(core.missing_compute(name, workspace.name, parts=using))
    for region in sorted({each.location for each, _ in growing}):
        yield from _quota(workspace, [each for each in growing if each[0].location == region], region, found)


def _quota(
    workspace: Workspace, growing: Sequence[tuple[Compute, Sequence[Part]]], region: str, found: Findings
) -> Flow[None]:
    """Compare what clusters of one region need with what its quotas leave."""
    root = (
        f"{workspace.endpoint}/subscriptions/{quote(workspace.subscription_id, safe='')}"
        f"/providers/Microsoft.MachineLearningServices/locations/{quote(region, safe='')}"
    )
    listed: list[list[Mapping[str, Any]]] = []
    for what, path in (("usages", "usages"), ("machine sizes", "vmSizes")):
        request = Request(
            doing=f"Read the {what} of region {region}",
            method="GET",
            url=f"{root}/{path}",
            params={"api-version": REGION_VERSION},
        )
        answer = yield from found.ask(all_pages(request))
        if answer.value is None:
            return
        listed.append(answer.value)
    usages = [usage for usage in map(Usage.from_wire, listed[0]) if usage is not None]
    sizes = {size.name.lower(): size for size in map(VmSize.from_wire, listed[1]) if size is not None}
    for seen, using in growing:
        found.all += core.judge_quota(
            seen, sizes.get(seen.vm_size.lower()), usages, workspace=workspace.name, parts=using
        )


# environments and assets


def _environments(workspace: Workspace, parts: Iterable[Part], found: Findings) -> Flow[None]:
    users: dict[str, list[str]] = {}
    for part in parts:
        if part.environment:
            users.setdefault(part.environment, []).append(part.name)
    for written, using in users.items():
        environment = named(written, "environments", workspace_id=workspace.arm_id)
        what = f"Environment {environment or written} ({', '.join(using)})"
        if environment is None:
            found.unknown(f"{what} is not one of workspace {workspace.name}; it was not looked for.")
        else:
            yield from version_of(workspace, "environments", environment, what=what, found=found)
