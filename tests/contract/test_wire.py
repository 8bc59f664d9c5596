import base64
import json
import ssl
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from azureml_emulator.tokens import issue
from tests.contract.conftest import ARM_ID, OTHER_ID, WORKSPACE, Emulator, wait_for

SUBSCRIPTION, GROUP, NAME = WORKSPACE.split("/")
ARM = "https://management.azure.com"
BEARER = {"Authorization": f"Bearer {issue(ARM)}"}
ML_BEARER = {"Authorization": f"Bearer {issue('https://ml.azure.com')}"}


@pytest.fixture(scope="session")
def azure(emulator: Emulator) -> Iterator[httpx.Client]:
    """A client that names Azure's hosts."""
    env = emulator.env
    trusted = ssl.create_default_context(cafile=env["SSL_CERT_FILE"])
    with httpx.Client(proxy=env["HTTPS_PROXY"], verify=trusted, trust_env=False, timeout=20) as made:
        yield made


@pytest.fixture(scope="session")
def local(emulator: Emulator) -> Iterator[httpx.Client]:
    """A client of the plain http port."""
    with httpx.Client(base_url=emulator.addresses.http, headers=BEARER, trust_env=False, timeout=20) as made:
        yield made


def put(client: httpx.Client, path: str, **properties: Any) -> httpx.Response:
    return client.put(f"{ARM_ID}/{path}?api-version=2023-04-01-preview", json={"properties": properties})


@pytest.fixture(scope="session")
def endpoint(local: httpx.Client) -> str:
    """An endpoint with a deployment whose pipeline sleeps as long as it is told."""
    spec = {
        "name": "nap",
        "type": "command",
        "command": "sleep ${{inputs.seconds}}",
        "inputs": {"seconds": {"type": "number", "default": 0, "optional": False}},
    }
    nap = put(local, "components/nap/versions/1", componentSpec=spec)
    assert nap.status_code == 201
    node = {"type": "command", "componentId": nap.json()["id"], "inputs": {"seconds": "${{parent.inputs.seconds}}"}}
    pipeline = {
        "name": "naps",
        "type": "pipeline",
        "inputs": {"seconds": {"type": "number"}, "why": {"type": "string", "default": "tired"}},
        "jobs": {"nap": node | {"inputs": {"seconds": {"value": "${{parent.inputs.seconds}}"}}}},
    }
    naps = put(local, "components/naps/versions/1", componentSpec=pipeline)
    assert put(local, "batchEndpoints/bed", authMode="aadToken").status_code == 201
    configuration = {
        "deploymentConfigurationType": "PipelineComponent",
        "componentId": {"assetId": naps.json()["id"], "referenceType": "Id"},
        "settings": {},
    }
    made = put(local, "batchEndpoints/bed/deployments/soft", deploymentConfiguration=configuration)
    assert made.status_code == 201
    return "bed"


def invoke(local: httpx.Client, *, deployment: str = "soft", **properties: Any) -> httpx.Response:
    uri = local.get(f"{ARM_ID}/batchEndpoints/bed").json()["properties"]["scoringUri"]
    head = {"azureml-model-deployment": deployment} if deployment else {}
    return local.post(uri, json={"properties": properties}, headers=head)


def nap(seconds: float) -> dict[str, Any]:
    return {"seconds": {"jobInputType": "Literal", "value": seconds}}


def forged(**claims: Any) -> dict[str, str]:
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return {"Authorization": f"Bearer e30.{middle}.e30"}


@pytest.mark.parametrize(
    ("head", "code"),
    [
        ({}, "AuthenticationFailed"),
        ({"Authorization": "Bearer opaque"}, "InvalidAuthenticationToken"),
        (forged(aud=ARM, exp=1), "ExpiredAuthenticationToken"),
        (forged(aud="https://storage.azure.com", exp=time.time() + 3600), "InvalidAuthenticationTokenAudience"),
    ],
)
def test_resource_manager_takes_only_a_token_that_is_fresh_and_its_own(
    azure: httpx.Client, head: dict[str, str], code: str
) -> None:
    answer = azure.get(f"{ARM}{ARM_ID}?api-version=2024-10-01-preview", headers=head)

    assert [answer.status_code, answer.json()["error"]["code"]] == [401, code]
    assert answer.headers["WWW-Authenticate"].startswith("Bearer authorization_uri=")
    assert answer.headers["x-ms-request-id"]


