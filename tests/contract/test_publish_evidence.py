"""Nothing is published to an environment that requires evidence, by whatever way, unless the commit has passed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException

from airflow_azureml.cli import publish as cli
from airflow_azureml.client.evidence import Evidences, open_evidences
from airflow_azureml.client.signatures import make_key
from airflow_azureml.core.approvals import Approval
from airflow_azureml.core.evidence import Evidence
from airflow_azureml.errors import (
    EvidenceAlteredError,
    EvidenceExpiredError,
    EvidenceFailedError,
    EvidenceMismatchError,
    EvidenceMissingError,
)
from airflow_azureml.operators.publish import AzureMLPublishPipelineOperator, Environment, RequiredEvidence
from tests.contract.conftest import OTHER, WORKSPACE, Emulator
from tests.contract.publishing import Project, Seen
from tests.contract.registering import settings_of
from tests.unit.provider.evidence_world import NO, evidence, keys
from tests.unit.provider.publishing import folder

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # azure-ai-ml 1.35 and what it uses
    pytest.mark.filterwarnings("ignore::UserWarning:azure.ai.ml"),  # likewise
]

ENVIRONMENTS = """
environments:
  staging: {conn_id: azureml_staging, suffix: -st}
  production:
    conn_id: azureml_production
    protected: true
    requires: {environment: staging, approved: true, most_hours: 24}
