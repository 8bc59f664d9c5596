"""Our own clients, judged as the official ones are: with Azure's host names, under the environment of `env`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.credentials import AccessToken
from azure.storage.blob import BlobServiceClient

from airflow_azureml.client.azureml import AsyncClient, Client
from airflow_azureml.client.credentials import AsyncLocalCredential, LocalCredential
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.wire import jobs
from azureml_emulator.names import WorkspaceName, blob_store_container
from azureml_emulator.tokens import issue
from tests.contract.conftest import JUDGES, WORKSPACE, Emulator
from tests.unit.provider.test_client_credentials import certificate

SUBSCRIPTION, GROUP, NAME = WORKSPACE.split("/")
WHO = {"tenant_id": "11111111-1111-1111-1111-111111111111", "login": "22222222-2222-2222-2222-222222222222"}
SECRET = "s3cr3t-of-nobody"  # noqa: S105  # a test's own word
ACCOUNT = "devstoreaccount1"


@pytest.fixture(scope="module")
def emulator(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An emulator that takes orders."""
    made = Emulator(tmp_path_factory.mktemp("ordered") / "state", *azurite)
    made.start("--control", "--log-level", "debug")
    with BlobServiceClient(f"{made.addresses.blob}/{ACCOUNT}", credential=_key(made)) as service:
        container = service.get_container_client(blob_store_container(WorkspaceName.parse(WORKSPACE)))
        container.upload_blob("looked at.txt", b"hello, world", overwrite=True)
    yield made
    made.end()


def _key(emulator: Emulator) -> dict[str, str]:
    asked = httpx.post(
        f"{emulator.addresses.http}{WorkspaceName.parse(WORKSPACE).arm_id}/datastores/workspaceblobstore/listSecrets",
        headers={"Authorization": f"Bearer {issue('https://management.azure.com')}"},
        trust_env=False,
    )
    return {"account_name": ACCOUNT, "account_key": asked.json()["key"]}


