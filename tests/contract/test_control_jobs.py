import signal
import ssl
from collections.abc import Iterator

import httpx
import pytest

from azureml_emulator.clock import moment
from azureml_emulator.store import instant
from tests.contract.conftest import ARM_ID, Emulator, wait_for
from tests.contract.controlled import (
    LIVES,
    advance,
    client_of,
    controlled_emulator,
    frozen_client,
    history,
    new_name,
    scripted_endpoint,
    start,
    status,
)


@pytest.fixture(scope="module")
def controlled(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with controlled_emulator(tmp_path_factory.mktemp("controlled"), azurite) as made:
        yield made


@pytest.fixture
def client(controlled: Emulator) -> Iterator[httpx.Client]:
    with frozen_client(controlled) as made:
        yield made


@pytest.fixture
def name() -> str:
    return new_name()


def seconds_between(first: str, second: str) -> float:
    return (instant(second) - instant(first)).total_seconds()


def test_a_scripted_job_goes_as_its_script_says_while_the_clock_is_moved_on(client: httpx.Client, name: str) -> None:
    script = {
        "statuses": LIVES,
        "metrics": {"auc": [0.5, 0.75]},
        "outputs": {"scores": "azureml://datastores/a/paths/b"},
    }
    assert client.put(f"/control/scripts/s{name}", json=script).status_code == 201
    first = start(client, name, f"s{name}").json()["properties"]["status"]
    advance(client, 9.5)
    waiting = (status(client, name), metrics(client, name), history(client, name)["startTimeUtc"])
    advance(client, 1)
    running = (status(client, name), metrics(client, name))
    advance(client, 100)
    done = history(client, name)

    assert first == "Preparing"
    assert waiting == ("Preparing", {}, None)
    assert running == ("Running", {"auc": 0.75})
    assert done["status"] == status(client, name) == "Completed"
    assert seconds_between(done["createdUtc"], done["startTimeUtc"]) == 10
    assert seconds_between(done["startTimeUtc"], done["endTimeUtc"]) == 50
    rundata = client.post(f"/history/v1.0{ARM_ID}/rundata", json={"runId": name}).json()
    asset = rundata["runMetadata"]["outputs"]["scores"]["assetId"]
    resolved = client.post(f"/data/v1.0{ARM_ID}/dataversion/batchGetResolvedUris", json={"values": [asset]}).json()
    assert resolved["values"][asset]["uri"].endswith("/datastores/a/paths/b")


def metrics(client: httpx.Client, name: str) -> dict[str, float]:
    run = client.get(f"/mlflow/v2.0{ARM_ID}/api/2.0/mlflow/runs/get?run_id={name}").json()["run"]
    return {one["key"]: one["value"] for one in run["data"].get("metrics", [])}


def test_a_script_that_fails_shows_its_error_in_run_history(client: httpx.Client, name: str) -> None:
    error = {"code": "UserError", "message": "Out of memory.", "innerError": {"code": "OutOfMemory"}}
    start(client, name, {"statuses": [["Running", 5], ["Failed", 0]], "error": error})
    before = history(client, name)["error"]
    advance(client, 5)
    shown = history(client, name)["error"]["error"]

    assert before is None
    assert {member: shown[member] for member in error} == error


def test_the_log_of_a_script_is_where_clients_read_it(client: httpx.Client, name: str) -> None:
    start(client, name, {"statuses": [["Queued", 5], ["Running", 5]], "log": "line one\nline two\n"})
    before = history(client, name, "/details")["logFiles"]
    advance(client, 5)
    files = history(client, name, "/details")["logFiles"]
    history(client, name, "/details")

    assert before == {}
    assert httpx.get(files["user_logs/std_log.txt"], trust_env=False).text == "line one\nline two\n"


@pytest.mark.parametrize(("cancel_s", "words"), [(3, ["CancelRequested", "Canceled"]), (None, ["CancelRequested"] * 2)])
def test_a_cancel_of_a_scripted_job_takes_as_long_as_its_script_says(
    client: httpx.Client, name: str, cancel_s: float | None, words: list[str]
) -> None:
    name = f"{name}-{cancel_s}"
    start(client, name, {"statuses": LIVES, "cancel_s": cancel_s})
    advance(client, 20)
    answer = client.post(f"{ARM_ID}/jobs/{name}/cancel")
    seen = [status(client, name)]
    pending = client.get(answer.headers["Location"]).status_code
    advance(client, 3)
    seen.append(status(client, name))
    advance(client, 1000)

    assert (answer.status_code, pending, seen) == (202, 202, words)
    assert status(client, name) == words[-1]


def test_a_cancel_of_a_scripted_job_that_has_ended_changes_nothing(client: httpx.Client, name: str) -> None:
    start(client, name, [["Completed", 0]])

    assert client.post(f"{ARM_ID}/jobs/{name}/cancel").status_code == 200
    assert status(client, name) == "Completed"


def test_the_steps_that_a_script_names_are_the_jobs_children_and_are_cancelled_with_it(
    client: httpx.Client, name: str
) -> None:
    steps = {"prepare": [["Running", 5], ["Completed", 0]], "train": [["Queued", 5], ["Running", 500]]}
    body = {"count": 1, "prefix": name, "script": {"statuses": [["Running", 500]], "steps": steps}}
    parent = client.post("/control/jobs", json=body).json()["first"]
    before = children(client, parent)
    advance(client, 5)
    later = children(client, parent)
    client.post(f"{ARM_ID}/jobs/{parent}/cancel")
    advance(client, 1)

    assert before == {"prepare": "Running", "train": "Queued"}
    assert later == {"prepare": "Completed", "train": "Running"}
    assert children(client, parent) == {"prepare": "Completed", "train": "Canceled"}
    assert status(client, parent) == "Canceled"


def children(client: httpx.Client, name: str) -> dict[str, str]:
    return {one["displayName"]: one["status"] for one in history(client, name, "/children")["value"]}


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("nobody", "emulator.script: There is no script 'nobody'; PUT it to /control/scripts/NAME first."),
        ("{", "emulator.script: The script is no JSON"),
        ('[["Running", -1]]', "emulator.script: The seconds of status Running are -1"),
    ],
)
def test_a_job_with_a_wrong_script_is_refused(client: httpx.Client, name: str, script: str, sentence: str) -> None:
    answer = start(client, name, script)

    assert answer.status_code == 400
    assert sentence in answer.json()["error"]["message"]
    assert client.get(f"{ARM_ID}/jobs/{name}").status_code == 404


