"""What is released, under which name, and whether it serves already."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_azureml.core.online import OnlineDeployment, OnlineEndpoint
from airflow_azureml.core.release import Release, deployment_name, is_deployment_name
from airflow_azureml.errors import ConfigError

ID = "/subscriptions/s/models/diabetes/versions/7"
names = st.text(st.sampled_from("abzAZ09-_."), min_size=1, max_size=60)
versions = st.integers(1, 10**6).map(str) | st.text(st.sampled_from("ab09.-"), min_size=1, max_size=30)


def release() -> Release:
    found = Release.of("diabetes:7", deployment="", endpoint="scoring")
    assert found is not None
    return found


@given(names, versions)
def test_every_version_has_a_name_that_azure_takes(model: str, version: str) -> None:
    assert is_deployment_name(deployment_name(model, version))


#: Names that differ in what a deployment's name cannot have.
near = st.tuples(
    st.text(st.sampled_from("aA.-_"), min_size=1, max_size=4), st.text(st.sampled_from("1.-"), min_size=1, max_size=2)
)


@given(st.lists(st.tuples(names, versions) | near, min_size=2, max_size=2, unique=True))
@example([("a", "1"), ("A", "1")])
@example([("a.b", "1"), ("a_b", "1")])
def test_two_versions_never_share_a_deployment(two: list[tuple[str, str]]) -> None:
    one, other = two

    assert deployment_name(*one) != deployment_name(*other)


def test_where_a_models_name_ends_is_part_of_its_deployments() -> None:
    assert deployment_name("a-1", "2") != deployment_name("a", "1-2")


def test_a_plain_name_is_kept() -> None:
    assert deployment_name("diabetes-ridge", "7") == "diabetes-ridge-7"


@pytest.mark.parametrize(
    "told",
    ["diabetes:7", "azureml:diabetes:7", {"model": "diabetes", "version": "7", "uri": "azureml://"}],
)
def test_a_version_is_read_from_its_name_and_from_what_tasks_return(told: Any) -> None:
    assert Release.of(told, deployment="", endpoint="scoring") == release()


@pytest.mark.parametrize(
    "told",
    [
        "azureml://registries/shared/models/diabetes/versions/7",
        "/subscriptions/s/resourceGroups/g/providers/p/workspaces/w/models/diabetes/versions/7",
    ],
)
def test_a_version_that_is_named_by_its_id_is_deployed_by_it(told: str) -> None:
    for written in (told, f"azureml:{told}" if told.startswith("/") else told):
        found = Release.of(written, deployment="", endpoint="scoring")

        assert found is not None
        assert (found.model, found.version, found.deployment) == ("diabetes", "7", "diabetes-7")
        assert found.reference == told


@pytest.mark.parametrize("told", [{}, ""])
def test_no_champion_is_nothing_to_release(told: Any) -> None:
    assert Release.of(told, deployment="", endpoint="scoring") is None


@pytest.mark.parametrize("told", ["diabetes", {"model": "diabetes"}, 7, None, ["diabetes:7"], "a/b:7"])
def test_what_names_no_version_is_refused(told: Any) -> None:
    with pytest.raises(ConfigError, match="it must be NAME:VERSION"):
        Release.of(told, deployment="", endpoint="scoring")


def test_a_name_that_azure_would_not_take_is_refused_before_anything_is_done() -> None:
    with pytest.raises(ConfigError, match="3 to 32 letters"):
        Release.of("diabetes:7", deployment="7", endpoint="scoring")


@pytest.mark.parametrize(
    ("endpoint", "deployment", "serves"),
    [
        ({}, {}, True),
        ({"traffic": {"diabetes-7": 99, "blue": 1}}, {}, False),
        ({"state": "Updating"}, {}, False),
        ({}, {"state": "Failed"}, False),
        ({}, {"model": ID.replace("7", "6")}, False),
        ({}, {"model": ID.upper()}, True),
    ],
)
def test_it_serves_when_all_traffic_goes_to_a_sound_deployment_of_the_same_version(
    endpoint: dict[str, Any], deployment: dict[str, Any], serves: bool
) -> None:
    found = OnlineEndpoint(**{"name": "scoring", "state": "Succeeded", "traffic": {"diabetes-7": 100}, **endpoint})
    its = OnlineDeployment(
        **{"name": "diabetes-7", "endpoint": "scoring", "state": "Succeeded", "model": ID, **deployment}
    )

    assert release().serves(found, its, model_id=ID) is serves
    assert not release().serves(None, its, model_id=ID)
    assert not release().serves(found, None, model_id=ID)