def test_a_loopback_client_may_look_without_a_token_but_not_change_anything(emulator: Emulator) -> None:
    with httpx.Client(base_url=emulator.addresses.http, trust_env=False) as nobody:
        assert nobody.get(ARM_ID).status_code == 200
        assert nobody.post(f"{ARM_ID}/jobs/x/cancel").status_code == 401
        assert nobody.get(ARM_ID, headers=forged(aud="x", exp=1)).status_code == 401


def test_a_name_that_a_web_page_could_point_here_is_refused(local: httpx.Client) -> None:
    answer = local.get(ARM_ID, headers={"Host": "evil.example.com"})

    assert answer.status_code == 421
    assert "evil.example.com is not a name of this machine" in answer.json()["error"]["message"]


def test_addresses_in_answers_follow_how_the_client_came(
    azure: httpx.Client, local: httpx.Client, emulator: Emulator, endpoint: str
) -> None:
    path = f"{ARM_ID}/batchEndpoints/{endpoint}"
    here = emulator.addresses.http

    by_name = azure.get(f"{ARM}{path}", headers=BEARER).json()["properties"]["scoringUri"]
    by_port = local.get(path).json()["properties"]["scoringUri"]

    assert by_name == "https://bed.westeurope.inference.ml.azure.com/jobs"
    assert by_port == f"{here}/inference/{SUBSCRIPTION}/{GROUP}/{NAME}/bed/jobs"
    assert local.get(ARM_ID).json()["properties"]["discoveryUrl"] == f"{here}/discovery"
    assert local.get("/discovery").json()["api"] == here


def test_the_studio_link_of_a_loopback_client_opens_the_emulators_page(
    local: httpx.Client, azure: httpx.Client
) -> None:
    spec = {"jobType": "Command", "command": "true"}
    link = put(local, "jobs/shown", **spec).json()["properties"]["services"]["Studio"]["endpoint"]
    real = azure.get(f"{ARM}{ARM_ID}/jobs/shown", headers=BEARER).json()["properties"]["services"]["Studio"]["endpoint"]

    assert (
        real
        == f"https://ml.azure.com/runs/shown?wsid=/subscriptions/{SUBSCRIPTION}/resourcegroups/{GROUP}/workspaces/{NAME}"
    )
    assert local.get(link).status_code == 200
    assert azure.get(real).headers["Location"] == link


def test_paths_are_compared_without_case_as_azure_does(local: httpx.Client) -> None:
    spelled = ARM_ID.replace("resourceGroups", "resourcegroups").replace("Microsoft.Machine", "microsoft.machine")

    assert local.get(spelled.replace(GROUP, GROUP.upper())).json()["id"] == ARM_ID


@pytest.mark.parametrize(
    ("path", "status", "code", "message"),
    [
        ("jobs/never", 404, "UserError", "Job never not found."),
        ("components/never/versions/1", 404, "UserError", "Not found component never (version: 1)."),
        ("environments/never", 404, "UserError", "No environment exists for name: never, version: , label: "),
        ("datastores/never", 404, "UserError", "Could not find datastore: never."),
        ("models/never", 404, "UserError", "The specified resource was not found."),
        ("batchEndpoints/never", 404, "NotFound", "The specified resource was not found."),
        ("onlineEndpoints/never", 404, "NotFound", "The specified resource was not found."),
        ("serverlessEndpoints/never", 501, "NotEmulated", f"GET {ARM_ID}/serverlessEndpoints/never is not emulated."),
    ],
)
def test_what_is_not_there_is_said_in_the_services_words(
    local: httpx.Client, *, path: str, status: int, code: str, message: str
) -> None:
    answer = local.get(f"{ARM_ID}/{path}")
    error = answer.json()["error"]

    assert [answer.status_code, error["code"], error["message"]] == [status, code, message]
    assert [entry["type"] for entry in error["additionalInfo"]][:5] == [
        "ComponentName",
        "Correlation",
        "Environment",
        "Location",
        "Time",
    ]
    assert answer.headers["x-ms-response-type"] == "error"


def test_a_compute_that_is_not_there_is_an_empty_404_and_no_place_for_a_job(local: httpx.Client) -> None:
    missing = local.get(f"{ARM_ID}/computes/never")
    job = put(local, "jobs/nowhere", jobType="Command", command="true", computeId=f"{ARM_ID}/computes/never")

    assert [missing.status_code, missing.content] == [404, b""]
    assert job.status_code == 400
    assert "The compute target never was not found" in job.json()["error"]["message"]


