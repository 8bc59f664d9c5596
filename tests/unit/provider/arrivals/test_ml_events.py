"""What Event Grid says of a workspace: read or refused, of whom it is, and small in an asset event."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.jobs import PHASE_OF_STATUS
from airflow_azureml.core.ml_events import JobEvent, WorkspaceEvent, event_from_wire, place_of
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ProtocolError
from airflow_azureml.wire.events import MalformedMessageError, OtherWorkspaceError, parse, refuse_other_workspaces
from tests.unit.provider.arrivals.ml_samples import (
    DRIFT,
    DRIFT_EVENT,
    JOB_EVENT,
    MODEL,
    MODEL_EVENT,
    PLACE,
    RUN,
    SAMPLES,
)

TOPIC = "/subscriptions/SUB/resourceGroups/Group/providers/Microsoft.MachineLearningServices/workspaces/Ws"

SUBJECTS = {
    "ModelRegistered": "models/diabetes:20",
    "ModelDeployed": "endpoints/my-service",
    "RunCompleted": "experiments/0fa9dfaa-cba3-4fa7-b590-23e48548f5c1/runs/job-1",
    "RunStatusChanged": "experiments/0fa9dfaa-cba3-4fa7-b590-23e48548f5c1/runs/job-1",
    "DatasetDriftDetected": "datadrifts/01d29aa4/runs/01d29aa4_1571590300380",
}


def event_grid(kind: str, data: object, **changes: Any) -> dict[str, Any]:
    """Write an event as the documentation's samples do."""
    event = {
        "topic": TOPIC,
        "subject": SUBJECTS.get(kind, "x"),
        "eventType": f"Microsoft.MachineLearningServices.{kind}",
        "eventTime": "2026-06-26T18:41:00.9584103Z",
        "id": "831e1650-001e-001b-66ab-eeb76e069631",
        "data": data,
        "dataVersion": "",
        "metadataVersion": "1",
    }
    return {**event, **changes}


def cloud_event(kind: str, data: object) -> dict[str, Any]:
    return {
        "source": TOPIC,
        "subject": SUBJECTS[kind],
        "type": f"Microsoft.MachineLearningServices.{kind}",
        "time": "2026-06-26T18:41:00.9584103Z",
        "id": "831e1650-001e-001b-66ab-eeb76e069631",
        "data": data,
        "specversion": "1.0",
    }


def encoded(body: object) -> str:
    return base64.b64encode(json.dumps(body).encode()).decode()


def one(kind: str, data: object, **changes: Any) -> WorkspaceEvent:
    (event,) = parse(json.dumps(event_grid(kind, data, **changes))).workspace_events
    return event


# reading


@pytest.mark.parametrize("schema", [event_grid, cloud_event])
@pytest.mark.parametrize("write", [json.dumps, encoded])
@pytest.mark.parametrize(("kind", "data", "event"), SAMPLES, ids=[sample[0] for sample in SAMPLES])
def test_the_samples_of_the_documentation_are_read_in_both_schemas(
    schema: Any, write: Any, kind: str, data: Any, event: WorkspaceEvent
) -> None:
    told = parse(write([schema(kind, data)]))

    assert (told.workspace_events, told.arrivals, told.ignored) == ((event,), (), {})


def test_the_names_of_a_runs_fields_may_begin_with_a_capital_as_in_older_pages() -> None:
    old = {name[0].upper() + name[1:]: value for name, value in {**RUN, "runStatus": "Completed"}.items()}

    assert one("RunStatusChanged", old) == JOB_EVENT


@pytest.mark.parametrize("status", sorted(PHASE_OF_STATUS))
def test_a_status_is_spelt_as_jobs_of_the_rest_api_spell_it(status: str) -> None:
    events = [one("RunStatusChanged", {**RUN, "runStatus": text}) for text in (status, status.lower())]

    assert {event.status for event in events if isinstance(event, JobEvent)} == {status}


def test_a_tag_that_is_no_text_is_left_out() -> None:
    assert one("ModelRegistered", {**MODEL, "ModelTags": {"a": 1, "b": None, "c": "d"}}).tags == {"c": "d"}


def test_a_status_that_is_new_is_kept_as_it_is() -> None:
    event = one("RunStatusChanged", {**RUN, "runStatus": "Pondering"})

    assert isinstance(event, JobEvent)
    assert event.status == "Pondering"


