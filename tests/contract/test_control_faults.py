import ssl
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.contract.conftest import ARM_ID, Emulator, wait_for
from tests.contract.controlled import (
    BEARER,
    LIVES,
    advance,
    controlled_emulator,
    frozen_client,
    history,
    new_name,
    scripted_endpoint,
    start,
    status,
)

JOB_PATH = ".*/jobs/[^/]+"


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


@pytest.fixture
def endpoint(client: httpx.Client) -> str:
    return scripted_endpoint(client)


def fault(client: httpx.Client, **said: Any) -> None:
    answer = client.put("/control/faults", json=[{"path": JOB_PATH, **said}])
    assert answer.status_code == 200, answer.text


def struck(client: httpx.Client) -> list[int]:
    return [one["struck"] for one in client.get("/control/faults").json()]


def test_a_throttled_request_is_told_when_to_come_back_and_is_not_done(client: httpx.Client, name: str) -> None:
    fault(client, method="PUT", count=2, status=429, headers={"Retry-After": "7"})
    answers = [start(client, name, LIVES) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [429, 429, 201]
    assert answers[0].headers["Retry-After"] == "7"
    assert answers[0].json()["error"]["code"] == "TooManyRequests"
    assert answers[0].headers["x-ms-request-id"]
    assert struck(client) == [2]


def test_each_second_request_fails_with_the_status_and_code_that_were_said(client: httpx.Client, name: str) -> None:
    start(client, name, LIVES)
    fault(client, method="GET", every=2, status=503, code="Busy")
    answers = [client.get(f"{ARM_ID}/jobs/{name}") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 503, 200, 503]
    assert answers[1].json()["error"]["code"] == "Busy"


def test_a_slow_answer_is_right_but_late(client: httpx.Client, name: str) -> None:
    start(client, name, LIVES)
    fault(client, slow_s=0.5)
    with pytest.raises(httpx.ReadTimeout):
        client.get(f"{ARM_ID}/jobs/{name}", timeout=0.1)
    answer = client.get(f"{ARM_ID}/jobs/{name}")

    assert answer.json()["properties"]["status"] == "Preparing"
    assert answer.elapsed.total_seconds() >= 0.5


def test_a_reset_connection_gives_no_answer_and_nothing_is_done(client: httpx.Client, name: str) -> None:
    fault(client, method="PUT", count=1, reset=True)
    with pytest.raises(httpx.ReadError, match="reset by peer"):
        start(client, name, LIVES)

    assert client.get(f"{ARM_ID}/jobs/{name}").status_code == 404


def test_a_dropped_answer_is_of_something_that_was_done(client: httpx.Client, name: str) -> None:
    fault(client, method="PUT", count=1, apply_then_drop=True)
    with pytest.raises(httpx.RemoteProtocolError, match="disconnected without sending a response"):
        start(client, name, LIVES)

    assert status(client, name) == "Preparing"


@pytest.mark.parametrize("effect", [{"reset": True}, {"apply_then_drop": True}, {"truncate_bytes": 9}])
def test_a_connection_by_azures_names_is_cut_too(
    client: httpx.Client, controlled: Emulator, effect: dict[str, Any]
) -> None:
    fault(client, count=1, path=ARM_ID, **effect)
    trusted = ssl.create_default_context(cafile=controlled.env["SSL_CERT_FILE"])
    with httpx.Client(proxy=controlled.env["HTTPS_PROXY"], verify=trusted, trust_env=False, headers=BEARER) as azure:
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            azure.get(f"https://management.azure.com{ARM_ID}")
        assert azure.get(f"https://management.azure.com{ARM_ID}").status_code == 200


def test_a_token_is_called_expired_as_azure_calls_it(client: httpx.Client) -> None:
    fault(client, path=ARM_ID, count=1, expired_token=True)
    refused, taken = client.get(ARM_ID), client.get(ARM_ID)

    assert [refused.status_code, taken.status_code] == [401, 200]
    assert refused.json()["error"]["code"] == "ExpiredAuthenticationToken"
    assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]


@pytest.mark.parametrize("word", ["NotResponding", "SomethingNew"])
def test_another_status_word_is_shown_wherever_the_job_is_looked_at(
    client: httpx.Client, name: str, endpoint: str, word: str
) -> None:
    name = f"{name}-{word}"
    start(client, name, LIVES)
    body = {"count": 1, "prefix": f"of-{name}", "script": LIVES, "endpoint": endpoint, "deployment": "plain"}
    client.post("/control/jobs", json=body)
    fault(client, method="GET", path=".*/(jobs|runs).*", status_word=word)
    looked: list[Callable[[], Any]] = [
        lambda: status(client, name),
        lambda: client.get(f"{ARM_ID}/jobs").json()["value"][0]["properties"]["status"],
        lambda: history(client, name)["status"],
        lambda: history(client, name, "/details")["status"],
        lambda: client.get(f"/mferp/managementfrontend{ARM_ID}/batchEndpoints/{endpoint}/jobs").json()["value"][0][
            "properties"
        ]["status"],
    ]
    struck_words = [look() for look in looked]
    client.delete("/control/faults")

    assert struck_words == [word] * len(looked)
    assert [look() for look in looked] == ["Preparing"] * len(looked)


def test_a_cancel_that_never_ends_ends_with_a_later_cancel(client: httpx.Client, name: str) -> None:
    start(client, name, LIVES)
    fault(client, path=f"{JOB_PATH}/cancel", count=1, cancel_never_ends=True)
    first = client.post(f"{ARM_ID}/jobs/{name}/cancel").status_code
    advance(client, 10_000)
    stuck = status(client, name)
    client.post(f"{ARM_ID}/jobs/{name}/cancel")
    again = status(client, name)
    advance(client, 1)

    assert (first, stuck, again) == (202, "CancelRequested", "CancelRequested")
    assert status(client, name) == "Canceled"


def test_a_process_whose_cancel_never_ends_goes_on(client: httpx.Client, name: str) -> None:
    spec = {"jobType": "Command", "command": "echo here; sleep 600"}
    client.put(f"{ARM_ID}/jobs/{name}", json={"properties": spec})
    wait_for(lambda: status(client, name) == "Running", "the job runs")
    fault(client, path=f"{JOB_PATH}/cancel", count=1, cancel_never_ends=True)
    first = client.post(f"{ARM_ID}/jobs/{name}/cancel")
    pending = client.get(first.headers["Location"]).status_code
    stuck = status(client, name)
    client.post(f"{ARM_ID}/jobs/{name}/cancel")

    assert (pending, stuck) == (202, "CancelRequested")
    wait_for(lambda: status(client, name) == "Canceled", "the second cancel ends it")


def test_faults_strike_storage_too_and_never_the_control_interface(client: httpx.Client, controlled: Emulator) -> None:
    client.put("/control/faults", json=[{"path": ".*", "status": 503}])
    blob = httpx.get(f"{controlled.addresses.blob}/devstoreaccount1/x", trust_env=False)
    control = client.get("/control/faults")
    cleared = client.delete("/control/faults")

    assert [blob.status_code, control.status_code, cleared.status_code] == [503, 200, 204]
    assert control.json()[0]["struck"] == 1
    assert client.get("/control/faults").json() == []