"""
REQUIRED = RequiredEvidence("staging", conn_id="azureml_staging", approved=True, most_age=timedelta(days=1))
PRODUCTION = Environment("production", conn_id="azureml_production", requires=REQUIRED)


@attrs.frozen
class Chain:
    """A project with two environments, and what is known of its commit."""

    project: Project
    sha: str
    evidences: Evidences
    seen: Seen

    def passed(self, **more: Any) -> Evidence:
        """Write that the commit has passed in staging, and that somebody approved it."""
        now = datetime.now(UTC).replace(microsecond=0)
        agreed = Approval(approved=True, by="ada", at=now)
        where = self.evidences.settings.workspace.arm_id
        told = {"sha": self.sha, "job": "", "workspace": where, "began": now, "ended": now, "approval": agreed, **more}
        return self.evidences.write(evidence(**told)).evidence

    def publish(self, *words: str) -> None:
        """Type the command."""
        command: Any = cli.COMMAND
        parser = argparse.ArgumentParser(prog=command.name)
        for arg in command.args:
            arg.add_to_parser(parser)
        command.func(parser.parse_args([str(self.project.path), *words]))

    def run_task(self, **options: Any) -> Any:
        """Run the task alone, as a person does who clears it in a run, whatever came before."""
        told: dict[str, Any] = {"environment": PRODUCTION, "sha": self.sha, "deferrable": False, **options}
        task = AzureMLPublishPipelineOperator(task_id="publish", folder=str(self.project.path), **told)
        ti = SimpleNamespace(dag_id="d", run_id="r", task_id="publish", map_index=-1, max_tries=0, try_number=1)
        return task.execute(cast("Context", {"ti": ti}))

    @property
    def is_untouched(self) -> bool:
        """Whether nothing of it is in production."""
        return self.seen.endpoint(self.project.name) is None

    def tamper(self) -> None:
        """Change what evidence says, as whoever may write to the container can."""
        stored = self.evidences.find(self.sha, "staging")
        assert stored is not None
        name = stored.uri.removeprefix(self.evidences.folder)
        document = self.evidences.shelf.read(name)
        assert document is not None
        self.evidences.shelf.write(name, document.text.replace("It is 50.", "It is 5."), over=document.version)


@pytest.fixture
def chain(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    """Two workspaces, staging's and production's."""
    private, _ = make_key()
    for name, workspace in (("STAGING", OTHER), ("PRODUCTION", WORKSPACE)):
        subscription, group, place = workspace.split("/")
        extra = {"subscription_id": subscription, "resource_group": group, "workspace": place}
        extra |= {"authentication": "emulator", "endpoint": emulator.addresses.http}
        connection = {"conn_type": "azureml", "login": "robot", "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_AZUREML_{name}", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW_CONN_AZUREML_EVIDENCE", json.dumps({"conn_type": "generic", "password": private}))
    project = Project(tmp_path / "repo")
    sha = project.begin(**{"publish.yaml": folder([project.name])["publish.yaml"] + ENVIRONMENTS})
    with open_evidences(settings_of(emulator, OTHER), keys(private)) as opened:
        yield Chain(project, sha, opened, Seen(emulator))


def test_a_commit_that_has_passed_and_was_approved_is_published(
    chain: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    chain.passed()

    chain.publish("--to", "production")

    said = capsys.readouterr().out
    assert f"commit {chain.sha} has passed staging: azureml://" in said
    assert said.index("has passed staging") < said.index('"changed"')
    assert chain.seen.default(chain.project.name)
    assert chain.run_task()["changed"] == []


@pytest.mark.parametrize("to", ["production", "azureml_production"], ids=["its name", "its connection"])
def test_a_person_publishes_no_commit_that_never_ran_in_staging_and_may_still_see_what_would_change(
    chain: Chain, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=f"publish: EvidenceMissingError: .*no evidence of commit {chain.sha}.*run it"):
        chain.publish("--to", to)
    capsys.readouterr()
    chain.publish("--to", to, "--plan")

    assert "create endpoint" in capsys.readouterr().out
    assert chain.is_untouched


def test_what_is_on_the_disk_is_no_commit_that_has_passed(chain: Chain) -> None:
    chain.passed()
    (chain.project.path / "say.yml").write_text((chain.project.path / "say.yml").read_text() + "\n# tried out\n")

    with pytest.raises(SystemExit, match=f"EvidenceMissingError: What is on the disk differs from commit {chain.sha}"):
        chain.publish("--to", "production", "--allow-dirty")

    assert chain.is_untouched


def never_ran(chain: Chain) -> None:
    assert chain.evidences.find(chain.sha, "staging") is None


def did_not_pass(chain: Chain) -> None:
    chain.passed(verdict=NO)


def was_not_approved(chain: Chain) -> None:
    chain.passed(approval=None)


def was_rejected(chain: Chain) -> None:
    chain.passed(approval=Approval(approved=False, by="eve", at=datetime.now(UTC).replace(microsecond=0)))


def is_old(chain: Chain) -> None:
    before = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
    chain.passed(began=before, ended=before)


def was_altered(chain: Chain) -> None:
    chain.passed()
    chain.tamper()


def ran_elsewhere(chain: Chain) -> None:
    chain.passed(workspace="/subscriptions/s/resourceGroups/g/somewhere-else")


@pytest.mark.parametrize(
    ("happened", "error"),
    [
        (never_ran, EvidenceMissingError),
        (did_not_pass, EvidenceFailedError),
        (was_not_approved, EvidenceFailedError),
        (was_rejected, EvidenceFailedError),
        (is_old, EvidenceExpiredError),
        (was_altered, EvidenceAlteredError),
        (ran_elsewhere, EvidenceMismatchError),
    ],
    ids=lambda value: value.__name__,
)
def test_a_task_that_is_run_alone_publishes_nothing_without_evidence_that_proves_it(
    chain: Chain, happened: Callable[[Chain], None], error: type[Exception]
) -> None:
    happened(chain)

    with pytest.raises(AirflowFailException) as refused:
        chain.run_task()

    assert type(refused.value.__cause__) is error
    assert chain.is_untouched


def test_a_task_that_does_not_say_where_the_evidence_is_publishes_nothing(chain: Chain) -> None:
    nowhere = attrs.evolve(PRODUCTION, requires=attrs.evolve(REQUIRED, conn_id=""))

    with pytest.raises(AirflowFailException, match="requires evidence of 'staging': say in which workspace it is"):
        chain.run_task(environment=nowhere)

    assert chain.is_untouched
