"""Deployments of models, and the jobs that score with them."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator import scoring
from azureml_emulator.batch_driver import Settings
from azureml_emulator.errors import WireError
from azureml_emulator.steps import substitute
from azureml_emulator.store import Run, Store
from tests.unit.emulator.world import World, eventually

MODEL = "/models/m/versions/1"
NAMES = """
import os
def init():
    print("ready")
def run(mini_batch):
    return [os.path.basename(file) for file in mini_batch]
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    store.put(MODEL, {"id": MODEL, "properties": {"modelType": "custom_model", "modelUri": "azureml://x/paths/net/"}})
    store.put("/codes/c/versions/1", {"id": "/codes/c/versions/1", "properties": {"codeUri": "https://x/c"}})
    return store


def deployment(**more: Any) -> dict[str, Any]:
    code = {"codeId": "/codes/c/versions/1", "scoringScript": "score.py"}
    return {"model": {"assetId": MODEL}, "codeConfiguration": code, "environmentId": "/environments/e", **more}


def test_a_deployment_has_the_defaults_and_the_words_of_the_service(store: Store) -> None:
    made = scoring.deployment_properties(store, "d", deployment(loggingLevel="debug"))

    assert made["loggingLevel"] == "Debug"
    assert (made["miniBatchSize"], made["errorThreshold"], made["maxConcurrencyPerInstance"]) == (10, -1, 1)
    assert made["retrySettings"] == {"maxRetries": 3, "timeout": "PT30S"}
    assert (made["outputAction"], made["outputFileName"]) == ("AppendRow", "predictions.csv")
    assert made["resources"] == {"instanceCount": 1, "instanceType": None, "properties": None}


@pytest.mark.parametrize(
    ("wrong", "status", "told"),
    [
        ({"model": {"assetId": "/models/m/versions/9"}}, 404, "Model /models/m/versions/9 not found"),
        ({"codeConfiguration": None}, 400, "only an MLflow model needs no scoring script"),
        ({"environmentId": None}, 400, "has no environmentId"),
        ({"codeConfiguration": {"codeId": "/codes/c/versions/1"}}, 400, "needs a codeId and a scoringScript"),
        (
            {"codeConfiguration": {"codeId": "/c/2", "scoringScript": "s.py"}},
            404,
            "Code /c/2 of deployment d not found",
        ),
        (
            {"codeConfiguration": {"codeId": "/codes/c/versions/1", "scoringScript": "../s.py"}},
            400,
            "The scoringScript of deployment d is no path within its code",
        ),
        ({"outputFileName": "../../x"}, 400, "outputFileName is '../../x', which is no path within the output"),
        ({"outputFileName": "/a/x"}, 400, "outputFileName is '/a/x', which is no path within the output"),
        ({"miniBatchSize": 0}, 400, "miniBatchSize is 0, which is no whole number of at least 1"),
        ({"errorThreshold": -2}, 400, "errorThreshold is -2, which is no whole number of at least -1"),
        ({"maxConcurrencyPerInstance": "many"}, 400, "maxConcurrencyPerInstance is 'many'"),
        ({"resources": {"instanceCount": 0}}, 400, "instanceCount is 0"),
        ({"retrySettings": {"timeout": "30"}}, 400, "retrySettings.timeout '30' is no ISO 8601 duration"),
        ({"outputAction": "Overwrite"}, 400, "outputAction is 'Overwrite', which is none of AppendRow, SummaryOnly"),
    ],
)
def test_a_deployment_that_cannot_work_is_refused(store: Store, wrong: dict[str, Any], status: int, told: str) -> None:
    with pytest.raises(WireError) as refused:
        scoring.deployment_properties(store, "d", deployment(**wrong))

    assert refused.value.status == status
    assert told in json.dumps(refused.value.body)


def plan(store: Store, asked: dict[str, Any] | None = None, **more: Any) -> scoring.Scoring:
    made = scoring.deployment_properties(store, "d", deployment(**more.pop("deployment", {})))
    folder = {"jobInputType": "uri_folder", "uri": "azureml://in/", "mode": "ReadOnlyMount"}
    return scoring.plan(store, made, asked or {}, inputs={"any": folder, **more.pop("inputs", {})}, outputs=more)


def test_an_invocation_may_change_what_azure_lets_it_change(store: Store) -> None:
    asked = {
        "miniBatchSize": 2,
        "errorThreshold": 5,
        "outputFileName": "mine.csv",
        "retrySettings": {"maxRetries": 0},
        "compute": {"instanceCount": 4},
    }

    made = plan(store, asked, deployment={"retrySettings": {"maxRetries": 7, "timeout": "PT5M"}})

    assert made.parameters == {
        "run_max_try": "1",
        "run_invocation_timeout": "300",
        "mini_batch_size": "2",
        "error_threshold": "5",
        "logging_level": "INFO",
        "process_count_per_node": "1",
        "legacy_model_job": "False",
        "NodeCount": "4",
        "append_row_file_name": "mine.csv",
    }


