"""Pipelines in pipelines: run, cancelled, failed, reused and bounded like their parts."""

from __future__ import annotations

from typing import Any

import pytest

from azureml_emulator.plans import MOST_DEEP
from azureml_emulator.store import Run
from tests.unit.emulator.world import World, declared, eventually, files, node, text

pytestmark = pytest.mark.anyio

Json = dict[str, Any]


def _pipeline(world: World, jobs: dict[str, Json], **spec: Any) -> str:
    return world.put_component({"type": "pipeline", "name": "inner", "jobs": jobs, **spec})


def _inner(component: str, inputs: dict[str, str] | None = None, **more: Any) -> Json:
    return {**node(component, inputs, **more), "type": "pipeline"}


def _shout(world: World, **spec: Any) -> str:
    """A pipeline of two steps: one writes a file, one makes its text loud."""
    write = world.component(
        "echo ${{inputs.word}} > ${{outputs.out}}/x", inputs=declared("string", ["word"]), outputs={"out": {}}, **spec
    )
    loud = world.component(
        "tr a-z A-Z < ${{inputs.data}}/x > ${{outputs.out}}/x",
        inputs=declared("uri_folder", ["data"]),
        outputs={"out": {}},
        **spec,
    )
    return _pipeline(
        world,
        {
            "write": node(write, {"word": "${{parent.inputs.word}}"}),
            "loud": node(
                loud, {"data": "${{parent.jobs.write.outputs.out}}"}, outputs={"out": "${{parent.outputs.result}}"}
            ),
        },
        inputs=declared("string", ["word"]),
        outputs=declared("uri_folder", ["result"]),
    )


def _show(world: World, **spec: Any) -> str:
    return world.component("cat ${{inputs.data}}/x", inputs=declared("uri_folder", ["data"]), **spec)


def _within(world: World, run: Run, *path: str) -> dict[str, Run]:
    for name in path:
        run = world.steps(run)[name]
    return world.steps(run)


async def test_a_pipeline_in_a_pipeline_runs_as_a_run_with_steps_of_its_own(world: World) -> None:
    jobs = {
        "shout": _inner(
            _shout(world), {"word": "${{parent.inputs.word}}"}, outputs={"result": "${{parent.outputs.final}}"}
        ),
        "show": node(_show(world), {"data": "${{parent.jobs.shout.outputs.result}}"}),
    }
    outputs: Json = {"final": {"jobOutputType": "uri_folder", "uri": None, "mode": "ReadWriteMount"}}

    run = await world.ended(world.pipeline(jobs, inputs=text(word="hello"), outputs=outputs))

    steps, inner = world.steps(run), _within(world, run, "shout")
    assert run.status == "Completed"
    assert {name: step.status for name, step in (steps | inner).items()} == dict.fromkeys(
        ("shout", "show", "write", "loud"), "Completed"
    )
    assert {inner["loud"].parent, steps["shout"].kind} == {steps["shout"].name, "Step"}
    assert inner["loud"].spec["root"] == run.name
    assert world.runner.log(run.workspace, steps["show"].name) == "HELLO\n"
    assert await world.blobs(run.outputs["final"]["uri"]) == {"x": b"HELLO\n"}
    assert run.outputs["final"]["uri"] == inner["loud"].outputs["out"]["uri"]
    assert "madeBy" not in run.outputs["final"]


async def test_an_output_of_a_pipeline_in_a_pipeline_goes_where_the_outermost_says(world: World) -> None:
    wish = "azureml://datastores/workspaceblobstore/paths/loud/${{name}}/"
    jobs = {
        "shout": _inner(_shout(world), {"word": "hello"}, outputs={"result": "${{parent.outputs.final}}"}),
    }

    run = await world.ended(
        world.pipeline(jobs, outputs={"final": {"jobOutputType": "uri_folder", "uri": wish, "mode": None}})
    )

    made = _within(world, run, "shout")["loud"]
    assert run.outputs["final"]["uri"].endswith(f"/paths/loud/{made.name}/")
    assert await world.blobs(wish.replace("${{name}}", made.name)) == {"x": b"HELLO\n"}


