"""A worker that dies between any two writes of a registration, and what the next try makes of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import httpx
import pytest

from airflow_azureml.client.models import Registrar, open_registrar
from airflow_azureml.core.workspace import ConnectionSettings
from tests.contract.conftest import Emulator
from tests.contract.registering import BEARER, Died, Life, Trained, Workspace, mortal_registrar, settings_of

#: Reserve, write the version, crown, tag it, tag the one before.
WRITES = 5
#: One more where the number that was reserved is taken by somebody outside.
WRITES_WHEN_TAKEN = 6


@pytest.fixture(scope="module")
def settings(emulator: Emulator) -> ConnectionSettings:
    return settings_of(emulator)


@pytest.fixture(scope="module")
def workspace(emulator: Emulator) -> Iterator[Workspace]:
    with httpx.Client(base_url=emulator.addresses.http, headers=BEARER, trust_env=False, timeout=30) as http:
        yield Workspace(emulator, http)


@pytest.fixture(scope="module")
def trained(workspace: Workspace) -> Trained:
    return workspace.train()


@pytest.fixture
def model(settings: ConnectionSettings, trained: Trained) -> str:
    """A model with a champion, which was made of folder a."""
    name = f"m-{uuid.uuid4().hex[:10]}"
    with open_registrar(settings) as registrar:
        work(registrar, trained, name, "a", expected="")
    return name


def work(registrar: Registrar, trained: Trained, model: str, path: str, *, expected: str) -> bool:
    """Do what the task does."""
    registered = registrar.register(trained.registration(model, path), source=trained.source)
    return registrar.crown(model, registered.version.version, expected=expected).crowned


def die(settings: ConnectionSettings, trained: Trained, model: str, *, after: int) -> Life:
    """Do it with folder b, and die after so many writes."""
    life = Life(left=after)
    with pytest.raises(Died), mortal_registrar(settings, life) as registrar:
        work(registrar, trained, model, "b", expected="1")
    return life


def test_a_registration_that_nothing_disturbs_writes_five_times_and_once_more_where_its_number_is_taken(
    settings: ConnectionSettings, workspace: Workspace, trained: Trained, model: str
) -> None:
    undisturbed, disturbed = Life(), Life()
    with mortal_registrar(settings, undisturbed) as registrar:
        work(registrar, trained, model, "b", expected="1")
    workspace.put(model, "3")
    with mortal_registrar(settings, disturbed) as registrar:
        work(registrar, trained, model, "c", expected="2")

    assert (undisturbed.done, disturbed.done) == (WRITES, WRITES_WHEN_TAKEN)


@pytest.mark.parametrize("writes", range(WRITES))
def test_whoever_dies_between_two_writes_is_made_up_for_by_the_next_try(
    settings: ConnectionSettings, workspace: Workspace, trained: Trained, model: str, writes: int
) -> None:
    assert die(settings, trained, model, after=writes).done == writes

    with open_registrar(settings) as registrar:
        assert work(registrar, trained, model, "b", expected="1")

    assert workspace.stages(model) == {"1": "retired", "2": "champion"}
    assert workspace.versions(model)["2"]["modelUri"].endswith("/b")


@pytest.mark.parametrize("writes", range(WRITES))
def test_whoever_dies_takes_nothing_from_another_who_comes_before_the_next_try(
    settings: ConnectionSettings, workspace: Workspace, trained: Trained, model: str, writes: int
) -> None:
    die(settings, trained, model, after=writes)

    with open_registrar(settings) as another:
        champion = another.champion(model)
        assert champion is not None
        assert work(another, trained, model, "c", expected=champion.version)
    with open_registrar(settings) as registrar:
        assert not work(registrar, trained, model, "b", expected="1")

    files = {name: one["modelUri"].rpartition("/")[2] for name, one in workspace.versions(model).items()}
    stages = {files[name]: stage for name, stage in workspace.stages(model).items()}
    was_crowned = writes >= 3
    assert len(files) == 3
    assert stages == {"a": "retired", "b": "retired" if was_crowned else "challenger", "c": "champion"}


@pytest.mark.parametrize("writes", range(WRITES_WHEN_TAKEN))
def test_whoever_dies_on_the_way_to_another_number_leaves_the_version_from_outside_as_it_is(
    settings: ConnectionSettings, workspace: Workspace, trained: Trained, model: str, writes: int
) -> None:
    workspace.put(model, "2", tags={"whose": "somebody's"})
    die(settings, trained, model, after=writes)

    with open_registrar(settings) as registrar:
        assert work(registrar, trained, model, "b", expected="1")

    assert workspace.stages(model) == {"1": "retired", "2": "", "3": "champion"}
    assert workspace.versions(model)["2"]["tags"] == {"whose": "somebody's"}
    assert workspace.versions(model)["3"]["modelUri"].endswith("/b")


def test_tags_that_a_dead_worker_left_behind_are_mended_by_whoever_looks_for_the_champion(
    settings: ConnectionSettings, workspace: Workspace, trained: Trained, model: str
) -> None:
    die(settings, trained, model, after=3)
    assert workspace.stages(model) == {"1": "champion", "2": "challenger"}

    with open_registrar(settings) as registrar:
        found = registrar.champion(model)

    assert found is not None
    assert found.version == "2"
    assert workspace.stages(model) == {"1": "retired", "2": "champion"}