def judge(emulator: Emulator, connections: dict[str, dict[str, str]], *, without: tuple[str, ...] = ()) -> Any:
    """Tell the story of these connections in a process that has the environment of an unmodified client."""
    variables = {**emulator.env, "CONTRACT_WORKSPACE": WORKSPACE, "AIRFLOW__CORE__UNIT_TEST_MODE": "True"}
    done = subprocess.run(
        [sys.executable, str(JUDGES / "client_story.py")],
        env={name: value for name, value in variables.items() if name not in without},
        input=json.dumps(connections),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


# Pain 16: every kind of authentication, in both clients


@pytest.fixture(scope="module")
def told(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("identities")
    (folder / "sp.pem").write_text(certificate())
    (folder / "token").write_text("a.service.account")
    connections = {
        "default": {},
        "secret": {"authentication": "service_principal", **WHO, "password": SECRET},
        "certificate": {"authentication": "service_principal_certificate", **WHO, "password": certificate()},
        "one line": {
            "authentication": "service_principal_certificate",
            **WHO,
            "password": certificate().replace("\n", ""),
        },
        "file": {
            "authentication": "service_principal_certificate",
            **WHO,
            "certificate_path": str(folder / "sp.pem"),
        },
        "managed": {"authentication": "managed_identity"},
        "user-assigned": {"authentication": "managed_identity", "login": WHO["login"]},
        "workload": {"authentication": "workload_identity", **WHO, "token_file_path": str(folder / "token")},
    }
    return judge(emulator, connections)


KINDS = ["default", "secret", "certificate", "one line", "file", "managed", "user-assigned", "workload"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("half", ["blocking", "async"])
def test_a_connection_with_azures_host_names_reads_the_workspace_and_its_data_plane(
    told: Any, kind: str, half: str
) -> None:
    found = told["told"][kind]

    assert "error" not in found, found["error"]
    assert found[half]["data_plane"] == "https://westeurope.api.azureml.ms"
    assert found[half]["history"] == 404
    assert found[half]["store"]["account"] == ACCOUNT


@pytest.mark.parametrize("kind", KINDS)
def test_a_blob_is_looked_at_with_the_connections_own_token(told: Any, kind: str) -> None:
    assert told["told"][kind]["blob"] == [12, "hello"]
    assert told["told"][kind]["container"] is True


@pytest.mark.parametrize("kind", KINDS)
def test_the_button_tells_that_workspace_jobs_and_storage_may_be_read(told: Any, kind: str) -> None:
    passed, words = told["told"][kind]["button"]

    assert passed, words
    for part in (f"Workspace {NAME} answers.", "Its jobs may be listed.", "of devstoreaccount1) may be read."):
        assert part in words


def test_no_secret_no_key_and_no_token_is_in_any_log(told: Any) -> None:
    assert told["log_lines"] > 100
    assert told["leaked"] == []
    assert told["key"] is False


# Proxies


NO_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")


def test_a_connections_own_proxy_serves_both_clients_and_entra_without_any_in_the_environment(
    emulator: Emulator,
) -> None:
    connection = {"authentication": "service_principal", **WHO, "password": SECRET, "proxy": emulator.addresses.proxy}

    found = judge(emulator, {"own": connection}, without=NO_PROXIES)["told"]["own"]

    assert found["blocking"]["data_plane"] == found["async"]["data_plane"] == "https://westeurope.api.azureml.ms"


def test_a_connections_own_proxy_goes_before_the_environments(emulator: Emulator) -> None:
    connection = {"authentication": "service_principal", **WHO, "password": SECRET, "proxy": "http://127.0.0.1:9"}

    found = judge(emulator, {"dead": connection})["told"]["dead"]

    assert "error" in found
    assert found["button"][0] is False


# The button names what is missing


def order(emulator: Emulator, method: str, path: str, body: Any = None) -> Any:
    answer = httpx.request(method, f"{emulator.addresses.http}/control/{path}", json=body, trust_env=False)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


@pytest.mark.parametrize(
    ("path", "action"),
    [
        (r".*/workspaces/[^/]+", "Microsoft.MachineLearningServices/workspaces/read"),
        (r".*/jobs", "Microsoft.MachineLearningServices/workspaces/jobs/read"),
        (r".*/datastores", "Microsoft.MachineLearningServices/workspaces/datastores/read"),
    ],
)
def test_the_button_names_the_right_that_is_missing(emulator: Emulator, path: str, action: str) -> None:
    order(emulator, "PUT", "faults", [{"path": path, "method": "GET", "status": 403}])
    try:
        passed, words = judge(emulator, {"poor": {}})["told"]["poor"]["button"]
    finally:
        order(emulator, "DELETE", "faults")

    assert not passed
    assert f"lacks the permission {action};" in words
    assert words.count("lacks the permission") == 1


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AuthorizationPermissionMismatch", "the role Storage Blob Data Reader on the storage account has it"),
        ("AuthorizationFailure", "network rules do not let this machine in"),
    ],
)
def test_the_button_tells_a_missing_right_to_storage_from_a_closed_network(
    emulator: Emulator, code: str, words: str
) -> None:
    order(emulator, "PUT", "faults", [{"path": "/azureml-blobstore-.*", "status": 403, "code": code}])
    try:
        passed, told = judge(emulator, {"poor": {}})["told"]["poor"]["button"]
    finally:
        order(emulator, "DELETE", "faults")

    assert not passed
    assert f"403 {code}" in told
    assert words in told
    assert "Its jobs may be listed." in told


# Pain 9: a token that is over in the middle of a wait


def local(emulator: Emulator) -> ConnectionSettings:
    fields = {"subscription_id": SUBSCRIPTION, "resource_group": GROUP, "workspace": NAME}
    return ConnectionSettings.parse(
        {**fields, "authentication": "emulator", "endpoint": emulator.addresses.http}, conn_id="local"
    )


class Stale(LocalCredential):
    """Gives out a token that is over, and good ones from then on; it believes in all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.given = 0

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        """Give one out."""
        self.given += 1
        if self.given > 1:
            return super().get_token(*scopes)
        over = issue(scopes[0].removesuffix("/.default"), lifetime_s=-60)
        return AccessToken(over, int(time.time()) + 3600)


class AsyncStale(AsyncLocalCredential):
    """`Stale` for an event loop."""

    def __init__(self) -> None:
        self.inner = Stale()

    async def get_token(self, *scopes: str, **more: Any) -> AccessToken:
        """Give one out."""
        return self.inner.get_token(*scopes, **more)


def test_a_token_that_is_over_is_made_anew_once_in_the_blocking_client(emulator: Emulator) -> None:
    stale, settings = Stale(), local(emulator)

    with Client(settings, credential=stale) as client:
        listed = [client.run(jobs.list_newest(settings.workspace)) for _ in range(3)]

    assert listed == [listed[0]] * 3
    assert stale.given == 2


@pytest.mark.anyio
async def test_a_token_that_is_over_is_made_anew_once_in_the_async_client(emulator: Emulator) -> None:
    stale, settings = AsyncStale(), local(emulator)

    async with AsyncClient(settings, credential=stale) as client:
        listed = [await client.run(jobs.list_newest(settings.workspace)) for _ in range(3)]

    assert listed == [listed[0]] * 3
    assert stale.inner.given == 2


def test_a_token_that_azure_calls_expired_is_made_anew_by_every_kind_of_credential(
    emulator: Emulator, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("a.service.account")
    kinds: dict[str, dict[str, str]] = {
        "default": {},
        "secret": {"authentication": "service_principal", **WHO, "password": SECRET},
        "managed": {"authentication": "managed_identity"},
        "workload": {"authentication": "workload_identity", **WHO, "token_file_path": str(tmp_path / "token")},
    }
    order(emulator, "PUT", "faults", [{"path": ".*/jobs", "expired_token": True, "every": 2}])
    try:
        found = judge(emulator, kinds)["told"]
    finally:
        (fault,) = order(emulator, "GET", "faults")
        order(emulator, "DELETE", "faults")

    lists = 3 * len(kinds)
    assert [name for name in kinds if "error" in found[name] or not found[name]["button"][0]] == []
    assert (fault["struck"], fault["matched"]) == (lists - 1, lists + lists - 1)


def test_tokens_that_live_two_minutes_are_replaced_before_anybody_refuses_them(emulator: Emulator) -> None:
    order(emulator, "PUT", "tokens", {"lifetime_s": 120})
    try:
        before = emulator.log.count("-> 401")
        found = judge(emulator, {"secret": {"authentication": "service_principal", **WHO, "password": SECRET}})["told"]
    finally:
        order(emulator, "PUT", "tokens", {"lifetime_s": 86400})

    assert "error" not in found["secret"]
    assert emulator.log.count("-> 401") == before
