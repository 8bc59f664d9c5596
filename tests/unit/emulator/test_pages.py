"""The pages, as a browser gets them."""

from __future__ import annotations

import re

import aiohttp
import attrs
import pytest
from starlette.applications import Starlette

from azureml_emulator.pages import job_page_path, routes
from azureml_emulator.pages.routes import SHOWN_JOBS
from azureml_emulator.pages.views import duration
from azureml_emulator.store import Metric, Run
from tests.unit.emulator.serving import serving
from tests.unit.emulator.world import World, eventually, node, text

pytestmark = pytest.mark.anyio


async def _page(world: World, path: str) -> tuple[int, str]:
    app = Starlette(routes=list(routes(world.store, world.runner)))
    async with serving(app) as url, aiohttp.ClientSession() as client, client.get(url + path) as answer:
        return answer.status, await answer.text()


async def test_the_list_shows_jobs_of_all_workspaces_and_no_steps(world: World) -> None:
    run = await world.ended(world.pipeline({"inner-step": node(world.component("true"))}, display_name="night run"))
    other = world.workspace.replace("/testing", "/second")
    there = Run(
        workspace=other, name="elsewhere", kind="Pipeline", status="Failed", endpoint="score", deployment="blue"
    )
    world.store.add_run(there)

    status, page = await _page(world, "/ui")

    assert status == 200
    assert "night run" in page
    assert run.name in page
    assert "elsewhere" in page
    assert "score / blue" in page
    assert "1 Failed · 1 Completed" in page
    assert "inner-step" not in page


async def test_a_long_list_comes_in_pages_and_only_one_is_read(world: World) -> None:
    runs = [
        Run(workspace=world.workspace, name=f"job-{number:03}.", kind="Command", status="Completed")
        for number in range(2 * SHOWN_JOBS + 1)
    ]
    for run in runs:
        world.store.add_run(run)
    step = attrs.evolve(runs[0], name="a-step", kind="Step", parent="job-000.")
    world.store.add_run(step)

    pages = [
        (await _page(world, f"/ui{query}"))[1] for query in ("", "?page=2", "?page=3", "?page=4", "?page=nonsense")
    ]

    listed = [re.findall(r"job-\d{3}\.(?=</a>)", page) for page in pages]
    assert [name for page in listed[:3] for name in page] == [run.name for run in reversed(runs)]
    assert [len(page) for page in listed] == [SHOWN_JOBS, SHOWN_JOBS, 1, 0, SHOWN_JOBS]
    assert [re.findall(r'href="/ui\?page=(\d+)"', page) for page in pages] == [["2"], ["1", "3"], ["2"], ["3"], ["2"]]
    assert f"{SHOWN_JOBS} Completed on page 2" in " ".join(pages[1].split())
    assert "No jobs here" in pages[3]


async def test_a_finished_page_stays_and_a_live_one_loads_itself_again(world: World) -> None:
    done = await world.ended(world.command("true"))
    path = job_page_path(done.workspace, done.name)
    _, still = await _page(world, path)
    live = world.command("echo up; sleep 1000")
    await world.said(live, "up")
    _, moving = await _page(world, job_page_path(live.workspace, live.name))

    assert 'http-equiv="refresh"' not in still
    assert 'http-equiv="refresh"' in moving


async def test_a_jobs_page_shows_steps_logs_metrics_and_error_and_runs_no_script_of_theirs(world: World) -> None:
    bad = world.component("echo '<script>alert(1)</script>'; exit 4")
    run = await world.ended(world.pipeline({"evaluate": node(bad)}, inputs=text(rate="0.5")))
    step = world.steps(run)["evaluate"]
    for at, value in enumerate((3.0, float("nan"), 2.0, 1.5)):
        world.store.log_metric(run.workspace, step.name, Metric("rmse", value, 0, at))
    world.store.set_param(run.workspace, step.name, "alpha", "0.25")

    _, page = await _page(world, job_page_path(run.workspace, run.name))

    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page
    assert "Failed nodes: /evaluate." in page
    assert "status code 4" in page
    assert re.search(r"rmse</td>.*<polyline.*1\.5</td>", page, re.DOTALL)
    assert "alpha" in page
    assert "0.25" in page
    assert re.search(r"rate</td>.*0\.5</code>", page, re.DOTALL)
    assert job_page_path(run.workspace, step.name).replace("&", "&amp;") in page


async def test_a_steps_page_leads_back_to_its_pipeline(world: World) -> None:
    run = await world.ended(world.pipeline({"only": node(world.component("echo hello"))}))

    _, page = await _page(world, job_page_path(run.workspace, world.steps(run)["only"].name))

    assert "hello" in page
    assert job_page_path(run.workspace, run.name).replace("&", "&amp;") in page


async def test_the_page_of_a_pipeline_that_runs_shows_what_its_step_has_said_so_far(world: World) -> None:
    run = world.pipeline({"only": node(world.component("echo so far; sleep 1000"))})
    await eventually(lambda: "only" in world.steps(run), "the step is there")
    await world.said(world.steps(run)["only"], "so far")

    _, page = await _page(world, job_page_path(run.workspace, run.name))

    assert "<details open><summary>only" in page
    assert "so far" in page


async def test_workspaces_of_one_name_are_told_apart_by_their_subscription(world: World) -> None:
    mine = Run(workspace=world.workspace, name="twin", kind="Command", experiment="first")
    theirs = attrs.evolve(
        mine, workspace=re.sub("subscriptions/[^/]+", "subscriptions/s2", mine.workspace), experiment="second"
    )
    world.store.add_run(mine)
    world.store.add_run(theirs)

    pages = [(await _page(world, job_page_path(run.workspace, run.name)))[1] for run in (mine, theirs)]

    assert ["first" in pages[0], "second" in pages[0]] == [True, False]
    assert ["first" in pages[1], "second" in pages[1]] == [False, True]


async def test_a_job_can_be_found_by_workspace_and_name_alone(world: World) -> None:
    run = await world.ended(world.command("true"))

    assert (await _page(world, f"/ui/jobs/testing/{run.name}"))[0] == 200
    assert (await _page(world, f"/ui/jobs/other/{run.name}"))[0] == 404


async def test_a_job_that_is_not_there_is_said_so(world: World) -> None:
    status, page = await _page(world, "/ui/jobs/testing/%3Cb%3Egone")

    assert status == 404
    assert "&lt;b&gt;gone" in page


async def test_an_empty_list_says_what_to_do(world: World) -> None:
    assert "No jobs yet" in (await _page(world, "/ui"))[1]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "-"),
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min 00 s"),
        (3599.4, "59 min 59 s"),
        (7265, "2 h 01 min"),
    ],
)
async def test_durations_are_written_for_people(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said
