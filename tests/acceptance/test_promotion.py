"""Code goes from staging to production, with a person between: the DAG that users copy, and every part of it real."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import attrs
import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from demo.azure import ROOT
from demo.promotion import (
    APPROVER,
    COMPARE,
    OTHER,
    PASSWORDS,
    REGISTRY,
    WORKSPACES,
    Promotions,
    Repository,
    make_registry,
    running,
)
from demo.scenario import blobs

#: How the model's DAG moves traffic, and what is waited for here; how it does is shown elsewhere.
SLOW = 'Policy(steps=("mirror:10", 10, 100), least_requests=200, soak=timedelta(hours=1))'
QUICK = (
    "Policy(steps=(100,), looks=1, look_every=timedelta(seconds=2), least_requests=0, least_time=timedelta(0),"
    " soak=timedelta(seconds=2))"
)
#: Seconds that a page may take on a busy machine.
BROWSER_S = 90.0

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository.made(tmp_path_factory.mktemp("repository") / "diabetes")


@pytest.fixture(scope="module")
def promotions(tmp_path_factory: pytest.TempPathFactory, repository: Repository) -> Iterator[Promotions]:
    dags = tmp_path_factory.mktemp("dags")
    text = (ROOT / "dags/promote_model.py").read_text()
    assert SLOW in text
    (dags / "promote_model.py").write_text(text.replace(SLOW, QUICK))
    for file in (ROOT / "dags/promote_code.py", ROOT / "tests/acceptance/promotion_dags.py"):
        (dags / file.name).write_text(file.read_text())
    with running(tmp_path_factory.mktemp("stack"), repository, dags=dags) as stack, blobs(stack.emulator) as service:
        made = Promotions(stack, service)
        made.provide("production", datetime.now(UTC))
        make_registry(stack)
        yield made


def test_a_commit_that_is_approved_trains_on_all_data_in_production(
    promotions: Promotions, repository: Repository
) -> None:
    sha = repository.git("rev-parse", "HEAD")

    run = promotions.begin({"sha": "main"})
    asked = promotions.wait_until_asked(run)
    before = promotions.models("production")
    promotions.stack.airflow.sign_in(OTHER, PASSWORDS[OTHER])
    with pytest.raises(httpx.HTTPStatusError, match="403"):
        promotions.answer(run, "Approve")
    promotions.stack.airflow.sign_in(APPROVER, PASSWORDS[APPROVER])
    promotions.answer(run, "Approve", note="Fine.")
    state = promotions.end(run)

    assert state == "success", promotions.states(run)
    assert f"`{sha}`" in asked["body"]
    assert before == {}
    (version,) = promotions.models("production").values()
    assert version["properties"]["git_sha"] == sha
    assert promotions.models("staging") == {}
    outcome = promotions.xcom(run, "outcome")
    assert (outcome["outcome"], outcome["environment"], outcome["sha"]) == ("promoted", "production", sha)
    assert outcome["by"].startswith(APPROVER)
    subset, evidence = promotions.xcom(run, "staging.subset"), promotions.xcom(run, "production.evidence")
    assert subset["accepted"]
    assert 0 < subset["rows"] < subset["of"]
    assert evidence["passed"]


def test_the_same_commit_again_finds_all_done(promotions: Promotions) -> None:
    before = promotions.models("production")

    run = promotions.begin({"sha": "HEAD"})
    state = promotions.end(run)

    assert state == "success", promotions.states(run)
    assert promotions.xcom(run, "outcome")["outcome"] == "was there"
    assert promotions.models("production") == before
    assert {name for name, each in promotions.states(run).items() if each == "success"} >= {"plan", "outcome"}
    assert promotions.states(run)["staging.train"] == "skipped"


def test_a_commit_that_is_rejected_ends_well_and_changes_nothing_in_production(
    promotions: Promotions, repository: Repository
) -> None:
    before = promotions.models("production")
    sha = repository.commit("Another commit")

    run = promotions.begin({"sha": sha[:10]})
    asked = promotions.wait_until_asked(run)
    promotions.answer(run, "Reject", note="Not on a Friday.")
    state = promotions.end(run)

    assert state == "success", promotions.states(run)
    outcome = promotions.xcom(run, "outcome")
    assert (outcome["outcome"], outcome["environment"]) == ("not approved", "staging")
    assert outcome["reasons"] == ["Not on a Friday."]
    assert re.search(r"Estimated cost in production \| about \d+\.\d\d EUR \|", asked["body"])
    assert promotions.models("production") == before
    assert {promotions.states(run)[f"production.{name}"] for name in ("enter", "require", "publish")} == {"skipped"}


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a Chromium that is installed here."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1400, "height": 1600})
        opened.set_default_timeout(BROWSER_S * 1000)
        yield opened
        browser.close()


def test_a_person_reads_and_approves_in_the_browser_and_a_model_that_is_no_better_changes_nothing(
    promotions: Promotions, repository: Repository, page: Page, tmp_path: Path
) -> None:
    before, base = promotions.models("production"), repository.git("rev-parse", "HEAD~1")
    sha = repository.git("rev-parse", "HEAD")

    run = promotions.begin({"sha": sha})
    promotions.wait_until_asked(run)
    page.goto(promotions.page(run))
    page.fill("input[name=username]", APPROVER)
    page.fill("input[name=password]", PASSWORDS[APPROVER])
    page.keyboard.press("Enter")
    approve = page.get_by_role("button", name="Approve")
    expect(approve).to_be_visible(timeout=BROWSER_S * 1000)
    expect(page.get_by_text(sha)).to_be_visible()
    link = page.get_by_role("link", name="what changes").get_attribute("href")
    page.screenshot(path=tmp_path / "asked.png")
    page.locator("[name=element_note]").fill("Read it.")
    approve.click()
    expect(page.get_by_text("response successful")).to_be_visible(timeout=BROWSER_S * 1000)
    page.screenshot(path=tmp_path / "approved.png")
    state = promotions.end(run)

    assert state == "success", promotions.states(run)
    assert link == COMPARE.replace("{base}", base).replace("{sha}", sha)
    told = promotions.xcom(run, "staging.approve")
    assert (told["approved"], told["by"], told["note"]) == (True, APPROVER, "Read it.")
    outcome = promotions.xcom(run, "outcome")
    assert (outcome["outcome"], outcome["environment"], outcome["by"]) == ("rejected", "production", APPROVER)
    assert "a tie leaves the champion where it is" in outcome["reasons"][0]
    assert promotions.models("production") == before


def test_a_model_is_trained_once_and_the_very_one_that_was_approved_serves_in_production(
    promotions: Promotions, repository: Repository
) -> None:
    sha, model = repository.git("rev-parse", "HEAD"), attrs.evolve(promotions, dag="promote_model")
    registered = promotions.models("production")

    run = model.begin({"sha": sha})
    asked = model.wait_until_asked(run)
    model.answer(run, "Approve")
    state = model.end(run)

    assert state == "success", model.states(run)
    (version,) = promotions.models("staging")
    shared = f"azureml://registries/{REGISTRY}/models/diabetes-ridge/versions/{version}"
    assert shared in asked["body"]
    outcome = model.xcom(run, "outcome")
    assert (outcome["outcome"], outcome["model"]) == ("promoted", shared)
    digests = {model.xcom(run, task)["digest"] for task in ("staging.digest", "production.verify")}
    assert len(digests) == 1
    assert model.xcom(run, "production.evidence")["model_sha256"] in digests
    assert model.traffic("production", "diabetes") == {f"diabetes-ridge-{version}": 100}
    assert promotions.models("production") == registered


def test_code_and_model_go_through_three_workspaces_and_only_the_first_trains(
    promotions: Promotions, repository: Repository
) -> None:
    hybrid = attrs.evolve(promotions, dag="promote_hybrid")

    run = hybrid.begin({"sha": repository.git("rev-parse", "HEAD")})
    hybrid.wait_until_asked(run)
    hybrid.answer(run, "Approve")
    state = hybrid.end(run)

    assert state == "success", hybrid.states(run)
    assert hybrid.xcom(run, "outcome")["outcome"] == "promoted"
    found = {name: len(hybrid.models(name, "diabetes-hybrid")) for name in WORKSPACES}
    assert found == {"development": 1, "staging": 0, "production": 0}
    evidence = [hybrid.xcom(run, f"{name}.evidence") for name in WORKSPACES]
    assert [each["passed"] for each in evidence] == [True, True, True]
    assert len({each["model_sha256"] for each in evidence}) == 1


def test_a_commit_that_is_not_there_is_refused_at_once(promotions: Promotions) -> None:
    run = promotions.begin({"sha": "0123456789"})

    assert promotions.end(run) == "failed"
    assert promotions.states(run)["plan"] == "failed"
