"""Online endpoints as values: traffic, what is still to do about a deployment, and what its failure means."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_azureml.core.deploying import DIGEST_TAG, Step, Wanted, digest_of, failure, plan
from airflow_azureml.core.online import (
    LiveMetrics,
    OnlineDeployment,
    OnlineEndpoint,
    check_removal,
    check_traffic,
    model_id,
    name_faults,
    whole_minutes,
    without_zeros,
)
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import (
    ConfigError,
    DeploymentFailedError,
    EndpointFailedError,
    NoCapacityError,
    NotReadyError,
    ProtocolError,
)

WORKSPACE = Workspace(subscription_id="s", resource_group="g", name="w")
MODEL = f"{WORKSPACE.arm_id}/models/m/versions/3"
NAMES = ("blue", "green", "red")
STATES = ("Succeeded", "Failed", "Canceled", "Creating", "Updating", "Scaling", "Deleting", "", "Brewing")

percents = st.dictionaries(st.sampled_from([*NAMES, "gone"]), st.integers(-5, 105), max_size=4)
times = st.integers(0, 10**7).map(lambda milliseconds: milliseconds / 1000)
mirrors = st.dictionaries(st.sampled_from([*NAMES, "gone"]), st.integers(0, 60), max_size=2)


def _is_split(traffic: dict[str, int], mirror: dict[str, int]) -> bool:
    """What Azure takes, said in another way than the code does."""
    live = {name for name, percent in traffic.items() if percent != 0}
    copied = {name for name, percent in mirror.items() if percent != 0}
    return (
        all(0 <= percent <= 100 for percent in traffic.values())
        and sum(traffic.values()) % 100 == 0
        and sum(traffic.values()) <= 100
        and (live | copied) <= set(NAMES)
        and len(copied) <= 1
        and all(percent <= 50 for percent in mirror.values())
        and not live & copied
    )


@given(percents, mirrors)
def test_a_split_is_taken_if_azure_would_take_it(traffic: dict[str, int], mirror: dict[str, int]) -> None:
    try:
        check_traffic(traffic, NAMES, mirror=mirror, endpoint="e")
        taken = True
    except ConfigError:
        taken = False

    assert taken is _is_split(traffic, mirror)


@given(st.integers(0, 100), st.integers(0, 50))
def test_two_that_share_all_and_a_third_that_listens_are_a_split(percent: int, mirrored: int) -> None:
    check_traffic({"blue": percent, "green": 100 - percent}, NAMES, mirror={"red": mirrored}, endpoint="e")


@pytest.mark.parametrize(
    ("traffic", "mirror", "told"),
    [
        ({"blue": 90, "green": 9}, {}, "add up to 99"),
        ({"blue": 100, "pink": 0, "grey": 0}, {"grey": 5}, "no deployment grey"),
        ({"blue": True}, {}, "blue: True"),
        ({"blue": 100}, {"blue": 5}, "blue takes live traffic"),
        ({"blue": 100}, {"green": 51}, "50 is the most"),
        ({"blue": 100}, {"green": 5, "red": 5}, "one deployment at most"),
    ],
)
def test_a_wrong_split_says_what_is_wrong_and_that_nothing_was_changed(
    traffic: dict[str, Any], mirror: dict[str, int], told: str
) -> None:
    with pytest.raises(ConfigError, match=told) as raised:
        check_traffic(traffic, NAMES, mirror=mirror, endpoint="scoring")

    assert "scoring" in str(raised.value)
    assert "Nothing was changed" in str(raised.value)


@given(st.dictionaries(st.sampled_from(NAMES), st.integers(0, 100)), st.booleans())
def test_zeros_are_no_traffic_however_they_are_written(traffic: dict[str, int], as_float: bool) -> None:
    written = {name: float(value) if as_float else value for name, value in traffic.items()}
    endpoint = OnlineEndpoint.from_wire(
        {"name": "e", "properties": {"provisioningState": "Succeeded", "traffic": written}}
    )

    assert endpoint.traffic == without_zeros(traffic)
    assert endpoint.carries({**dict.fromkeys(NAMES, 0), **traffic}, {})
    assert not endpoint.carries({**traffic, "blue": traffic.get("blue", 0) + 1}, {})


def test_traffic_that_is_told_is_not_in_force_before_azure_is_done() -> None:
    endpoint = OnlineEndpoint(name="e", state="Updating", traffic={"green": 100})

    assert endpoint.is_told({"green": 100, "blue": 0}, {})
    assert not endpoint.carries({"green": 100}, {})


@pytest.mark.parametrize("odd", [{"blue": "100"}, {"blue": 33.3}, {"blue": None}, {"blue": True}])
def test_traffic_that_is_no_whole_percentage_is_not_guessed(odd: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="blue"):
        OnlineEndpoint.from_wire({"name": "e", "properties": {"traffic": odd}})


def test_a_deployment_that_takes_traffic_live_or_mirrored_stays() -> None:
    endpoint = OnlineEndpoint(name="e", traffic={"blue": 100}, mirror={"green": 10})

    with pytest.raises(ConfigError, match="100 % of the traffic and was not deleted"):
        check_removal(endpoint, "blue")
    with pytest.raises(ConfigError, match="mirrored"):
        check_removal(endpoint, "green")
    check_removal(endpoint, "red")


@given(times, times)
def test_whole_minutes_lie_within_the_time_that_was_asked_for(since: float, until: float) -> None:
    first, last = whole_minutes(since, until)

    assert first % 60 == last % 60 == 0
    assert since <= first <= last
    assert last == first or (last <= until and first - since < 60 and until - last < 60)


def test_no_requests_are_no_rate_that_holds() -> None:
    nothing = LiveMetrics(deployment="d", since=0, until=60)

    assert math.isnan(nothing.failure_rate)
    assert LiveMetrics.from_wire(nothing.to_wire()) == nothing
    assert LiveMetrics(deployment="d", since=0, until=60, requests=4, failures=1).failure_rate == 0.25


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("m:3", MODEL),
        ("azureml:m:3", MODEL),
        (MODEL, MODEL),
        (f"azureml:{MODEL}", MODEL),
        ("azureml://registries/r/models/m/versions/3", "azureml://registries/r/models/m/versions/3"),
    ],
)
def test_a_version_is_named_in_any_of_azures_ways(told: str, meant: str) -> None:
    assert model_id(WORKSPACE, told) == meant


@pytest.mark.parametrize("odd", ["m", "", "m:", ":3", "azureml:m", "azureml://jobs/j/outputs/m", "folder/m:3"])
def test_what_names_no_version_is_refused(odd: str) -> None:
    with pytest.raises(ConfigError, match="NAME:VERSION"):
        model_id(WORKSPACE, odd)


@pytest.mark.parametrize(
    ("name", "taken"),
    [("blue", True), ("Blue-2", True), ("a" * 32, True), ("ab", False), ("a" * 33, False), ("2blue", False),
     ("blue-", False), ("blue_2", False), ("", False), ("blue\n", False)],
)  # fmt: skip
def test_a_name_is_taken_if_azure_would_take_it(name: str, taken: bool) -> None:
    assert (name_faults(deployment=name) == []) is taken


# what is still to do about a deployment

deployments = st.builds(
    OnlineDeployment,
    name=st.just("green"),
    endpoint=st.just("e"),
    state=st.sampled_from(STATES),
    model=st.sampled_from([MODEL, MODEL.upper(), "other"]),
    instance_type=st.sampled_from(["Standard_DS3_v2", "STANDARD_DS3_V2", "Standard_F4s_v2"]),
    instances=st.integers(1, 3),
    tags=st.sampled_from([{}, {DIGEST_TAG: "d1"}, {DIGEST_TAG: "d2"}]),
)
endpoints = st.builds(
    OnlineEndpoint,
    name=st.just("e"),
    state=st.just("Succeeded"),
    traffic=st.sampled_from([{}, {"blue": 100}, {"green": 100}, {"blue": 99, "green": 1}]),
    mirror=st.sampled_from([{}, {"green": 10}]),
)
wishes = st.builds(
    Wanted,
    endpoint=st.just("e"),
    name=st.just("green"),
    digest=st.just("d1"),
    model=st.sampled_from([MODEL, ""]),
    instance_type=st.just("Standard_DS3_v2"),
    instances=st.sampled_from([None, 1, 2]),
    replace_live=st.booleans(),
)


def _azure_does(step: Step, found: OnlineDeployment | None, wanted: Wanted) -> OnlineDeployment | None:
    """Carry a step out, as Azure would in the end."""
    match step:
        case Step.REMOVE:
            return None
        case Step.CREATE | Step.REPLACE:
            return OnlineDeployment(
                name="green", endpoint="e", state="Succeeded", model=wanted.model,
                instance_type=wanted.instance_type, instances=wanted.instances or 1,
                tags={DIGEST_TAG: wanted.digest},
            )  # fmt: skip
        case Step.SCALE:
            assert found is not None
            assert wanted.instances is not None
            return OnlineDeployment.from_wire(
                "e",
                {
                    "name": "green",
                    "tags": dict(found.tags),
                    "sku": {"capacity": wanted.instances},
                    "properties": {
                        "provisioningState": "Succeeded",
                        "model": found.model,
                        "instanceType": found.instance_type,
                    },
                },
            )
        case Step.WAIT:
            assert found is not None
            return OnlineDeployment(**{**_fields(found), "state": "Succeeded"})
        case Step.NOTHING:
            return found


def _fields(found: OnlineDeployment) -> dict[str, Any]:
    names = ("name", "endpoint", "state", "model", "instance_type", "instances", "tags")
    return {name: getattr(found, name) for name in names}


@given(endpoints, st.none() | deployments, wishes)
def test_step_by_step_every_deployment_becomes_as_wanted_or_is_left_alone(
    endpoint: OnlineEndpoint, found: OnlineDeployment | None, wanted: Wanted
) -> None:
    if found is None:
        assume(not endpoint.traffic.get("green") and not endpoint.mirror.get("green"))
    steps: list[Step] = []
    try:
        while (step := plan(endpoint, found, wanted)) is not Step.NOTHING:
            steps.append(step)
            found = _azure_does(step, found, wanted)
            assert len(steps) < 5, steps
    except (ConfigError, NotReadyError):
        assert Step.REMOVE not in steps
        return

    assert found is not None
    assert found.is_ready
    assert wanted.instances in (None, found.instances)


@given(endpoints, deployments, wishes)
def test_what_takes_traffic_is_never_removed_and_changed_only_by_leave(
    endpoint: OnlineEndpoint, found: OnlineDeployment, wanted: Wanted
) -> None:
    assume(endpoint.traffic.get("green") or endpoint.mirror.get("green"))
    try:
        step = plan(endpoint, found, wanted)
    except (ConfigError, NotReadyError):
        return

    assert step is not Step.REMOVE
    assert step is not Step.REPLACE or wanted.replace_live


def test_what_a_live_deployment_is_and_is_not_stands_in_the_refusal() -> None:
    live = OnlineDeployment(name="green", endpoint="e", state="Succeeded", model="other", instance_type="x")
    wanted = Wanted(endpoint="e", name="green", digest="d1", model=MODEL)

    with pytest.raises(ConfigError, match=r"takes 1 % of the traffic and is of model other, not of .*versions/3"):
        plan(OnlineEndpoint(name="e", traffic={"blue": 99, "green": 1}), live, wanted)


def test_the_same_is_named_alike_and_anything_else_is_not() -> None:
    one = {"model": MODEL, "tags": {"a": "1", "b": "2"}}

    assert digest_of(one) == digest_of({"tags": {"b": "2", "a": "1"}, "model": MODEL})
    assert digest_of(one) != digest_of({**one, "model": "other"})


@pytest.mark.parametrize(
    ("what", "codes", "kind", "advice"),
    [
        ("Deployment d of online endpoint e", "OutOfQuota", NoCapacityError, "Ask for more quota"),
        ("Deployment d of online endpoint e", "BadRequest/OutOfCapacity", NoCapacityError, "another machine size"),
        ("Deployment d of online endpoint e", "ResourceNotReady", DeploymentFailedError, r"score\.py"),
        ("Deployment d of online endpoint e", "BrandNew", DeploymentFailedError, "Read the log"),
        ("Online endpoint e", "", EndpointFailedError, "studio"),
    ],
)
def test_a_failure_has_a_name_and_says_what_is_true_and_what_to_do(
    what: str, codes: str, kind: type[Exception], advice: str
) -> None:
    error = failure(what, "is Failed. Azure says: no", codes=codes, truth="Online endpoint e serves blue now.")

    assert type(error) is kind
    assert str(error).startswith(f"{what} is Failed. Azure says: no. Online endpoint e serves blue now. ")
    with pytest.raises(kind, match=advice):
        raise error