def test_a_message_may_tell_of_blobs_and_of_a_workspace() -> None:
    blob = {
        "topic": "/subscriptions/s/resourceGroups/r/providers/Microsoft.Storage/storageAccounts/acme",
        "subject": "/blobServices/default/containers/incoming/blobs/a.csv",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": "2026-01-31T18:41:00Z",
        "data": {
            "api": "PutBlob",
            "eTag": "0x1",
            "contentLength": 1,
            "url": "https://acme.blob.core.windows.net/incoming/a.csv",
        },
    }
    told = parse(json.dumps([event_grid("RunCompleted", RUN), blob]))

    assert [arrival.path for arrival in told.arrivals] == ["a.csv"]
    assert told.workspace_events == (JOB_EVENT,)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (event_grid("ModelPainted", MODEL), "unknown event type .*ModelPainted"),
        (event_grid("ModelRegistered", None), "has no data"),
        (event_grid("ModelRegistered", {**MODEL, "ModelName": ""}), "has no ModelName"),
        (event_grid("ModelRegistered", {**MODEL, "ModelName": 7}), "ModelName .* is no text"),
        (event_grid("ModelRegistered", {**MODEL, "ModelName": "a\nb"}), "ModelName .* is no text of one line"),
        (event_grid("ModelRegistered", {**MODEL, "ModelName": "\ud800"}), "ModelName .* is no text of one line"),
        (event_grid("ModelRegistered", {**MODEL, "ModelName": "a" * 1025}), "at most 1024 characters"),
        (event_grid("ModelRegistered", {**MODEL, "ModelVersion": True}), "ModelVersion .* is no text"),
        (event_grid("ModelRegistered", {**MODEL, "ModelVersion": 10**18}), "ModelVersion .* is no text"),
        (event_grid("ModelRegistered", {**MODEL, "ModelTags": "a"}), "ModelTags .* are no tags"),
        (event_grid("RunStatusChanged", RUN), "has no RunStatus"),
        (event_grid("RunCompleted", {**RUN, "runId": None}), "has no RunId"),
        (event_grid("DatasetDriftDetected", {**DRIFT, "DriftCoefficient": "high"}), "DriftCoefficient .* is no number"),
        (event_grid("DatasetDriftDetected", {**DRIFT, "DriftCoefficient": math.nan}), "not finite"),
        (event_grid("DatasetDriftDetected", {**DRIFT, "DriftCoefficient": 10**400}), "not finite"),
        (event_grid("RunCompleted", RUN, topic="/subscriptions/s"), "is no workspace's id"),
        (event_grid("RunCompleted", RUN, topic=f"{TOPIC}/jobs/x"), "is no workspace's id"),
        (event_grid("RunCompleted", RUN, topic=f"/elsewhere{TOPIC}"), "is no workspace's id"),
        (event_grid("RunCompleted", RUN, eventTime="yesterday"), "yesterday"),
        (event_grid("RunCompleted", RUN, eventTime="0001-01-01T00:00:00+23:00"), "Read a queue message"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_says_why(event: dict[str, Any], reason: str) -> None:
    with pytest.raises(MalformedMessageError, match=reason):
        parse(json.dumps(event))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
kinds = st.sampled_from([*(sample[0] for sample in SAMPLES), "Other", ""])


@given(kinds, json_values, json_values)
def test_whatever_stands_in_an_event_is_read_or_refused_and_never_anything_else(
    kind: str, data: object, topic: object
) -> None:
    try:
        parse(json.dumps(event_grid(kind, data, topic=topic)))
    except MalformedMessageError as error:
        assert str(error).startswith("Read a queue message")  # noqa: PT017  # both ends are fine, this is one


@given(st.sampled_from(SAMPLES), st.data())
def test_a_sample_with_one_field_changed_is_read_or_refused_and_what_is_read_can_be_stored(
    sample: tuple[str, dict[str, Any], WorkspaceEvent], draw: st.DataObject
) -> None:
    kind, data, _ = sample
    name = draw.draw(st.sampled_from([*data, *event_grid(kind, data)]))
    value = draw.draw(json_values)
    changed = event_grid(kind, {**data, name: value}) if name in data else {**event_grid(kind, data), name: value}
    try:
        told = parse(json.dumps(changed))
    except MalformedMessageError:
        return

    for event in told.workspace_events:
        stored = json.dumps(event.to_wire(), allow_nan=False).encode()
        assert event_from_wire(json.loads(stored)) == evolve(event, tags={})


# whose they are


def test_a_workspace_is_named_as_its_connection_names_it_whatever_the_case() -> None:
    workspace = Workspace(subscription_id="SUB", resource_group="Group", name="Ws")

    assert place_of(workspace) == PLACE
    refuse_other_workspaces([MODEL_EVENT], workspaces={PLACE})


def test_events_of_a_workspace_that_nobody_asked_for_are_refused_by_name() -> None:
    with pytest.raises(OtherWorkspaceError, match="workspace sub/group/ws; allowed here: sub/group/other"):
        refuse_other_workspaces([MODEL_EVENT], workspaces={"sub/group/other"})


# in an asset event


@pytest.mark.parametrize("event", [sample[2] for sample in SAMPLES])
def test_an_event_is_read_again_from_what_it_is_written_as_but_for_its_tags(event: WorkspaceEvent) -> None:
    assert event_from_wire(json.loads(json.dumps(event.to_wire()))) == evolve(event, tags={})


def test_what_is_written_is_small_and_holds_neither_tags_nor_properties() -> None:
    secret = {"token": "s3cret" * 1000}
    event = one("ModelRegistered", {**MODEL, "ModelTags": secret, "ModelProperties": secret})

    written = json.dumps(event.to_wire())
    assert "s3cret" not in written
    assert len(written) < 250


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"event": "ModelPainted"},
        {**MODEL_EVENT.to_wire(), "more": "x"},
        {**MODEL_EVENT.to_wire(), "version": 3},
        {**MODEL_EVENT.to_wire(), "tags": {}},
        {**DRIFT_EVENT.to_wire(), "coefficient": "0.5"},
    ],
)
def test_what_was_not_written_by_us_is_refused(body: object) -> None:
    with pytest.raises(ProtocolError, match="Read an event"):
        event_from_wire(body)


def test_an_event_that_comes_again_later_has_the_same_key_and_another_has_not() -> None:
    assert evolve(MODEL_EVENT, time="2027-01-01T00:00:00+00:00", tags={}).key == MODEL_EVENT.key
    assert evolve(MODEL_EVENT, version="21").key != MODEL_EVENT.key
