"""What online endpoints and their deployments may say."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azureml_emulator.errors import WireError
from azureml_emulator.ml_events import of_resource
from azureml_emulator.names import WorkspaceName
from azureml_emulator.online_specs import Spec, drain_s, patience_s
from azureml_emulator.routes import online_bodies
from azureml_emulator.store import Store

WORKSPACE = WorkspaceName("s", "g", "w")
MODEL, PLAIN = "/models/net/versions/1", "/models/plain/versions/1"
NAMES = ("blue", "green", "red")
FAMILY = "Standard DSv2 Family Cluster Dedicated vCPUs"

_PARTS = st.sampled_from([0, 40, 60, 100])
#: Traffic that can be, mostly, and all else.
shares = st.one_of(
    st.sampled_from([{}, {"blue": 100}, {"blue": 60, "green": 40}]),
    st.dictionaries(st.sampled_from(NAMES), _PARTS),
    st.dictionaries(st.sampled_from([*NAMES, "nobody"]), _PARTS),
)
copies = st.dictionaries(st.sampled_from([*NAMES, "nobody"]), st.sampled_from([0, 1, 50, 51]), max_size=3)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.put(MODEL, {"id": MODEL, "properties": {"modelType": "mlflow_model"}})
    made.put(PLAIN, {"id": PLAIN, "properties": {"modelType": "custom_model"}})
    made.put("/codes/c/versions/1", {"id": "/codes/c/versions/1", "properties": {"codeUri": "https://x/c"}})
    made.put("/environments/own/versions/1", {"properties": {"inferenceConfig": {"scoringRoute": {}}}})
    return made


def refusal(error: WireError) -> tuple[int, str]:
    body = (error.body or {})["error"]
    return error.status, " ".join([body["message"], *(one["message"] for one in body["details"])])


def endpoint(**properties: Any) -> dict[str, Any]:
    return online_bodies.endpoint(WORKSPACE, "line", {"properties": properties})


def deployment(store: Store, found: dict[str, Any] | None = None, **properties: Any) -> dict[str, Any]:
    sent = {"properties": {"model": MODEL, **properties}, "sku": {"capacity": properties.pop("capacity", 1)}}
    return online_bodies.deployment(store, found or endpoint(), "blue", sent)


# traffic


def is_good(traffic: dict[str, int], mirror: dict[str, int]) -> bool:
    """Say by the rules as Azure's documentation puts them whether traffic can be."""
    mirrored = {name for name, share in mirror.items() if share}
    return (
        sum(traffic.values()) in (0, 100)
        and {*traffic, *mirrored} <= set(NAMES)
        and len(mirrored) <= 1
        and all(mirror[name] <= 50 and not traffic.get(name) for name in mirrored)
    )


@settings(max_examples=500)
@given(shares, copies)
def test_traffic_adds_up_to_100_or_0_and_one_deployment_without_live_traffic_is_sent_copies(
    traffic: dict[str, int], mirror: dict[str, int]
) -> None:
    is_refused = contextlib.nullcontext() if is_good(traffic, mirror) else pytest.raises(WireError, match="400")

    with is_refused:
        online_bodies.check_traffic(traffic, mirror, NAMES)


@pytest.mark.parametrize("share", [-1, 101, 1.5, "50", True, None])
def test_a_share_is_a_whole_number_of_percent(share: Any) -> None:
    with pytest.raises(WireError) as caught:
        endpoint(traffic={"blue": share})

    assert "give a whole number of 0 to 100" in refusal(caught.value)[1]


# endpoints


def test_an_endpoint_is_managed_unless_it_names_a_compute() -> None:
    managed, cluster = endpoint(), endpoint(compute="/computes/aks")

    assert (managed["kind"], managed["properties"]["authMode"], managed["properties"]["traffic"]) == (
        "Managed",
        "Key",
        {},
    )
    assert (cluster["kind"], cluster["properties"]["compute"]) == ("Kubernetes", "/computes/aks")


def test_an_auth_mode_that_azure_does_not_have_is_refused() -> None:
    with pytest.raises(WireError) as caught:
        endpoint(authMode="password")

    assert refusal(caught.value) == (400, "authMode is 'password', which is none of Key, AMLToken, AADToken.")


@pytest.mark.parametrize("name", ["ab", "1st", "a" * 33, "dash-", "under_score", "dot.", "ünique", ""])
def test_names_that_azure_does_not_take_are_refused(name: str) -> None:
    with pytest.raises(WireError):
        online_bodies.check_name(name, "endpoint")


