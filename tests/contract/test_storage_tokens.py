"""A token that storage refuses: made anew, once, as for Azure Resource Manager."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from azure.storage.blob import BlobServiceClient

from azureml_emulator.settings import DEV_ACCOUNT, DEV_ACCOUNT_KEY
from azureml_emulator.tokens import issue
from tests.contract.conftest import JUDGES, WORKSPACE, Emulator
from tests.contract.controlled import client_of, controlled_emulator

BOX = "storage-tokens"


@pytest.fixture(scope="module")
def controlled(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with controlled_emulator(tmp_path_factory.mktemp("storage-tokens"), azurite) as made:
        key = {"account_name": DEV_ACCOUNT, "account_key": DEV_ACCOUNT_KEY}
        with BlobServiceClient(f"{made.addresses.blob}/{DEV_ACCOUNT}", credential=key) as service:
            service.get_container_client(BOX).create_container()
            service.get_container_client(BOX).upload_blob("looked.txt", b"hello", overwrite=True)
        yield made


@pytest.fixture(scope="module", params=["default", "managed_identity"])
def told(request: pytest.FixtureRequest, controlled: Emulator) -> Any:
    asked = {"control": controlled.addresses.http, "queue": f"q{uuid.uuid4().hex[:10]}", "container": BOX}
    done = subprocess.run(
        [sys.executable, str(JUDGES / "storage_story.py")],
        env={**controlled.env, "CONTRACT_WORKSPACE": WORKSPACE},
        input=json.dumps({**asked, "authentication": request.param}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    with client_of(controlled) as client:
        client.delete("/control/faults")
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_queue_goes_on_with_a_new_token_where_the_remembered_one_is_refused(told: Any) -> None:
    assert told["queue"] == "after before"
    assert "401 InvalidAuthenticationInfo" in told["plain"]


def test_a_refused_token_is_replaced_once_and_no_more(told: Any) -> None:
    assert told["once"] == ["5 bytes", 1]
    words, struck = told["always"]
    assert "401 InvalidAuthenticationInfo" in words
    assert struck == 2


def test_a_fault_strikes_storage_in_the_words_of_storage(controlled: Emulator) -> None:
    url = f"{controlled.addresses.blob}/{DEV_ACCOUNT}/{BOX}/looked.txt"
    token = issue("https://storage.azure.com/")
    headers = {"Authorization": f"Bearer {token}", "x-ms-version": "2021-12-02", "x-ms-client-request-id": "mine"}
    forbidden = {"status": 403, "code": "AuthorizationPermissionMismatch", "headers": {"Retry-After": "3"}}
    answers = []
    with client_of(controlled) as client:
        for effect in ({"expired_token": True}, forbidden):
            client.put("/control/faults", json=[{"path": ".*/looked.txt", **effect}])
            answers.append(httpx.get(url, headers=headers, trust_env=False))
        client.delete("/control/faults")

    expired, refused = answers
    assert (expired.status_code, expired.headers["x-ms-error-code"]) == (401, "InvalidAuthenticationInfo")
    assert "resource_id=https://storage.azure.com" in expired.headers["WWW-Authenticate"]
    assert (refused.status_code, refused.headers["x-ms-error-code"]) == (403, "AuthorizationPermissionMismatch")
    assert "<Code>AuthorizationPermissionMismatch</Code>" in refused.text
    assert (refused.headers["Retry-After"], refused.headers["x-ms-client-request-id"]) == ("3", "mine")
