import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.contract.conftest import ARM_ID, Emulator, tell
from tests.contract.controlled import (
    BEARER,
    LIVES,
    client_of,
    controlled_emulator,
    frozen_client,
    new_name,
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


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/control/clock"),
        ("POST", "/control/clock"),
        ("POST", "/control/clock/advance"),
        ("PUT", "/control/scripts/slow"),
        ("POST", "/control/jobs"),
        ("PUT", "/control/faults"),
        ("GET", "/control/faults"),
        ("PUT", "/control/tokens"),
        ("GET", "/control/requests"),
        ("DELETE", "/control/requests"),
    ],
)
def test_without_control_there_is_no_control_interface(emulator: Emulator, method: str, path: str) -> None:
    body = {"frozen": True, "seconds": 1, "lifetime_s": 1, "count": 1, "script": LIVES, "prefix": "x"}
    answer = httpx.request(method, emulator.addresses.http + path, json=body, trust_env=False)

    assert answer.status_code == 501
    assert answer.json()["error"]["message"].startswith(f"{method} {path} is not emulated: the control interface needs")


def test_without_control_a_job_that_asks_for_a_script_is_refused(emulator: Emulator) -> None:
    with client_of(emulator) as client:
        answer = start(client, "wants-a-script", LIVES)

    assert answer.status_code == 400
    assert "this emulator was started without --control" in answer.json()["error"]["message"]


def test_what_was_set_with_control_is_not_in_force_without(stopped_emulator: Emulator) -> None:
    stopped_emulator.start("--control")
    with client_of(stopped_emulator) as client:
        client.put("/control/faults", json=[{"path": ".*", "status": 503}])
        client.put("/control/tokens", json={"lifetime_s": 1})
        client.post("/control/clock", json={"frozen": True})
        assert client.get(ARM_ID).status_code == 503
    stopped_emulator.end()
    stopped_emulator.start()
    with client_of(stopped_emulator) as client:
        assert client.get(ARM_ID).status_code == 200
        token = client.get(
            "/msi/token?resource=x", headers={"X-IDENTITY-HEADER": stopped_emulator.env["IDENTITY_HEADER"]}
        ).json()
        assert int(token["expires_on"]) > time.time() + 3600


def test_control_is_not_for_who_comes_by_another_name(client: httpx.Client, controlled: Emulator) -> None:
    trusted = ssl.create_default_context(cafile=controlled.env["SSL_CERT_FILE"])
    tls = controlled.addresses.tls.replace("127.0.0.1", "localhost")
    with httpx.Client(proxy=controlled.env["HTTPS_PROXY"], verify=trusted, trust_env=False, headers=BEARER) as azure:
        by_azures_name = azure.get("https://management.azure.com/control/clock")
    by_tls = httpx.get(f"{tls}/control/clock", verify=trusted, trust_env=False)
    rebound = [client.get("/control/clock", headers={"Host": host}) for host in ("emulator:80", "evil.example.com")]

    assert [answer.status_code for answer in (by_azures_name, by_tls, *rebound)] == [501, 501, 501, 501]
    assert client.get("/control/clock", headers={"Host": "localhost:1"}).status_code == 200


def test_another_machine_that_reaches_the_emulator_does_not_reach_its_control(stopped_emulator: Emulator) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no address but its own")
        address = probe.getsockname()[0]
    found = stopped_emulator.start("--control", "--host", "0.0.0.0", "--allow-remote")  # noqa: S104  # what is tried
    port = found.http.rpartition(":")[2]

    def _status(host: str, path: str, **headers: str) -> int:
        return httpx.get(f"http://{host}:{port}{path}", headers=headers, trust_env=False).status_code

    assert [_status(address, "/ui"), _status("127.0.0.1", "/control/clock")] == [200, 200]
    assert [_status(address, "/control/clock"), _status(address, "/control/clock", Host="127.0.0.1")] == [501, 501]
    assert "Whoever reaches 0.0.0.0 can run commands as you: jobs are commands" in stopped_emulator.log


