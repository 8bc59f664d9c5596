"""The pages of online endpoints, as a browser gets them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import aiohttp
import attrs
import pytest
from starlette.applications import Starlette

from azureml_emulator import online_operations
from azureml_emulator.names import WorkspaceName
from azureml_emulator.pages import batch, routes
from azureml_emulator.pages.routes import LIST_REFRESH_S, REFRESH_S
from azureml_emulator.routes import online_bodies
from azureml_emulator.serving import Deployments
from azureml_emulator.store import Run, now
from tests.unit.emulator.serving import serving
from tests.unit.emulator.world import World

pytestmark = pytest.mark.anyio

MODEL = "/models/net/versions/7"
STAMP = {"systemData": {"createdAt": now(), "lastModifiedAt": now()}}


@attrs.frozen
class Site:
    """An endpoint whose deployments do not run, and its pages."""

    world: World
    deployments: Deployments

    def endpoint(self, **properties: Any) -> dict[str, Any]:
        body = self._endpoint(properties)
        self.world.store.put(body["id"], body)
        return body

    def _endpoint(self, properties: dict[str, Any]) -> dict[str, Any]:
        sent = {"properties": properties, "tags": {"team": "<risk>"}}
        workspace = WorkspaceName.of_arm_id(self.world.workspace)
        return online_bodies.endpoint(workspace, "line", sent) | STAMP

    def deployment(self, endpoint: dict[str, Any], name: str, state: str) -> dict[str, Any]:
        self.world.store.put(MODEL, {"id": MODEL, "properties": {"modelType": "mlflow_model"}})
        sent = {"properties": {"model": MODEL}, "sku": {"capacity": 3}}
        body = online_bodies.deployment(self.world.store, endpoint, name, sent) | STAMP
        body["properties"]["provisioningState"] = state
        self.world.store.put(body["id"], body)
        return body

    async def page(self, path: str) -> tuple[int, str]:
        app = Starlette(routes=list(routes(self.world.store, self.world.runner, self.deployments)))
        async with serving(app) as url, aiohttp.ClientSession() as client, client.get(url + path) as answer:
            return answer.status, await answer.text()


@pytest.fixture
def site(world: World) -> Site:
    deployments = Deployments(world.store, world.storage, world.settings, http="http://127.0.0.1:9")
    return Site(world, deployments)


async def test_the_list_shows_how_traffic_is_shared_and_which_processes_are_ready(site: Site) -> None:
    endpoint = site.endpoint(traffic={"blue": 90, "green": 10}, mirrorTraffic={"red": 5})
    for name, state in (("blue", "Succeeded"), ("green", "Succeeded"), ("red", "Updating")):
        site.deployment(endpoint, name, state)

    status, page = await site.page("/ui/endpoints")

    assert status == 200
    assert "blue <strong>90 %</strong>" in page
    assert "green <strong>10 %</strong>" in page
    assert "mirror 5 %" in page
    assert page.count("0/3") == 3
    assert 'http-equiv="refresh"' in page, "something is being changed"


async def test_the_page_of_an_endpoint_says_why_a_deployment_failed_and_shows_its_log(site: Site) -> None:
    body = site.deployment(site.endpoint(), "blue", "Failed")
    url = "http://x/mfeOperationsStatus/od:1?api-version=1"
    error = {"code": "ResourceNotReady", "message": "It <crashed>."}
    online_operations.end(
        site.world.store, online_operations.begin(site.world.store, url), status="Failed", error=error
    )
    body["properties"]["properties"] = {"AzureAsyncOperationUri": url}
    site.world.store.put(body["id"], body)
    site.deployments.log(body["id"]).path().write_text("no <weights>\n")

    status, page = await site.page(f"/ui/endpoint?{urlencode({'id': body['id'].partition('/deployments/')[0]})}")

    assert status == 200
    assert "ResourceNotReady: It &lt;crashed&gt;." in page
    assert "no &lt;weights&gt;" in page
    assert "&lt;risk&gt;" in page
    assert "net:7" in page
    assert f'http-equiv="refresh" content="{LIST_REFRESH_S}"' in page, "its traffic may be changed at any time"


async def test_an_endpoint_that_is_not_there_is_said_to_be_missing(site: Site) -> None:
    status, page = await site.page("/ui/endpoint?id=/nowhere")

    assert status == 404
    assert "There is no endpoint /nowhere." in page
    assert 'href="/ui/endpoints"' in page


async def test_without_endpoints_the_list_says_so(site: Site) -> None:
    page = (await site.page("/ui/endpoints"))[1]

    assert "No online endpoints yet." in page
    assert "No batch endpoints yet." in page


async def test_a_batch_endpoint_is_listed_with_what_it_runs_its_default_and_its_last_jobs(site: Site) -> None:
    world = site.world
    arm_id = f"{world.workspace}/batchEndpoints/nightly"
    body = {"id": arm_id, "name": "nightly", "type": batch.TYPE} | STAMP
    world.store.put(arm_id, body | {"properties": {"defaults": {"deploymentName": "two"}}})
    component = {"componentId": {"assetId": f"{world.workspace}/components/<score>/versions/3"}}
    model = {"assetId": f"azureml:{world.workspace}/models/net/versions/7"}
    for name, runs in (("one", {"deploymentConfiguration": component}), ("two", {"model": model})):
        world.store.put(f"{arm_id}/deployments/{name}", {"name": name, "properties": runs})
    for number in range(batch.MOST_JOBS + 1):
        run = Run(
            workspace=world.workspace,
            name=f"batchjob-{number}",
            kind="Pipeline",
            status="Running",
            endpoint="nightly",
            deployment="two",
        )
        world.store.add_run(run)

    _, page = await site.page("/ui/endpoints")

    assert "0 online and 1 batch" in page
    assert re.search(r"one <span[^>]*>&lt;score&gt;:3</span></div>", page)
    assert re.search(r"two <span[^>]*>net:7</span> <span class=\"chip good\">default</span>", page)
    assert re.findall(r">(batchjob-\d)</a>", page) == ["batchjob-3", "batchjob-2", "batchjob-1"]
    assert f'content="{REFRESH_S}"' in page, "a job runs"