async def test_data_and_an_optional_input_that_is_not_given_reach_the_innermost_step(world: World) -> None:
    raw = await world.put_blob("in/x", b"raw\n")
    inner = world.component(
        "cat ${{inputs.raw}}; echo $[[${{inputs.extra}}]].; echo $AZUREML_ROOT_RUN_ID",
        inputs={"raw": {"type": "uri_file"}, "extra": {"type": "string", "optional": "True"}},
    )
    inputs = {"raw": {"type": "uri_file"}, "extra": {"type": "string", "optional": "True"}}
    given = {"raw": "${{parent.inputs.raw}}", "extra": "${{parent.inputs.extra}}"}
    middle = _pipeline(world, {"deep": node(inner, given)}, inputs=inputs)
    outer = _pipeline(world, {"middle": _inner(middle, given)}, inputs=inputs)

    run = await world.ended(world.invoke(outer, inputs=files(("raw", raw))))

    assert run.status == "Completed"
    assert world.runner.log(run.workspace, _within(world, run, "middle")["deep"].name) == f"raw\n.\n{run.name}\n"


async def test_a_failure_inside_is_named_by_its_path_and_ends_what_runs_beside_it(world: World) -> None:
    bad = world.component(f"while [ ! -e {world.shared}/beside ]; do sleep 0.05; done; exit 7")
    beside = world.component(f"touch {world.shared}/beside; sleep 1000")
    jobs = {
        "one": _inner(_pipeline(world, {"bad": node(bad), "fine": node(world.component("true"))})),
        "two": _inner(_pipeline(world, {"long": node(beside)})),
    }

    run = await world.ended(world.pipeline(jobs))

    assert run.error is not None
    assert "Failed nodes: /one/bad. " in run.error["message"]
    assert {name: step.status for name, step in world.steps(run).items()} == {"one": "Failed", "two": "Canceled"}
    assert _within(world, run, "two")["long"].status == "Canceled"
    inner_error = world.steps(run)["one"].error
    assert inner_error is not None
    assert "Failed nodes: /bad. " in inner_error["message"]


async def test_a_pipeline_inside_goes_on_after_a_failure_where_the_outermost_says_so(world: World) -> None:
    bad, fine = world.component("exit 1"), world.component("sleep 0.3", outputs={"out": {}})
    last = world.component("true", inputs=declared("uri_folder", ["data"]))
    jobs = {
        "bad": node(bad),
        "fine": node(fine),
        "last": node(last, {"data": "${{parent.jobs.fine.outputs.out}}"}),
    }

    run = await world.ended(
        world.pipeline({"inner": _inner(_pipeline(world, jobs))}, settings={"continue_on_step_failure": True})
    )

    inner = {name: step.status for name, step in _within(world, run, "inner").items()}
    assert (run.status, inner) == ("Failed", {"bad": "Failed", "fine": "Completed", "last": "Completed"})


async def test_cancel_reaches_everything_below(world: World) -> None:
    long = world.component("echo up; sleep 1000", outputs={"out": {}})
    after = world.component("true", inputs=declared("uri_folder", ["data"]))
    leaf = {"long": node(long), "after": node(after, {"data": "${{parent.jobs.long.outputs.out}}"})}
    middle = _pipeline(world, {"leaf": _inner(_pipeline(world, leaf))})
    run = world.pipeline({"middle": _inner(middle)})
    await eventually(lambda: "middle" in world.steps(run), "the middle is there")
    await eventually(lambda: "leaf" in _within(world, run, "middle"), "the leaf is there")
    await eventually(lambda: "long" in _within(world, run, "middle", "leaf"), "its steps are there")
    await world.said(_within(world, run, "middle", "leaf")["long"], "up")

    await world.runner.cancel(world.workspace, run.name)
    at_once = [world.now(run), *world.steps(run).values(), *_within(world, run, "middle").values()]
    at_once += _within(world, run, "middle", "leaf").values()
    ended = await world.ended(run)

    everything = [ended, *(world.now(one) for one in at_once)]
    assert {one.status for one in at_once} == {"CancelRequested"}
    assert {one.status for one in everything} == {"Canceled"}
    assert len(everything) == 6


