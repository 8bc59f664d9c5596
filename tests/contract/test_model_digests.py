"""A model in a registry is known to be the one that was tested by its files, read by another workspace's identity."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from airflow.sdk.exceptions import AirflowFailException
from azure.storage.blob import ContainerClient

from airflow_azureml.client.azureml import Client
from airflow_azureml.client.model_digests import digest_of
from airflow_azureml.client.models import open_registrar
from airflow_azureml.errors import ConfigError
from airflow_azureml.operators.promotion import AzureMLModelDigestOperator
from airflow_azureml.wire import registry_files
from tests.contract.conftest import OTHER, WORKSPACE, Emulator
from tests.contract.registering import BEARER, Workspace, settings_of

REGISTRY = "tested-models"
AT = f"/subscriptions/{WORKSPACE.split('/')[0]}/resourceGroups/{WORKSPACE.split('/')[1]}/providers"
AT += f"/Microsoft.MachineLearningServices/registries/{REGISTRY}"


@pytest.fixture(scope="module")
def workspace(emulator: Emulator) -> Iterator[Workspace]:
    with httpx.Client(base_url=emulator.addresses.http, headers=BEARER, trust_env=False, timeout=30) as http:
        http.put(f"{AT}?api-version=2022-10-01-preview", json={"properties": {}}).raise_for_status()
        yield Workspace(emulator, http)


@pytest.fixture(scope="module")
def shared(emulator: Emulator, workspace: Workspace) -> tuple[str, str]:
    """A version in the workspace, and the same in the registry."""
    trained, name = workspace.train(), f"m-{uuid.uuid4().hex[:10]}"
    with open_registrar(settings_of(emulator)) as registrar:
        registrar.register(trained.registration(name), source=trained.source)
        registrar.register(trained.registration(name, "b"), source=trained.source)
        found = registrar.share(name, "1", registry=REGISTRY)
    return f"azureml:{name}:1", found.id


def test_the_copy_in_the_registry_has_the_digest_of_the_original_for_whomever_reads_it(
    emulator: Emulator, shared: tuple[str, str]
) -> None:
    mine, theirs = shared

    original = digest_of(settings_of(emulator), mine)
    copy = digest_of(settings_of(emulator, OTHER), theirs)

    assert (copy.digest, copy.files) == (original.digest, 1)
    assert original.digest.startswith("sha256:")


def test_another_version_has_another_digest(emulator: Emulator, shared: tuple[str, str]) -> None:
    mine, _ = shared
    settings = settings_of(emulator)

    assert digest_of(settings, mine).digest != digest_of(settings, f"{mine.rpartition(':')[0]}:2").digest


@pytest.mark.parametrize("change", ["another content", "one file more", "one file less"])
def test_whatever_changes_in_the_registry_changes_the_digest(
    emulator: Emulator, shared: tuple[str, str], change: str
) -> None:
    settings, (_, theirs) = settings_of(emulator, OTHER), shared
    before = digest_of(settings, theirs).digest
    with Client(settings) as client:
        files = client.run(registry_files.files_of(settings.workspace, theirs))
    container = ContainerClient.from_container_url(files.container)
    with container:
        (name,) = container.list_blob_names()
        content = container.download_blob(name).readall()
        odd = name if change != "one file more" else f"{name}-more"
        if change == "one file less":
            container.delete_blob(name)
            with pytest.raises(ConfigError, match="has no files"):
                digest_of(settings, theirs)
        else:
            container.upload_blob(odd, b"other", overwrite=True)
            assert digest_of(settings, theirs).digest != before
            container.delete_blob(odd)
        container.upload_blob(name, content, overwrite=True)

    assert digest_of(settings, theirs).digest == before
    assert files.container not in repr(files)


@pytest.mark.parametrize("asset", ["nobody:1", "nobody", f"azureml://registries/{REGISTRY}/models/nobody/versions/1"])
def test_a_model_that_is_not_there_is_told(emulator: Emulator, workspace: Workspace, asset: str) -> None:
    del workspace
    with pytest.raises(ConfigError, match="nobody"):
        digest_of(settings_of(emulator), asset)


def test_a_model_that_is_another_one_than_was_tested_is_refused(
    emulator: Emulator, shared: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    subscription, group, workspace = OTHER.split("/")
    extra = {
        "subscription_id": subscription,
        "resource_group": group,
        "workspace": workspace,
        "authentication": "emulator",
        "endpoint": emulator.addresses.http,
    }
    monkeypatch.setenv("AIRFLOW_CONN_AZUREML_OTHER", json.dumps({"conn_type": "azureml", "extra": extra}))
    digest = digest_of(settings_of(emulator), shared[0]).digest
    context: Any = {}

    def verify(expected: str) -> Any:
        made = AzureMLModelDigestOperator(task_id="verify", model=shared[1], expected=expected, conn_id="azureml_other")
        return made.execute(context)

    assert verify(digest)["accepted"] is True
    with pytest.raises(
        AirflowFailException, match=r"the model that was tested and approved has sha256:0: it is another"
    ):
        verify("sha256:0")
