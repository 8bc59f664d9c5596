"""Conversations about compute clusters."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import RefusedError
from airflow_azureml.wire import compute
from airflow_azureml.wire.compute import Cluster, Operation, Scale
from tests.unit.provider.conversation import Talk, answer

WORKSPACE = Workspace(subscription_id="s", resource_group="g", name="w")
STATUS = "https://management.azure.com/subscriptions/s/operation/1?api-version=x"
SCALE = Scale(min_nodes=0, max_nodes=4, idle_s=200)
FOUND: dict[str, Any] = {
    "name": "c",
    "location": "northeurope",
    "tags": {"team": "a"},
    "identity": {"type": "SystemAssigned"},
    "systemData": {"createdAt": "then"},
    "properties": {
        "computeType": "AmlCompute",
        "provisioningState": "Succeeded",
        "description": "theirs",
        "createdOn": "then",
        "properties": {
            "vmSize": "STANDARD_DS3_V2",
            "vmPriority": "LowPriority",
            "subnet": {"id": "net"},
            "scaleSettings": {"minNodeCount": 1, "maxNodeCount": 4, "nodeIdleTimeBeforeScaleDown": "PT3M20S"},
            "currentNodeCount": 1,
            "errors": None,
        },
    },
}


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [("PT120S", 120), ("PT2M", 120), ("PT1M40S", 100), ("PT1H", 3600), ("P1DT1S", 86401), ("PT0.5S", 0)],
)
def test_a_time_is_read_however_azure_writes_it(duration: str, seconds: int) -> None:
    scale = Scale.from_wire({"minNodeCount": 0, "maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": duration})

    assert scale == Scale(min_nodes=0, max_nodes=1, idle_s=seconds)


@pytest.mark.parametrize("raw", [{}, {"minNodeCount": 0, "maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": "soon"}])
def test_a_scale_that_cannot_be_read_is_none(raw: dict[str, Any]) -> None:
    assert Scale.from_wire(raw) is None


def test_a_compute_that_is_not_there_is_none_and_a_missing_workspace_is_an_error() -> None:
    no_workspace = answer(404, {"error": {"code": "ResourceNotFound", "message": "The Resource was not found."}})

    assert Talk().hold(compute.get(WORKSPACE, "c"), [answer(404)]) is None
    assert Talk().hold(compute.delete(WORKSPACE, "c"), [answer(404)]) is None
    with pytest.raises(RefusedError, match="ResourceNotFound"):
        Talk().hold(compute.get(WORKSPACE, "c"), [no_workspace])
    with pytest.raises(RefusedError, match="ResourceNotFound"):
        Talk().hold(compute.delete(WORKSPACE, "c"), [no_workspace])


def test_a_cluster_is_created_in_the_workspaces_region() -> None:
    talk = Talk()
    begun = answer(201, {}, **{"azure-asyncoperation": STATUS, "retry-after": "15"})

    operation = talk.hold(
        compute.create(WORKSPACE, "c", vm_size="Standard_DS3_v2", vm_priority="Dedicated", scale=SCALE),
        [answer(200, {"location": "westeurope"}), begun],
    )

    assert (operation.url, operation.retry_after_s, operation.status) == (STATUS, 15.0, "InProgress")
    assert talk.asked[1].json["location"] == "westeurope"
    assert talk.asked[1].json["properties"]["properties"]["scaleSettings"] == {
        "minNodeCount": 0,
        "maxNodeCount": 4,
        "nodeIdleTimeBeforeScaleDown": "PT200S",
    }


def test_changing_the_limits_writes_back_what_was_there_and_nothing_that_is_read_only() -> None:
    talk = Talk()

    talk.hold(compute.rescale(WORKSPACE, Cluster.from_wire("c", FOUND), SCALE), [answer(200, {})])

    assert talk.asked[0].json == {
        "location": "northeurope",
        "tags": {"team": "a"},
        "identity": {"type": "SystemAssigned"},
        "properties": {
            "computeType": "AmlCompute",
            "description": "theirs",
            "properties": {
                "vmSize": "STANDARD_DS3_V2",
                "vmPriority": "LowPriority",
                "subnet": {"id": "net"},
                "scaleSettings": SCALE.to_wire(),
            },
        },
    }


def test_no_token_is_sent_where_an_operation_points_elsewhere() -> None:
    begun = answer(202, None, **{"azure-asyncoperation": "https://management.azure.com.example/o"})

    operation = Talk().hold(compute.delete(WORKSPACE, "c"), [begun])

    assert operation is not None
    assert operation.url == ""


@pytest.mark.parametrize(
    ("body", "status", "trouble"),
    [
        ({"status": "InProgress"}, "InProgress", ""),
        ({"status": "Succeeded", "percentComplete": 100.0}, "Succeeded", ""),
        ({"status": "Failed", "error": {"code": "Quota", "message": "No cores."}}, "Failed", "Quota No cores."),
    ],
)
def test_an_operation_is_followed_with_azures_own_words(body: dict[str, Any], status: str, trouble: str) -> None:
    operation = Operation(doing="Create compute c", url=STATUS, retry_after_s=1)

    after = Talk().hold(compute.follow(operation), [answer(200, body, **{"retry-after": "30"})])

    assert (after.status, after.trouble, after.retry_after_s) == (status, trouble, 30.0)


def test_a_cluster_that_failed_says_why() -> None:
    errors = [{"error": {"code": "ClusterCoreQuotaReached", "message": "No cores are left."}}]
    raw = {"properties": {"provisioningState": "Failed", "provisioningErrors": errors}}

    assert Cluster.from_wire("c", raw).trouble == "No cores are left."
