"""Pipeline jobs: order, bindings, failures."""

from __future__ import annotations

import attrs
import pytest

from azureml_emulator.runner import Runner
from tests.unit.emulator.world import ADDRESSES, World, declared, files, node, text

pytestmark = pytest.mark.anyio

PREPARE = "cp ${{inputs.raw}} ${{outputs.clean}}/rows.csv; echo prepared >> ${{outputs.clean}}/rows.csv"
TRAIN = "(cat ${{inputs.data}}/rows.csv; echo rate ${{inputs.rate}}) > ${{outputs.model}}/model.txt"


def _prepare(world: World) -> str:
    return world.component(PREPARE, inputs=declared("uri_file", ["raw"]), outputs=declared("uri_folder", ["clean"]))


def _train(world: World) -> str:
    inputs = {"data": {"type": "uri_folder"}, "rate": {"type": "number", "default": "0.5", "optional": "False"}}
    return world.component(TRAIN, inputs=inputs, outputs=declared("uri_folder", ["model"]))


def _jobs(world: World) -> dict[str, dict[str, object]]:
    return {
        "train": node(
            _train(world),
            {"data": "${{parent.jobs.prepare.outputs.clean}}", "rate": "${{parent.inputs.rate}}"},
            outputs={"model": "${{parent.outputs.final}}"},
        ),
        "prepare": node(_prepare(world), {"raw": "${{parent.inputs.raw}}"}),
    }


async def test_a_pipeline_hands_outputs_on_and_its_own_outputs_are_its_steps(world: World) -> None:
    raw = await world.put_blob("in/rows.csv", b"rows\n")
    run = world.pipeline(
        _jobs(world),
        inputs=files(("raw", raw)) | text(rate="0.1"),
        outputs={"final": {"jobOutputType": "uri_folder", "uri": None, "mode": "ReadWriteMount"}},
    )

    ended = await world.ended(run)

    steps = world.steps(run)
    assert (ended.status, {name: step.status for name, step in steps.items()}) == (
        "Completed",
        {"prepare": "Completed", "train": "Completed"},
    )
    assert ended.outputs["final"]["uri"] == steps["train"].outputs["model"]["uri"]
    assert f"/paths/azureml/{steps['train'].name}/model/" in ended.outputs["final"]["uri"]
    assert await world.blobs(ended.outputs["final"]["uri"]) == {"model.txt": b"rows\nprepared\nrate 0.1\n"}
    assert (steps["train"].kind, steps["train"].parent, steps["train"].display_name) == ("Step", run.name, "train")
    assert steps["prepare"].ended is not None
    assert steps["train"].started is not None
    assert steps["prepare"].ended <= steps["train"].started


async def test_an_invocation_runs_the_pipeline_component_with_its_defaults_and_the_outputs_it_was_given(
    world: World,
) -> None:
    raw = await world.put_blob("in/rows.csv", b"rows\n")
    component = world.put_component(
        {
            "type": "pipeline",
            "name": "whole",
            "inputs": {"raw": {"type": "uri_file"}, "rate": {"type": "number", "default": "0.7"}},
            "outputs": {"final": {"type": "uri_folder"}},
            "jobs": _jobs(world),
        }
    )
    wish = "azureml://datastores/workspaceblobstore/paths/scored/today/"

    run = await world.ended(
        world.invoke(
            component, inputs=files(("raw", raw)), outputs={"final": {"jobOutputType": "uri_folder", "uri": wish}}
        )
    )

    assert run.status == "Completed"
    assert run.outputs["final"]["uri"].endswith("/datastores/workspaceblobstore/paths/scored/today/")
    assert await world.blobs(wish) == {"model.txt": b"rows\nprepared\nrate 0.7\n"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "needs input raw"),
        (files(("raw", "u"), ("more", "u")), "has no input more; its inputs are: raw"),
        (text(raw="words"), "is a uri_file, but was given the text 'words'"),
    ],
)
async def test_an_invocation_that_does_not_fit_fails_with_what_is_wrong(
    world: World, given: dict[str, dict[str, object]], said: str
) -> None:
    component = world.put_component(
        {
            "type": "pipeline",
            "name": "whole",
            "inputs": {"raw": {"type": "uri_file"}},
            "jobs": {"prepare": node(_prepare(world), {"raw": "${{parent.inputs.raw}}"})},
        }
    )

    run = await world.ended(world.invoke(component, inputs=given))

    assert run.status == "Failed"
    assert run.error is not None
    assert said in run.error["message"]
    assert world.steps(run) == {}


async def test_an_optional_input_that_is_not_given_is_left_out_all_the_way_down(world: World) -> None:
    inner = world.component(
        "echo got $[[${{inputs.extra}}]].", inputs={"extra": {"type": "string", "optional": "True"}}
    )
    component = world.put_component(
        {
            "type": "pipeline",
            "inputs": {"extra": {"type": "string", "optional": "True"}},
            "jobs": {"only": node(inner, {"extra": "${{parent.inputs.extra}}"})},
        }
    )

    without = await world.ended(world.invoke(component))
    given = await world.ended(world.invoke(component, inputs=text(extra="this")))

    logs = [world.runner.log(run.workspace, world.steps(run)["only"].name) for run in (without, given)]
    assert logs == ["got .\n", "got this.\n"]


