"""Environments: who may write to them, and which comes before which."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.client.credentials import credential
from airflow_azureml.core.environments import Environment, RequiredEvidence, chain, chain_of, named, previous
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.errors import ConfigError

NAMES = {"subscription_id": "s", "resource_group": "g", "workspace": "w"}
PRINCIPAL = {"authentication": "service_principal", "tenant_id": "t", "login": "robot", "password": "p"}
LOCAL = {"authentication": "emulator", "endpoint": "http://127.0.0.1:1"}


def settings(**fields: Any) -> ConnectionSettings:
    return ConnectionSettings.parse({**NAMES, **fields}, conn_id="c")


def test_a_person_may_not_write_to_a_protected_environment() -> None:
    with pytest.raises(ConfigError, match=r"'production' is protected.*'c' does not write as a service identity"):
        Environment("production", conn_id="c", protected=True).check_writer(settings())


@pytest.mark.parametrize("principal", ["", "robot", "ROBOT"])
def test_the_pipelines_service_principal_may_write_to_a_protected_environment(principal: str) -> None:
    Environment("production", conn_id="c", protected=True, principal=principal).check_writer(settings(**PRINCIPAL))


def test_another_identity_than_the_principal_may_not_write_whether_protected_is_said_or_not() -> None:
    environment = Environment("production", conn_id="c", principal="robot")

    with pytest.raises(ConfigError, match=r"written to by robot alone, and connection 'c' is somebody:"):
        environment.check_writer(settings(**PRINCIPAL | {"login": "somebody"}))
    with pytest.raises(ConfigError, match="is an identity without a client id"):
        environment.check_writer(settings(authentication="managed_identity"))


def test_an_emulators_connection_is_a_service_identity_where_it_has_a_name() -> None:
    environment = Environment("production", conn_id="c", protected=True)

    environment.check_writer(settings(**LOCAL, login="robot"))
    with pytest.raises(ConfigError, match="authentication 'emulator'"):
        environment.check_writer(settings(**LOCAL))


def test_the_token_for_an_emulator_says_whose_it_is() -> None:
    token = credential(settings(**LOCAL, login="robot")).get_token("https://management.azure.com/.default").token

    claims = token.split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["appid"] == "robot"


def test_everybody_may_write_where_nothing_is_protected() -> None:
    Environment("staging", conn_id="c").check_writer(settings())


def test_the_environment_before_is_the_one_that_code_passes_first() -> None:
    chained = chain([Environment(name, conn_id=name) for name in ("dev", "test", "staging", "production")])

    assert [getattr(previous(chained, each.name), "name", None) for each in chained] == [None, "dev", "test", "staging"]
    with pytest.raises(ConfigError, match="There is no environment 'prod'; they are dev, test, staging, production"):
        named(chained, "prod")


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ([], "holds no mapping"),
        ({}, "There is no environment"),
        ({"a": {"conn_id": "x"}, "b": {"conn_id": "x"}}, "Two environments have the conn_id x"),
        ({"a": {"conn": "x"}}, "unknown conn; known are conn_id"),
        ({"a": {}}, "needs a conn_id"),
        ({"a": "x"}, "no mapping with a conn_id"),
        ({"a": {"conn_id": "x", "protected": "yes"}}, "protected is of the wrong type"),
        ({"a/b": {"conn_id": "x"}}, "no name of an environment"),
        (
            {"a": {"conn_id": "x", "requires": "b"}},
            "'a': requires: environment is missing; known are environment, conn",
        ),
        ({"a": {"conn_id": "x", "requires": {"environment": "b", "age": 1}}}, "requires: unknown age"),
        ({"a": {"conn_id": "x", "requires": {"environment": "b", "approved": "yes"}}}, "approved is 'yes'"),
        ({"a": {"conn_id": "x", "requires": {"environment": "b", "most_hours": 0}}}, "most_hours is 0"),
        ({"a": {"conn_id": "x", "requires": {"environment": "a"}}}, "requires evidence of 'a', and before it are none"),
    ],
)
def test_environments_of_a_file_that_are_none_are_refused_by_name(raw: object, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        chain_of(raw, whence="f.yaml")

    assert str(refused.value).startswith("f.yaml")


def test_a_file_says_what_evidence_an_environment_requires_and_of_which_workspace() -> None:
    raw = {
        "staging": {"conn_id": "s"},
        "production": {"conn_id": "p", "requires": {"environment": "staging", "approved": True, "most_hours": 12}},
    }

    production = named(chain_of(raw, whence="f.yaml"), "production")

    assert production.requires == RequiredEvidence("staging", conn_id="s", approved=True, most_age=timedelta(hours=12))


@given(st.from_regex(r"\A[a-z][a-z0-9-]{0,40}\Z"), st.from_regex(r"\A(-[a-z]{0,9})?\Z"))
def test_the_name_of_an_endpoint_is_one_that_azure_takes_or_an_error(name: str, suffix: str) -> None:
    environment, full = Environment("staging", conn_id="c", suffix=suffix), name + suffix

    if 3 <= len(full) <= 32 and not full.endswith("-"):
        assert environment.endpoint(name) == full
    else:
        with pytest.raises(ConfigError, match=f"{full!r} is no name of an endpoint"):
            environment.endpoint(name)
