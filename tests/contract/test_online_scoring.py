"""Asking an online endpoint over plain HTTP: real processes answer, nothing is lost, and all of it is measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from azureml_emulator.settings import DEV_ACCOUNT
from azureml_emulator.tokens import issue
from tests.contract.conftest import ARM_ID, OTHER_ID, WORKSPACE, Emulator, wait_for
from tests.contract.controlled import controlled_emulator
from tests.contract.scoring import CONTAINER, VERSION, Load, Scoring

pytestmark = [pytest.mark.timeout(300)]

Json = dict[str, Any]
RATE = 100


@pytest.fixture(scope="module")
def controlled(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with controlled_emulator(tmp_path_factory.mktemp("scoring"), azurite) as made:
        yield made


@pytest.fixture(scope="module")
def scoring(controlled: Emulator) -> Iterator[Scoring]:
    """An endpoint whose deployment blue takes all traffic."""
    with Scoring.of(controlled) as made:
        made.put()
        made.deploy("blue")
        made.put(blue=100)
        yield made


def totals(metric: Json, *dimensions: str) -> Counter[tuple[str, ...]]:
    """Add up what each series of a metric has."""
    found: Counter[tuple[str, ...]] = Counter()
    for series in metric["timeseries"]:
        values = {one["name"]["value"]: one["value"] for one in series["metadatavalues"]}
        count = sum(point.get("total", 0) for point in series["data"])
        assert count == sum(point.get("average", 0) for point in series["data"])
        found[tuple(values[name] for name in dimensions)] += int(count)
    return found


def test_a_score_is_for_who_holds_a_key(scoring: Scoring) -> None:
    answers = [scoring.ask({"data": [[1], [2]]}, key=key) for key in (scoring.key, "wrong", "")]

    assert [answer.status_code for answer in answers] == [200, 401, 401]
    assert answers[0].json() == {"color": "blue", "rows": 2}
    assert answers[0].headers["azureml-model-deployment"] == "blue"
    assert answers[0].headers["server"] == "azureml-frontdoor"
    assert answers[0].headers["x-ms-run-function-failed"] == "False"


def test_a_token_of_the_endpoint_opens_it_until_it_expires(controlled: Emulator) -> None:
    with Scoring.of(controlled) as guarded:
        guarded.put("AMLToken")
        guarded.client.put("/control/tokens", json={"lifetime_s": 60})
        token = guarded.client.post(f"{guarded.arm_id}/token?{VERSION}").json()["accessToken"]
        guarded.client.put("/control/tokens", json={"lifetime_s": 86400})
        before = guarded.ask({}, key=token)
        guarded.client.post("/control/clock/advance", json={"seconds": 61})
        after = guarded.ask({}, key=token)

    assert (before.status_code, before.text) == (404, "No deployment of the endpoint takes traffic.")
    assert (after.status_code, after.text) == (401, "token_auth_expired")


def test_a_model_that_fails_is_a_424_which_the_metrics_tell_from_a_success(scoring: Scoring) -> None:
    scoring.deploy("failing")
    failed = scoring.ask({"fail": 1}, azureml_model_deployment="failing")
    succeeded = [scoring.ask({}, azureml_model_deployment="failing") for _ in range(2)]

    found = scoring.metrics(
        "RequestsPerMinute", "deployment eq 'failing' and statusCode eq '*' and modelStatusCode eq '*'"
    )
    of_deployment = scoring.metrics("RequestsPerMinute", "envoy_response_code eq '*'", deployment="failing")
    assert (failed.status_code, failed.headers["ms-azureml-model-error-statuscode"]) == (424, "500")
    assert [answer.status_code for answer in succeeded] == [200, 200]
    assert totals(found["RequestsPerMinute"], "statusCode", "modelStatusCode") == {("424", "500"): 1, ("200", "200"): 2}
    assert totals(of_deployment["RequestsPerMinute"], "envoy_response_code") == {("424",): 1, ("200",): 2}


def test_latencies_are_those_of_a_deployment_in_its_minute(scoring: Scoring) -> None:
    scoring.deploy("slow")
    # From the beginning of a minute, so that all of them are of one.
    now_s = scoring.client.get("/control/clock").json()["now_s"]
    scoring.client.post("/control/clock/advance", json={"seconds": 60 - now_s % 60})
    for sleep_s in (0.3, 0.3, 0.3, 0.9):
        scoring.ask({"sleep_s": sleep_s}, azureml_model_deployment="slow")
    scoring.client.post("/control/clock/advance", json={"seconds": 120})
    scoring.ask({"sleep_s": 0.6}, azureml_model_deployment="slow")

    found = scoring.metrics("RequestLatency_P50,RequestLatency_P99", "deployment eq 'slow'")
    points = {
        name: [point["average"] for point in one["timeseries"][0]["data"] if "average" in point]
        for name, one in found.items()
    }
    assert [len(each) for each in points.values()] == [2, 2]
    # Who sleeps and who measures have different clocks: 1 % is theirs.
    assert 297 <= points["RequestLatency_P50"][0] < 891 <= points["RequestLatency_P99"][0]
    assert points["RequestLatency_P50"][1] == points["RequestLatency_P99"][1] >= 594
    assert {one["unit"] for one in found.values()} == {"MilliSeconds"}


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"metricnames": "Nonsense"}, "metric: Nonsense, Valid metrics: RequestsPerMinute,"),
        ({"interval": "PT2M"}, "interval is 'PT2M'; the time grains are PT1M"),
        ({"timespan": "yesterday"}, "timespan is 'yesterday'"),
        ({"aggregation": "Median"}, "aggregation is 'median'"),
        ({"$filter": "color eq 'blue'"}, "color is no dimension here; the dimensions are deployment, statusCode"),
        ({"$filter": "deployment like 'b'"}, "join DIMENSION eq 'VALUE' by 'and'"),
        (
            {"metricnames": "RequestLatency_P50", "$filter": "statusCode eq '200'"},
            "RequestLatency_P50 does not support requested dimension combination: statusCode",
        ),
    ],
)
def test_a_wrong_question_for_metrics_is_refused_in_a_sentence(scoring: Scoring, query: Json, sentence: str) -> None:
    answer = scoring.client.get(f"{scoring.arm_id}/providers/Microsoft.Insights/metrics", params=query)

    assert answer.status_code == 400
    assert sentence in answer.json()["message"]


@pytest.mark.anyio
async def test_no_request_is_lost_while_traffic_moves_and_deployments_come_scale_and_go(scoring: Scoring) -> None:
    load = Load(scoring.uri, scoring.key, RATE)
    await load.during(
        lambda: scoring.deploy("green", instances=2),
        lambda: scoring.put(blue=100, mirror={"green": 20}),
        lambda: scoring.put(blue=90, green=10),
        lambda: scoring.deploy("blue", instances=2),
        lambda: scoring.put(blue=50, green=50),
        lambda: scoring.put(green=100),
        lambda: scoring.deploy("blue", environmentVariables={"COLOR": "azure"}),
        lambda: scoring.delete("blue"),
        lambda: scoring.deploy("green", instances=1),
        lambda: scoring.deploy("blue"),
        lambda: scoring.put(blue=100),
        lambda: scoring.delete("green"),
    )

    assert {status for status, _ in load.seen} == {200}, load.seen
    assert min(load.seen[200, color] for color in ("blue", "green")) > 20
    assert load.seen.total() > 5 * RATE


def test_who_was_let_in_is_answered_though_the_deployment_is_deleted(scoring: Scoring) -> None:
    scoring.deploy("leaving", requestSettings={"requestTimeout": "PT20S", "maxConcurrentRequestsPerInstance": 1})
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(scoring.ask, {"sleep_s": 4}, azureml_model_deployment="leaving") for _ in range(5)]
        wait_for(lambda: sum(each.done() for each in asked) == 3, "two are let in, and three are not")
        scoring.delete("leaving")
        answers = [each.result() for each in asked]

    assert Counter(answer.status_code for answer in answers) == {200: 2, 429: 3}
    assert scoring.ask({}, azureml_model_deployment="leaving").status_code == 404


def test_what_a_deployment_collects_lies_in_its_workspace(scoring: Scoring) -> None:
    on = {"dataCollectionMode": "Enabled", "samplingRate": 1.0}
    names = ("request", "response", "model_inputs", "model_outputs")
    scoring.deploy("collects", dataCollector={"collections": dict.fromkeys(names, on)})
    answer = scoring.ask({"data": [{"age": 40}, {"age": 41}]}, azureml_model_deployment="collects")
    lines: dict[str, list[Json]] = {}

    def collected() -> bool:
        lines.update({name: _lines(scoring, f"modelDataCollector/{scoring.name}/collects/{name}/") for name in names})
        return all(lines.values())

    wait_for(collected, "all four collections have a line")
    assert {name: [line["data"] for line in found] for name, found in lines.items()} == {
        "request": [{"data": [{"age": 40}, {"age": 41}]}],
        "response": [{"color": "collects", "rows": 2}],
        "model_inputs": [[{"age": 40}, {"age": 41}]],
        "model_outputs": [[{"prediction": 1}, {"prediction": 1}]],
    }
    assert lines["request"][0]["xrequestid"] == answer.headers["x-request-id"]
    assert lines["model_inputs"][0]["correlationid"] == lines["model_outputs"][0]["correlationid"]


def _lines(scoring: Scoring, folder: str) -> list[Json]:
    with scoring.blobs as service:
        container = service.get_container_client(CONTAINER)
        texts = [
            container.download_blob(name).readall().decode()
            for name in container.list_blob_names(name_starts_with=folder)
        ]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def test_rights_that_were_taken_away_are_missed_in_that_workspace_alone(scoring: Scoring) -> None:
    person = {"Authorization": f"Bearer {issue('https://management.azure.com', subject='person')}"}
    client = scoring.client
    data = {"properties": {"dataUri": "azureml://datastores/workspaceblobstore/paths/x", "dataType": "uri_file"}}

    def write(workspace: str) -> httpx.Response:
        return client.put(f"{workspace}/data/d/versions/1?{VERSION}", json=data, headers=person)

    assert client.put("/control/rights", json={"person": {WORKSPACE: "read"}}).status_code == 200
    refused, elsewhere = write(ARM_ID), write(OTHER_ID)
    looked = client.get(f"{ARM_ID}/jobs?{VERSION}", headers=person)
    keys = client.post(f"{scoring.arm_id}/listKeys?{VERSION}", headers=person)
    others = client.get(f"{ARM_ID}/jobs?{VERSION}")
    client.put("/control/rights", json={})
    again = write(ARM_ID)

    assert [refused.status_code, elsewhere.status_code, again.status_code] == [403, 201, 201]
    assert [looked.status_code, keys.status_code, others.status_code] == [200, 403, 200]
    assert refused.json()["error"]["code"] == "AuthorizationFailed"
    assert "The client 'person' with object id" in refused.json()["error"]["message"]


def test_a_workspaces_blobs_are_read_and_written_by_who_may_read_and_write_the_workspace(scoring: Scoring) -> None:
    token = issue("https://storage.azure.com", subject="person")
    person = {"Authorization": f"Bearer {token}", "x-ms-version": "2021-12-02", "x-ms-blob-type": "BlockBlob"}
    url = f"{scoring.emulator.addresses.blob}/{DEV_ACCOUNT}/{CONTAINER}/{scoring.name}.txt"

    def write() -> int:
        return httpx.put(url, content=b"x", headers=person, trust_env=False).status_code

    def read() -> int:
        return httpx.get(url, headers=person, trust_env=False).status_code

    statuses = [write()]
    for right in ("read", "none"):
        scoring.client.put("/control/rights", json={"person": {"*": right}})
        statuses += [read(), write()]
    scoring.client.put("/control/rights", json={})

    assert [*statuses, write()] == [201, 200, 403, 403, 403, 201]
