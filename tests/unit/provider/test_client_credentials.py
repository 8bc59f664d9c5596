"""Credentials are built by azure-identity itself; nothing is asked of anybody."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from azure import identity
from azure.identity import aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from airflow_azureml.client.credentials import RECIPES, async_credential, credential, proxies
from airflow_azureml.core.clouds import CLOUDS, Cloud
from airflow_azureml.core.workspace import Authentication, ConnectionSettings
from airflow_azureml.errors import ConfigError

NAMES = {"subscription_id": "s", "resource_group": "g", "workspace": "w"}
WHO = {"tenant_id": "11111111-1111-1111-1111-111111111111", "login": "22222222-2222-2222-2222-222222222222"}
SECRET = "s3cr3t-of-nobody"  # noqa: S105  # a test's own word
BUILDERS = [credential, async_credential]
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(encryption: KeySerializationEncryption | None = None) -> str:
    """A certificate that nobody has signed but itself, with its key, as PEM text."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "airflow")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(KEY, hashes.SHA256())
    )
    key = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    return (key + made.public_bytes(Encoding.PEM)).decode()


def parse(**more: str) -> ConnectionSettings:
    return ConnectionSettings.parse({**NAMES, **more}, conn_id="mine")


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    found = tmp_path / "token"
    found.write_text("a.service.account")
    return found


def form_of(kind: Authentication, token_file: Path) -> dict[str, str]:
    by_kind: dict[Authentication, dict[str, str]] = {
        Authentication.DEFAULT: {},
        Authentication.SERVICE_PRINCIPAL: {**WHO, "password": SECRET},
        Authentication.SERVICE_PRINCIPAL_CERTIFICATE: {**WHO, "password": certificate()},
        Authentication.MANAGED_IDENTITY: {"login": WHO["login"]},
        Authentication.WORKLOAD_IDENTITY: {**WHO, "token_file_path": str(token_file)},
        Authentication.EMULATOR: {"endpoint": "http://127.0.0.1:1"},
    }
    return {"authentication": kind.value, **by_kind[kind]}


@pytest.mark.parametrize("kind", RECIPES)
def test_both_clients_have_the_credential_of_the_same_name(kind: Authentication, token_file: Path) -> None:
    settings = parse(**form_of(kind, token_file))
    name = RECIPES[kind][0]

    assert type(credential(settings)) is getattr(identity, name)
    assert type(async_credential(settings)) is getattr(aio, name)


def test_every_kind_but_the_emulator_has_a_recipe() -> None:
    assert {*RECIPES, Authentication.EMULATOR} == set(Authentication)


@pytest.mark.parametrize("kind", RECIPES)
def test_a_recipe_speaks_of_settings_that_there_are(kind: Authentication) -> None:
    assert [ours for ours in RECIPES[kind][1].values() if not hasattr(parse(), ours)] == []


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("cloud", list(Cloud))
def test_tokens_are_asked_of_the_clouds_own_entra(build: Callable[[ConnectionSettings], Any], cloud: Cloud) -> None:
    built = build(parse(authentication="service_principal", cloud=cloud.value, password=SECRET, **WHO))
    client = getattr(built, "_authority", None) or built._client._authority

    assert client == f"https://{CLOUDS[cloud].authority}"


@pytest.mark.parametrize("build", BUILDERS)
def test_an_encrypted_certificate_opens_with_its_password_as_text_and_as_a_file(
    build: Callable[[ConnectionSettings], Any], tmp_path: Path
) -> None:
    text = certificate(BestAvailableEncryption(SECRET.encode()))
    file = tmp_path / "sp.pem"
    file.write_text(text)
    form = {"authentication": "service_principal_certificate", **WHO, "certificate_password": SECRET}

    assert build(parse(**form, password=text))
    assert build(parse(**form, password=text.replace("\n", "")))
    assert build(parse(**form, certificate_path=str(file)))


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize(
    "more",
    [
        {"password": certificate().replace("MII", "MIJ")},
        {"password": certificate(BestAvailableEncryption(b"another"))},
        {"password": certificate(BestAvailableEncryption(b"another")), "certificate_password": SECRET},
        {"certificate_path": "/nowhere/sp.pem"},
    ],
    ids=["damaged", "no password", "wrong password", "no file"],
)
def test_a_certificate_that_does_not_open_is_a_wrong_connection_and_not_shown(
    build: Callable[[ConnectionSettings], Any], more: dict[str, str]
) -> None:
    settings = parse(authentication="service_principal_certificate", **WHO, **more)

    with pytest.raises(ConfigError, match="Authentication 'service_principal_certificate' cannot be used") as caught:
        build(settings)

    told = "".join(traceback.format_exception(caught.value))
    assert SECRET not in told
    assert not any(line and line in told for line in more.get("password", "").splitlines()[1:-1] if "-" not in line)


@pytest.mark.parametrize("build", BUILDERS)
def test_a_tenant_that_is_no_name_is_a_wrong_connection(build: Callable[[ConnectionSettings], Any]) -> None:
    with pytest.raises(ConfigError, match="cannot be used on this machine"):
        build(parse(authentication="service_principal", tenant_id="no tenant!", login="c", password=SECRET))


@pytest.mark.parametrize("build", BUILDERS)
def test_a_token_file_that_is_not_there_is_a_wrong_connection_before_anything_is_asked(
    build: Callable[[ConnectionSettings], Any], tmp_path: Path
) -> None:
    settings = parse(authentication="workload_identity", token_file_path=str(tmp_path / "never"), **WHO)

    with pytest.raises(ConfigError, match=r"never cannot be read on this machine.*token_file_path"):
        build(settings)


@pytest.mark.parametrize("half", ["identity", "aio"])
def test_a_workload_identity_without_fields_takes_what_aks_sets(half: str, token_file: Path) -> None:
    script = (
        "from airflow_azureml.client import credentials as c; from airflow_azureml.core.workspace import *;"
        "s = ConnectionSettings.parse({'subscription_id': 's', 'resource_group': 'g', 'workspace': 'w',"
        " 'authentication': 'workload_identity'}, conn_id='mine');"
        f"print(type((c.credential if {half == 'identity'} else c.async_credential)(s)).__name__)"
    )
    aks = {
        "AZURE_TENANT_ID": WHO["tenant_id"],
        "AZURE_CLIENT_ID": WHO["login"],
        "AZURE_FEDERATED_TOKEN_FILE": str(token_file),
    }

    with_it = _python(script, aks)
    without = _python(script, {})

    assert with_it.stdout.strip() == "WorkloadIdentityCredential"
    assert "Authentication 'workload_identity' cannot be used on this machine" in without.stderr.splitlines()[-1]


def _python(script: str, more: dict[str, str]) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")}
    return subprocess.run(
        [sys.executable, "-c", script], env={**kept, **more}, capture_output=True, text=True, check=False
    )


def test_only_https_goes_through_a_connections_proxy() -> None:
    assert proxies(parse(proxy="http://proxy.example:3128/")) == {"https": "http://proxy.example:3128"}
    assert proxies(parse()) is None


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("kind", RECIPES)
def test_every_credential_takes_a_proxy(
    build: Callable[[ConnectionSettings], Any], kind: Authentication, token_file: Path
) -> None:
    assert build(parse(**form_of(kind, token_file), proxy="http://proxy.example:3128"))
