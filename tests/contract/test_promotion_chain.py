"""Promotions of code from end to end, each run in a process of its own by ``dag.test()``, two of them at once."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import attrs
import httpx
import pytest

from airflow_azureml.client.evidence import open_evidences
from airflow_azureml.client.models import open_registrar
from airflow_azureml.client.signatures import make_key
from airflow_azureml.core.workspace import ConnectionSettings
from airflow_azureml.task_groups.promotion_parts import EVIDENCE
from azureml_emulator.tokens import issue
from demo.airflow import Airflow, default_template
from demo.azure import RESOURCE_GROUP, SUBSCRIPTION, Azurite, Emulator
from demo.serving import FILES
from tests.contract.promotion_chain_files import NAMES, Numbers
from tests.unit.provider.evidence_world import keys

HERE = Path(__file__).resolve().parent
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}"
PROVIDER = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces"
#: Prints how each task ended, and what it returned.
RUN = """
import json, sys
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
import promotion_chain_dags

run = getattr(promotion_chain_dags, sys.argv[1]).test(run_conf={"sha": sys.argv[2]})
states = {ti.task_id.removeprefix("numbers."): str(ti.state) for ti in run.get_task_instances()}
with create_session() as session:
    rows = XComModel.get_many(run_id=run.run_id, dag_ids=sys.argv[1], key="return_value")
    left = {row.task_id.removeprefix("numbers."): XComModel.deserialize_value(row) for row in session.scalars(rows)}
