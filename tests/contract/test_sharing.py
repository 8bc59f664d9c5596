"""Sharing a registered model with a registry, and what is left when a registry or the workspace refuses."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import httpx
import pytest

from airflow_azureml.client.models import Registrar, open_registrar
from airflow_azureml.errors import ConfigError, RefusedError, UnavailableError
from tests.contract.conftest import OTHER, OTHER_ID, WORKSPACE, Emulator, wait_for
from tests.contract.controlled import controlled_emulator
from tests.contract.registering import BEARER, Died, Life, Trained, Workspace, mortal_registrar, settings_of

REGISTRY = "models-for-all"
AT = f"/subscriptions/{WORKSPACE.split('/')[0]}/resourceGroups/{WORKSPACE.split('/')[1]}/providers"
AT += f"/Microsoft.MachineLearningServices/registries/{REGISTRY}"
DATA_PLANE = f"/mferp/managementfrontend{AT}"


@pytest.fixture(scope="module")
def emulator(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An emulator with a registry, that can be told to refuse."""
    with controlled_emulator(tmp_path_factory.mktemp("sharing"), azurite) as made:
        yield made


@pytest.fixture(scope="module")
def workspace(emulator: Emulator) -> Iterator[Workspace]:
    with httpx.Client(base_url=emulator.addresses.http, headers=BEARER, trust_env=False, timeout=30) as http:
        http.put(f"{AT}?api-version=2022-10-01-preview", json={"properties": {}}).raise_for_status()
        yield Workspace(emulator, http)


@pytest.fixture(scope="module")
def trained(workspace: Workspace) -> Trained:
    return workspace.train()


@pytest.fixture
def registrar(emulator: Emulator, workspace: Workspace) -> Iterator[Registrar]:
    with open_registrar(settings_of(emulator)) as opened:
        yield opened
    workspace.http.delete("/control/faults").raise_for_status()


@pytest.fixture
def model(registrar: Registrar, trained: Trained) -> str:
    name = f"m-{uuid.uuid4().hex[:10]}"
    registrar.register(trained.registration(name), source=trained.source)
    return name


def refuse(workspace: Workspace, method: str, path: str, status: int, *, count: int = 100) -> None:
    said = [{"method": method, "path": path, "status": status, "count": count}]
    workspace.http.put("/control/faults", json=said).raise_for_status()


def shared(workspace: Workspace, model: str) -> list[str]:
    """List the versions that the registry has."""
    answer = workspace.http.get(f"{DATA_PLANE}/models/{model}/versions?api-version=2021-10-01-dataplanepreview")
    return [] if answer.status_code == 404 else [one["id"] for one in answer.raise_for_status().json()["value"]]


def test_a_version_is_shared_once_however_often_it_is_asked_for(
    registrar: Registrar, workspace: Workspace, model: str
) -> None:
    told = [registrar.share(model, "1", registry=REGISTRY) for _ in range(2)]

    assert told[0].id == f"azureml://registries/{REGISTRY}/models/{model}/versions/1"
    assert told[0] == told[1]
    assert shared(workspace, model) == [told[0].id]


def test_who_dies_after_the_import_was_asked_for_finds_it_there(
    emulator: Emulator, registrar: Registrar, workspace: Workspace, model: str
) -> None:
    refuse(workspace, "GET", ".*/assetstore/.*", 403)
    with pytest.raises(RefusedError, match="Follow an import into registry"):
        registrar.share(model, "1", registry=REGISTRY)
    with mortal_registrar(settings_of(emulator), Life(left=0)) as dying:
        found = dying.share(model, "1", registry=REGISTRY)

    assert found.id.endswith(f"/{model}/versions/1")


def test_who_dies_before_the_import_was_asked_for_shares_nothing(
    emulator: Emulator, workspace: Workspace, model: str
) -> None:
    with mortal_registrar(settings_of(emulator), Life(left=0)) as dying, pytest.raises(Died):
        dying.share(model, "1", registry=REGISTRY)

    assert shared(workspace, model) == []


def test_an_import_whose_answer_was_lost_is_looked_for(registrar: Registrar, workspace: Workspace, model: str) -> None:
    said = [{"method": "POST", "path": ".*/import", "apply_then_drop": True, "count": 1}]
    workspace.http.put("/control/faults", json=said).raise_for_status()

    assert registrar.share(model, "1", registry=REGISTRY).id.endswith(f"/{model}/versions/1")


def test_a_registry_that_there_is_not_is_told(registrar: Registrar, model: str) -> None:
    with pytest.raises(ConfigError, match="There is no registry nowhere: check its name"):
        registrar.share(model, "1", registry="nowhere")


def test_another_workspaces_model_under_the_same_name_and_number_is_told_and_left(
    emulator: Emulator, registrar: Registrar, workspace: Workspace, model: str
) -> None:
    folder = {"modelType": "custom_model", "modelUri": trained_elsewhere(workspace)}
    path = f"{OTHER_ID}/models/{model}/versions/1?api-version=2023-08-01-preview"
    workspace.http.put(path, json={"properties": folder}).raise_for_status()
    with open_registrar(settings_of(emulator, OTHER)) as theirs:
        other = theirs.share(model, "1", registry=REGISTRY)

    with pytest.raises(ConfigError, match=r"has a version 1 of model .* already, and it is another one"):
        registrar.share(model, "1", registry=REGISTRY)
    assert shared(workspace, model) == [other.id]


def trained_elsewhere(workspace: Workspace) -> str:
    """Run a job in the other workspace."""
    at = f"{OTHER_ID}/jobs/train-{uuid.uuid4().hex[:10]}"
    spec = {
        "jobType": "Command",
        "command": "echo x > ${{outputs.model}}/a",
        "outputs": {"model": {"jobOutputType": "uri_folder"}},
        "environmentId": "azureml://registries/azureml/environments/x/versions/1",
    }
    workspace.http.put(f"{at}?api-version=2024-01-01-preview", json={"properties": spec}).raise_for_status()
    wait_for(lambda: workspace.http.get(at).json()["properties"]["status"] == "Completed", "the other job is completed")
    return f"azureml://jobs/{at.rpartition('/')[2]}/outputs/model"


def test_a_registry_that_refuses_is_told_and_has_nothing_and_the_champion_stays(
    registrar: Registrar, workspace: Workspace, model: str
) -> None:
    registrar.crown(model, "1", expected="")
    refuse(workspace, "POST", ".*/import", 403)

    with pytest.raises(RefusedError, match=f"Share version 1 of model {model} with registry {REGISTRY}: 403"):
        registrar.share(model, "1", registry=REGISTRY)
    assert shared(workspace, model) == []
    assert workspace.stages(model) == {"1": "champion"}


@pytest.mark.parametrize(("status", "error"), [(403, RefusedError), (503, UnavailableError)])
def test_a_workspace_that_refuses_the_version_has_none_and_keeps_its_champion_and_the_next_try_goes_on(
    registrar: Registrar, workspace: Workspace, trained: Trained, model: str, status: int, error: type[Exception]
) -> None:
    registrar.crown(model, "1", expected="")
    refuse(workspace, "PUT", f".*/models/{model}/versions/2", status)

    with pytest.raises(error, match=f"Write version 2 of model {model} in workspace .*: {status}"):
        registrar.register(trained.registration(model, "b"), source=trained.source)
    assert workspace.stages(model) == {"1": "champion"}
    workspace.http.delete("/control/faults").raise_for_status()
    assert registrar.register(trained.registration(model, "b"), source=trained.source).version.version == "2"
