from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from azureml_emulator.names import WorkspaceName
from azureml_emulator.tokens import issue
from tests.contract.conftest import ARM_ID, WORKSPACE, Emulator, of, tell, wait_for
from tests.contract.controlled import client_of, controlled_emulator

pytestmark = pytest.mark.timeout(400)
LONG = {"Authorization": f"Bearer {issue('https://management.azure.com', lifetime_s=365 * 86400)}"}
SCRIPT = {"properties": {"emulator.script": '[["Completed", 0]]'}}
JOB = {"jobType": "Command", "command": "true", "experimentName": "on-time", **SCRIPT}
CRON = {"triggerType": "Cron", "expression": "0 * * * *", "timeZone": "UTC"}


@pytest.fixture(scope="module")
def emulator(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with controlled_emulator(tmp_path_factory.mktemp("schedules-emulator"), azurite) as made:
        yield made


@pytest.fixture(scope="module")
def story(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    scratch = tmp_path_factory.mktemp("schedules")
    return tell(emulator, "schedules_story.py", scratch, emulator.addresses.http, patience_s=300)


@pytest.fixture(scope="module")
def wire(emulator: Emulator, story: dict[str, Any]) -> Iterator[httpx.Client]:
    """A client of the plain http port, once the story is told."""
    del story
    with client_of(emulator) as made:
        made.headers.update(LONG)
        yield made


def put(client: httpx.Client, name: str, **more: Any) -> httpx.Response:
    action = {"actionType": "CreateJob", "jobDefinition": JOB}
    body = {"properties": {"action": action, "trigger": CRON, **more}}
    return client.put(f"{ARM_ID}/schedules/{name}?api-version=2023-02-01-preview", json=body)


def jobs_of(client: httpx.Client, schedule: str) -> list[str]:
    listed = client.get(f"{ARM_ID}/jobs").json()["value"]
    return [one["name"] for one in listed if one["name"].startswith(f"{schedule}-")]


@of("created")
def test_a_schedule_is_made_and_comes_back_as_it_was_made(chapter: dict[str, Any]) -> None:
    assert chapter["made"] == ["daily", True, "Succeeded"]
    assert chapter["got"] == [None, {"team": "blue"}, "15 10 * * *", "UTC"]
    assert [chapter["job"][0], len(chapter["job"][1])] == ["on-time", 1]
    assert chapter["listed"] == ["daily"]
    assert chapter["missing"]["type"] == "ResourceNotFoundError"
    assert "(UserError) Resource Trigger never not found" in chapter["missing"]["text"]


@of("fired")
def test_a_schedule_begins_a_job_each_time_that_the_clock_comes_to(chapter: dict[str, Any]) -> None:
    assert [chapter["before"], chapter["first"], len(chapter["both"])] == [[], 1, 2]
    assert all(name.endswith("T101500Z") for name in chapter["both"])
    assert [chapter["status"], chapter["tags"]] == ["Completed", {"azureml.schedule": "daily"}]


@of("disabled")
def test_a_schedule_that_is_disabled_begins_nothing_until_it_is_enabled_again(chapter: dict[str, Any]) -> None:
    assert [chapter["off"], chapter["on"], chapter["enabled"]] == [False, True, ["hourly"]]
    assert [chapter["hourly"], chapter["while_off"], chapter["again"]] == [1, 2, 3]


@of("triggered")
def test_a_job_is_begun_at_once_also_of_a_schedule_that_is_disabled(chapter: dict[str, Any]) -> None:
    assert chapter == {"action": "CreateJob", "status": "Completed", "experiment": "on-time"}


@of("deleted")
def test_a_schedule_that_is_deleted_is_gone(chapter: dict[str, Any]) -> None:
    assert [chapter["gone"]["type"], chapter["again"]["status"]] == ["ResourceNotFoundError", 404]


@of("of_a_job")
def test_a_job_that_ran_before_is_scheduled_by_its_id_and_an_unknown_zone_is_refused(chapter: dict[str, Any]) -> None:
    assert chapter["status"] == "Completed"
    assert chapter["wrong"]["status"] == 400
    assert "Time zone 'Mars Standard Time' is not known here; known are UTC" in chapter["wrong"]["text"]


def test_a_schedule_outlives_a_restart_and_what_went_by_meanwhile_is_not_made_up_for(
    azurite: tuple[int, int], tmp_path: Path
) -> None:
    with controlled_emulator(tmp_path, azurite) as emulator:
        with client_of(emulator) as client:
            client.headers.update(LONG)
            client.post("/control/clock", json={"frozen": True})
            assert put(client, "hourly").status_code == 201
        emulator.end()
        emulator.start("--control")
        with client_of(emulator) as client:
            client.headers.update(LONG)
            before = jobs_of(client, "hourly")
            client.post("/control/clock/advance", json={"seconds": 3 * 3600})
            wait_for(lambda: bool(jobs_of(client, "hourly")), "the schedule has begun a job")
            client.post("/control/clock/advance", json={"seconds": 3600})
            wait_for(lambda: len(jobs_of(client, "hourly")) > 1, "the schedule has begun another")

            assert [before, len(jobs_of(client, "hourly"))] == [[], 2]


def test_making_a_schedule_is_an_operation_whose_body_has_properties_alone(wire: httpx.Client) -> None:
    """Recorded: schedule/…test_schedule_lifetime, PUT, its operation, and GET."""
    answer = put(wire, "recorded", description="a weekly retrain schedule", displayName="weekly")
    status = wire.get(answer.headers["azure-asyncoperation"])
    got = wire.get(f"{ARM_ID}/schedules/recorded")
    properties = answer.json()["properties"]

    assert [answer.status_code, list(answer.json())] == [201, ["properties"]]
    assert answer.headers["x-ms-async-operation-timeout"] == "PT30M"
    assert answer.headers["location"].endswith("/schedules/recorded?api-version=2023-02-01-preview")
    assert f"/mfeOperationsStatus/s:{WorkspaceName.parse(WORKSPACE).guid}:" in answer.headers["azure-asyncoperation"]
    assert [properties["provisioningState"], properties["isEnabled"], properties["trigger"]] == ["Creating", True, CRON]
    definition = properties["action"]["jobDefinition"]
    assert [definition["status"], definition["services"], definition["sourceJobId"]] == ["NotStarted", None, None]
    assert "/mfeOperationResults/s:" in status.json()["id"]
    assert list(status.json()) == ["id", "name", "status", "startTime", "endTime"]
    assert [got.json()["name"], got.json()["properties"]["provisioningState"]] == ["recorded", "Succeeded"]
    assert len(got.json()["systemData"]) == 6


def test_deleting_a_schedule_is_accepted_and_then_it_is_not_found(wire: httpx.Client) -> None:
    """Recorded: schedule/…test_schedule_lifetime, DELETE and the GET after it."""
    put(wire, "passing")
    answer = wire.delete(f"{ARM_ID}/schedules/passing")
    error = wire.get(f"{ARM_ID}/schedules/passing").json()["error"]

    assert [answer.status_code, answer.content] == [202, b"null"]
    assert "/mfeOperationsStatus/s:" in answer.headers["azure-asyncoperation"]
    assert wire.get(answer.headers["location"]).status_code == 200
    assert [error["code"], error["message"]] == ["UserError", "Resource Trigger passing not found"]
    assert error["additionalInfo"][-1]["info"]["value"] == {"code": "NotFound", "innerError": None}


def test_schedules_are_listed_by_whether_they_are_enabled(wire: httpx.Client) -> None:
    put(wire, "switched-on")
    put(wire, "switched-off", isEnabled=False)

    listed = {
        view: {one["name"] for one in wire.get(f"{ARM_ID}/schedules?listViewType={view}").json()["value"]}
        for view in ("EnabledOnly", "DisabledOnly", "All")
    }

    both = {"switched-on", "switched-off"}
    assert [listed[view] & both for view in listed] == [{"switched-on"}, {"switched-off"}, both]


def test_a_monitor_is_not_scheduled_here_and_says_so(wire: httpx.Client) -> None:
    answer = put(wire, "monitor", action={"actionType": "CreateMonitor", "monitorDefinition": {}})

    assert [answer.status_code, "a schedule of action CreateMonitor" in answer.text] == [501, True]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
TRIGGER = st.fixed_dictionaries(
    {"triggerType": st.sampled_from(["Cron", "Recurrence"])},
    optional={
        "expression": st.sampled_from(["* * * * *", "0 0 31 2 *", "99999999999999999999 * * * *"]) | JSON,
        "frequency": st.sampled_from(["Minute", "Day", "Week", "Month"]) | JSON,
        "interval": st.integers(-2, 2000) | JSON,
        "schedule": st.dictionaries(st.sampled_from(["hours", "minutes", "weekDays", "monthDays"]), JSON) | JSON,
        "startTime": st.sampled_from(["0001-01-01", "9999-12-31T23:59:59", "2026-01-01"]) | JSON,
        "endTime": JSON,
        "timeZone": st.sampled_from(["UTC", "UTC+12", "UTC-11"]) | JSON,
    },
)
MEMBERS = ("tags", "properties", "jobs", "inputs", "outputs", "settings", "command", "sourceJobId", "computeId")
DEFINITION = st.fixed_dictionaries(
    {"jobType": st.sampled_from(["Command", "Pipeline"])}, optional=dict.fromkeys(MEMBERS, JSON)
)
LENIENT = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@LENIENT
@given(TRIGGER | JSON, DEFINITION | st.just(JOB))
def test_whatever_a_schedule_is_made_of_it_is_taken_or_refused(
    wire: httpx.Client, trigger: Any, definition: Any
) -> None:
    action = {"actionType": "CreateJob", "jobDefinition": definition}

    answer = put(wire, "odd", trigger=trigger, action=action)
    listed = wire.get(f"{ARM_ID}/schedules?listViewType=All")
    wire.delete(f"{ARM_ID}/schedules/odd")

    assert answer.status_code == 201 or (answer.status_code in {400, 404, 501} and answer.json()["error"]["message"])
    assert listed.status_code == 200
