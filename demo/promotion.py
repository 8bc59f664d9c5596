"""What a promotion needs on one machine: three workspaces, a repository, keys, and two people who are asked."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import httpx
from azure.storage.blob import BlobServiceClient

from airflow_azureml.client.signatures import make_key
from azureml_emulator.tokens import issue
from demo.azure import RESOURCE_GROUP, ROOT, SUBSCRIPTION, WORKSPACE
from demo.labelled import partitions, whole
from demo.processes import wait_until
from demo.stack import Stack

#: The workspaces, by environment; production's is the one that other demonstrations have.
WORKSPACES = {"development": "development", "staging": "staging", "production": WORKSPACE}
#: Who may approve, and who may not; with their passwords, which are good for nothing else.
APPROVER, OTHER = "olga", "victor"
PASSWORDS = {APPROVER: "olga-approves", OTHER: "victor-may-not"}
#: What the pipelines' own identity is called.
PRINCIPAL = "11111111-1111-1111-1111-111111111111"
#: The registry that all workspaces may read.
REGISTRY = "models"
COMPARE = "https://git.example.com/diabetes/compare/{base}...{sha}"
_FOLDER = "pipelines/diabetes"
_ENDED = ("success", "failed")


def arm_id(environment: str) -> str:
    """Name the workspace of an environment in Azure Resource Manager."""
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}"
    return f"{group}/providers/Microsoft.MachineLearningServices/workspaces/{WORKSPACES[environment]}"


@attrs.define
class Repository:
    """A git repository with the pipelines."""

    root: Path

    @classmethod
    def made(cls, root: Path) -> Repository:
        """Make one, with one commit."""
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / _FOLDER, root / _FOLDER, ignore=ignored)
        made = cls(root)
        made.git("init", "--quiet", "--initial-branch=main")
        made.commit("The pipelines")
        return made

    @property
    def folder(self) -> Path:
        """The folder that is published."""
        return self.root / _FOLDER

    def commit(self, message: str) -> str:
        """Commit what is there; returns the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def git(self, *words: str) -> str:
        """Run git, as somebody of its own."""
        who = ["-c", "user.name=A developer", "-c", "user.email=developer@example.com", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(self.root), *who, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def running(folder: Path, repository: Repository, *, dags: Path = ROOT / "dags", db: str = "") -> Iterator[Stack]:
    """Run the stack with three workspaces and with users, for as long as the block lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    passwords = folder / "passwords.json"
    passwords.write_text(json.dumps(PASSWORDS))
    environment = {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{APPROVER}:admin,{OTHER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "PROMOTION_FOLDER": str(repository.folder),
        "PROMOTION_FILES": str(repository.folder),
        "PROMOTION_APPROVERS": APPROVER,
        "PROMOTION_COMPARE_URL": COMPARE,
        "PROMOTION_REGISTRY": REGISTRY,
    }
    spaces = [f"{SUBSCRIPTION}/{RESOURCE_GROUP}/{name}" for name in WORKSPACES.values()]
    arguments = [word for each in spaces for word in ("--workspace", each)]
    stack = Stack(folder, dags=dags, db=db, environment=environment, emulator_arguments=arguments)
    with stack.owned():
        stack.start_azure()
        stack.airflow.tell(connections(stack.emulator.http))
        stack.airflow.migrate(stack.template)
        stack.start_airflow()
        stack.airflow.sign_in(APPROVER, PASSWORDS[APPROVER])
        yield stack


def make_registry(stack: Stack, name: str = REGISTRY) -> None:
    """Make a registry, which all workspaces may read."""
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}"
    url = f"{stack.emulator.http}{group}/providers/Microsoft.MachineLearningServices/registries/{name}"
    bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    body: dict[str, Any] = {"properties": {}}
    told = {"api-version": "2022-10-01-preview"}
    httpx.put(url, json=body, params=told, headers=bearer, trust_env=False, timeout=30).raise_for_status()


def connections(endpoint: str) -> Mapping[str, str]:
    """Write the connections of the environments, and the one with the keys of evidence, as Airflow reads them."""
    told = {}
    for environment, workspace in WORKSPACES.items():
        extra = {
            "subscription_id": SUBSCRIPTION,
            "resource_group": RESOURCE_GROUP,
            "workspace": workspace,
            "authentication": "emulator",
            "endpoint": endpoint,
        }
        connection = {"conn_type": "azureml", "login": PRINCIPAL, "extra": extra}
        told[f"AIRFLOW_CONN_AZUREML_{environment.upper()}"] = json.dumps(connection)
    private, _ = make_key()
    told["AIRFLOW_CONN_AZUREML_EVIDENCE"] = json.dumps({"conn_type": "generic", "password": private})
    return told


@attrs.define
class Promotions:
    """Starts promotions and looks at them.

    Attributes:
        stack: The stack.
        blobs: Its blob service.
        dag: The DAG.
        group: The group in it.
    """

    stack: Stack
    blobs: BlobServiceClient
    dag: str = "promote_code"
    group: str = "diabetes"

    def begin(self, conf: Mapping[str, Any]) -> str:
        """Start a run; returns its id."""
        self.stack.airflow.unpause(self.dag)
        body = {"logical_date": None, "conf": dict(conf)}
        return str(self.stack.airflow.call("POST", f"/api/v2/dags/{self.dag}/dagRuns", body)["dag_run_id"])

    def state(self, run: str) -> str:
        """Tell how a run is."""
        return str(self.stack.airflow.get(f"/api/v2/dags/{self.dag}/dagRuns/{run}")["state"])

    def states(self, run: str) -> dict[str, str]:
        """Tell how each task of the group is, by its name in it; a mapped one by any of its instances."""
        path = f"/api/v2/dags/{self.dag}/dagRuns/{run}/taskInstances"
        found = self.stack.airflow.get(path, limit=200)["task_instances"]
        return {each["task_id"].removeprefix(f"{self.group}."): each["state"] or "none" for each in found}

    def wait(self, run: str, task: str, *states: str, deadline_s: float = 600) -> None:
        """Wait until a task is so.

        Raises:
            AssertionError: It is not, or the run has ended before.
        """

        def _is_so() -> bool:
            self.stack.check()
            found = self.states(run).get(task, "none")
            if found not in states and (self.state(run) in _ENDED or found == "failed"):
                raise AssertionError(f"{task} is {found}, not {' or '.join(states)}: {self.states(run)}")
            return found in states

        if not wait_until(_is_so, deadline_s=deadline_s, step_s=1):
            raise AssertionError(f"{task} is not {' or '.join(states)} after {deadline_s:.0f} s: {self.states(run)}")

    def wait_until_asked(self, run: str, task: str = "staging.approve", *, deadline_s: float = 600) -> dict[str, Any]:
        """Wait until a person is asked, and the scheduler knows that the worker that asked is gone; what is shown.

        Airflow 3.3.2 takes the end of that worker for the end of the task, where an answer comes sooner.

        Raises:
            AssertionError: Nobody is asked.
        """
        self.wait(run, task, "awaiting_input", deadline_s=deadline_s)
        log = self.stack.airflow.folder / "parts" / "scheduler.log"
        words = f"state success for task instance TaskInstanceKey(dag_id='{self.dag}', task_id='{self.group}.{task}'"

        def _is_gone() -> bool:
            return any(words in line and run in line for line in log.read_text().splitlines())

        if not wait_until(_is_gone, deadline_s=60, step_s=0.5):
            raise AssertionError(f"Airflow's scheduler has not seen the end of the worker of {task} after 60 s.")
        found: dict[str, Any] = self.stack.airflow.get(self._hitl(run, task))
        return found

    def end(self, run: str, *, deadline_s: float = 900) -> str:
        """Wait for the end of a run; returns its state.

        Raises:
            AssertionError: It does not end.
        """

        def _has_ended() -> bool:
            self.stack.check()
            return self.state(run) in _ENDED

        if not wait_until(_has_ended, deadline_s=deadline_s, step_s=1):
            raise AssertionError(f"Run {run} goes on after {deadline_s:.0f} s: {self.states(run)}")
        return self.state(run)

    def xcom(self, run: str, task: str) -> Any:
        """Read what a task left; None where it left nothing."""
        path = f"/api/v2/dags/{self.dag}/dagRuns/{run}/taskInstances/{self.group}.{task}/xcomEntries/return_value"
        try:
            return self.stack.airflow.get(path)["value"]
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.NOT_FOUND:
                return None
            raise

    def answer(self, run: str, option: str, *, note: str = "", task: str = "staging.approve") -> None:
        """Answer as whoever is signed in.

        Raises:
            httpx.HTTPStatusError: Airflow does not let them.
        """
        body = {"chosen_options": [option], "params_input": {"note": note}}
        self.stack.airflow.call("PATCH", self._hitl(run, task), body)

    def page(self, run: str, task: str = "staging.approve") -> str:
        """Give the address of the page on which a person answers."""
        return f"{self.stack.airflow.url}/dags/{self.dag}/runs/{run}/tasks/{self.group}.{task}/required_actions"

    def container(self, environment: str) -> str:
        """Name the container of an environment's default datastore."""
        bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
        url = f"{self.stack.emulator.http}{arm_id(environment)}/datastores/workspaceblobstore?api-version=2024-10-01"
        found = httpx.get(url, headers=bearer, trust_env=False, timeout=30).raise_for_status().json()
        return str(found["properties"]["containerName"])

    def models(self, environment: str, model: str = "diabetes-ridge") -> dict[str, Mapping[str, Any]]:
        """List the versions of a model in an environment, with what Azure ML has of each."""
        bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
        url = f"{self.stack.emulator.http}{arm_id(environment)}/models/{model}/versions?api-version=2023-08-01-preview"
        found = httpx.get(url, headers=bearer, trust_env=False, timeout=30)
        entries = found.json()["value"] if found.is_success else []
        return {each["name"]: each["properties"] for each in entries}

    def traffic(self, environment: str, endpoint: str) -> dict[str, int]:
        """Tell how an online endpoint's requests are split, without those that get none."""
        bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
        url = f"{self.stack.emulator.http}{arm_id(environment)}/onlineEndpoints/{endpoint}?api-version=2024-04-01"
        found = httpx.get(url, headers=bearer, trust_env=False, timeout=30).raise_for_status().json()
        return {name: int(share) for name, share in found["properties"]["traffic"].items() if share}

    def provide(self, environment: str, now: datetime) -> None:
        """Put labelled data there, in partitions, and the reference that it is compared with."""
        container = self.container(environment)
        for each in (whole(), *partitions(now)):
            self.blobs.get_blob_client(container, each.path).upload_blob(each.content, overwrite=True)

    def _hitl(self, run: str, task: str) -> str:
        return f"/api/v2/dags/{self.dag}/dagRuns/{run}/taskInstances/{self.group}.{task}/-1/hitlDetails"
