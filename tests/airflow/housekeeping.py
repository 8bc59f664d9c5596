"""What the tests of sensors and of the housekeeping do to the workspace, as somebody else would."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any

import httpx
from attrs import frozen

from airflow_azureml.core.jobs import ATTEMPT_PROPERTY, INSTANCE_PROPERTY, KEY_PROPERTY, OWNER_PROPERTY, JobKey
from airflow_azureml.core.orphans import Owner, instance_of
from azureml_emulator.tokens import issue
from demo.azure import WORKSPACE_ID
from demo.processes import wait_until
from tests.airflow.conftest import Small

HERE = Path(__file__).resolve().parent
VERSION = "2024-01-01-preview"


@frozen
class Workspace:
    """The emulated workspace, talked to without the provider."""

    small: Small

    @classmethod
    def with_dags(cls, small: Small, dags_folder: Path) -> Workspace:
        """Let the running Airflow know the DAGs of these tests."""
        if not (dags_folder / "housekeeping_dags.py").exists():
            shutil.copy(HERE / "housekeeping_dags.py", dags_folder / "housekeeping_dags.py")
        return cls(small)

    def call(self, method: str, path: str, body: object = None, *, expect: int = 0) -> Any:
        """Call Azure's API below the workspace."""
        answer = httpx.request(
            method,
            f"{self.small.emulator.http}{WORKSPACE_ID}/{path}",
            params={"api-version": VERSION},
            headers={"Authorization": f"Bearer {issue('https://management.azure.com')}"},
            json=body,
            trust_env=False,
            timeout=30,
        )
        assert answer.status_code == expect if expect else answer.is_success, answer.text
        return answer.json() if answer.content else None

    @property
    def instance(self) -> str:
        """What the running Airflow calls itself on its jobs."""
        return instance_of(configured="", base_url=self.small.airflow.url)

    def job(self, command: str, *, name: str = "", owner: str = "", key: str = "", instance: str = "") -> str:
        """Start a job, as if the task of this owner had, and return its name."""
        name = name or f"job-{uuid.uuid4().hex[:12]}"
        whose = {OWNER_PROPERTY: owner, KEY_PROPERTY: key, ATTEMPT_PROPERTY: "1", INSTANCE_PROPERTY: instance}
        properties = whose if owner else {}
        spec = {"jobType": "Command", "command": command, "environmentId": "azureml:any:1"}
        self.call("PUT", f"jobs/{name}", {"properties": {**spec, "experimentName": "others", "properties": properties}})
        return name

    def owned(self, owner: str, *, key: str = "", instance: str = "") -> str:
        """Start a job of five minutes, as an owner has submitted it, with the owner's own key unless given another."""
        read = Owner.parse(owner)
        digest = key or (read.key.digest if read else "0" * 32)
        return self.job("sleep 300", owner=owner, key=digest, instance=instance or self.instance)

    def status(self, job: str) -> str:
        """Look at a job."""
        return str(self.call("GET", f"jobs/{job}")["properties"]["status"])

    def until_status(self, job: str, status: str) -> None:
        """Wait until a job has this status."""
        assert wait_until(lambda: self.status(job) == status, deadline_s=60), self.status(job)

    def cancel(self, job: str) -> None:
        """Cancel a job."""
        self.call("POST", f"jobs/{job}/cancel")

    def register(self, model: str, version: str, *, archived: bool = False) -> None:
        """Register a version of a model."""
        uri = f"azureml://datastores/workspaceblobstore/paths/models/{model}/{version}"
        properties = {"modelUri": uri, "modelType": "custom_model", "isArchived": archived}
        self.call("PUT", f"models/{model}/versions/{version}", {"properties": properties})

    def compute(self, name: str) -> dict[str, Any]:
        """Look at a compute."""
        found: dict[str, Any] = self.call("GET", f"computes/{name}")["properties"]
        return found


def given_key(dag_id: str, text: str) -> str:
    """Make the key that a DAG's author chose; it holds across runs."""
    return JobKey.given(dag_id, "run", text).digest