def test_a_pipeline_of_a_component_that_is_not_there_is_not_found(local: httpx.Client) -> None:
    node = {"type": "command", "componentId": f"{ARM_ID}/components/gone/versions/9"}

    answer = put(local, "jobs/nothing", jobType="Pipeline", jobs={"a": node})

    assert [answer.status_code, answer.json()["error"]["code"]] == [404, "NotFound"]
    assert answer.json()["error"]["message"].endswith("Message: Not found component gone (version: 9).")


def test_an_invocation_keeps_its_properties_and_tags_and_is_found_by_them(local: httpx.Client, endpoint: str) -> None:
    made = invoke(local, inputData=nap(0), properties={"key": "k-1"}, tags={"owner": "me"})
    name = made.json()["name"]
    listed = local.get(f"/mferp/managementfrontend{ARM_ID}/batchEndpoints/{endpoint}/jobs").json()["value"][0]

    assert [made.status_code, made.json()["properties"]["status"]] == [201, "Preparing"]
    assert made.headers["azureml-model-deployment"] == "soft"
    assert listed["name"] == name
    assert [listed["properties"]["properties"]["key"], listed["properties"]["tags"]["owner"]] == ["k-1", "me"]
    assert local.get(f"{ARM_ID}/jobs/{name}").json()["properties"]["properties"]["key"] == "k-1"


def test_an_invocation_sent_twice_is_two_jobs(local: httpx.Client, endpoint: str) -> None:
    uri = f"/inference/{SUBSCRIPTION}/{GROUP}/{NAME}/{endpoint}/jobs"
    head = {"azureml-model-deployment": "soft", "repeatability-request-id": "same", "x-ms-client-request-id": "same"}
    body = {"properties": {"inputData": nap(0)}}

    first, second = (local.post(uri, json=body, headers=head) for _ in range(2))

    assert first.json()["name"] != second.json()["name"]
    assert second.headers["x-ms-client-request-id"] == "same"


@pytest.mark.parametrize(
    ("deployment", "properties", "message"),
    [
        ("hard", {"inputData": nap(0)}, "There is no deployment with name: hard in endpoint: bed"),
        ("", {"inputData": nap(0)}, "Endpoint bed has no default deployment"),
        ("soft", {}, "seconds (number) is missing"),
        ("soft", {"inputData": nap(0) | {"x": {"jobInputType": "Literal", "value": 1}}}, "x is no input of it"),
        (
            "soft",
            {"inputData": {"seconds": {"jobInputType": "UriFile", "uri": "x"}}},
            "seconds is a number, not a uri_file",
        ),
        ("soft", {"inputData": nap(0), "outputData": {"o": {"jobOutputType": "UriFile"}}}, "has no output o"),
    ],
)
def test_an_invocation_that_does_not_fit_is_refused_with_the_reason(
    local: httpx.Client, endpoint: str, *, deployment: str, properties: dict[str, Any], message: str
) -> None:
    del endpoint

    answer = invoke(local, deployment=deployment, **properties)

    assert answer.status_code in {400, 404}
    assert message in answer.text


def test_a_scoring_host_takes_only_tokens_for_azure_ml(azure: httpx.Client, endpoint: str) -> None:
    uri = f"https://{endpoint}.westeurope.inference.ml.azure.com/jobs"
    body = {"properties": {"inputData": nap(0)}}
    head = {"azureml-model-deployment": "soft"}

    assert azure.post(uri, json=body, headers=head | BEARER).status_code == 401
    assert azure.post(uri, json=body, headers=head | ML_BEARER).status_code == 201


def test_an_endpoints_name_is_its_own_in_the_whole_location(local: httpx.Client, endpoint: str) -> None:
    answer = local.put(f"{OTHER_ID}/batchEndpoints/{endpoint}", json={"properties": {"authMode": "aadToken"}})

    assert answer.status_code == 400
    assert "There is already an endpoint with the name bed in westeurope" in answer.text


def test_a_cancelled_pipeline_is_accepted_then_done_and_its_step_canceled(local: httpx.Client, endpoint: str) -> None:
    del endpoint
    name = invoke(local, inputData=nap(600)).json()["name"]
    children = f"/history/v1.0{ARM_ID}/runs/{name}/children"
    wait_for(lambda: [one["status"] for one in local.get(children).json()["value"]] == ["Running"], "the step runs")

    accepted = local.post(f"{ARM_ID}/jobs/{name}/cancel?api-version=2024-01-01-preview")
    wait_for(lambda: local.get(accepted.headers["Location"]).status_code == 200, "the cancellation is done")

    assert [accepted.status_code, accepted.content] == [202, b"null"]
    assert accepted.headers["Retry-After"] == "1"
    assert local.get(f"{ARM_ID}/jobs/{name}").json()["properties"]["status"] == "Canceled"
    step = local.get(children).json()["value"][0]
    assert step["status"] == "Canceled"
    assert "properties" not in local.get(f"{ARM_ID}/jobs/{step['runId']}").json()
    assert local.post(f"{ARM_ID}/jobs/{name}/cancel").status_code == 200