@given(st.from_regex(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]", fullmatch=True))
def test_all_other_names_are_taken(name: str) -> None:
    online_bodies.check_name(name, "endpoint")


# deployments


def test_a_deployment_has_the_defaults_of_the_service(store: Store) -> None:
    made = deployment(store)

    properties = made["properties"]
    assert made["sku"] == {"name": "Default", "tier": "Standard", "capacity": 1}
    assert (properties["instanceType"], properties["scaleSettings"]) == ("Standard_F4s_v2", {"scaleType": "Default"})
    assert properties["requestSettings"]["maxConcurrentRequestsPerInstance"] == 1
    assert (properties["readinessProbe"]["failureThreshold"], properties["provisioningState"]) == (30, "Updating")
    assert (patience_s(made), drain_s(made)) == (310, 10)


def test_what_processes_run_says_nothing_of_their_number_nor_of_tags(store: Store) -> None:
    one, two = deployment(store), deployment(store, capacity=7) | {"tags": {"a": "b"}}

    assert Spec.of(one) == Spec.of(two)
    assert Spec.of(one) != Spec.of(deployment(store, environmentVariables={"A": "1"}))


@pytest.mark.parametrize(("said", "workers"), [("3", 3), ("0", 1), ("many", 1), ("", 1)])
def test_the_workers_of_a_process_are_those_of_azures_variable(store: Store, said: str, workers: int) -> None:
    assert Spec.of(deployment(store, environmentVariables={"WORKER_COUNT": said})).workers == workers


@pytest.mark.parametrize(
    ("wrong", "status", "told"),
    [
        ({"model": "/models/net/versions/9"}, 404, "Model /models/net/versions/9 not found"),
        ({"model": PLAIN}, 400, "only an MLflow model needs no scoring script"),
        ({"model": None}, 400, "only an MLflow model needs no scoring script"),
        ({"codeConfiguration": {"codeId": "/codes/c/versions/1"}}, 400, "needs a codeId and a scoringScript"),
        ({"codeConfiguration": {"codeId": "/codes/x", "scoringScript": "s.py"}}, 404, "Code /codes/x"),
        (
            {"codeConfiguration": {"codeId": "/codes/c/versions/1", "scoringScript": "s.py"}},
            400,
            "has no environmentId",
        ),
        (
            {"codeConfiguration": {"codeId": "/codes/c/versions/1", "scoringScript": "/etc/passwd"}},
            400,
            "is no path within its code",
        ),
        ({"environmentId": "/environments/own/versions/1"}, 501, "an inference server of its own"),
        ({"instanceType": "small"}, 400, "small is no machine size"),
        ({"capacity": 0}, 400, "give a whole number of 1 to 50"),
        ({"capacity": 51}, 400, "give a whole number of 1 to 50"),
        ({"requestSettings": {"requestTimeout": "soon"}}, 400, "'soon' is no ISO 8601 duration"),
        ({"readinessProbe": {"failureThreshold": 0}}, 400, "give a whole number of at least 1"),
        ({"endpointComputeType": "Kubernetes"}, 400, "is Kubernetes, and endpoint line is Managed"),
    ],
)
def test_what_cannot_be_deployed_is_refused(store: Store, wrong: dict[str, Any], status: int, told: str) -> None:
    with pytest.raises(WireError) as caught:
        deployment(store, **wrong)

    assert refusal(caught.value)[0] == status
    assert told in refusal(caught.value)[1]


def test_the_cluster_knows_its_own_machine_sizes(store: Store) -> None:
    made = deployment(store, endpoint(compute="/computes/aks"), instanceType="small")

    assert made["properties"]["instanceType"] == "small"


def test_a_deployment_is_told_of_when_its_model_serves(store: Store) -> None:
    body = deployment(store)
    serving = body | {"properties": body["properties"] | {"provisioningState": "Succeeded"}}

    told = [of_resource(body["id"], one, is_new=False, at_s=0) for one in (body, serving)]

    assert told[0] is None
    assert told[1] is not None
    assert told[1]["eventType"] == "Microsoft.MachineLearningServices.ModelDeployed"
    assert (told[1]["topic"], told[1]["subject"]) == (WORKSPACE.arm_id, "endpoints/line")
    assert told[1]["data"]["ServiceComputeType"] == "MANAGED"


# quota


@pytest.mark.parametrize(
    ("size", "count", "quota", "fits"),
    [
        ("Standard_DS3_v2", 1, {}, True),
        ("Standard_DS3_v2", 1, {FAMILY: {"limit": 6, "used": 0}}, False),  # a fifth more is kept free: 2 x 4 cores
        ("Standard_DS3_v2", 1, {FAMILY: {"limit": 8, "used": 0}}, True),
        ("standard_ds3_v2", 1, {FAMILY: {"limit": 8, "used": 1}}, False),
        ("Standard_DS3_v2", 0, {FAMILY: {"limit": 8, "used": 8}}, True),
        ("Standard_DS3_v2", 1, {FAMILY: {"limit": -1, "used": 8}}, True),
        ("Standard_F4s_v2", 5, {FAMILY: {"limit": 0, "used": 0}}, True),
    ],
)
def test_only_a_quota_that_was_set_limits_what_is_deployed(
    size: str, count: int, quota: dict[str, Any], fits: bool
) -> None:
    def check() -> None:
        online_bodies.check_quota(size, count, subscription="sub", told=quota)

    if fits:
        check()
    else:
        with pytest.raises(WireError, match="Not enough quota available for Standard_DS3_v2 in SubscriptionId sub"):
            check()