print(json.dumps({"state": str(run.state), "states": states, "left": left}))
"""
pytestmark = pytest.mark.timeout(900)


@attrs.frozen
class Run:
    """What a run came to."""

    state: str
    states: Mapping[str, str]
    left: Mapping[str, Any]
    log: str

    def of(self, state: str, prefix: str = "") -> list[str]:
        """Name the tasks that ended so."""
        return [task for task, each in self.states.items() if each == state and task.startswith(prefix)]

    @property
    def why(self) -> str:
        """Say what failed, and what was said of it."""
        errors = [line[:2000] for line in self.log.splitlines() if "Error" in line or "[error" in line]
        return "\n".join([f"{self.outcome}; failed: {self.of('failed')}", *errors[-20:]])

    @property
    def outcome(self) -> tuple[str, str]:
        """What came of it, and where."""
        told = self.left.get("outcome") or {}
        return str(told.get("outcome")), str(told.get("environment"))


@attrs.define
class Chain:
    """Four workspaces, a repository, and two Airflows of which nothing runs but the tasks."""

    emulator: Emulator
    homes: Mapping[str, Airflow]
    numbers: Numbers
    key: str

    @contextlib.contextmanager
    def begun(self, dag: str, sha: str, *, at: str) -> Iterator[tuple[subprocess.Popen[bytes], IO[str]]]:
        """Start a run in one of the Airflows; it is over with the block, however that ends.

        What it says goes into a file: in a pipe that nobody reads yet, it would wait, and the other run for it.
        """
        command = [sys.executable, "-c", RUN, dag, sha]
        with (
            tempfile.TemporaryFile("w+") as log,
            subprocess.Popen(command, env=self.homes[at].environment, stdout=log, stderr=subprocess.STDOUT) as process,
        ):
            try:
                yield process, log
            finally:
                process.kill()

    def race(self, dag: str, *shas: str) -> list[Run]:
        """Run commits at the same time, each in an Airflow of its own, to their ends."""
        ended = []
        with contextlib.ExitStack() as stack:
            begun = [
                stack.enter_context(self.begun(dag, sha, at=at)) for sha, at in zip(shas, self.homes, strict=False)
            ]
            for process, log in begun:
                code = process.wait(timeout=600)
                log.seek(0)
                said = log.read()
                assert code == 0, said[-8000:]
                ended.append(Run(**json.loads(said.splitlines()[-1]), log=said))
        return ended

    def promote(self, dag: str, sha: str) -> Run:
        """Run a commit to its end."""
        (run,) = self.race(dag, sha)
        return run

    def get(self, environment: str, path: str) -> Any:
        """Look at something of a workspace."""
        bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
        url = f"{self.emulator.http}{PROVIDER}/{environment}/{path}"
        found = httpx.get(url, headers=bearer, trust_env=False, timeout=30)
        return None if found.status_code == httpx.codes.NOT_FOUND else found.raise_for_status().json()

    def models(self, environment: str) -> dict[str, Mapping[str, Any]]:
        """List the versions of the model there."""
        found = self.get(environment, "models/numbers/versions?api-version=2023-08-01-preview")
        return {each["name"]: each["properties"] for each in (found or {"value": []})["value"]}

    @property
    def champions(self) -> list[str]:
        """The versions in production that are tagged as the champion."""
        return [name for name, each in self.models("production").items() if each["tags"].get("stage") == "champion"]

    @property
    def reigns(self) -> list[str]:
        """The versions that were ever the champion in production, as the register has it."""
        with open_registrar(self.settings("production")) as registrar:
            return list(registrar.registers.read("numbers").reigns)

    def settings(self, workspace: str) -> ConnectionSettings:
        """Name a workspace as a connection does."""
        fields = {"subscription_id": SUBSCRIPTION, "resource_group": RESOURCE_GROUP, "workspace": workspace}
        fields |= {"authentication": "emulator", "endpoint": self.emulator.http}
        return ConnectionSettings.parse(fields, conn_id=workspace)

    def tamper(self, sha: str, environment: str) -> None:
        """Change what evidence says, as whoever may write to the container can."""
        folder = f"{EVIDENCE}numbers/code/"
        with open_evidences(self.settings(environment), keys(self.key), folder=folder) as evidences:
            stored = evidences.find(sha, environment)
            assert stored is not None
            name = stored.uri.removeprefix(evidences.folder)
            document = evidences.shelf.read(name)
            assert document is not None
            assert '"reason": "' in document.text
            evidences.shelf.write(
                name, document.text.replace('"reason": "', '"reason": "It is fine. ', 1), over=document.version
            )

    @property
    def traffic(self) -> dict[str, int]:
        """Where the requests of production go."""
        found = self.get("production", "onlineEndpoints/numbers-online?api-version=2024-04-01")
        return {
            name: share
            for name, share in (found or {"properties": {"traffic": {}}})["properties"]["traffic"].items()
            if share
        }

    def commit_of(self, version: str) -> str:
        """Name the commit that a version of the model was made of."""
        return str(self.models("production")[version]["properties"]["git_sha"])


def connections(emulator: Emulator, key: str) -> dict[str, str]:
    told = {}
    for name in NAMES:
        extra = {"subscription_id": SUBSCRIPTION, "resource_group": RESOURCE_GROUP, "workspace": name}
        extra |= {"authentication": "emulator", "endpoint": emulator.http}
        told[f"AIRFLOW_CONN_AZUREML_{name.upper()}"] = json.dumps(
            {"conn_type": "azureml", "login": "pipeline", "extra": extra}
        )
    told["AIRFLOW_CONN_AZUREML_EVIDENCE"] = json.dumps({"conn_type": "generic", "password": key})
    return told


def _on_kubernetes(folder: Path) -> Path:
    """Write the deployment's file once more, for a Kubernetes endpoint."""
    shutil.copytree(FILES, folder)
    file = folder / "deployment.yml"
    managed = file.read_text()
    assert "managedOnlineDeployment" in managed
    file.write_text(f"type: kubernetes\n{managed.replace('managedOnlineDeployment', 'kubernetesOnlineDeployment')}")
    return file


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    folder = tmp_path_factory.mktemp("chain")
    arguments = [word for name in NAMES for word in ("--workspace", f"{SUBSCRIPTION}/{RESOURCE_GROUP}/{name}")]
    numbers = Numbers.made(folder / "repository")
    dags = folder / "dags"
    dags.mkdir()
    shutil.copy(HERE / "promotion_chain_dags.py", dags)
    key, _ = make_key()
    with (
        Azurite(folder / "azurite") as azurite,
        Emulator(folder / "emulator", azurite, event_queues=(), arguments=arguments) as emulator,
    ):
        environment = {
            **emulator.client_environment,
            **connections(emulator, key),
            "CHAIN_FILES": str(FILES),
            "CHAIN_FOLDER": str(numbers.folder),
            "CHAIN_KUBERNETES": str(_on_kubernetes(folder / "online")),
            "PYTHONPATH": str(dags),
        }
        homes = {}
        for name in ("north", "south"):
            told = {**environment, "AIRFLOW__AZUREML__INSTANCE": name}
            homes[name] = Airflow(folder / name, dags=dags, environment=told)
            homes[name].migrate(default_template())
        yield Chain(emulator, homes, numbers, key)


def test_a_commit_goes_through_four_environments_in_order_and_is_released_at_the_end(chain: Chain) -> None:
    sha = chain.numbers.commit(rmse=50)

    run = chain.promote("chain", sha)

    assert run.state == "success", run.why
    assert run.outcome == ("promoted", "production")
    evidence = [run.left[f"{name}.evidence"] for name in NAMES]
    assert [(each["sha"], each["passed"]) for each in evidence] == [(sha, True)] * 4
    assert [run.left[f"{name}.require"]["digest"] for name in NAMES[1:]] == [each["digest"] for each in evidence[:-1]]
    assert [len(chain.models(name)) for name in NAMES] == [0, 0, 0, 1]
    assert chain.champions == ["1"]
    assert chain.commit_of("1") == sha
    assert chain.traffic == {"numbers-1": 100}


