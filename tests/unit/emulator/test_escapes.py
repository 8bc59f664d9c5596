"""No name in a request leads out of the folder that is its own: not in a path, nor among the names within a body."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator.names import is_inside, is_plain
from azureml_emulator.testing import Workspace, emulator
from azureml_emulator.tokens import issue
from demo.azure import Azurite
from tests.unit.emulator.world import World, node

NAMES = ("../../../../escaped", "/tmp/escaped", "..", ".", "", "a/b", "a\\b", "a\0b")  # noqa: S108  # it is refused
_parts = st.sampled_from(["..", ".", "", "a", "b.py", "/", "a\\b", "..."])


@given(st.lists(_parts, max_size=6).map("/".join))
def test_a_path_that_is_called_inside_leads_nowhere_else(path: str) -> None:
    folder = PurePosixPath("/state/own")

    if is_inside(path):
        found = PurePosixPath(os.path.normpath(folder / path))
        assert found == folder or folder in found.parents
    if is_plain(path):
        assert (folder / path).parent == folder
        assert PurePosixPath(os.path.normpath(folder / path)) == folder / path


@pytest.fixture(scope="module")
def workspace(azurite: Azurite) -> Iterator[Workspace]:
    with emulator(azurite_blob=azurite.blob_url, azurite_queue=azurite.queue_url) as running:
        yield running.workspace()


def _put(workspace: Workspace, path: str, properties: dict[str, Any]) -> httpx.Response:
    return httpx.put(
        f"{workspace.control.http}{workspace.arm_id}/{path}",
        json={"location": "westeurope", "properties": properties},
        headers={"Authorization": f"Bearer {issue('https://management.azure.com')}"},
        trust_env=False,
        timeout=30,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("member", ["inputs", "outputs"])
def test_a_job_whose_input_or_output_is_called_like_a_path_is_refused(
    workspace: Workspace, member: str, name: str
) -> None:
    one = {"inputs": {"jobInputType": "uri_folder", "uri": "azureml://datastores/workspaceblobstore/paths/x"}}
    job = {"jobType": "Command", "command": "true", member: {name: one.get(member, {"jobOutputType": "uri_folder"})}}

    answer = _put(workspace, "jobs/escaping", job)

    assert answer.status_code == 400
    assert f"is no name for an {member[:-1]}" in answer.json()["error"]["message"]


@pytest.mark.anyio
@pytest.mark.parametrize("member", ["inputs", "outputs"])
async def test_a_step_whose_component_names_a_path_fails_and_makes_nothing(world: World, member: str) -> None:
    outside = f"../../../{world.shared.name}-escaped"
    component = world.component("true", **{member: {outside: {"type": "uri_file"}}})
    uri = await world.put_blob("data/a.csv")
    given = {"inputs": {outside: {"job_input_type": "uri_file", "uri": uri}}} if member == "inputs" else {}
    before = sorted(world.settings.state_dir.parent.iterdir())

    run = await world.ended(world.pipeline({"one": node(component) | given}))

    step = world.steps(run)["one"]
    assert step.status == "Failed"
    assert step.error is not None
    assert f"is no name for one of its {member}" in step.error["message"]
    assert sorted(world.settings.state_dir.parent.iterdir()) == before
    assert not list(world.settings.state_dir.rglob("*-escaped"))