def test_the_names_of_input_and_output_do_not_matter_but_there_is_one_of_each(store: Store) -> None:
    wish = {"jobOutputType": "uri_folder", "uri": "azureml://out/"}

    assert plan(store, whatever=wish).outputs == {"score": wish}
    for wrong, told in (
        ({"inputs": {"more": {"jobInputType": "uri_file", "uri": "u"}}}, "exactly one input"),
        ({"inputs": {"any": {"jobInputType": "literal", "value": "1"}}}, "a model scores a uri_folder or a uri_file"),
        ({"inputs": {"any": {"jobInputType": "mltable", "uri": "u"}}}, "Input any is a mltable"),
        ({"one": wish, "two": wish}, "has one output"),
    ):
        with pytest.raises(WireError, match=told):
            plan(store, **wrong)


_pieces = ["${{inputs.data}}", "${{", "$[[", "]]", "$", "$(id)", "'", '"', "\\", "\n", "END-", "score.py"]
_shellish = st.lists(st.sampled_from(_pieces), max_size=5).map("".join)


@given(script=_shellish, file=_shellish)
def test_the_command_tells_the_driver_its_settings_whatever_stands_in_them(script: str, file: str) -> None:
    settings = Settings(script=script, output_file=file)

    places = {"inputs.data": "/a b/$x", "inputs.model": "/m", "outputs.score": "/o"}
    lines = substitute(scoring.command(settings), places).splitlines()

    assert Settings(**json.loads(lines[1])) == settings
    assert lines[0].endswith(f"<<'{lines[-1]}'")
    assert lines[2:-1] == list(places.values())


async def submit(world: World, script: str, **asked: Any) -> Run:
    """Put model, code and data, and start what an invocation would."""
    for path, text in (("net/weights.txt", "0.5"), ("code/score.py", script), ("in/a b.txt", "1"), ("in/c.txt", "2")):
        await world.put_blob(path, text.encode())
    datastore = "azureml://datastores/workspaceblobstore/paths"
    at = f"{world.workspace}/models/m/versions/1"
    code = f"{world.workspace}/codes/c/versions/1"
    world.store.put(at, {"id": at, "properties": {"modelType": "custom_model", "modelUri": f"{datastore}/net"}})
    world.store.put(code, {"id": code, "properties": {"codeUri": f"{datastore}/code"}})
    configured = deployment(model={"assetId": at}, codeConfiguration={"codeId": code, "scoringScript": "score.py"})
    made = scoring.plan(
        world.store,
        scoring.deployment_properties(world.store, "d", configured),
        asked,
        inputs={"in": {"jobInputType": "uri_folder", "uri": f"{datastore}/in/"}},
        outputs={},
    )
    name = f"batchjob-{uuid.uuid4()}"
    run = Run(
        workspace=world.workspace, name=name, kind="Pipeline", spec=made.spec, inputs=made.inputs, outputs=made.outputs
    )
    assert world.store.add_run(run)
    world.runner.submit(run)
    return run


@pytest.mark.anyio
async def test_the_job_is_a_pipeline_of_the_step_batchscoring_with_the_output_score(world: World) -> None:
    run = await world.ended(await submit(world, NAMES))

    step = world.steps(run)["batchscoring"]
    assert (run.status, step.status) == ("Completed", "Completed"), world.runner.log(step.workspace, step.name)
    assert run.outputs["score"]["uri"] == step.outputs["score"]["uri"]
    assert await world.blobs(run.outputs["score"]["uri"]) == {"predictions.csv": b"a b.txt\nc.txt\n"}
    kept = await world.blobs(f"azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{step.name}/")
    assert b"2 files in 1 mini-batches" in kept["logs/job_progress_overview.txt"]
    assert kept["logs/user/stdout/node0/process000.stdout.txt"] == b"ready\n"


@pytest.mark.anyio
async def test_a_failed_job_says_which_node_and_the_node_says_why(world: World) -> None:
    run = await world.ended(await submit(world, "def init(): raise OSError('no weights')\ndef run(files): pass"))

    step = world.steps(run)["batchscoring"]
    assert (run.status, step.status) == ("Failed", "Failed")
    assert run.error is not None
    assert "Failed nodes: /batchscoring" in run.error["message"]
    assert step.error is not None
    assert "The job failed: The scoring script cannot be used: OSError: no weights" in step.error["message"]


@pytest.mark.anyio
async def test_a_cancel_ends_the_processes_that_score(world: World) -> None:
    pid_file = world.shared / "pid"
    script = (
        "import os, pathlib, time\n"
        f"def init(): pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); print('scoring now')\n"
        "def run(mini_batch): time.sleep(600)\n"
    )
    run = await submit(world, script)
    while not (steps := world.steps(run)):
        await world.said(run, "batchscoring")
    await world.said(steps["batchscoring"], "scoring now")
    pid = pid_file.read_text()

    await world.runner.cancel(run.workspace, run.name)

    assert (await world.ended(run)).status == "Canceled"
    await eventually(lambda: not _lives(pid), f"the worker process {pid} has ended")


def _lives(pid: str) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