def test_a_pipeline_jobs_setting_names_its_script_unless_a_property_does(client: httpx.Client, name: str) -> None:
    scripted_endpoint(client)
    step = {"type": "command", "componentId": f"{ARM_ID}/components/one/versions/1"}
    job = {"jobType": "Pipeline", "jobs": {"one": step}, "settings": {"emulator.script": '[["Paused", 1]]'}}
    named = {**job, "properties": {"emulator.script": '[["Queued", 1]]'}}

    answers = [
        client.put(f"{ARM_ID}/jobs/{each}", json={"properties": body}).status_code
        for each, body in ((name, job), (f"{name}-named", named))
    ]

    assert answers == [201, 201]
    assert [status(client, name), status(client, f"{name}-named")] == ["Paused", "Queued"]


def test_a_scripted_job_is_put_twice_but_exists_once(client: httpx.Client, name: str) -> None:
    answers = [start(client, name, LIVES), start(client, name, LIVES), start(client, name, LIVES, command="other")]

    assert [answer.status_code for answer in answers] == [201, 200, 400]
    assert "JobPropertyImmutable" in answers[-1].text


def test_a_job_keeps_the_script_it_began_with(client: httpx.Client, name: str) -> None:
    client.put(f"/control/scripts/s{name}", json=LIVES)
    start(client, name, f"s{name}")
    client.put(f"/control/scripts/s{name}", json=[["Failed", 0]])
    client.delete(f"/control/scripts/s{name}")

    assert status(client, name) == "Preparing"
    assert client.get(f"/control/scripts/s{name}").status_code == 404


