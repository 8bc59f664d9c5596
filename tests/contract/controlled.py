"""An emulator with the control interface, and few words to use it."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from azureml_emulator.tokens import issue
from tests.contract.conftest import ARM_ID, Emulator

BEARER = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
LIVES = [["Preparing", 10], ["Running", 50], ["Completed", 0]]


@contextlib.contextmanager
def controlled_emulator(folder: Path, azurite: tuple[int, int]) -> Iterator[Emulator]:
    """Serve with the control interface."""
    made = Emulator(folder / "state", *azurite)
    made.start("--control")
    try:
        yield made
    finally:
        made.end()


def client_of(emulator: Emulator) -> httpx.Client:
    """Make a client of the plain http port."""
    return httpx.Client(base_url=emulator.addresses.http, headers=BEARER, trust_env=False, timeout=20)


@contextlib.contextmanager
def frozen_client(emulator: Emulator) -> Iterator[httpx.Client]:
    """Make a client whose clock stands still until the test moves it, and leave no fault behind."""
    with client_of(emulator) as made:
        made.post("/control/clock", json={"frozen": True})
        yield made
        made.delete("/control/faults")
        made.put("/control/tokens", json={"lifetime_s": 86400})


def new_name() -> str:
    """Make a job's name."""
    return f"job-{uuid.uuid4().hex[:10]}"


def start(client: httpx.Client, name: str, script: Any, **spec: Any) -> httpx.Response:
    """PUT a command job with an inline script."""
    text = script if isinstance(script, str) else json.dumps(script)
    properties = {"jobType": "Command", "command": "exit 7", "properties": {"emulator.script": text}, **spec}
    return client.put(f"{ARM_ID}/jobs/{name}", json={"properties": properties})


def status(client: httpx.Client, name: str) -> str:
    return str(client.get(f"{ARM_ID}/jobs/{name}").json()["properties"]["status"])


def advance(client: httpx.Client, seconds: float) -> None:
    assert client.post("/control/clock/advance", json={"seconds": seconds}).status_code == 200


def history(client: httpx.Client, name: str, what: str = "") -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/history/v1.0{ARM_ID}/runs/{name}{what}").json()
    return found


def _put(client: httpx.Client, path: str, tags: dict[str, str] | None = None, **properties: Any) -> dict[str, Any]:
    answer = client.put(f"{ARM_ID}/{path}", json={"properties": properties, "tags": tags})
    assert answer.status_code in {200, 201}, answer.text
    found: dict[str, Any] = answer.json()
    return found


def scripted_endpoint(client: httpx.Client) -> str:
    """An endpoint whose jobs fail by script, and a deployment of it whose jobs go on for ever."""
    step = _put(
        client, "components/one/versions/1", componentSpec={"type": "command", "name": "one", "command": "exit 7"}
    )
    spec = {"type": "pipeline", "name": "all", "jobs": {"one": {"type": "command", "componentId": step["id"]}}}
    pipeline = _put(client, "components/all/versions/1", componentSpec=spec)
    _put(client, "batchEndpoints/scripted", {"emulator.script": '[["Failed", 0]]'})
    configuration = {
        "deploymentConfigurationType": "PipelineComponent",
        "componentId": {"assetId": pipeline["id"], "referenceType": "Id"},
    }
    going = {"emulator.script": '[["Running", 1]]'}
    _put(client, "batchEndpoints/scripted/deployments/plain", deploymentConfiguration=configuration)
    _put(client, "batchEndpoints/scripted/deployments/tagged", going, deploymentConfiguration=configuration)
    _put(client, "batchEndpoints/scripted/deployments/held", deploymentConfiguration=configuration, properties=going)
    return "scripted"
