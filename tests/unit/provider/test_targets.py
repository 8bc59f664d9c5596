import os
from pathlib import Path

import pytest
from attrs import evolve

from airflow_azureml.client.targets import TargetMemory
from airflow_azureml.core.clouds import Cloud
from airflow_azureml.core.pipelines import BatchEndpoint, Declared, Interface, Target
from airflow_azureml.core.workspace import ConnectionSettings, Workspace

SETTINGS = ConnectionSettings(workspace=Workspace(subscription_id="s", resource_group="g", name="w"))
PIPELINE = BatchEndpoint("scoring", "ridge")
TARGET = Target(
    endpoint="scoring",
    deployment="ridge",
    scoring_uri="https://scoring.example/jobs",
    data_plane="https://api.example",
    interface=Interface(inputs={"data": Declared(type="uri_file", required=True)}, outputs={}),
)


@pytest.fixture
def memory(tmp_path: Path) -> TargetMemory:
    return TargetMemory(folder=tmp_path / "targets")


def test_what_was_kept_is_recalled_as_it_was(memory: TargetMemory) -> None:
    assert memory.recall(SETTINGS, PIPELINE) is None

    memory.keep(SETTINGS, PIPELINE, TARGET)

    assert memory.recall(SETTINGS, PIPELINE) == TARGET


def test_every_workspace_deployment_and_identity_has_its_own(memory: TargetMemory) -> None:
    memory.keep(SETTINGS, PIPELINE, TARGET)
    other = ConnectionSettings(workspace=Workspace(subscription_id="s", resource_group="g", name="other"))
    who = ConnectionSettings(workspace=SETTINGS.workspace, client_id="somebody")

    assert memory.recall(other, PIPELINE) is None
    assert memory.recall(who, PIPELINE) is None
    assert memory.recall(SETTINGS, BatchEndpoint("scoring")) is None


def test_a_workspace_reached_through_one_address_in_two_clouds_has_two(memory: TargetMemory) -> None:
    memory.keep(SETTINGS, PIPELINE, TARGET)

    assert memory.recall(evolve(SETTINGS, cloud=Cloud.CHINA), PIPELINE) is None
    assert memory.recall(evolve(SETTINGS, cloud=Cloud.PUBLIC), PIPELINE) == TARGET


def test_an_old_description_is_not_believed(memory: TargetMemory) -> None:
    memory.keep(SETTINGS, PIPELINE, TARGET)
    (kept,) = memory.folder.iterdir()
    os.utime(kept, (0, 0))

    assert memory.recall(SETTINGS, PIPELINE) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"endpoint": "x"}', '{"interface": {"inputs": 3, "outputs": {}}}'])
def test_what_cannot_be_read_is_not_there(memory: TargetMemory, content: str) -> None:
    memory.keep(SETTINGS, PIPELINE, TARGET)
    (kept,) = memory.folder.iterdir()
    kept.write_text(content)

    assert memory.recall(SETTINGS, PIPELINE) is None


def test_a_folder_that_others_may_write_to_is_not_used(memory: TargetMemory) -> None:
    memory.keep(SETTINGS, PIPELINE, TARGET)
    memory.folder.chmod(0o777)

    assert memory.recall(SETTINGS, PIPELINE) is None


def test_what_turned_out_to_be_wrong_is_forgotten(memory: TargetMemory) -> None:
    memory.keep(SETTINGS, PIPELINE, TARGET)

    memory.forget(SETTINGS, PIPELINE)

    assert memory.recall(SETTINGS, PIPELINE) is None


def test_nobody_else_may_read_it(memory: TargetMemory) -> None:
    memory.keep(SETTINGS, PIPELINE, TARGET)

    assert memory.folder.stat().st_mode & 0o777 == 0o700
