"""Steps that are not run because the same step has completed before, and those that are."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator.layout import lay_out
from azureml_emulator.reuse import ReuseCache, digest_of, may_be_reused
from azureml_emulator.storage import long_uri
from azureml_emulator.store import Run, Store
from tests.unit.emulator.world import World, declared, files, node, text

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
WORKSPACE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"


def _component(world: World, command: str, **spec: Any) -> str:
    """A component that counts, beside what it does, how often it is run."""
    counting = f"echo run >> {world.shared}/count; {command}"
    return world.component(counting, **{"is_deterministic": "True", **spec})


def _runs(world: World) -> int:
    path = world.shared / "count"
    return len(path.read_text().splitlines()) if path.exists() else 0


def _two_steps(world: World, *, second: str = "cat ${{inputs.data}}/x > ${{outputs.out}}/y") -> dict[str, Json]:
    make = _component(world, "echo ${{inputs.word}} > ${{outputs.out}}/x", **_word_to_folder())
    use = _component(world, second, **_folder_to_folder())
    return {
        "make": node(make, {"word": "${{parent.inputs.word}}"}),
        "use": node(use, {"data": "${{parent.jobs.make.outputs.out}}"}, outputs={"out": "${{parent.outputs.final}}"}),
    }


def _word_to_folder() -> Json:
    return {"inputs": declared("string", ["word"]), "outputs": declared("uri_folder", ["out"])}


def _folder_to_folder() -> Json:
    return {"inputs": declared("uri_folder", ["data"]), "outputs": declared("uri_folder", ["out"])}


FINAL: Json = {"final": {"jobOutputType": "uri_folder", "uri": None, "mode": "ReadWriteMount"}}


def _submit(world: World, jobs: dict[str, Json], **more: Any) -> Run:
    return world.pipeline(jobs, inputs=text(word=more.pop("word", "hello")), outputs=FINAL, **more)


async def test_a_pipeline_that_ran_before_is_not_run_again_and_has_the_earlier_outputs(world: World) -> None:
    jobs = _two_steps(world)
    first = await world.ended(_submit(world, jobs))

    second = await world.ended(_submit(world, jobs))

    before, after = world.steps(first), world.steps(second)
    assert (second.status, _runs(world)) == ("Completed", 2)
    assert second.outputs == first.outputs
    assert await world.blobs(second.outputs["final"]["uri"]) == {"y": b"hello\n"}
    for name in ("make", "use"):
        told = after[name].properties
        assert after[name].status == "Completed"
        assert after[name].started == after[name].ended
        assert (told["azureml.isreused"], told["azureml.reusedrunid"]) == ("true", before[name].name)
        assert told["azureml.reusedpipelinerunid"] == told["azureml.reusedpipeline"] == first.name
        assert told["azureml.reusednodeid"] == before[name].properties["azureml.nodeid"]
        assert after[name].outputs == before[name].outputs


async def test_what_is_reused_twice_points_at_the_run_that_really_ran(world: World) -> None:
    jobs = _two_steps(world)
    first, _, third = [await world.ended(_submit(world, jobs)) for _ in range(3)]

    told = world.steps(third)["use"].properties

    assert told["azureml.reusedrunid"] == world.steps(first)["use"].name
    assert told["azureml.reusedpipelinerunid"] == first.name


async def test_a_reused_step_has_the_log_of_the_step_that_ran(world: World) -> None:
    jobs = {"say": node(_component(world, "echo said once"))}
    await world.ended(world.pipeline(jobs))

    again = await world.ended(world.pipeline(jobs))

    assert world.runner.log(again.workspace, world.steps(again)["say"].name) == "said once\n"
    assert "Step say: Completed, reused from run" in world.runner.log(again.workspace, again.name)


async def test_another_literal_runs_the_step_and_all_that_depend_on_it(world: World) -> None:
    jobs = _two_steps(world)
    await world.ended(_submit(world, jobs, word="hello"))

    other = await world.ended(_submit(world, jobs, word="goodbye"))

    assert _runs(world) == 4
    assert await world.blobs(other.outputs["final"]["uri"]) == {"y": b"goodbye\n"}


async def test_a_step_whose_maker_is_run_again_is_run_again_although_it_writes_the_same(world: World) -> None:
    make = _component(world, "echo same > ${{outputs.out}}/x", is_deterministic="False", outputs={"out": {}})
    use = _component(world, "true", inputs=declared("uri_folder", ["data"]))
    fixed = "azureml://datastores/workspaceblobstore/paths/fixed/"
    jobs = {
        "make": {**node(make), "outputs": {"out": {"uri": fixed}}},
        "use": node(use, {"data": "${{parent.jobs.make.outputs.out}}"}),
    }

    for _ in range(2):
        await world.ended(world.pipeline(jobs))

    assert _runs(world) == 4


async def test_a_component_that_is_not_deterministic_is_never_reused(world: World) -> None:
    jobs = {"say": node(_component(world, "true", is_deterministic="False"))}

    ends = [await world.ended(world.pipeline(jobs)) for _ in range(2)]

    assert [_runs(world), *(run.status for run in ends)] == [2, "Completed", "Completed"]
    assert "azureml.isreused" not in world.steps(ends[1])["say"].properties


@pytest.mark.parametrize("forced", [True, "true"], ids=repr)
async def test_force_rerun_runs_everything(world: World, forced: object) -> None:
    jobs = _two_steps(world)
    await world.ended(_submit(world, jobs))

    await world.ended(_submit(world, jobs, settings={"force_rerun": forced}))

    assert _runs(world) == 4


async def test_what_a_forced_run_did_is_not_for_others_to_reuse(world: World) -> None:
    jobs = _two_steps(world)
    await world.ended(_submit(world, jobs, settings={"force_rerun": True}))

    await world.ended(_submit(world, jobs))

    assert _runs(world) == 4


async def test_a_failed_step_is_run_again_and_what_completed_before_it_is_not(world: World) -> None:
    flag = world.shared / "mended"
    jobs = _two_steps(world, second=f"test -e {flag} && cp ${{{{inputs.data}}}}/x ${{{{outputs.out}}}}/y")
    first = await world.ended(_submit(world, jobs))
    flag.touch()

    second = await world.ended(_submit(world, jobs))

    assert (first.status, second.status, _runs(world)) == ("Failed", "Completed", 3)
    reused = {name: "azureml.isreused" in step.properties for name, step in world.steps(second).items()}
    assert reused == {"make": True, "use": False}
    assert await world.blobs(second.outputs["final"]["uri"]) == {"y": b"hello\n"}


async def test_a_path_is_the_same_input_whatever_lies_there(world: World) -> None:
    show = _component(world, "cat ${{inputs.raw}}", inputs=declared("uri_file", ["raw"]))
    jobs = {"show": node(show, {"raw": "${{parent.inputs.raw}}"})}
    uri = await world.put_blob("in/rows.csv", b"old\n")
    await world.ended(world.pipeline(jobs, inputs=files(("raw", uri))))
    await world.put_blob("in/rows.csv", b"new\n")
    other = await world.put_blob("in/other.csv", b"new\n")

    same = await world.ended(world.pipeline(jobs, inputs=files(("raw", uri))))
    elsewhere = await world.ended(world.pipeline(jobs, inputs=files(("raw", other))))

    logs = [world.runner.log(run.workspace, world.steps(run)["show"].name) for run in (same, elsewhere)]
    assert logs == ["old\n", "new\n"]


async def test_where_an_output_goes_is_part_of_what_a_step_is(world: World) -> None:
    jobs = {
        "make": node(
            _component(world, "echo x > ${{outputs.out}}/x", outputs={"out": {}}),
            outputs={"out": "${{parent.outputs.final}}"},
        )
    }
    places = [f"azureml://datastores/workspaceblobstore/paths/{day}/" for day in ("monday", "monday", "tuesday")]

    for uri in places:
        run = world.pipeline(jobs, outputs={"final": {**FINAL["final"], "uri": uri}})
        assert (await world.ended(run)).status == "Completed"

    assert _runs(world) == 2
    assert await world.blobs(places[2]) == {"x": b"x\n"}


async def test_an_invocation_reuses_unless_the_settings_of_its_deployment_force_a_rerun(world: World) -> None:
    inner = _component(world, "true")
    component = world.put_component({"type": "pipeline", "jobs": {"only": node(inner)}})
    for settings in ({}, {}, {"force_rerun": True}):
        spec = {"jobType": "Pipeline", "componentId": component, "settings": settings}
        run = Run(workspace=world.workspace, name=f"batch-{_runs(world)}-{settings}", kind="Pipeline", spec=spec)
        world.store.add_run(run)
        world.runner.submit(run)
        await world.ended(run)

    assert _runs(world) == 2


async def test_steps_are_remembered_over_a_restart(world: World) -> None:
    jobs = _two_steps(world)
    await world.ended(_submit(world, jobs))
    later = world.again()

    run = await later.ended(_submit(later, jobs))

    assert (run.status, _runs(world)) == ("Completed", 2)
    await later.runner.close()
    await later.storage.close()
    later.store.close()


async def test_two_of_the_same_at_once_are_both_run(world: World) -> None:
    barrier = f"touch {world.shared}/at-$AZUREML_RUN_ID; for i in $(seq 600); do"
    barrier += f" [ $(ls {world.shared} | grep -c at-) -ge 2 ] && exit 0; sleep 0.05; done; exit 1"
    jobs = {"meet": node(_component(world, barrier))}

    ends = await asyncio.gather(*(world.ended(world.pipeline(jobs)) for _ in range(2)))

    assert [run.status for run in ends] == ["Completed", "Completed"]


# what is remembered


@given(st.lists(st.sampled_from("abcdefgh"), max_size=24), st.integers(1, 4))
def test_the_last_so_many_different_steps_are_remembered_and_no_more(
    tmp_path_factory: pytest.TempPathFactory, kept: list[str], most: int
) -> None:
    store = Store(tmp_path_factory.mktemp("cache"))
    store.add_run(Run(workspace=WORKSPACE, name="r", kind="Step", status="Completed"))
    expected: list[str] = []
    cache = ReuseCache(store, most=most)
    for at, digest in enumerate(kept):
        if at % 3 == 0:  # a restart now and then
            cache = ReuseCache(store, most=most)
        cache.keep(WORKSPACE, digest, "r")
        expected = [*expected, *([] if digest in expected else [digest])][-most:]

        found = [each for each in "abcdefgh" if cache.find(WORKSPACE, each)]
        assert found == sorted(expected)
    store.close()


@pytest.mark.parametrize("status", ["Failed", "Canceled", "Running"])
def test_only_a_completed_run_is_found(tmp_path: Path, status: str) -> None:
    store = Store(tmp_path)
    store.add_run(Run(workspace=WORKSPACE, name="r", kind="Step", status=status))
    cache = ReuseCache(store)
    cache.keep(WORKSPACE, "d", "r")

    assert cache.find(WORKSPACE, "d") is None
    assert cache.find(WORKSPACE, "never") is None
    store.close()


@pytest.mark.parametrize(
    ("said", "may"), [(None, True), ("True", True), (True, True), ("False", False), (False, False)], ids=repr
)
def test_a_component_is_deterministic_unless_it_denies_it(said: object, *, may: bool) -> None:
    assert may_be_reused({} if said is None else {"is_deterministic": said}) is may


# what makes two steps the same

COMPONENT: Json = {
    "type": "command",
    "command": "run ${{inputs.a}} > ${{outputs.o}}",
    "code": "azureml:/codes/1",
    "environment": "azureml:/environments/1",
    "environment_variables": {"A": "1"},
    "inputs": {"a": {"type": "string"}, "b": {"type": "uri_folder"}},
    "outputs": {"o": {"type": "uri_folder"}},
}
CHANGES: list[Json] = [
    {"component": {"command": "other"}},
    {"component": {"code": "azureml:/codes/2"}},
    {"component": {"environment": "azureml:/environments/2"}},
    {"component": {"environment_variables": {"A": "2"}}},
    {"component": {"resources": {"instance_count": "2"}}},
    {"a": "2"},
    {"b": "azureml://datastores/workspaceblobstore/paths/two/"},
    {"o": "azureml://datastores/workspaceblobstore/paths/there/"},
    {"compute": "gpu"},
]
SAME: list[Json] = [
    {},
    {"run": "another"},
    {"component": {"name": "renamed", "version": "2", "description": "x", "display_name": "y", "tags": {"a": "b"}}},
    {"b": long_uri("azureml://datastores/workspaceblobstore/paths/one/", WORKSPACE)},
]


def _digest(change: Json) -> str:
    run = change.get("run", "the-run")
    b = change.get("b", "azureml://datastores/workspaceblobstore/paths/one/")
    spec = node("c", {"a": change.get("a", "1")})
    spec["inputs"]["b"] = {"uri": b, "job_input_type": "uri_folder"}
    spec["outputs"]["o"] = {"uri": change["o"]} if "o" in change else None
    component = COMPONENT | change.get("component", {})
    (step,) = lay_out({"n": spec}, {"n": component}, inputs={}, outputs={}, names={"n": run})
    return digest_of(step, step.inputs, workspace=WORKSPACE, compute=change.get("compute", "cpu"))


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_whatever_changes_what_a_step_does_makes_it_another(change: Json) -> None:
    assert _digest(change) != _digest({})


@pytest.mark.parametrize("change", SAME, ids=str)
def test_words_about_a_step_and_the_name_of_its_run_do_not(change: Json) -> None:
    assert _digest(change) == _digest({})


@given(st.sampled_from([{}, *CHANGES]), st.sampled_from([{}, *CHANGES]))
def test_two_different_changes_make_two_different_steps(one: Json, other: Json) -> None:
    assert (_digest(one) == _digest(other)) == (one == other)
