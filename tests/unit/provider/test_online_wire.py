"""Conversations about online endpoints, their deployments and how those answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.conditions import Sight, State
from airflow_azureml.core.online import OnlineEndpoint
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError, RefusedError, ServiceError
from airflow_azureml.wire import conditions, live_metrics, online, online_sights
from airflow_azureml.wire.http import Response
from airflow_azureml.wire.online import DeploymentSpec, EndpointSpec
from tests.unit.provider.conversation import Talk, answer

WORKSPACE = Workspace(subscription_id="s", resource_group="g", name="w")
OPERATION = "/subscriptions/s/providers/Microsoft.MachineLearningServices/locations/l/mfeOperationsStatus/oe:1"
ABSENT = answer(404, {"error": {"code": "NotFound", "message": "There is none."}})
NO_WORKSPACE = answer(404, {"error": {"code": "ResourceNotFound", "message": "The Resource was not found."}})
REGION = answer(200, {"location": "westeurope"})


def _endpoint(**properties: Any) -> dict[str, Any]:
    return {
        "id": "an id",
        "name": "scoring",
        "location": "westeurope",
        "kind": "Managed",
        "tags": {"team": "a"},
        "identity": {"type": "SystemAssigned", "principalId": "p", "tenantId": "t"},
        "systemData": {"createdAt": "then"},
        "properties": {
            "authMode": "Key",
            "description": "theirs",
            "provisioningState": "Succeeded",
            "scoringUri": "https://scoring/score",
            "publicNetworkAccess": "Enabled",
            "traffic": {"blue": 100, "green": 0},
            "mirrorTraffic": {},
            "properties": {"AzureAsyncOperationUri": f"https://elsewhere{OPERATION}?api-version=x"},
            **properties,
        },
    }


def _deployment(name: str = "green", state: str = "Succeeded", **properties: Any) -> dict[str, Any]:
    inner = {"AzureAsyncOperationUri": f"https://elsewhere{OPERATION}?api-version=x"}
    return {
        "name": name,
        "sku": {"capacity": 2},
        "properties": {"provisioningState": state, "properties": inner, **properties},
    }


LISTED = answer(200, {"value": [_deployment("blue"), _deployment("green")]})


def test_an_endpoint_or_a_deployment_that_is_not_there_is_none_and_a_missing_workspace_is_an_error() -> None:
    assert Talk().hold(online.read_endpoint(WORKSPACE, "e"), [ABSENT]) is None
    assert Talk().hold(online.read_deployment(WORKSPACE, "e", "d"), [ABSENT]) is None
    assert Talk().hold(online.list_deployments(WORKSPACE, "e"), [ABSENT]) == []
    assert Talk().hold(online.delete_deployment(WORKSPACE, "e", "d"), [ABSENT]) is None
    with pytest.raises(RefusedError, match="ResourceNotFound"):
        Talk().hold(online.read_endpoint(WORKSPACE, "e"), [NO_WORKSPACE])


def test_a_new_endpoint_takes_no_traffic_and_is_in_the_workspaces_region() -> None:
    talk = Talk()

    found = talk.hold(
        online.put_endpoint(WORKSPACE, EndpointSpec(name="scoring", tags={"a": "b"})),
        [REGION, answer(201, _endpoint(provisioningState="Creating", traffic={}))],
    )

    body = talk.asked[-1].json
    assert (found.state, found.traffic) == ("Creating", {})
    assert (body["location"], body["tags"], body["kind"]) == ("westeurope", {"a": "b"}, "Managed")
    assert (body["properties"]["traffic"], body["properties"]["authMode"]) == ({}, "Key")


def test_an_endpoint_that_is_changed_keeps_its_traffic_and_what_is_read_only_is_not_written_back() -> None:
    talk = Talk()
    found = OnlineEndpoint.from_wire(_endpoint(mirrorTraffic={"red": 5}))

    talk.hold(
        online.put_endpoint(WORKSPACE, EndpointSpec(name="scoring", tags={"a": "b"}), found=found),
        [answer(201, _endpoint())],
    )

    body = talk.asked[-1].json
    assert body["properties"]["traffic"] == {"blue": 100, "green": 0}
    assert body["properties"]["mirrorTraffic"] == {"red": 5}
    assert body["properties"]["description"] == "theirs"
    assert body["tags"] == {"team": "a", "a": "b"}
    assert body["identity"] == {"type": "SystemAssigned"}
    assert not {"id", "name", "systemData"} & body.keys()
    assert not {"provisioningState", "scoringUri"} & body["properties"].keys()


def test_users_identities_are_written_back_as_azure_wants_them() -> None:
    talk = Talk()
    resource = _endpoint()
    resource["identity"] = {"type": "UserAssigned", "userAssignedIdentities": {"/id": {"principalId": "p"}}}

    talk.hold(
        online.set_traffic(WORKSPACE, "scoring", {"green": 100}), [answer(200, resource), LISTED, answer(201, resource)]
    )

    assert talk.asked[-1].json["identity"] == {"type": "UserAssigned", "userAssignedIdentities": {"/id": {}}}


def test_traffic_is_moved_by_writing_the_endpoint_with_all_the_rest_of_it() -> None:
    talk = Talk()

    found = talk.hold(
        online.set_traffic(WORKSPACE, "scoring", {"blue": 90, "green": 10}),
        [answer(200, _endpoint()), LISTED, answer(201, _endpoint(provisioningState="Updating"))],
    )

    written = talk.asked[-1]
    assert (written.method, written.json["properties"]["traffic"]) == ("PUT", {"blue": 90, "green": 10})
    assert (written.json["properties"]["authMode"], written.json["tags"]) == ("Key", {"team": "a"})
    assert not found.carries({"blue": 90, "green": 10}, {})


def test_traffic_that_is_so_already_is_not_written_again_unless_the_last_change_failed() -> None:
    Talk().hold(online.set_traffic(WORKSPACE, "scoring", {"blue": 100}), [answer(200, _endpoint()), LISTED])

    failed = answer(200, _endpoint(provisioningState="Failed"))
    Talk().hold(online.set_traffic(WORKSPACE, "scoring", {"blue": 100}), [failed, LISTED, answer(201, _endpoint())])


@pytest.mark.parametrize("traffic", [{"pink": 100}, {"blue": 99}])
def test_traffic_that_makes_no_sense_is_refused_before_azure_is_asked_for_it(traffic: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="Nothing was changed"):
        Talk().hold(online.set_traffic(WORKSPACE, "scoring", traffic), [answer(200, _endpoint()), LISTED])


def test_traffic_of_an_endpoint_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="no online endpoint scoring in workspace w"):
        Talk().hold(online.set_traffic(WORKSPACE, "scoring", {"blue": 100}), [ABSENT])


def test_an_mlflow_model_is_deployed_without_code() -> None:
    talk = Talk()
    spec = DeploymentSpec(
        name="green",
        endpoint="scoring",
        model="/an/id",
        instance_type="Standard_DS3_v2",
        instances=2,
        properties={"requestSettings": {"maxConcurrentRequestsPerInstance": 4}},
    )

    found = talk.hold(online.put_deployment(WORKSPACE, spec), [REGION, answer(201, _deployment(state="Creating"))])

    body = talk.asked[-1].json
    assert found.state == "Creating"
    assert body["sku"]["capacity"] == 2
    assert (body["properties"]["model"], body["properties"]["endpointComputeType"]) == ("/an/id", "Managed")
    assert body["properties"]["requestSettings"] == {"maxConcurrentRequestsPerInstance": 4}


def test_keys_and_tokens_are_read_and_never_shown() -> None:
    keys = Talk().hold(online.list_keys(WORKSPACE, "e"), [answer(200, {"primaryKey": "s3cret", "secondaryKey": "t"})])
    told = {"accessToken": "s3cret", "expiryTimeUtc": 20, "refreshAfterTimeUtc": 10}
    token = Talk().hold(online.make_token(WORKSPACE, "e"), [answer(200, told)])

    assert (keys.primary, keys.secondary, token.token) == ("s3cret", "t", "s3cret")
    assert (token.expires_at, token.refresh_after) == (20.0, 10.0)
    assert "s3cret" not in f"{keys!r} {token!r}"


def test_an_operation_is_asked_for_where_we_are_and_never_elsewhere() -> None:
    talk = Talk()
    found = OnlineEndpoint.from_wire(_endpoint())

    talk.hold(online.last_operation(WORKSPACE, found), [answer(200, {"status": "Succeeded"})])

    assert talk.asked[0].url == f"https://management.azure.com{OPERATION}?api-version=x"
    assert Talk().hold(online.last_operation(WORKSPACE, evolve(found, operation="https://evil/x")), []) is None


# what is waited for


def _look(condition: str, arguments: dict[str, Any], *answers: Response | ServiceError) -> Sight:
    return Talk().hold(conditions.look(WORKSPACE, condition, arguments), answers)


DEPLOYMENT = {"endpoint": "scoring", "deployment": "green"}
NO_LOG = answer(400, {"error": {"code": "UserError", "message": "No log yet."}})
FAILED = answer(200, {"status": "Failed", "error": {"code": "OutOfQuota", "message": "Not enough cores."}})


@pytest.mark.parametrize(
    ("found", "state", "told"),
    [
        (answer(200, _deployment()), State.MET, "is ready"),
        (answer(200, _deployment(state="Creating")), State.CHANGING, "is Creating"),
        (answer(200, _deployment(state="Brewing")), State.CHANGING, "is Brewing"),
        (ABSENT, State.MISSING, "is not there"),
    ],
)
def test_a_deployment_is_waited_for_until_it_is_ready(found: Response, state: State, told: str) -> None:
    sight = _look("online_deployment", DEPLOYMENT, found)

    assert (sight.what, sight.state, sight.told) == ("Deployment green of online endpoint scoring", state, told)


def test_of_a_deployment_that_failed_azures_reason_and_the_end_of_its_log_are_told() -> None:
    log = answer(200, {"content": "starting\nImportError: no module named sklearn\n"})

    sight = _look("online_deployment", DEPLOYMENT, answer(200, _deployment(state="Failed")), FAILED, log)

    assert sight.state is State.FAILED
    assert sight.told.startswith("is Failed. Azure says: OutOfQuota Not enough cores.")
    assert sight.told.endswith("ImportError: no module named sklearn")
    assert sight.result == {"codes": "OutOfQuota"}


def test_a_reason_that_cannot_be_had_hides_no_failure() -> None:
    sight = _look("online_deployment", DEPLOYMENT, answer(200, _deployment(state="Failed")), ABSENT, NO_LOG)

    assert (sight.state, sight.told) == (State.FAILED, "is Failed")


@pytest.mark.parametrize(
    ("properties", "state"),
    [
        ({"traffic": {"green": 100, "blue": 0}}, State.MET),
        ({"traffic": {"green": 100}, "provisioningState": "Updating"}, State.CHANGING),
        ({"traffic": {"blue": 100}, "provisioningState": "Updating"}, State.CHANGING),
        ({"traffic": {"blue": 100}}, State.FAILED),
        ({"traffic": {"green": 100}, "mirrorTraffic": {"blue": 5}}, State.FAILED),
    ],
)
def test_traffic_is_moved_when_azure_is_done_and_it_is_what_was_asked_for(
    properties: dict[str, Any], state: State
) -> None:
    arguments = {"name": "scoring", "traffic": {"green": 100}, "mirror": {}}

    assert _look("online_traffic", arguments, answer(200, _endpoint(**properties))).state is state


def test_what_is_deleted_is_gone_when_it_is_not_there() -> None:
    assert _look("online_gone", DEPLOYMENT, ABSENT).state is State.MET
    assert _look("online_gone", DEPLOYMENT, answer(200, _deployment(state="Deleting"))).state is State.CHANGING
    assert _look("online_gone", {"endpoint": "scoring", "deployment": ""}, ABSENT).state is State.MET


def test_the_truth_about_an_endpoint_is_one_sentence_even_where_it_cannot_be_seen() -> None:
    seen = Talk().hold(online_sights.truth(WORKSPACE, "scoring"), [answer(200, _endpoint(mirrorTraffic={"green": 5}))])
    unseen = Talk().hold(online_sights.truth(WORKSPACE, "scoring"), [answer(503)])

    assert seen == "Online endpoint scoring is Succeeded, with 100 % to blue, 5 % mirrored to green now."
    assert unseen.startswith("What online endpoint scoring does now could not be seen: Look at online endpoint")


# live metrics


@frozen
class _Asked:
    """One request that the endpoint was sent."""

    minute: int
    status: int
    model_status: int


OUTCOMES = ((200, 200), (424, 500), (424, 400), (408, 0), (429, 0), (401, 0), (502, 0), (503, 0), (404, 0))
asked = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(OUTCOMES)).map(lambda drawn: _Asked(drawn[0], *drawn[1])), max_size=40
)


def _time(minute: int) -> str:
    return f"2026-11-21T10:{minute:02}:00Z"


def _monitor(name: str, split: Sequence[tuple[dict[str, str], dict[int, float]]]) -> dict[str, Any]:
    """Write a metric as Azure Monitor does."""
    return {
        "name": {"value": name, "localizedValue": name},
        "unit": "Count",
        "errorCode": "Success",
        "timeseries": [
            {
                "metadatavalues": [{"name": {"value": key}, "value": value} for key, value in of.items()],
                "data": [
                    {"timeStamp": _time(minute), **({"average": each[minute]} if minute in each else {})}
                    for minute in range(5)
                ],
            }
            for of, each in split
        ],
    }


def _counted(requests: Sequence[_Asked]) -> dict[str, Any]:
    split = []
    for status, model_status in {(one.status, one.model_status) for one in requests}:
        mine = [one for one in requests if (one.status, one.model_status) == (status, model_status)]
        minutes = {one.minute: float(sum(each.minute == one.minute for each in mine)) for one in mine}
        split.append(({"deployment": "d", "statuscode": str(status), "modelstatuscode": str(model_status)}, minutes))
    return {"value": [_monitor("RequestsPerMinute", split)]}


@given(asked)
def test_every_request_is_counted_once_and_blamed_on_whoever_is_to_blame(requests: list[_Asked]) -> None:
    flow = live_metrics.live_metrics(WORKSPACE, "e", "d", since=0, until=300)

    found = Talk().hold(flow, [answer(200, _counted(requests)), answer(200, {"value": []})])

    blamed = [
        "caller" if (one.status, one.model_status) in {(424, 400), (401, 0), (404, 0)}
        else "capacity" if one.status == 429
        else "nobody" if one.status == 200
        else "model"
        for one in requests
    ]  # fmt: skip
    assert found.requests == len(requests)
    assert found.failures == blamed.count("model")
    assert found.client_errors == blamed.count("caller")
    assert found.throttled == blamed.count("capacity")


@given(st.dictionaries(st.integers(0, 4), st.tuples(st.integers(1, 9), st.floats(1, 900)), min_size=1))
def test_a_latency_is_the_mean_of_the_minutes_each_by_its_requests(minutes: dict[int, tuple[int, float]]) -> None:
    counted = _counted([_Asked(minute, 200, 200) for minute, (number, _) in minutes.items() for _ in range(number)])
    each = [({"deployment": "d"}, {minute: value for minute, (_, value) in minutes.items()})]
    latencies = {"value": [_monitor(f"RequestLatency_{name}", each) for name in ("P50", "P99")]}
    flow = live_metrics.live_metrics(WORKSPACE, "e", "d", since=0, until=300)

    found = Talk().hold(flow, [answer(200, counted), answer(200, latencies)])

    values = [value for number, value in minutes.values() for _ in range(number)]
    assert found.p50_ms == found.p99_ms == pytest.approx(sum(values) / len(values))
    assert found.p95_ms is None


def test_azure_monitor_is_asked_for_whole_minutes_and_for_every_dimension() -> None:
    talk = Talk()
    nothing = answer(200, {"value": []})

    found = talk.hold(live_metrics.live_metrics(WORKSPACE, "e", "d'x", since=1.0, until=239.0), [nothing, nothing])

    params = talk.asked[0].params
    assert (found.since, found.until, found.requests, found.p50_ms) == (60, 180, 0, None)
    assert params["timespan"] == "1970-01-01T00:01:00Z/1970-01-01T00:03:00Z"
    assert params["$filter"] == "deployment eq 'd''x' and statusCode eq '*' and modelStatusCode eq '*'"
    assert (params["interval"], params["aggregation"]) == ("PT1M", "Average")
    assert talk.asked[1].params["metricnames"].split(",") == [f"RequestLatency_P{each}" for each in (50, 90, 95, 99)]


def test_less_than_a_minute_asks_nobody() -> None:
    found = Talk().hold(live_metrics.live_metrics(WORKSPACE, "e", "d", since=61, until=119), [])

    assert (found.requests, found.duration_s) == (0, 0)
