"""An emulator of one tenant: whose tokens it takes, and that official clients renew theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from azureml_emulator.cli import main
from azureml_emulator.tokens import issue
from tests.contract.conftest import ARM_ID, WORKSPACE, Emulator, tell

TENANT = "0f0f0f0f-1111-2222-3333-444444444444"
CLIENT, SECRET = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "not-a-real-secret"
#: azure-identity renews what ends within five minutes. Seconds.
LIFETIME_S = 303


@pytest.fixture(scope="module")
def strict(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    made = Emulator(tmp_path_factory.mktemp("tenant") / "state", *azurite)
    made.start("--control", "--tenant", TENANT, "--client", f"{CLIENT}={SECRET}")
    yield made
    made.end()


@pytest.fixture(scope="module")
def story(strict: Emulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    url = f"{strict.addresses.http}/control/tokens"
    httpx.put(url, json={"lifetime_s": LIFETIME_S}, trust_env=False).raise_for_status()
    scratch: Path = tmp_path_factory.mktemp("story")
    return tell(strict, "tenant_story.py", scratch, *WORKSPACE.split("/"), TENANT, CLIENT, SECRET)


def _look(emulator: Emulator, token: str | None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"{emulator.addresses.http}{ARM_ID}"
    return httpx.get(url, params={"api-version": "2024-04-01"}, headers=headers, trust_env=False, timeout=20)


def test_a_service_principal_signs_in_and_its_token_is_renewed(story: dict[str, Any]) -> None:
    assert story["names"] == [WORKSPACE.split("/")[2]] * 2
    assert story["renewed"] is True
    assert story["issuer"] == f"https://sts.windows.net/{TENANT}/"


def test_who_is_not_known_gets_no_token(story: dict[str, Any]) -> None:
    assert "AADSTS7000215" in story["wrong_secret"]
    assert "AADSTS700016" in story["unknown_client"]
    assert "AADSTS90002" in story["other_tenant"]


def test_a_token_of_somebody_else_is_refused_and_so_is_none(strict: Emulator) -> None:
    assert _look(strict, None).status_code == 401
    forged = _look(strict, issue("https://management.azure.com"))
    assert forged.status_code == 401
    assert forged.json()["error"]["code"] == "InvalidAuthenticationTokenTenant"
    assert _look(strict, "opaque").json()["error"]["code"] == "InvalidAuthenticationToken"


def test_a_token_that_was_changed_is_refused(strict: Emulator) -> None:
    identity = (strict.state_dir / "identity-header").read_text()
    url = f"{strict.addresses.http}/msi/token?resource=https://management.azure.com&client_id=one"
    token = httpx.get(url, headers={"X-IDENTITY-HEADER": identity}, trust_env=False).json()["access_token"]
    head, body, signature = token.split(".")

    assert _look(strict, token).status_code == 200
    assert _look(strict, ".".join([head, body, signature[::-1]])).status_code == 401


def test_a_token_outlives_a_restart(azurite: tuple[int, int], tmp_path: Path) -> None:
    made = Emulator(tmp_path / "state", *azurite)
    made.start("--tenant", TENANT, "--client", f"{CLIENT}={SECRET}")
    identity = (made.state_dir / "identity-header").read_text()
    url = f"{made.addresses.http}/msi/token?resource=https://management.azure.com"
    token = httpx.get(url, headers={"X-IDENTITY-HEADER": identity}, trust_env=False).json()["access_token"]
    made.end()
    made.start("--tenant", TENANT, "--client", f"{CLIENT}={SECRET}")
    try:
        assert _look(made, token).status_code == 200
    finally:
        made.end()
    assert oct((made.state_dir / "tenant.json").stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--tenant", "contoso"], "--tenant 'contoso' is no tenant's id: a GUID, in lower case."),
        (["--tenant", TENANT, "--client", "one"], "--client names a service principal as ID=SECRET."),
        (["--client", "one=two"], "--client needs --tenant."),
    ],
)
def test_a_tenant_that_is_none_is_one_sentence(
    options: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--state-dir", str(tmp_path), *options]) == 2
    assert capsys.readouterr().err == f"azureml-emulator: {sentence}\n"
