"""A published pipeline whose jobs take a given time and cost nothing: the emulator goes through a script."""

from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from azureml_emulator.tokens import issue
from demo.azure import WORKSPACE_ID, Emulator
from demo.evidence import API_VERSION

DEPLOYMENT = "scripted"


def workspace(emulator: Emulator) -> httpx.Client:
    """Open the emulator's REST API, whose control interface has to be on."""
    bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    return httpx.Client(base_url=emulator.http, headers=bearer, timeout=60, trust_env=False)


def publish(client: httpx.Client, name: str, *, data: str, lasts_s: float) -> None:
    """Publish a pipeline with an input ``data`` and an output ``predictions`` behind an endpoint of its name.

    Args:
        client: Of `workspace`.
        name: The endpoint's, and the pipeline's.
        data: The type of the input: ``uri_file`` or ``uri_folder``.
        lasts_s: Seconds from a job's beginning to its completion.
    """

    def _put(path: str, tags: Mapping[str, str] | None = None, **properties: Any) -> str:
        body = {"properties": properties, "tags": tags or {}}
        answer = client.put(f"{WORKSPACE_ID}/{path}", json=body, params={"api-version": API_VERSION})
        return str(answer.raise_for_status().json()["id"])

    script = {"statuses": [["Running", lasts_s], ["Completed", 0]]}
    client.put(f"/control/scripts/{name}", json=script).raise_for_status()
    step = {"type": "command", "name": "say", "command": "echo it runs"}
    whole = {
        "type": "pipeline",
        "name": name,
        "version": "1",
        "inputs": {"data": {"type": data}},
        "outputs": {"predictions": {"type": "uri_folder"}},
        "jobs": {"say": {"type": "command", "componentId": _put("components/say/versions/1", componentSpec=step)}},
    }
    component = _put(f"components/{name}/versions/1", componentSpec=whole)
    configuration = {
        "deploymentConfigurationType": "PipelineComponent",
        "componentId": {"assetId": component, "referenceType": "Id"},
    }
    endpoint = f"batchEndpoints/{name}"
    _put(endpoint)
    tags = {"emulator.script": name}
    _put(f"{endpoint}/deployments/{DEPLOYMENT}", tags, deploymentConfiguration=configuration)
    _put(endpoint, defaults={"deploymentName": DEPLOYMENT})


def jobs(client: httpx.Client) -> Iterable[Mapping[str, Any]]:
    """List the workspace's jobs."""
    path = f"{WORKSPACE_ID}/jobs?api-version={API_VERSION}"
    while path:
        page = client.get(path).raise_for_status().json()
        yield from page["value"]
        path = page.get("nextLink") or ""
