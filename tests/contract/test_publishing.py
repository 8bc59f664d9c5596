"""Publishing folders at commits, by azure-ai-ml and REST, on the real emulator and the real Azurite."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import httpx
import pytest

from airflow_azureml.core.environments import Environment
from airflow_azureml.core.publication import Verb
from airflow_azureml.errors import (
    AzureMLError,
    ConfigError,
    JobError,
    OvertakenError,
    RefusedError,
    UnavailableError,
)
from tests.contract.conftest import REPOSITORY, WORKSPACE, Emulator
from tests.contract.publishing import Project, Seen, publisher, to_the_end
from tests.contract.registering import Died, Life, settings_of
from tests.unit.provider.publishing import folder, git

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # azure-ai-ml 1.35 and what it uses
    pytest.mark.filterwarnings("ignore::UserWarning:azure.ai.ml"),  # likewise
]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A repository of one test's own."""
    return Project(tmp_path / "repo")


@pytest.fixture(scope="module")
def controlled(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An emulator that can be told what goes wrong."""
    made = Emulator(tmp_path_factory.mktemp("controlled") / "state", *azurite)
    made.start("--control")
    yield made
    made.end()


def control(controlled: Emulator, what: str, body: object) -> None:
    """Tell it."""
    httpx.put(f"{controlled.addresses.http}/control/{what}", json=body, trust_env=False).raise_for_status()


@pytest.fixture
def seen(emulator: Emulator) -> Seen:
    """The workspace as others see it."""
    return Seen(emulator)


def test_a_commit_is_published_smoke_run_and_made_the_default_and_again_changes_nothing(
    emulator: Emulator, project: Project, seen: Seen
) -> None:
    sha = project.begin()

    with publisher(settings_of(emulator), project) as opened:
        steps = [step.verb for step in opened.plan()]
        assert seen.endpoint(project.name) is None
        done = to_the_end(opened)
    before = seen.endpoint(project.name)
    with publisher(settings_of(emulator), project, claimant="another") as opened:
        again = to_the_end(opened)

    assert steps[-2:] == [Verb.SMOKE, Verb.SWITCH]
    deployment = seen.default(project.name)
    assert deployment.startswith(f"one-{sha[:7]}-")
    assert done["endpoints"] == {project.name: project.name}
    assert done["deployments"] == {project.name: deployment}
    assert (done["sha"], done["version"], done["environment"]) == (sha, sha[:12], "staging")
    component = seen.get(f"components/{project.name}_pipeline/versions/{sha[:12]}", "2024-01-01-preview")
    assert component["properties"]["tags"]["git_sha"] == sha
    step = component["properties"]["componentSpec"]["jobs"]["say"]["componentId"]
    assert step.endswith(f"/components/{project.name}_say/versions/{sha[:12]}")
    assert seen.jobs(project.name) == list(done["smoke"].values())
    assert again == {**done, "changed": []}
    assert seen.endpoint(project.name) == before


def test_a_new_commit_stands_beside_the_old_one_and_the_old_one_is_gone_back_to_by_a_switch(
    emulator: Emulator, project: Project, seen: Seen
) -> None:
    first = project.begin()
    with publisher(settings_of(emulator), project) as opened:
        old = to_the_end(opened)["deployments"][project.name]
    project.say("echo more > ${{outputs.result}}/word.txt")

    with publisher(settings_of(emulator), project, claimant="second") as opened:
        new = to_the_end(opened)["deployments"][project.name]
    tags = seen.endpoint(project.name)["tags"]
    with publisher(settings_of(emulator), project, sha=first, claimant="back") as opened:
        back = [step.verb for step in opened.plan()]
        to_the_end(opened)

    assert new != old
    assert seen.deployments(project.name) == {old, new}
    assert tags["previous_deployment"] == old
    assert back == [Verb.SWITCH]
    assert seen.default(project.name) == old


def test_a_smoke_run_that_fails_leaves_the_default_as_it_was_and_the_next_commit_mends_it(
    emulator: Emulator, project: Project, seen: Seen
) -> None:
    project.begin()
    with publisher(settings_of(emulator), project) as opened:
        good = to_the_end(opened)["deployments"][project.name]
    bad = project.say("echo broken && exit 3")

    with publisher(settings_of(emulator), project, claimant="bad") as opened, pytest.raises(JobError) as failed:
        to_the_end(opened)

    assert f"deployment one-{bad[:7]}-" in str(failed.value)
    assert "ended as Failed" in str(failed.value)
    assert "No default deployment was switched" in str(failed.value)
    assert seen.default(project.name) == good
    project.say("echo mended > ${{outputs.result}}/word.txt")
    with publisher(settings_of(emulator), project, claimant="mended") as opened:
        assert to_the_end(opened)["deployments"][project.name] == seen.default(project.name) != good


@pytest.mark.parametrize("writes", [1, 2])
def test_whoever_dies_before_a_write_and_goes_on_publishes_once(
    emulator: Emulator, project: Project, seen: Seen, writes: int
) -> None:
    project.begin()
    lives = 0
    done = None
    while done is None:
        lives += 1
        assert lives < 12
        with publisher(settings_of(emulator), project, life=Life(left=writes)) as opened:
            try:
                done = to_the_end(opened)
            except Died:
                continue

    # An endpoint, a deployment, a job and a default are written by REST; the rest by azure-ai-ml.
    assert lives == 4 // writes
    assert len(seen.jobs(project.name)) == 1
    assert seen.default(project.name) == done["deployments"][project.name]


def test_of_two_publications_at_a_time_the_one_that_began_last_decides(
    emulator: Emulator, project: Project, seen: Seen
) -> None:
    first = project.begin()
    project.say("echo second > ${{outputs.result}}/word.txt")

    with (
        publisher(settings_of(emulator), project, sha=first, claimant="one") as slow,
        publisher(settings_of(emulator), project, claimant="two") as fast,
    ):
        pending = slow.go_on()
        assert pending is not None
        done = to_the_end(fast)
        slow.wait(pending)
        with pytest.raises(OvertakenError, match=rf"{first[:12]} to workspace .* overtaken by that of .* begun by two"):
            slow.go_on()
        with (
            publisher(settings_of(emulator), project, sha=first, claimant="one") as again,
            pytest.raises(OvertakenError, match="switches no default deployment any more"),
        ):
            to_the_end(again)

    assert seen.default(project.name) == done["deployments"][project.name]


def test_a_component_that_is_not_there_is_told_before_anything_is_made(
    emulator: Emulator, project: Project, seen: Seen
) -> None:
    texts = folder([project.name])
    pipeline = texts[f"{project.name}.yml"].replace("component: say.yml", "component: azureml:nobody:7")
    project.begin(**{f"{project.name}.yml": pipeline})

    with publisher(settings_of(emulator), project) as opened, pytest.raises(ConfigError) as refused:
        opened.go_on()

    assert "is component nobody:7, and there is no such component" in str(refused.value)
    assert "nothing was changed" in str(refused.value)
    assert seen.get("components/" + f"{project.name}_say/versions/1", "2024-01-01-preview") is None
    assert seen.endpoint(project.name) is None


def test_a_file_that_azure_ai_ml_cannot_read_is_told_before_anything_is_made(
    emulator: Emulator, project: Project, seen: Seen
) -> None:
    project.begin(**{"base.yml": folder()["base.yml"].replace("image:", "imgae:")})

    with (
        publisher(settings_of(emulator), project) as opened,
        pytest.raises(ConfigError, match=r"azure-ai-ml cannot read base\.yml"),
    ):
        opened.plan()

    assert seen.endpoint(project.name) is None


def test_a_protected_environment_is_written_to_by_its_principal_alone(
    emulator: Emulator, project: Project, seen: Seen
) -> None:
    project.begin()
    production = Environment("production", conn_id="test", protected=True, principal="robot")

    with (
        pytest.raises(ConfigError, match="Environment 'production' is protected"),
        publisher(settings_of(emulator), project, environment=production),
    ):
        pytest.fail("it is not opened")

    robot = attrs.evolve(settings_of(emulator), client_id="robot")
    with publisher(robot, project, environment=production) as opened:
        assert to_the_end(opened)["environment"] == "production"
    assert seen.default(project.name)


def test_an_identity_that_may_not_write_to_the_workspace_is_refused_in_azures_words_and_changes_nothing(
    controlled: Emulator, project: Project
) -> None:
    project.begin()
    control(controlled, "rights", {"robot": {WORKSPACE: "read"}})

    robot = attrs.evolve(settings_of(controlled), client_id="robot")
    with (
        publisher(robot, project) as opened,
        pytest.raises(RefusedError, match=r"403 Authorization(Failed|PermissionMismatch)"),
    ):
        opened.go_on()
    control(controlled, "rights", {})
    with publisher(robot, project) as opened:
        assert opened.plan()[0].verb is Verb.CREATE, "nothing is there"


def test_answers_that_are_lost_and_changes_by_others_cost_another_try_and_nothing_is_done_twice(
    controlled: Emulator, project: Project
) -> None:
    project.begin()
    lost, busy = {"apply_then_drop": True, "count": 1}, {"status": 409, "count": 1}
    where = (".*/components/.*", ".*/batchEndpoints/[^/]+", ".*/deployments/.*", ".*/jobs")
    faults = [{"method": "PUT", "path": path, **effect} for path in where for effect in (busy, lost)]
    control(controlled, "faults", [*faults, {"method": "POST", "path": ".*/jobs", **lost}])

    done, errors = None, list[AzureMLError]()
    while done is None:
        assert len(errors) < 12
        with publisher(settings_of(controlled), project) as opened:
            try:
                done = to_the_end(opened)
            except UnavailableError as error:
                errors.append(error)
    struck = httpx.get(f"{controlled.addresses.http}/control/faults", trust_env=False).json()
    control(controlled, "faults", [])

    seen = Seen(controlled)
    assert any("Somebody else is at it" in str(error) for error in errors)
    assert {each["path"]: each["struck"] for each in struck if each["method"] == "POST"} == {".*/jobs": 1}
    assert len(seen.jobs(project.name)) == 1
    assert seen.default(project.name) == done["deployments"][project.name]


def test_an_environment_gives_its_endpoints_names_and_its_jobs_a_compute_of_its_own(
    emulator: Emulator, project: Project, seen: Seen
) -> None:
    project.begin()
    elsewhere = Environment("staging", conn_id="test", suffix="-st", compute="gpu")

    with publisher(settings_of(emulator), project, environment=elsewhere) as opened:
        with pytest.raises(ConfigError, match="there is no compute gpu"):
            opened.go_on()
        seen.put_compute("gpu")
        done = to_the_end(opened)

    assert done["endpoints"] == {project.name: f"{project.name}-st"}
    deployment = seen.get(f"batchEndpoints/{project.name}-st/deployments/{done['deployments'][project.name]}")
    assert deployment["properties"]["deploymentConfiguration"]["settings"]["default_compute"] == "gpu"
    assert seen.endpoint(project.name) is None


def test_whoever_is_killed_and_starts_again_publishes_once(emulator: Emulator, project: Project, seen: Seen) -> None:
    say = folder()["say.yml"].replace("name: say", f"name: {project.name}_say\ncode: ./src")
    sha = project.begin(**{"say.yml": say, "src/word.txt": "hello\n"})
    component = f"components/{project.name}_say/versions/{sha[:12]}"
    made = (lambda: seen.get(component, "2024-01-01-preview"), lambda: seen.jobs(project.name))

    for there in made:
        with project.published_apart(emulator) as process:
            while process.poll() is None and not there():
                time.sleep(0.05)
            assert process.poll() is None, "it is killed before its end"
        assert seen.default(project.name) == ""
    with publisher(settings_of(emulator), project) as opened:
        done = to_the_end(opened)

    assert {each.partition(" ")[0] for each in done["changed"]} <= {"smoke-run", "switch"}
    assert len(seen.jobs(project.name)) == 1
    assert seen.default(project.name) == done["deployments"][project.name]


def test_azure_ai_ml_reads_all_that_is_published_of_the_diabetes_pipelines(emulator: Emulator, tmp_path: Path) -> None:
    project = Project(tmp_path / "repo", name="diabetes")
    shutil.copytree(REPOSITORY / "pipelines/diabetes", project.path, ignore=shutil.ignore_patterns("__pycache__"))
    git(project.root, "init", "-q", "-b", "main")
    project.commit({})

    with publisher(settings_of(emulator), project) as opened:
        steps = opened.plan()

    names = {f"diabetes-{kind}" for kind in ("training", "evaluation", "scoring", "batch-scoring")}
    assert {step.name for step in steps if step.verb is Verb.SMOKE} == names
    assert {step.name for step in steps if step.verb is Verb.SWITCH} == names


def test_a_smoke_run_reads_a_file_of_the_commit(emulator: Emulator, project: Project) -> None:
    texts = folder([project.name])
    name = f"{project.name}.yml"
    files = {
        name: texts[name].replace("word: {type: string}", "word: {type: uri_file}"),
        "say.yml": texts["say.yml"]
        .replace("name: say", f"name: {project.name}_say")
        .replace("word: {type: string}", "word: {type: uri_file}")
        .replace("echo ${{inputs.word}}", "grep hello ${{inputs.word}}"),
        "publish.yaml": texts["publish.yaml"].replace("word: hello", "word: ./smoke/word.txt"),
        "smoke/word.txt": "hello\n",
    }
    project.begin(**files)

    with publisher(settings_of(emulator), project) as opened:
        assert to_the_end(opened)["smoke"]
