"""``airflow azureml publish``, in this process, on the real emulator and a real git repository."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_azureml.cli import publish as cli
from tests.contract.conftest import WORKSPACE, Emulator
from tests.contract.publishing import Project, Seen
from tests.unit.provider.publishing import folder

Run = Callable[..., str]
pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # azure-ai-ml 1.35 and what it uses
    pytest.mark.filterwarnings("ignore::UserWarning:azure.ai.ml"),  # likewise
]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A repository with one commit, whose folder names two environments."""
    made = Project(tmp_path / "repo")
    environments = """
environments:
  staging: {conn_id: azureml_default, suffix: -st}
  production: {conn_id: azureml_default_too, principal: robot}
"""
    made.begin(**{"publish.yaml": folder([made.name])["publish.yaml"] + environments})
    return made


@pytest.fixture
def run(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command as a person types it; returns what it prints."""
    subscription, group, workspace = WORKSPACE.split("/")
    extra = {
        "subscription_id": subscription,
        "resource_group": group,
        "workspace": workspace,
        "authentication": "emulator",
        "endpoint": emulator.addresses.http,
    }
    for name in ("AZUREML_DEFAULT", "AZUREML_DEFAULT_TOO"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps({"conn_type": "azureml", "extra": extra}))

    def _run(*words: str) -> str:
        command: Any = cli.COMMAND
        parser = argparse.ArgumentParser(prog=command.name)
        for arg in command.args:
            arg.add_to_parser(parser)
        command.func(parser.parse_args(words))
        return capsys.readouterr().out

    return _run


def test_what_changes_is_printed_before_it_is_changed_and_again_there_is_nothing(
    run: Run, project: Project, emulator: Emulator
) -> None:
    seen = Seen(emulator)

    planned = run(str(project.path), "--to", "staging", "--plan").splitlines()
    assert seen.endpoint(f"{project.name}-st") is None
    done = run(str(project.path), "--to", "staging").splitlines()
    again = run(str(project.path), "--to", "staging").splitlines()

    assert planned[0].endswith("to staging (workspace contract-ws in resource group contract-group):")
    assert planned[1].endswith("(base.yml)")
    assert planned[-1].endswith(f"the default of endpoint {project.name}-st, in the place of none")
    assert done[: len(planned)] == planned
    assert json.loads(done[-1])["endpoints"] == {project.name: f"{project.name}-st"}
    assert json.loads(done[-1])["deployments"] == {project.name: seen.default(f"{project.name}-st")}
    assert again[1].strip() == "nothing is to be done: it is there already."
    assert json.loads(again[-1])["changed"] == []


def test_what_cannot_be_done_is_one_sentence(run: Run, project: Project) -> None:
    where = str(project.path)

    with pytest.raises(SystemExit, match=r"publish: Find commit 'gone' in .*: there is none"):
        run(where, "--to", "staging", "--sha", "gone")
    with pytest.raises(SystemExit, match="publish: There is no connection 'nobody'"):
        run(where, "--to", "nobody")
    with pytest.raises(SystemExit, match="publish: Environment 'production' is protected, and connection"):
        run(where, "--to", "production")
    with pytest.raises(SystemExit, match="publish: There is no pipeline gone"):
        run(where, "--to", "staging", "--only", "gone")
    (project.path / "base.yml").write_text("changed")
    with pytest.raises(SystemExit, match=r"publish: Folder .* differs from commit .*/base.yml\. Commit that first"):
        run(where, "--to", "staging")


def test_a_dirty_tree_is_planned_under_a_version_that_says_so_to_the_environment_of_the_connection(
    run: Run, project: Project
) -> None:
    (project.path / "say.yml").write_text((project.path / "say.yml").read_text() + "\n# tried out\n")

    told = run(str(project.path), "--to", "azureml_default", "--allow-dirty", "--plan").splitlines()

    assert "-dirty-" in told[0]
    assert "to staging" in told[0]
    assert any("-dirty-" in line and "(say.yml)" in line for line in told[1:])
