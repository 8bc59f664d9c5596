"""Command jobs as real processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from azureml_emulator.processes import environment
from azureml_emulator.settings import DEV_ACCOUNT_KEY
from azureml_emulator.store import Run
from tests.unit.emulator.world import World, files, text

pytestmark = pytest.mark.anyio


async def test_a_command_runs_with_its_literals_in_place_and_completes(world: World) -> None:
    run = await world.ended(world.command("echo 'rate ${{inputs.rate}}'", inputs=text(rate="0.3")))

    assert (run.status, run.exit_code, run.error) == ("Completed", 0, None)
    assert world.runner.log(run.workspace, run.name) == "rate 0.3\n"
    assert run.started is not None
    assert run.ended is not None
    assert run.created <= run.started <= run.ended


async def test_the_log_is_an_append_blob_where_azure_has_it(world: World) -> None:
    run = await world.ended(world.command("echo out; echo err >&2"))

    found = await world.blobs(f"azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{run.name}/")

    assert found == {"user_logs/std_log.txt": b"out\nerr\n"}


async def test_the_log_can_be_read_from_its_blob_while_the_job_runs(world: World) -> None:
    flag = world.shared / "go"
    run = world.command(f"echo early; while [ ! -e {flag} ]; do sleep 0.05; done; echo late")
    await world.said(run, "early")
    where = f"azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{run.name}/user_logs/std_log.txt"
    seen = b""
    while not seen:
        seen = (await world.blobs(where))[""]
    still = world.now(run).status
    flag.touch()
    await world.ended(run)

    assert (seen, still) == (b"early\n", "Running")
    assert await world.blobs(where) == {"": b"early\nlate\n"}


async def test_a_file_and_a_folder_are_there_before_the_command_starts(world: World) -> None:
    file = await world.put_blob("in/rows.csv", b"a,b\n")
    await world.put_blob("tree/one.txt", b"1")
    await world.put_blob("tree/deep/two.txt", b"2")
    inputs = files(("rows", file)) | files(
        ("tree", "azureml://datastores/workspaceblobstore/paths/tree/"), kind="uri_folder"
    )

    run = await world.ended(
        world.command("cat ${{inputs.rows}} ${{inputs.tree}}/one.txt ${{inputs.tree}}/deep/two.txt", inputs=inputs)
    )

    assert world.runner.log(run.workspace, run.name) == "a,b\n12"
    assert run.status == "Completed"


@pytest.mark.parametrize("form", ["address", "short", "long", "asset id", "asset name", "latest"])
async def test_an_input_may_be_named_in_every_way_that_azure_knows(world: World, form: str) -> None:
    uri = await world.put_blob("in/a b.csv", b"found")
    place = world.storage.resolve(uri, world.workspace)
    asset = f"{world.workspace}/data/rows/versions/7"
    world.store.put(asset, {"id": asset, "properties": {"dataUri": uri, "dataType": "uri_file"}})
    where = world.workspace.replace("/providers/Microsoft.MachineLearningServices", "").replace(
        "resourceGroups", "resourcegroups"
    )
    forms = {
        "address": f"https://{world.settings.account}.blob.core.windows.net/{place.container}/in/a%20b.csv?sv=1&sig=x",
        "short": uri,
        "long": f"azureml:/{where}/datastores/workspaceblobstore/paths/in/a b.csv",
        "asset id": asset,
        "asset name": "azureml:rows:7",
        "latest": "azureml:rows@latest",
    }

    run = await world.ended(world.command('cat "${{inputs.rows}}"', inputs=files(("rows", forms[form]))))

    assert (run.status, world.runner.log(run.workspace, run.name)) == ("Completed", "found")


async def test_a_missing_blob_fails_the_job_before_its_process_starts(world: World) -> None:
    await world.put_blob("in/other.csv")
    uri = "azureml://datastores/workspaceblobstore/paths/in/gone.csv"

    run = await world.ended(world.command(f"touch {world.shared}/started", inputs=files(("rows", uri))))

    assert run.status == "Failed"
    assert run.error is not None
    assert "input 'rows'" in run.error["message"]
    assert uri in run.error["message"]
    assert not (world.shared / "started").exists()
    assert run.exit_code is None


async def test_an_optional_block_goes_with_its_input(world: World) -> None:
    command = "echo a $[[--rate ${{inputs.rate}}]] z"

    without = await world.ended(world.command(command))
    given = await world.ended(world.command(command, inputs=text(rate="2")))

    assert world.runner.log(without.workspace, without.name) == "a z\n"
    assert world.runner.log(given.workspace, given.name) == "a --rate 2 z\n"


async def test_a_failed_command_says_its_exit_code_and_the_end_of_its_log(world: World) -> None:
    run = await world.ended(world.command("for i in $(seq 1 100); do echo line $i; done; exit 3"))

    assert (run.status, run.exit_code) == ("Failed", 3)
    assert run.error is not None
    assert (run.error["code"], run.error["innerError"]) == ("UserError", {"code": "UserTrainingScriptFailed"})
    assert "exited with status code 3" in run.error["message"]
    assert [f"line {i}" for i in range(81, 101)] == run.error["message"].splitlines()[-20:]
    assert "line 80" not in run.error["message"]


async def test_the_end_of_a_log_of_endless_lines_is_bounded(world: World) -> None:
    run = await world.ended(world.command("head -c 200000 /dev/zero | tr '\\0' x; exit 1"))

    assert run.error is not None
    assert len(run.error["message"]) < 5000


async def test_outputs_go_where_they_were_asked_to_and_are_told(world: World) -> None:
    outputs = {
        "asked": {
            "jobOutputType": "uri_folder",
            "uri": "azureml://datastores/workspaceblobstore/paths/asked/here/",
            "mode": None,
        },
        "own": {"jobOutputType": "uri_folder", "uri": None, "mode": "ReadWriteMount"},
        "file": {"jobOutputType": "uri_file", "uri": "azureml://datastores/workspaceblobstore/paths/one/rows.csv"},
    }
    command = (
        "echo 1 > ${{outputs.asked}}/a.txt; mkdir ${{outputs.own}}/d; echo 2 > $AZURE_ML_OUTPUT_own/d/b.txt;"
        " echo 3 > ${{outputs.file}}"
    )

    run = await world.ended(world.command(command, outputs=outputs))

    assert run.status == "Completed"
    assert {name: await world.blobs(output["uri"]) for name, output in run.outputs.items()} == {
        "asked": {"a.txt": b"1\n"},
        "own": {"d/b.txt": b"2\n"},
        "file": {"": b"3\n"},
    }
    assert run.outputs["own"]["uri"].endswith(f"/datastores/workspaceblobstore/paths/azureml/{run.name}/own/")
    assert run.outputs["own"]["uri"].startswith("azureml://subscriptions/")


async def test_an_output_with_an_assets_name_becomes_a_version_of_it(world: World) -> None:
    outputs = {"rows": {"jobOutputType": "uri_folder", "uri": None, "assetName": "scored"}}

    run = await world.ended(world.command("echo 1 > ${{outputs.rows}}/a.txt", outputs=outputs))

    version = world.store.get(f"{world.workspace}/data/scored/versions/1")
    assert version is not None
    assert version["properties"]["dataUri"] == run.outputs["rows"]["uri"]


async def test_a_file_output_that_was_not_written_fails_the_job_by_name(world: World) -> None:
    run = await world.ended(world.command("true", outputs={"rows": {"jobOutputType": "uri_file", "uri": None}}))

    assert run.status == "Failed"
    assert run.error is not None
    assert "did not write its output rows" in run.error["message"]


async def test_the_outputs_folder_is_kept_of_a_failed_job_too(world: World) -> None:
    run = await world.ended(world.command("mkdir outputs; echo half > outputs/state.txt; exit 1"))

    found = await world.blobs(
        f"azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{run.name}/outputs/"
    )

    assert (run.status, found) == ("Failed", {"state.txt": b"half\n"})


async def test_the_code_is_there_and_python_is_the_one_for_jobs(world: World) -> None:
    await world.put_blob("src/tool/say.py", b"import sys; print(sys.prefix)")
    place = world.storage.resolve("azureml://datastores/workspaceblobstore/paths/src", world.workspace)
    code = f"{world.workspace}/codes/c/versions/1"
    address = f"https://{world.settings.account}.blob.core.windows.net:443/{place.container}/src"
    world.store.put(code, {"id": code, "properties": {"codeUri": address}})

    run = await world.ended(world.command("python tool/say.py", spec={"codeId": f"azureml:{code}"}))

    assert world.runner.log(run.workspace, run.name).strip() == sys.prefix


async def test_python_is_the_one_for_jobs_where_its_folder_has_none_of_that_name(world: World, tmp_path: Path) -> None:
    lonely = tmp_path / "lonely" / "python-for-jobs"
    lonely.parent.mkdir()
    lonely.write_text("#!/bin/sh\necho it was me\n")
    lonely.chmod(0o755)
    run = Run(workspace=world.workspace, name="r", kind="Command", spec={})

    found = environment(run, lonely, http="http://127.0.0.1:1", folder=tmp_path / "bench")

    shim = Path(found["PATH"].split(":")[0]) / "python"
    assert shim.parent != lonely.parent
    assert str(lonely) in shim.read_text()


async def test_a_job_is_told_of_its_run_and_of_nothing_secret(world: World) -> None:
    own = {"HTTPS_PROXY_OF_MINE": "kept"}
    run = await world.ended(world.command("env", spec={"environmentVariables": own}, experiment="trial"))

    found = dict(line.split("=", 1) for line in world.runner.log(run.workspace, run.name).splitlines() if "=" in line)
    workspace = world.workspace
    assert found["AZUREML_RUN_ID"] == found["MLFLOW_RUN_ID"] == run.name
    assert found["MLFLOW_TRACKING_URI"] == f"http://127.0.0.1:9/mlflow/v2.0{workspace}"
    assert found["MLFLOW_TRACKING_TOKEN"].count(".") == 2
    assert found["MLFLOW_EXPERIMENT_NAME"] == "trial"
    assert found["AZUREML_ARM_WORKSPACE_NAME"] == "testing"
    assert found["PYTHONUNBUFFERED"] == "1"
    assert found["HTTPS_PROXY_OF_MINE"] == "kept"
    assert "PYTEST_CURRENT_TEST" in os.environ
    assert "PYTEST_CURRENT_TEST" not in found
    assert DEV_ACCOUNT_KEY not in world.runner.log(workspace, run.name)
    assert [
        name for name in found if name.lower() in ("http_proxy", "https_proxy", "no_proxy", "identity_header")
    ] == []


async def test_a_job_that_exceeds_its_time_limit_is_canceled_and_says_so(world: World) -> None:
    run = await world.ended(
        world.command("sleep 1000", spec={"limits": {"jobLimitsType": "Command", "timeout": "PT1S"}})
    )

    assert run.status == "Canceled"
    assert run.error is not None
    assert "time limit of 1 s" in run.error["message"]


async def test_nothing_of_a_run_is_left_on_disk_but_its_log(world: World) -> None:
    uri = await world.put_blob("in/rows.csv")

    await world.ended(world.command("echo x > big; exit 1", inputs=files(("rows", uri))))
    await world.ended(world.command("echo x > big", inputs=files(("rows", uri))))

    assert list((world.settings.state_dir / "runs").iterdir()) == []


async def test_a_placeholder_without_a_value_fails_the_job_by_name(world: World) -> None:
    run = await world.ended(world.command("echo ${{inputs.rate}}"))

    assert run.status == "Failed"
    assert run.error is not None
    assert "${{inputs.rate}}" in run.error["message"]