def test_a_page_of_another_site_cannot_send_a_body_without_being_asked(client: httpx.Client) -> None:
    answer = client.post("/control/clock", content='{"frozen": false}', headers={"Content-Type": "text/plain"})

    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "The content type is text/plain; send application/json."
    assert client.get("/control/clock").json()["frozen"] is True


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "sentence"),
    [
        ("PUT", "/control/scripts/a", {"status": []}, 400, "A script has no status; its members are: statuses,"),
        ("PUT", "/control/scripts/a b", LIVES, 400, "'a b' is no name of a script"),
        ("GET", "/control/scripts/nobody", None, 404, "There is no script 'nobody'."),
        ("DELETE", "/control/scripts/nobody", None, 404, "There is no script 'nobody'."),
        ("PUT", "/control/faults", {"path": ".*"}, 400, "The faults are a list"),
        ("POST", "/control/clock", {}, 400, "frozen is missing"),
        ("POST", "/control/clock", {"frozen": 1}, 400, "frozen is 1; give true or false."),
        ("POST", "/control/clock", {"frozen": True, "at": 1}, 400, "at is unknown"),
        ("POST", "/control/clock", [], 400, "The body is no object"),
        ("POST", "/control/clock/advance", {"seconds": -1}, 400, "The seconds of the advance are -1"),
        ("PUT", "/control/tokens", {"lifetime_s": 0}, 400, "lifetime_s is 0; give a whole number of 1 to"),
        ("POST", "/control/jobs", {"count": 1, "script": LIVES}, 400, "prefix is missing"),
        ("POST", "/control/jobs", {"count": 0, "script": LIVES, "prefix": "x"}, 400, "count is 0"),
        ("POST", "/control/jobs", {"count": 1, "script": "no", "prefix": "x"}, 400, "There is no script 'no'"),
        ("POST", "/control/jobs", {"count": 1, "script": LIVES, "prefix": "/"}, 400, "is no beginning of a job's name"),
        (
            "POST",
            "/control/jobs",
            {"count": 1, "script": LIVES, "prefix": "x", "workspace": "no"},
            400,
            "There is no workspace 'no'",
        ),
        (
            "POST",
            "/control/jobs",
            {"count": 1, "script": LIVES, "prefix": "x", "endpoint": "no", "deployment": "no"},
            400,
            "batchEndpoints/no/deployments/no; create it first",
        ),
        ("GET", "/control/nothing", None, 501, "The control interface has no GET /control/nothing."),
        ("PATCH", "/control/clock", {}, 501, "The control interface has no PATCH /control/clock."),
    ],
)
def test_a_wrong_control_request_is_refused_in_a_sentence(
    client: httpx.Client, method: str, path: str, body: Any, code: int, sentence: str
) -> None:
    answer = client.request(method, path, **({} if body is None else {"json": body}))

    assert answer.status_code == code
    assert sentence in answer.json()["error"]["message"]


def test_a_body_that_is_no_json_is_refused(client: httpx.Client) -> None:
    answer = client.put("/control/faults", content="[", headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("The body is no JSON")


def test_requests_are_counted_by_method_and_route_until_the_counts_are_deleted(
    client: httpx.Client, controlled: Emulator, name: str
) -> None:
    client.delete("/control/requests")
    start(client, name, LIVES)
    for _ in range(3):
        status(client, name)
    client.get(f"{ARM_ID.replace('resourceGroups', 'resourcegroups')}/jobs/{name}")
    client.get(f"{ARM_ID}/jobs/nobody-{name}")
    client.put("/control/faults", json=[{"method": "GET", "path": ".*/jobs/.*", "count": 2, "status": 429}])
    client.get(f"{ARM_ID}/jobs/{name}")
    client.get(f"{ARM_ID.replace('resourceGroups', 'resourcegroups')}/jobs/{name}")
    client.get("/nothing")
    httpx.get(f"{controlled.addresses.blob}/devstoreaccount1/x", trust_env=False)
    shown = client.get("/control/requests").json()

    by_route = {(one["method"], one["route"]): one["statuses"] for one in shown["requests"]}
    assert sum(by_route.pop(("GET", "blob storage")).values()) == 1
    assert by_route == {
        ("PUT", "{workspace}/jobs/{name}"): {"201": 1},
        ("GET", "{workspace}/jobs/{name}"): {"200": 4, "404": 1, "429": 2},
        ("GET", "not emulated"): {"501": 1},
    }
    assert shown["count"] == 10
    assert shown["per_minute"] == pytest.approx(10 * 60 / shown["seconds"], rel=0.01)
    assert client.delete("/control/requests").status_code == 204
    assert client.get("/control/requests").json()["count"] == 0


def test_azure_ai_ml_sees_scripted_jobs_as_jobs(controlled: Emulator, tmp_path: Any) -> None:
    with client_of(controlled) as client:
        client.post("/control/clock", json={"frozen": False})
        body = {"count": 1, "prefix": "sdk-steps", "script": {"statuses": [["Completed", 0]], "steps": {"one": LIVES}}}
        client.post("/control/jobs", json=body)
    told = tell(controlled, "control_story.py", tmp_path)

    assert told["streamed"] == "Completed"
    assert "the script says hello" in told["log"]
    assert told["failed"] == {"status": "Failed", "message": "Out of memory."}
    assert told["canceled"] == "Canceled"
    assert told["steps"] == ["one"]
    assert set(told["names"]) >= {"sdk-good", "sdk-bad", "sdk-long", "sdk-steps-00000"}