def test_a_components_scalars_come_back_as_strings_with_required_inputs_first(
    local: httpx.Client, endpoint: str
) -> None:
    del endpoint
    spec = {
        "name": "order",
        "type": "command",
        "command": "true",
        "is_deterministic": True,
        "_source": "YAML.COMPONENT",
        "inputs": {"b": {"type": "number", "optional": True, "default": 1.5}, "a": {"type": "string"}},
    }

    made = put(local, "components/order/versions/1", componentSpec=spec, description="lost")
    again = put(local, "components/order/versions/1", componentSpec=spec)
    shown = made.json()["properties"]["componentSpec"]

    assert [made.status_code, again.status_code, made.json()["properties"]["description"]] == [201, 200, None]
    assert list(shown["inputs"].items()) == [
        ("a", {"type": "string", "optional": "False"}),
        ("b", {"type": "number", "optional": "True", "default": "1.5"}),
    ]
    assert [shown["is_deterministic"], shown["resources"]] == ["True", {"instance_count": "1"}]
    assert "_source" not in shown


def test_an_anonymous_component_gets_an_id_of_the_services_own(local: httpx.Client) -> None:
    spec = {"type": "command", "command": "true", "name": "azureml_anonymous"}

    first, second = (put(local, "components/azureml_anonymous/versions/mine", componentSpec=spec) for _ in range(2))

    assert [first.status_code, second.status_code] == [201, 201]
    assert first.json()["id"] == second.json()["id"] != f"{ARM_ID}/components/azureml_anonymous/versions/mine"


def test_metrics_can_be_read_from_run_historys_own_service(local: httpx.Client) -> None:
    root = f"/mlflow/v2.0{ARM_ID}/api/2.0/mlflow"
    run = local.post(f"{root}/runs/create", json={}).json()["run"]["info"]["run_id"]
    for step, value in enumerate((0.5, "NaN")):
        local.post(f"{root}/runs/log-metric", json={"run_id": run, "key": "auc", "value": value, "step": step})

    names = local.post(f"/metric/v2.0{ARM_ID}/runs/{run}/list", json={}).json()["value"]
    points = local.post(f"/metric/v2.0{ARM_ID}/runs/{run}/full", json={"metricName": "auc"}).json()["value"]

    assert [one["name"] for one in names] == ["auc"]
    assert [point["data"]["auc"] for point in points] == [0.5, "NaN"]


def test_versions_come_in_pages_with_an_absolute_next_link(local: httpx.Client, emulator: Emulator) -> None:
    for version in ("1", "2", "3"):
        put(local, f"environments/paged/versions/{version}", image="x")
    found, url = [], f"{ARM_ID}/environments/paged/versions?api-version=2024-04-01&$orderBy=createdtime%20desc&$top=1"
    while url:
        page = local.get(url).json()
        found += [one["name"] for one in page["value"]]
        url = page.get("nextLink", "")
        assert not url or url.startswith(f"{emulator.addresses.http}{ARM_ID}/environments/paged/versions?api-version=")

    assert found == ["3", "2", "1"]


def test_the_managed_identity_asks_for_its_secret(emulator: Emulator, local: httpx.Client) -> None:
    url = emulator.env["IDENTITY_ENDPOINT"] + "?resource=https://ml.azure.com&api-version=2019-08-01"

    assert local.get(url, headers={"X-IDENTITY-HEADER": "guessed"}).status_code == 401
    answer = local.get(url, headers={"X-IDENTITY-HEADER": emulator.env["IDENTITY_HEADER"]}).json()
    assert [answer["resource"], answer["token_type"]] == ["https://ml.azure.com", "Bearer"]
    assert int(answer["expires_on"]) > time.time() + 3600


def test_the_proxy_opens_no_tunnel_to_another_account_or_port(azure: httpx.Client) -> None:
    for url in ("https://otheraccount.blob.core.windows.net/", "https://management.azure.com:8443/"):
        with pytest.raises(httpx.ProxyError, match="is not emulated, and nothing is sent to any other host"):
            azure.get(url)
