"""Which events of a workspace are wanted, and the assets that are updated by them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from airflow.sdk import Asset
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.ml_events import KINDS, WorkspaceEvent
from airflow_azureml.core.ml_filters import (
    AnyFilter,
    DeploymentFilter,
    DriftFilter,
    JobFilter,
    ModelFilter,
    filter_from_wire,
)
from airflow_azureml.errors import ConfigError
from airflow_azureml.triggers.ml_events import WorkspaceEventTrigger
from airflow_azureml.watchers import blob_arrivals, deployment_events, drift_events, job_events, model_events
from tests.unit.provider.arrivals.ml_samples import DEPLOYMENT_EVENT, DRIFT_EVENT, JOB_EVENT, MODEL_EVENT, SAMPLES

QUEUE = "https://acme.queue.core.windows.net/events"

# which are wanted


@pytest.mark.parametrize(
    ("wanted", "event", "reason"),
    [
        (ModelFilter(), MODEL_EVENT, ""),
        (ModelFilter(model="diab*"), MODEL_EVENT, ""),
        (ModelFilter(model="Diab*"), MODEL_EVENT, "model is not like Diab*"),
        (ModelFilter(model="diab"), MODEL_EVENT, "model is not like diab"),
        (ModelFilter(tags={"area": "diabetes"}), MODEL_EVENT, ""),
        (ModelFilter(tags={"area": "x"}), MODEL_EVENT, "tag area is not x"),
        (ModelFilter(tags={"gone": "x"}), MODEL_EVENT, "tag gone is not x"),
        (ModelFilter(), JOB_EVENT, "no ModelRegistered"),
        (DeploymentFilter(), DEPLOYMENT_EVENT, ""),
        (DeploymentFilter(endpoint="my-*", model="other"), DEPLOYMENT_EVENT, ""),
        (DeploymentFilter(model="oth"), DEPLOYMENT_EVENT, "no model is like oth"),
        (DeploymentFilter(endpoint="x"), DEPLOYMENT_EVENT, "endpoint is not like x"),
        (JobFilter(), JOB_EVENT, ""),
        (JobFilter(statuses=("Failed", "Completed")), JOB_EVENT, ""),
        (JobFilter(statuses="Failed"), JOB_EVENT, "status is Completed"),
        (JobFilter(job="job-?", experiment="train*"), JOB_EVENT, ""),
        (JobFilter(job="other"), JOB_EVENT, "job is not like other"),
        (JobFilter(experiment="other"), JOB_EVENT, "experiment is not like other"),
        (JobFilter(), evolve(JOB_EVENT, kind="azureml.StepRun"), "a step of a pipeline"),
        (JobFilter(steps=True), evolve(JOB_EVENT, kind="azureml.StepRun"), ""),
        (DriftFilter(), DRIFT_EVENT, ""),
        (DriftFilter(monitor="mon*", at_least=0.8), DRIFT_EVENT, ""),
        (DriftFilter(at_least=0.9), DRIFT_EVENT, "coefficient is below 0.9"),
        (DriftFilter(at_least=0.9), evolve(DRIFT_EVENT, coefficient=None), ""),
        (DriftFilter(monitor="x"), DRIFT_EVENT, "monitor is not like x"),
    ],
)
def test_an_event_is_wanted_when_it_passes_every_part_of_the_filter(
    wanted: AnyFilter, event: WorkspaceEvent, reason: str
) -> None:
    assert wanted.reason_to_skip(event) == reason


names = st.text(st.characters(codec="utf-8"), max_size=5)
tags = st.dictionaries(names, names, max_size=2)
filters = st.one_of(
    st.builds(ModelFilter, model=names, tags=tags),
    st.builds(DeploymentFilter, endpoint=names, model=names, tags=tags),
    st.builds(JobFilter, job=names, experiment=names, steps=st.booleans(), tags=tags, statuses=st.tuples(names)),
    st.builds(DriftFilter, monitor=names, at_least=st.floats(0, 1)),
)


@given(filters)
def test_a_filter_is_read_again_from_what_it_is_written_as(wanted: AnyFilter) -> None:
    assert filter_from_wire(json.loads(json.dumps(wanted.to_wire()))) == wanted


@given(filters)
def test_every_kind_of_event_has_one_kind_of_filter(wanted: AnyFilter) -> None:
    passed = [event for _, _, event in SAMPLES if not wanted.reason_to_skip(event)]

    assert {type(event) for event in passed} <= {KINDS[wanted.to_wire()["event"]]}


# watchers


def trigger_of(asset: Asset) -> Any:
    (watcher,) = asset.watchers
    return watcher.trigger


def test_an_asset_is_watched_by_a_trigger_with_the_arguments_given() -> None:
    asset = job_events(
        "ends",
        queue_url=QUEUE,
        statuses=["Failed"],
        experiment="t*",
        workspace="s/g/w",
        conn_id="mine",
        tags={"a": "b"},
    )

    assert asset.name == "ends"
    assert trigger_of(asset).serialize() == (
        "airflow_azureml.triggers.ml_events.WorkspaceEventTrigger",
        {
            "queue_url": QUEUE,
            "conn_id": "mine",
            "workspace": "s/g/w",
            "wanted": {
                "event": "RunStatusChanged",
                "tags": {"a": "b"},
                "job": "",
                "experiment": "t*",
                "statuses": ["Failed"],
                "steps": False,
            },
        },
    )


ASSETS = [
    model_events("m", queue_url=QUEUE),
    deployment_events("d", queue_url=QUEUE),
    job_events("j", queue_url=QUEUE),
    drift_events("r", queue_url=QUEUE),
]


@pytest.mark.parametrize("asset", ASSETS, ids=lambda asset: asset.watchers[0].name)
def test_a_trigger_is_made_again_from_what_it_serialises_to(asset: Asset) -> None:
    trigger = trigger_of(asset)

    assert WorkspaceEventTrigger(**json.loads(json.dumps(trigger.serialize()[1]))).serialize() == trigger.serialize()


def test_all_assets_of_a_queue_share_its_reader_blobs_too() -> None:
    blobs = blob_arrivals("b", queue_url=QUEUE, container="incoming")

    assert len({trigger_of(asset).shared_stream_key() for asset in [*ASSETS, blobs]}) == 1


@pytest.mark.parametrize(
    ("make", "wrong", "said"),
    [
        (model_events, {"name": " "}, "name is empty"),
        (model_events, {"queue_url": "events"}, "queue_url"),
        (model_events, {"queue_url": f"{QUEUE}?sig=secret"}, "must carry no user"),
        (model_events, {"workspace": "ws"}, "workspace 'ws' is not SUBSCRIPTION/GROUP/NAME"),
        (model_events, {"conn_id": ""}, "conn_id is empty"),
        (model_events, {"tags": {"": "x"}}, "tag '' has no text"),
        (job_events, {"statuses": ["Done"]}, "status 'Done' is none of NotStarted"),
        (drift_events, {"at_least": math.nan}, "at_least is nan, not a number"),
        (deployment_events, {"tags": {"a": ""}}, "tag 'a' has no text"),
    ],
)
def test_a_wrong_argument_is_an_error_when_the_dag_is_parsed(make: Any, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        make(**{"name": "x", "queue_url": QUEUE, **wrong})

    assert "secret" not in str(refused.value)


def test_a_misspelt_argument_is_an_error() -> None:
    with pytest.raises(TypeError, match="queue_ulr"):
        model_events("x", queue_ulr=QUEUE)  # type: ignore[call-arg]


def test_a_service_bus_needs_no_storage_account_here() -> None:
    url = "sb://acme-bus.servicebus.windows.net/events"

    assert trigger_of(model_events("m", queue_url=url)).queue_url == url
