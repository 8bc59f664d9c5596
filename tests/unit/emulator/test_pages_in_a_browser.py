"""The pages as a person sees them, in a real browser."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright, expect
from starlette.applications import Starlette

from azureml_emulator.pages import job_page_path, routes
from azureml_emulator.record import Record
from azureml_emulator.store import Metric, Run
from tests.unit.emulator.serving import serving
from tests.unit.emulator.world import World, eventually, node

pytestmark = pytest.mark.anyio

#: How long a browser on a busy machine may take for anything, in seconds.
BROWSER_S = 60.0
LINES = "for i in $(seq 300); do echo line $i; done"


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """A page of a Chromium that is installed here."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("there is no Chromium on this machine")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        opened = await browser.new_page(viewport={"width": 1200, "height": 600})
        opened.set_default_timeout(BROWSER_S * 1000)
        expect.set_options(timeout=BROWSER_S * 1000)
        yield opened
        await browser.close()


@contextlib.asynccontextmanager
async def _site(world: World, record: Record | None = None) -> AsyncIterator[str]:
    app = Starlette(routes=list(routes(world.store, world.runner, record=record)))
    async with serving(app) as url:
        yield url


async def _renewed(page: Page) -> None:
    """Wait until the page's main part was exchanged once more."""
    await page.evaluate("document.querySelector('main').dataset.seen = 'yes'")
    await expect(page.locator("main[data-seen]")).to_have_count(0)


async def _scripted_pipeline(world: World) -> Run:
    """A pipeline that waits for a file in its last step."""
    told = world.shared / "go"
    out: dict[str, Any] = {"outputs": {"made": {"type": "uri_folder"}}}
    take: dict[str, Any] = {"inputs": {"data": {"type": "uri_folder"}}}
    first = world.component(f"{LINES}; echo x > ${{{{outputs.made}}}}/x", **out)
    last = world.component(f"while [ ! -e {told} ]; do sleep 0.1; done", **take)
    jobs = {"prep": node(first), "train": node(last, {"data": "${{parent.jobs.prep.outputs.made}}"})}
    run = world.pipeline(jobs)
    await eventually(lambda: "train" in world.steps(run), "the steps are there")
    await eventually(lambda: world.steps(run)["prep"].is_final, "the first step has ended")
    await eventually(lambda: world.steps(run)["train"].status == "Running", "the second step runs")
    return run


async def test_a_live_page_follows_the_run_and_leaves_the_reader_where_they_are(world: World, page: Page) -> None:
    run = await _scripted_pipeline(world)
    prep = world.steps(run)["prep"].name
    async with _site(world) as url:
        await page.goto(url + job_page_path(run.workspace, run.name))
        await expect(page.locator(".node.good .name")).to_have_text("prep")
        await expect(page.locator(".node.busy .name")).to_have_text("train")
        details = page.locator(f'details[data-keep="step {prep}"]')
        await details.locator("summary").click()
        await page.locator(f'details[data-keep="step {world.steps(run)["train"].name}"] summary').click()
        log = page.locator(f'pre[data-keep="log {prep}"]')
        await log.evaluate("log => log.scrollTo(0, 700)")
        await page.evaluate("scrollTo(0, 200)")
        await _renewed(page)
        await _renewed(page)
        scrolled = await page.evaluate("scrollY")
        opened = await page.locator("details").evaluate_all("all => all.map(one => one.open)")
        line = await log.evaluate("log => log.scrollTop")
        (world.shared / "go").touch()
        await expect(page.locator("h1 .chip")).to_have_text("Completed")
        await expect(page.locator(".node.good")).to_have_count(2)

        assert [scrolled, line] == [200, 700]
        assert opened == [True, False, False]
        assert await page.locator("script").count() == 1, "the script of the first page, and no other"


async def test_a_page_says_when_nobody_answers_and_goes_on_when_somebody_does(world: World, page: Page) -> None:
    async with _site(world) as url:
        await page.goto(f"{url}/ui/events")
        await page.context.set_offline(True)
        await expect(page.locator("#away")).to_be_visible()
        await page.context.set_offline(False)
        await expect(page.locator("#away")).to_be_hidden()


async def test_no_name_and_no_log_line_can_run_a_script(world: World, page: Page) -> None:
    evil = '"><img src=x onerror="document.title=1"><script>document.title = 2</script>'
    run = Run(
        workspace=world.workspace, name="evil", kind="Command", status="Running", display_name=evil, experiment=evil
    )
    world.store.add_run(run)
    for step, value in enumerate((1.0, float("nan"), 2.0)):
        world.store.log_metric(run.workspace, run.name, Metric(evil, value, 0, step))
    world.store.set_param(run.workspace, run.name, evil, evil)
    record = Record()
    record.told(evil, {"eventType": evil, "subject": evil, "id": evil}, arrived=True)
    record.refuse("GET", f"/{evil}", evil)
    async with _site(world, record) as url:
        for path in ("/ui", job_page_path(run.workspace, run.name), "/ui/events", "/ui/uncovered"):
            await page.goto(url + path)
            await _renewed(page)

            assert "document.title = 2" in await page.locator("main").inner_text()
            assert await page.title() not in {"1", "2"}
            assert await page.locator("main img, main script").count() == 0


async def test_the_policy_keeps_a_page_from_running_what_is_written_in_it(world: World, page: Page) -> None:
    async with _site(world) as url:
        await page.goto(f"{url}/ui")
        await page.evaluate(
            "() => { const s = document.createElement('script'); s.textContent = 'document.title = 3';"
            " document.body.append(s); }"
        )

        assert await page.title() != "3"