async def test_an_empty_folder_can_be_handed_on(world: World) -> None:
    first = world.component("true", outputs=declared("uri_folder", ["out"]))
    second = world.component("ls -A ${{inputs.data}} | wc -l", inputs=declared("uri_folder", ["data"]))
    jobs = {"first": node(first), "second": node(second, {"data": "${{parent.jobs.first.outputs.out}}"})}

    run = await world.ended(world.pipeline(jobs))

    assert run.status == "Completed"
    assert world.runner.log(run.workspace, world.steps(run)["second"].name).strip() == "0"


async def test_a_pipelines_failure_names_the_node_and_the_rest_is_canceled(world: World) -> None:
    bad = world.component("echo no good; exit 7", outputs=declared("uri_folder", ["out"]))
    after = world.component("true", inputs=declared("uri_folder", ["data"]))
    jobs = {"bad": node(bad), "after": node(after, {"data": "${{parent.jobs.bad.outputs.out}}"})}

    run = await world.ended(world.pipeline(jobs))

    steps = world.steps(run)
    assert run.status == "Failed"
    assert run.error is not None
    assert "Failed nodes: /bad." in run.error["message"]
    assert (steps["bad"].status, steps["after"].status) == ("Failed", "Canceled")
    assert steps["bad"].error is not None
    assert "status code 7" in steps["bad"].error["message"]
    assert steps["after"].ended is not None


async def test_a_failure_ends_the_steps_that_run_beside_it(world: World) -> None:
    bad = world.component(f"while [ ! -e {world.shared}/beside ]; do sleep 0.05; done; exit 1")
    beside = world.component(f"touch {world.shared}/beside; sleep 1000")

    run = await world.ended(world.pipeline({"bad": node(bad), "beside": node(beside)}))

    assert {name: step.status for name, step in world.steps(run).items()} == {"bad": "Failed", "beside": "Canceled"}


async def test_steps_that_do_not_depend_on_a_failure_go_on_where_the_pipeline_says_so(world: World) -> None:
    bad = world.component("exit 1", outputs=declared("uri_folder", ["out"]))
    after = world.component("true", inputs=declared("uri_folder", ["data"]))
    long = world.component("sleep 0.5", outputs=declared("uri_folder", ["out"]))
    jobs = {
        "bad": node(bad),
        "after": node(after, {"data": "${{parent.jobs.bad.outputs.out}}"}),
        "long": node(long),
        "last": node(after, {"data": "${{parent.jobs.long.outputs.out}}"}),
    }

    run = await world.ended(world.pipeline(jobs, settings={"continue_on_step_failure": True}))

    assert run.status == "Failed"
    assert {name: step.status for name, step in world.steps(run).items()} == {
        "bad": "Failed",
        "after": "Canceled",
        "long": "Completed",
        "last": "Completed",
    }


def _barrier(world: World, count: int) -> str:
    """Wait until so many processes are there together; fail after a while if they never are."""
    folder = world.shared / "barrier"
    return (
        f"mkdir -p {folder}; touch {folder}/$AZUREML_RUN_ID; "
        f"for i in $(seq 600); do [ $(ls {folder} | wc -l) -ge {count} ] && exit 0; sleep 0.05; done; exit 1"
    )


async def test_steps_that_do_not_depend_on_each_other_run_at_the_same_time(world: World) -> None:
    meet = world.component(_barrier(world, world.settings.max_steps))

    run = await world.ended(world.pipeline({f"n{i}": node(meet) for i in range(world.settings.max_steps)}))

    assert run.status == "Completed"


async def test_no_more_processes_run_at_once_than_allowed_over_all_jobs(world: World) -> None:
    folder = world.shared / "inside"
    folder.mkdir()
    command = (
        f"touch {folder}/$AZUREML_RUN_ID; ls {folder} | wc -l >> {world.shared}/seen; sleep 0.2; "
        f"ls {folder} | wc -l >> {world.shared}/seen; rm {folder}/$AZUREML_RUN_ID"
    )
    component = world.component(command)

    runs = [world.pipeline({"a": node(component), "b": node(component)}) for _ in range(3)]
    runs += [world.command(command) for _ in range(2)]
    statuses = {(await world.ended(run)).status for run in runs}

    seen = [int(line) for line in (world.shared / "seen").read_text().split()]
    assert statuses == {"Completed"}
    assert (len(seen), max(seen)) == (16, world.settings.max_steps)


async def test_one_process_at_a_time_is_one_process_at_a_time(world: World) -> None:
    runner = Runner(world.store, world.storage, attrs.evolve(world.settings, max_steps=1), ADDRESSES)
    alone = attrs.evolve(world, runner=runner)
    command = f"mkdir {world.shared}/alone || exit 1; sleep 0.1; rmdir {world.shared}/alone"

    runs = [alone.command(command) for _ in range(4)]

    assert {(await alone.ended(run)).status for run in runs} == {"Completed"}
    await runner.close()


async def test_the_pipelines_own_log_tells_of_its_steps(world: World) -> None:
    run = await world.ended(world.pipeline({"only": node(world.component("true"))}))

    where = f"azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{run.name}/"
    found = await world.blobs(where)

    diary = found["logs/azureml/executionlogs.txt"].decode()
    assert "Submitted step only" in diary
    assert "Step only: Completed." in diary
    assert diary == world.runner.log(run.workspace, run.name)
