"""A batch endpoint invoked by REST as the documentation writes it: with members that begin with a capital letter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from azureml_emulator.tokens import issue
from tests.contract.conftest import ARM_ID, WORKSPACE, Emulator

VERSION = {"api-version": "2023-04-01"}
STEP = {
    "name": "say",
    "version": "1",
    "type": "command",
    "inputs": {"rows": {"type": "uri_folder"}, "word": {"type": "string", "default": "none"}},
    "command": "echo ${{inputs.word}}; ls ${{inputs.rows}}",
    "environment": "azureml:anything:1",
}
INPUTS = {name: {"value": f"${{{{parent.inputs.{name}}}}}"} for name in ("rows", "word")}
ROWS = "azureml://datastores/workspaceblobstore/paths/as-documented/"


@pytest.fixture(scope="module")
def asking(emulator: Emulator) -> Iterator[httpx.Client]:
    head = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    with httpx.Client(base_url=emulator.addresses.http, headers=head, timeout=30, trust_env=False) as client:
        put(client, "components/say/versions/1", {"componentSpec": STEP})
        node = {"type": "command", "componentId": f"{ARM_ID}/components/say/versions/1", "inputs": INPUTS}
        whole = {"name": "all", "version": "1", "type": "pipeline", "inputs": STEP["inputs"], "jobs": {"say": node}}
        put(client, "components/documented/versions/1", {"componentSpec": whole})
        put(client, "batchEndpoints/documented", {"authMode": "AADToken"})
        component = {"componentId": {"assetId": f"{ARM_ID}/components/documented/versions/1", "referenceType": "Id"}}
        configuration = {"deploymentConfigurationType": "PipelineComponent", "settings": {}, **component}
        put(client, "batchEndpoints/documented/deployments/one", {"deploymentConfiguration": configuration})
        yield client


def put(client: httpx.Client, what: str, properties: dict[str, Any]) -> None:
    body = {"location": "westeurope", "properties": properties}
    answer = client.put(f"{ARM_ID}/{what}", params=VERSION, json=body)
    assert answer.is_success, answer.text


def invoke(client: httpx.Client, properties: dict[str, Any]) -> httpx.Response:
    head = {"azureml-model-deployment": "one"}
    return client.post(f"/inference/{WORKSPACE}/documented/jobs", headers=head, json={"properties": properties})


def given(client: httpx.Client, job: str) -> Any:
    """What a job was given of the texts."""
    run = client.get(f"/history/v1.0{ARM_ID}/runs/{job}").json()
    return run["properties"]["azureml.parameters"]


def test_members_with_capital_letters_are_the_same_as_those_without(asking: httpx.Client) -> None:
    large = {"rows": {"JobInputType": "UriFolder", "Uri": ROWS}, "word": {"JobInputType": "Literal", "Value": "W"}}
    small = {"rows": {"jobInputType": "uri_folder", "uri": ROWS}, "word": {"jobInputType": "literal", "value": "W"}}

    jobs = [invoke(asking, {"InputData": large}), invoke(asking, {"inputData": small})]

    assert [job.status_code for job in jobs] == [201, 201]
    assert [given(asking, job.json()["name"]) for job in jobs] == ['{"word":"W"}'] * 2


def test_the_names_of_inputs_keep_their_letters(asking: httpx.Client) -> None:
    refused = invoke(asking, {"InputData": {"Rows": {"JobInputType": "UriFolder", "Uri": ROWS}}})

    assert refused.status_code == 400
    assert "Rows is no input of it" in refused.json()["error"]["message"]


@pytest.mark.parametrize("wrong", [[], "x", {"rows": "x"}, {"rows": {"JobInputType": 1, "Uri": ROWS}}])
def test_what_is_wrong_in_them_is_said_as_of_the_others(asking: httpx.Client, wrong: Any) -> None:
    refused = invoke(asking, {"InputData": wrong})

    assert refused.status_code == 400
    assert refused.json()["error"]["message"].startswith("The request body is wrong: inputData")