async def test_steps_of_a_pipeline_inside_are_reused_one_by_one(world: World) -> None:
    jobs = {
        "shout": _inner(_shout(world, is_deterministic="True"), {"word": "hello"}),
        "show": node(_show(world, is_deterministic="True"), {"data": "${{parent.jobs.shout.outputs.result}}"}),
    }
    first = await world.ended(world.pipeline(jobs))

    second = await world.ended(world.pipeline(jobs))

    steps, inner = world.steps(second), _within(world, second, "shout")
    reused = {name: step.properties.get("azureml.reusedpipelinerunid") for name, step in (steps | inner).items()}
    assert reused == {"shout": None, "show": first.name, "write": first.name, "loud": first.name}
    before = _within(world, first, "shout")["loud"]
    assert inner["loud"].properties["azureml.reusedrunid"] == before.name


async def test_force_rerun_of_the_outermost_runs_the_steps_inside(world: World) -> None:
    jobs = {"shout": _inner(_shout(world, is_deterministic="True"), {"word": "hello"})}
    await world.ended(world.pipeline(jobs))

    second = await world.ended(world.pipeline(jobs, settings={"force_rerun": True}))

    inner = _within(world, second, "shout").values()
    assert [step.properties.get("azureml.isreused") for step in inner] == [None, None]


async def test_an_empty_pipeline_inside_fails_with_its_path(world: World) -> None:
    run = await world.ended(world.pipeline({"inner": _inner(_pipeline(world, {}))}))

    error = world.steps(run)["inner"].error
    assert error is not None
    assert "The pipeline has no nodes." in error["message"]
    assert run.error is not None
    assert "/inner." in run.error["message"]


def _nested(world: World, depth: int) -> dict[str, Json]:
    jobs = {"leaf": node(world.component("true"))}
    for _ in range(depth - 1):
        jobs = {"inner": _inner(_pipeline(world, jobs))}
    return jobs


async def test_pipelines_may_stand_in_each_other_so_deep(world: World) -> None:
    assert (await world.ended(world.pipeline(_nested(world, MOST_DEEP)))).status == "Completed"


async def test_pipelines_that_stand_in_each_other_too_deep_are_refused_before_anything_runs(world: World) -> None:
    run = await world.ended(world.pipeline(_nested(world, MOST_DEEP + 1)))

    assert run.error is not None
    assert f"more than {MOST_DEEP} deep, at /inner/inner/" in run.error["message"]
    assert world.steps(run) == {}


async def test_a_pipeline_component_that_names_itself_is_refused(world: World) -> None:
    component = _pipeline(world, {})
    body = world.store.get(component)
    assert body is not None
    body["properties"]["componentSpec"]["jobs"] = {"again": _inner(component)}
    world.store.put(component, body)

    run = await world.ended(world.pipeline({"first": _inner(component)}))

    assert run.error is not None
    assert "Does a pipeline component name itself?" in run.error["message"]


async def test_a_step_runs_without_an_optional_input_whose_maker_failed(world: World) -> None:
    bad = world.component("exit 1", outputs={"out": {}})
    tolerant = world.component(
        "echo got $[[data]]$[[${{inputs.data}}]].", inputs={"data": {"type": "uri_folder", "optional": "True"}}
    )
    jobs = {"bad": node(bad), "tolerant": node(tolerant, {"data": "${{parent.jobs.bad.outputs.out}}"})}
    goes_on: Json = {"continue_on_step_failure": True}

    ends = {
        said: await world.ended(world.pipeline(jobs, settings=goes_on | ({} if said is None else {NOT_GIVEN: said})))
        for said in (None, False)
    }

    statuses = {said: world.steps(run)["tolerant"].status for said, run in ends.items()}
    assert statuses == {None: "Completed", False: "Canceled"}
    assert {run.status for run in ends.values()} == {"Failed"}
    log = world.runner.log(world.workspace, world.steps(ends[None])["tolerant"].name)
    assert log == "got data.\n"


NOT_GIVEN = "continue_run_on_failed_optional_input"
