"""The pages, as a browser gets them."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp
import attrs
import pytest
from starlette.applications import Starlette

from azureml_emulator import pages
from azureml_emulator.pages import job_page_path, routes
from azureml_emulator.pages.routes import SHOWN_JOBS
from azureml_emulator.pages.views import duration
from azureml_emulator.store import Metric, Run
from tests.unit.emulator.serving import serving
from tests.unit.emulator.world import World, eventually, node, text

pytestmark = pytest.mark.anyio

BASE = (Path(pages.__file__).parent / "templates/base.html").read_text()


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
    assert re.search(r"<figcaption>rmse<.*<polyline.*rmse</td>.*1\.5</td>", page, re.DOTALL)
    assert "(1 not finite)" in page
    assert "alpha" in page
    assert "0.25" in page
    assert re.search(r"rate</td>.*0\.5</code>", page, re.DOTALL)
    assert job_page_path(run.workspace, step.name).replace("&", "&amp;") in page


async def test_a_pipelines_page_draws_its_steps_also_those_that_have_not_begun(world: World) -> None:
    made = {"outputs": {"made": {"type": "uri_folder"}}}
    first = world.component("exit 3", **made)
    last = world.component("true", inputs={"data": {"type": "uri_folder"}})
    jobs = {
        "<prep>": node(first),
        "prep": node(first),
        "train": node(last, {"data": "${{parent.jobs.prep.outputs.made}}"}),
    }
    run = await world.ended(world.pipeline(jobs, settings={"continue_on_step_failure": True}))

    _, page = await _page(world, job_page_path(run.workspace, run.name))

    assert re.search(r'class="node bad".*?<title>prep: Failed</title>', page, re.DOTALL)
    assert "<title>&lt;prep&gt;: " in page
    assert "<title>train: " in page
    assert "<title>prep to train: made → data</title>" in page


async def test_the_pipeline_of_an_endpoints_component_is_drawn_too(world: World) -> None:
    step = world.component("true")
    component = world.put_component({"type": "pipeline", "jobs": {"one": node(step), "two": node(step)}})
    run = await world.ended(world.invoke(component))

    _, page = await _page(world, job_page_path(run.workspace, run.name))

    assert re.findall(r"<title>(\w+): Completed</title>", page) == ["one", "two"]


async def test_runs_that_log_the_same_metric_share_a_chart(world: World) -> None:
    run = Run(workspace=world.workspace, name="sweep", kind="Command", status="Completed")
    world.store.add_run(run)
    for name in ("first", "second"):
        world.store.add_run(attrs.evolve(run, name=name, kind="Step", parent="sweep", display_name="trial"))
        for step in range(3):
            world.store.log_metric(run.workspace, name, Metric("loss", 1.0 / (step + 1), 0, step))
        world.store.log_metric(run.workspace, name, Metric("auc", 0.9, 0, 0))

    _, page = await _page(world, job_page_path(run.workspace, run.name))

    assert re.findall(r"<figcaption>(\w+)<", page) == ["loss"], "one value alone is no line"
    assert page.count("<polyline") == 2
    assert "trial (first)" in page
    assert "trial (second)" in page
    assert page.count(">auc</td>") == 2


async def test_points_that_were_logged_without_steps_follow_each_other(world: World) -> None:
    run = Run(workspace=world.workspace, name="plain", kind="Command", status="Completed")
    world.store.add_run(run)
    for at, value in enumerate((1.0, 2.0, 3.0)):
        world.store.log_metric(run.workspace, run.name, Metric("loss", value, at, 0))

    _, page = await _page(world, job_page_path(run.workspace, run.name))

    found = re.search(r'<polyline points="([^"]+)"', page)
    assert found is not None
    places = [float(point.partition(",")[0]) for point in found[1].split()]
    assert places == sorted(set(places))


async def test_a_page_may_only_run_the_emulators_own_script(world: World) -> None:
    app = Starlette(routes=list(routes(world.store, world.runner)))
    async with serving(app) as url, aiohttp.ClientSession() as client:
        async with client.get(f"{url}/ui") as answer:
            policy, page = answer.headers["Content-Security-Policy"], await answer.text()
        async with client.get(f"{url}/ui/renew.js") as script:
            kind, text_of_it = script.content_type, await script.text()

    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert re.findall(r"<script[^>]*>", page) == ['<script src="/ui/renew.js" data-every="5" defer>']
    assert [kind, text_of_it[:2]] == ["text/javascript", "//"]


@pytest.mark.parametrize(
    ("path", "word"), [("/ui", "Jobs"), ("/ui/models", "Models"), ("/ui/uncovered", "Not covered")]
)
async def test_the_navigation_says_where_one_is(world: World, path: str, word: str) -> None:
    _, page = await _page(world, path)

    assert re.findall(r'aria-current="page">([A-Z][a-z ]+)', page) == [word]


async def test_no_page_asks_for_what_is_not_covered(world: World) -> None:
    assert (await _page(world, "/favicon.ico"))[0] == 204


def test_each_text_can_be_read_on_its_ground_in_a_light_room_and_in_a_dark_one() -> None:
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6});", block))
        for block in re.findall(r":root \{(.*?)\}", BASE, re.DOTALL)
    )
    pairs = [(ink, ground) for ink in ("ink", "soft", "link") for ground in ("paper", "card", "code")]
    pairs += [(tone, f"{tone}-bg") for tone in ("good", "bad", "busy", "off", "wait")] + [("ink", "bad-bg")]

    # Source: WCAG 2.2, success criterion 1.4.3.
    weak = [
        (ink, ground, round(_contrast(colours[ink], colours[ground]), 2))
        for colours in (light, light | dark)
        for ink, ground in pairs
        if _contrast(colours[ink], colours[ground]) < 4.5
    ]
    assert weak == []


def _contrast(one: str, other: str) -> float:
    """Compare two colours as WCAG 2.2 does, from 1 to 21."""
    darker, lighter = sorted(map(_luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    shares = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


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

    assert re.search(r"<details [^>]+ open><summary>only", page)
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
    assert "No models yet" in (await _page(world, "/ui/models"))[1]


def _version(home: str, name: str, version: str, **properties: object) -> dict[str, object]:
    common = {"tags": {}, "properties": {}, "description": "", "isArchived": False, "stage": None, "jobName": None}
    return {
        "id": f"{home}/models/{name}/versions/{version}",
        "name": version,
        "properties": common | {"modelType": "mlflow_model", "modelUri": "azureml://x"} | properties,
        "systemData": {"createdAt": f"2026-11-2{version}T00:00:00.0000000+00:00"},
    }


def _put_model(world: World, home: str, name: str, *versions: dict[str, object]) -> str:
    """Put a model into a workspace or a registry, as the routes do; the id of its container."""
    kind = "registries" if home.startswith("azureml") else "workspaces"
    body = {
        "id": f"{home}/models/{name}",
        "name": name,
        "type": f"Microsoft.MachineLearningServices/{kind}/models",
        "properties": {"description": "a card", "tags": {}, "isArchived": False},
    }
    root = f"{home.removeprefix('azureml:/')}/models/{name}"
    world.store.put(root, body)
    for version in versions:
        world.store.put(f"{root}/versions/{version['name']}", version)
    return str(body["id"])


async def test_models_are_listed_with_stage_tags_and_the_job_they_came_from(world: World) -> None:
    run = await world.ended(world.command("true"))
    older = _version(world.workspace, "net", "1", stage="Staging")
    newer = _version(world.workspace, "net", "2", stage="Production", tags={"rmse": "54"}, jobName=run.name)
    container = _put_model(world, world.workspace, "net", older, newer)
    _put_model(
        world, "azureml://registries/shared", "champion", _version("azureml://registries/shared", "champion", "1")
    )

    _, page = await _page(world, "/ui/models")

    assert re.search(r">net</a>.*>2 <.*2 versions.*>Production</span>.*rmse=54", page, re.DOTALL)
    assert re.search(r">Staging</span> <span [^>]*>version 1<", page)
    assert "registry shared" in page
    assert job_page_path(run.workspace, run.name).replace("&", "&amp;") in page
    assert f"/ui/model?id={container.replace('/', '%2F')}" in page


async def test_a_models_page_shows_each_version_with_its_aliases_and_runs_no_script_of_theirs(world: World) -> None:
    card = "<script>alert(1)</script>"
    first = _version(world.workspace, "net", "1", description=card, properties={"git_sha": "abc"}, isArchived=True)
    container = _put_model(world, world.workspace, "net", first, _version(world.workspace, "net", "2", stage="Staging"))
    world.store.put(f"{container}/mlflow", {"aliases": {"champion": "2"}})

    status, page = await _page(world, f"/ui/model?id={container}")

    assert status == 200
    assert re.search(r"@champion.*>Staging<.*>archived<", page, re.DOTALL)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("<script") == 1, "the emulator's own"
    assert re.search(r"git_sha</span> abc", page)


async def test_a_registrys_version_tells_what_it_was_shared_from(world: World) -> None:
    home, origin = "azureml://registries/shared", "azureml://locations/westeurope/workspaces/w/models/net/versions/1"
    container = _put_model(world, home, "net", _version(home, "net", "1", originAssetId=origin))

    _, page = await _page(world, f"/ui/model?id={container}")

    assert origin in page
    assert "registry shared" in page


@pytest.mark.parametrize("wanted", ["nothing", "", "%3Cb%3E", "/subscriptions/s"])
async def test_a_model_that_is_not_there_is_said_so(world: World, wanted: str) -> None:
    status, page = await _page(world, f"/ui/model?id={wanted}")

    assert [status, "No such model" in page, "<b>" in page] == [404, True, False]


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