def test_a_frozen_clock_stands_and_what_the_emulator_writes_follows_it(client: httpx.Client, name: str) -> None:
    first, second = (client.get("/control/clock").json() for _ in range(2))
    start(client, name, LIVES)
    created = client.get(f"{ARM_ID}/jobs/{name}").json()["systemData"]["createdAt"]
    advance(client, 3600)
    third = client.get("/control/clock").json()

    assert first["now_s"] == second["now_s"]
    assert first["frozen"] is True
    assert created == first["now"] == moment(first["now_s"])
    assert third["now_s"] == pytest.approx(first["now_s"] + 3600, abs=1e-3)


def test_a_clock_that_is_let_go_goes_on_from_where_it_stands(client: httpx.Client) -> None:
    frozen = client.get("/control/clock").json()["now_s"]
    thawed = client.post("/control/clock", json={"frozen": False}).json()["now_s"]
    wait_for(lambda: client.get("/control/clock").json()["now_s"] > thawed, "the clock goes on")

    assert thawed - frozen < 5


def test_a_process_does_not_wait_for_the_frozen_clock(client: httpx.Client, name: str) -> None:
    spec = {"jobType": "Command", "command": "true"}
    client.put(f"{ARM_ID}/jobs/{name}", json={"properties": spec})

    wait_for(lambda: status(client, name) == "Completed", "the job that really runs ends")
    assert history(client, name)["startTimeUtc"] == history(client, name)["endTimeUtc"]


def test_tokens_live_as_long_as_was_said_by_the_emulators_clock(client: httpx.Client, controlled: Emulator) -> None:
    assert client.put("/control/tokens", json={"lifetime_s": 120}).json() == {"lifetime_s": 120}
    asked = client.get("/msi/token?resource=x", headers={"X-IDENTITY-HEADER": controlled.env["IDENTITY_HEADER"]}).json()
    trusted = ssl.create_default_context(cafile=controlled.env["SSL_CERT_FILE"])
    form = {"grant_type": "client_credentials", "client_id": "a", "client_secret": "b", "scope": "https://x/.default"}
    with httpx.Client(proxy=controlled.env["HTTPS_PROXY"], verify=trusted, trust_env=False) as azure:
        login = azure.post("https://login.microsoftonline.com/t/oauth2/v2.0/token", data=form).json()
    head = {"Authorization": f"Bearer {asked['access_token']}"}
    advance(client, 119)
    fresh = client.get(ARM_ID, headers=head)
    advance(client, 2)
    stale = client.get(ARM_ID, headers=head)

    assert login["expires_in"] == 120
    assert int(asked["expires_on"]) == pytest.approx(client.get("/control/clock").json()["now_s"] - 1, abs=1.5)
    assert [fresh.status_code, stale.status_code] == [200, 401]
    assert stale.json()["error"]["code"] == "ExpiredAuthenticationToken"
    assert client.get("/control/clock", headers=head).status_code == 200


def test_scripted_jobs_and_the_clock_outlive_a_crash_and_the_jobs_that_ran_do_not(stopped_emulator: Emulator) -> None:
    stopped_emulator.start("--control")
    with client_of(stopped_emulator) as client:
        client.post("/control/clock", json={"frozen": True})
        client.put("/control/scripts/kept", json=LIVES)
        start(client, "scripted", "kept")
        client.put(f"{ARM_ID}/jobs/real", json={"properties": {"jobType": "Command", "command": "sleep 600"}})
        wait_for(lambda: status(client, "real") == "Running", "the real job runs")
        advance(client, 20)
    stopped_emulator.end(signal.SIGKILL)
    stopped_emulator.start("--control")
    with client_of(stopped_emulator) as client:
        seen = [status(client, "scripted"), status(client, "real")]
        advance(client, 40)

        assert seen == ["Running", "Failed"]
        assert status(client, "scripted") == "Completed"
        assert client.get("/control/scripts/kept").json()["statuses"] == LIVES
