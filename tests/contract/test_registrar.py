"""Registering models, on the real emulator and the real Azurite."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import evolve

from airflow_azureml.client.models import Registrar, open_registrar
from airflow_azureml.client.register_store import BlobShelf
from airflow_azureml.core.models import Kind
from airflow_azureml.errors import AzureMLError, ConfigError, NotReadyError, ProtocolError, RefusedError
from tests.contract.conftest import Emulator, tell
from tests.contract.registering import BEARER, Life, Trained, Workspace, mortal_registrar, settings_of


@pytest.fixture(scope="module")
def workspace(emulator: Emulator) -> Iterator[Workspace]:
    with httpx.Client(base_url=emulator.addresses.http, headers=BEARER, trust_env=False, timeout=30) as http:
        yield Workspace(emulator, http)


@pytest.fixture(scope="module")
def trained(workspace: Workspace) -> Trained:
    return workspace.train()


@pytest.fixture
def registrar(emulator: Emulator) -> Iterator[Registrar]:
    with open_registrar(settings_of(emulator)) as opened:
        yield opened


@pytest.fixture
def model() -> str:
    return f"m-{uuid.uuid4().hex[:10]}"


def test_the_same_job_and_output_are_the_same_version_however_often_they_are_registered(
    registrar: Registrar, workspace: Workspace, trained: Trained, model: str
) -> None:
    first = registrar.register(trained.registration(model), source=trained.source)
    again = registrar.register(
        trained.registration(model), source="azureml://datastores/workspaceblobstore/paths/gone/"
    )
    other = registrar.register(trained.registration(model, "b", kind=Kind.MLFLOW), source=trained.source)

    assert (first.version.version, first.is_new) == ("1", True)
    assert (again.version.version, again.is_new) == ("1", False)
    assert other.version.version == "2"
    assert workspace.versions(model)["1"]["jobName"] == trained.job
    assert workspace.versions(model)["2"]["modelType"] == "mlflow_model"
    assert workspace.versions(model)["2"]["modelUri"].endswith(f"/trained/{trained.job}/b")


def test_the_champion_gives_way_to_whoever_was_compared_with_it_and_to_nobody_else(
    registrar: Registrar, workspace: Workspace, trained: Trained, model: str
) -> None:
    for path in "abc":
        registrar.register(trained.registration(model, path), source=trained.source)

    assert registrar.champion(model) is None
    assert registrar.crown(model, "1", expected="").crowned
    assert registrar.crown(model, "2", expected="1").crowned
    lost = registrar.crown(model, "3", expected="1")

    assert not lost.crowned
    assert lost.reason == (
        "It was compared with version 1, and the champion is version 2 now: the gate must look again."
    )
    assert workspace.stages(model) == {"1": "retired", "2": "champion", "3": "challenger"}
    champion = registrar.champion(model)
    assert champion is not None
    assert (champion.version, champion.job) == ("2", trained.job)


def test_a_version_that_somebody_outside_has_registered_is_never_overwritten(
    registrar: Registrar, workspace: Workspace, trained: Trained, model: str
) -> None:
    workspace.put(model, "1", tags={"whose": "theirs"})
    first = registrar.register(trained.registration(model), source=trained.source)
    same_files = trained.registration(model, "b").uri
    workspace.put(model, "3", tags={"whose": "theirs"}, modelUri=same_files)
    second = registrar.register(trained.registration(model, "b"), source=trained.source)

    assert (first.version.version, second.version.version) == ("2", "4")
    theirs = {name: one["tags"] for name, one in workspace.versions(model).items() if name in {"1", "3"}}
    assert theirs == {"1": {"whose": "theirs"}, "3": {"whose": "theirs"}}


def test_a_version_from_outside_can_be_crowned_and_is_tagged(
    registrar: Registrar, workspace: Workspace, model: str
) -> None:
    workspace.put(model, "1", tags={"whose": "theirs"})

    assert registrar.champion(model) is None
    assert registrar.crown(model, "1", expected="").crowned
    champion = registrar.champion(model)
    assert champion is not None
    assert (champion.version, champion.evaluation, champion.data_version) == ("1", "", "")
    assert workspace.versions(model)["1"]["tags"] == {"whose": "theirs", "stage": "champion"}


def test_a_champion_that_was_archived_outside_counts_as_none_and_gives_way(
    registrar: Registrar, workspace: Workspace, trained: Trained, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    for path in "abc":
        registrar.register(trained.registration(model, path), source=trained.source)
    registrar.crown(model, "1", expected="")
    workspace.archive(model, "1")

    assert registrar.champion(model) is None
    assert f"Version 1 of model {model} is its champion, and was archived outside" in caplog.text
    with pytest.raises(ConfigError, match=r"Version 1 of model .* is archived"):
        registrar.crown(model, "1", expected="")
    assert registrar.crown(model, "2", expected="").crowned
    assert not registrar.crown(model, "3", expected="").crowned


def test_who_was_compared_with_a_champion_that_is_archived_meanwhile_is_crowned(
    registrar: Registrar, workspace: Workspace, trained: Trained, model: str
) -> None:
    for path in "ab":
        registrar.register(trained.registration(model, path), source=trained.source)
    registrar.crown(model, "1", expected="")
    workspace.archive(model, "1")

    assert registrar.crown(model, "2", expected="1").crowned


def test_a_person_goes_back_to_the_champion_before(
    registrar: Registrar, workspace: Workspace, trained: Trained, model: str
) -> None:
    for path, expected in (("a", ""), ("b", "1")):
        registered = registrar.register(trained.registration(model, path), source=trained.source)
        registrar.crown(model, registered.version.version, expected=expected)

    assert "only a person" in registrar.crown(model, "1", expected="2").reason
    assert registrar.crown(model, "1", expected="2", again=True).crowned
    assert workspace.stages(model) == {"1": "champion", "2": "retired"}
    assert registrar.retire(model, "1")
    assert registrar.champion(model) is None
    assert workspace.stages(model) == {"1": "retired", "2": "retired"}


def test_a_version_that_is_not_there_is_not_crowned(registrar: Registrar, model: str) -> None:
    with pytest.raises(ConfigError, match=r"Version 7 of model .* is not there"):
        registrar.crown(model, "7", expected="")


def remove(registrar: Registrar, model: str) -> None:
    """Lose the register, as a policy does that deletes old blobs."""
    assert isinstance(registrar.shelf, BlobShelf)
    registrar.shelf._container.delete_blob(f"{registrar.shelf._folder}{model}.json")


def test_a_register_that_is_lost_is_told_and_nothing_is_registered_until_it_is_there_again(
    registrar: Registrar, workspace: Workspace, trained: Trained, model: str
) -> None:
    for path in "ab":
        registrar.register(trained.registration(model, path), source=trained.source)
    registrar.crown(model, "2", expected="")
    remove(registrar, model)

    for act in (
        lambda: registrar.champion(model),
        lambda: registrar.register(trained.registration(model, "c"), source=trained.source),
        lambda: registrar.crown(model, "1", expected=""),
    ):
        with pytest.raises(ConfigError, match=f"The register of model {model}, .*{model}.json, is lost"):
            act()
    assert set(workspace.versions(model)) == {"1", "2"}
    rebuilt = registrar.rebuild(model, champion="2")
    assert [one.version for one in rebuilt.entries] == ["1", "2"]
    again = registrar.register(trained.registration(model, "b"), source=trained.source)
    assert (again.version.version, again.is_new) == ("2", False)
    assert registrar.crown(model, "1", expected="2").crowned
    with pytest.raises(ConfigError, match="that can be read: it is kept"):
        registrar.rebuild(model)


def test_a_register_that_cannot_be_read_is_told_and_can_be_written_anew(
    registrar: Registrar, trained: Trained, model: str
) -> None:
    registrar.register(trained.registration(model), source=trained.source)
    before = registrar.shelf.read(f"{model}.json")
    assert before is not None
    registrar.shelf.write(f"{model}.json", before.text[:40], over=before.version)

    with pytest.raises(ProtocolError, match=f"Read the register of model {model}, .*: it is no register"):
        registrar.champion(model)
    with pytest.raises(ConfigError, match="Version 7 is not in the register"):
        registrar.rebuild(model, champion="7")
    assert registrar.rebuild(model).champion == ""
    assert registrar.champion(model) is None


def test_a_model_has_one_register_whatever_the_case_of_its_letters(
    registrar: Registrar, trained: Trained, model: str
) -> None:
    registrar.register(trained.registration(model), source=trained.source)

    with pytest.raises(ConfigError, match=f"call it {model!r}"):
        registrar.register(trained.registration(model.upper(), "b"), source=trained.source)


def test_a_champion_that_was_deleted_counts_as_none_and_is_not_made_again_under_its_number(
    registrar: Registrar, workspace: Workspace, trained: Trained, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    registrar.register(trained.registration(model), source=trained.source)
    registrar.crown(model, "1", expected="")
    workspace.delete(model, "1")

    assert registrar.champion(model) is None
    assert f"Version 1 of model {model} is its champion, and was deleted outside" in caplog.text
    with pytest.raises(ConfigError, match="was its champion and was deleted since: it is not registered again"):
        registrar.register(trained.registration(model), source=trained.source)
    registered = registrar.register(trained.registration(model, "b"), source=trained.source)
    assert registered.version.version == "2"
    assert registrar.crown(model, "2", expected="").crowned
    assert workspace.stages(model) == {"2": "champion"}


def test_a_champion_that_is_deleted_between_the_gate_and_the_crown_gives_way_and_nothing_is_half_done(
    registrar: Registrar, workspace: Workspace, trained: Trained, model: str
) -> None:
    for path in "ab":
        registrar.register(trained.registration(model, path), source=trained.source)
    registrar.crown(model, "1", expected="")
    workspace.delete(model, "1")

    assert registrar.crown(model, "2", expected="1").crowned
    assert workspace.stages(model) == {"2": "champion"}


def test_a_challenger_that_was_deleted_is_registered_again_by_its_own_task(
    registrar: Registrar, workspace: Workspace, trained: Trained, model: str
) -> None:
    registrar.register(trained.registration(model), source=trained.source)
    workspace.delete(model, "1")
    again = registrar.register(trained.registration(model), source=trained.source)

    assert (again.version.version, again.is_new) == ("1", True)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"path": "nowhere"}, "has nothing at .*nowhere: check output and path"),
        ({"path": "", "kind": Kind.MLFLOW}, "has no file MLmodel, which a model of kind mlflow has"),
        ({"job": "never-was"}, "never-was"),
        ({"tags": {"stage": "x"}}, "kept by the register"),
    ],
)
def test_what_cannot_be_registered_is_refused_before_anything_is_written(
    emulator: Emulator, workspace: Workspace, trained: Trained, model: str, wrong: dict[str, Any], told: str
) -> None:
    life = Life(left=0)
    with mortal_registrar(settings_of(emulator), life) as registrar, pytest.raises(AzureMLError, match=told) as raised:
        registrar.register(evolve(trained.registration(model), **wrong), source=trained.source)

    assert not raised.value.retryable
    assert workspace.versions(model) == {}


@pytest.mark.parametrize(("command", "error"), [("exit 3", ConfigError), ("sleep 30", NotReadyError)])
def test_a_job_that_is_not_completed_is_refused_before_anything_is_written(
    emulator: Emulator, workspace: Workspace, model: str, command: str, error: type[AzureMLError]
) -> None:
    job = workspace.train(command=command, ends=("Failed", "Running"))
    with (
        mortal_registrar(settings_of(emulator), Life(left=0)) as registrar,
        pytest.raises(error, match=r"is .*only what"),
    ):
        registrar.register(job.registration(model), source=job.source)

    assert workspace.versions(model) == {}


def test_a_place_for_registers_that_is_none_is_refused(emulator: Emulator) -> None:
    settings = settings_of(emulator)

    for folder in ("https://a.blob.core.windows.net/c/", "azureml://jobs/x/outputs/y", ""):
        with (
            pytest.raises(ConfigError, match="it must be a folder azureml://"),
            open_registrar(settings, folder=folder),
        ):
            pass
    with (
        pytest.raises(RefusedError, match="nowhere"),
        open_registrar(settings, folder="azureml://datastores/nowhere/paths/a/"),
    ):
        pass


def test_the_official_client_reads_and_downloads_what_was_registered(
    emulator: Emulator, registrar: Registrar, trained: Trained, model: str, tmp_path: Path
) -> None:
    for path, expected in (("a", ""), ("b", "1")):
        told = trained.registration(model, path, kind=Kind.MLFLOW, description="# A card\n", tags={"team": "ward 4"})
        registered = registrar.register(told, source=trained.source)
        registrar.crown(model, registered.version.version, expected=expected)

    seen = tell(emulator, "registered_story.py", tmp_path, model)

    assert seen["properties"].items() >= {"job": trained.job, "output": "model"}.items()
    del seen["properties"]
    assert seen == {
        "type": "mlflow_model",
        "job": trained.job,
        "stage": "Production",
        "tags": {"team": "ward 4", "stage": "champion"},
        "description": "# A card\n",
        "production": ["2"],
        "files": {"MLmodel": "b\n"},
    }