def test_a_run_after_one_that_registered_and_died_releases_what_that_one_made(chain: Chain) -> None:
    sha = chain.numbers.commit(rmse=40)
    before = chain.promote("unreleased", sha)
    assert before.outcome == ("promoted", "production"), before.why
    assert chain.traffic == {"numbers-1": 100}

    run = chain.promote("chain", sha)

    assert run.state == "success", run.why
    assert run.outcome == ("was there", "production")
    assert {task for task in run.of("success") if task.endswith((".train", ".publish", ".register"))} == set()
    assert chain.champions == ["2"]
    assert chain.traffic == {"numbers-2": 100}


def test_a_commit_that_was_replaced_since_is_not_released_again(chain: Chain) -> None:
    first = chain.commit_of("1")

    run = chain.promote("chain", first)

    assert (run.state, run.outcome) == ("success", ("was there", "production")), run.why
    assert run.of("success", "production.release") == []
    assert chain.traffic == {"numbers-2": 100}


def test_a_version_is_released_to_a_kubernetes_cluster_as_to_a_managed_endpoint(chain: Chain) -> None:
    run = chain.promote("cluster", "2")

    assert run.state == "success", run.why
    endpoint = chain.get("production", "onlineEndpoints/numbers-cluster?api-version=2024-04-01")
    (deployed,) = chain.get("production", "onlineEndpoints/numbers-cluster/deployments?api-version=2024-04-01")["value"]
    assert (endpoint["kind"], endpoint["properties"]["traffic"]) == ("Kubernetes", {"numbers-2": 100})
    assert endpoint["properties"]["compute"].endswith("/workspaces/production/computes/aks-production")
    told = deployed["properties"]
    assert (told["endpointComputeType"], told["instanceType"]) == ("Kubernetes", "small")
    assert (deployed["name"], deployed["sku"]["capacity"]) == ("numbers-2", 2)


def test_two_commits_that_race_end_with_one_champion_and_each_trains_its_own_code(chain: Chain) -> None:
    before = chain.reigns
    shas = {chain.numbers.commit(rmse=30): 30.0, chain.numbers.commit(rmse=20): 20.0}

    ended = dict(zip(shas, chain.race("unreleased", *shas), strict=True))

    (champion,) = chain.champions
    new = chain.reigns[len(before) :]
    assert champion == chain.reigns[-1]
    assert len(set(chain.reigns)) == len(chain.reigns)
    for sha, run in ended.items():
        # Whoever came too late says so by a name, or by the gate's answer, and has changed nothing.
        made = [version for version in new if chain.commit_of(version) == sha]
        told = [*made, *(["overtaken"] if "OvertakenError" in run.log and run.state == "failed" else [])]
        told += ["rejected"] if run.outcome == ("rejected", "production") else []
        assert len(told) == 1, run.why
        judged = [run.left[gate] for gate in ("staging.gate", "production.model.gate") if gate in run.left]
        values = {found["value"] for each in judged for found in each["findings"] if found.get("subject") == "rmse"}
        assert values & {*shas.values()} <= {shas[sha]}, judged
        assert values or not judged
    assert new


def test_one_commit_twice_at_once_is_registered_and_crowned_once(chain: Chain) -> None:
    before = chain.reigns
    sha = chain.numbers.commit(rmse=10)

    ended = chain.race("unreleased", sha, sha)

    assert {run.state for run in ended} == {"success"}, [run.why for run in ended]
    assert sorted(run.outcome[0] for run in ended) == ["promoted", "rejected"]
    assert len(chain.reigns) == len(before) + 1
    assert chain.champions == chain.reigns[-1:]
    assert chain.commit_of(chain.champions[0]) == sha
    (rejected,) = [run for run in ended if run.outcome[0] == "rejected"]
    assert "a tie leaves the champion where it is" in rejected.left["outcome"]["reasons"][0]


def test_evidence_that_was_altered_ends_the_run_before_anything_is_done(chain: Chain) -> None:
    endpoint, champions = "batchEndpoints/numbers?api-version=2023-10-01", chain.champions
    before, sha = chain.get("production", endpoint), chain.commit_of(champions[0])
    chain.tamper(sha, "staging")

    run = chain.promote("unreleased", sha)

    assert (run.state, run.of("failed"), run.of("success")) == ("failed", ["plan"], []), run.why
    assert "EvidenceAlteredError" in run.log
    assert (chain.get("production", endpoint), chain.champions) == (before, champions)
