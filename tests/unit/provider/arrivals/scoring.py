"""A group that scores batches, run task by task: Azurite and the emulator are real, Airflow's part is a few lines."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import httpx
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.sdk.execution_time.comms import ErrorResponse
from attrs import define, field
from azure.storage.blob import BlobServiceClient, ContainerClient

from airflow_azureml.core.batches import Batching
from airflow_azureml.core.filters import ArrivalFilter
from airflow_azureml.hooks.ledgers import BlobLedger
from airflow_azureml.operators.batches import (
    AzureMLClaimBatchesOperator,
    AzureMLMoreBatchesOperator,
    AzureMLReportBatchesOperator,
    AzureMLScoreBatchOperator,
)
from airflow_azureml.operators.pipeline import PipelineComponent
from azureml_emulator.tokens import issue
from demo.azure import ACCOUNT, WORKSPACE_ID, Emulator

#: A step that counts the lines of every file, fails when one of them says ``poison``, and tells of those that say
#: ``unreadable`` that they cannot be scored.
COUNT_LINES = """
cd ${{inputs.data}} && sep=''
if grep -l poison *; then exit 3; fi
printf '{"files": [' > ${{outputs.predictions}}/report.json
for f in *; do
  grep -q unreadable $f && fault='it cannot be read' || fault=''
  printf '%s{"file": "%s", "scored": %s, "rejected": 1, "fault": "%s"}' "$sep" $f $(wc -l < $f) "$fault" \
    >> ${{outputs.predictions}}/report.json
  wc -l < $f > ${{outputs.predictions}}/$f
  sep=', '
done
printf ']}' >> ${{outputs.predictions}}/report.json
"""
FOLDER = {"type": "uri_folder"}
DAG, GROUP = "batches", "patients"


def publish(emulator: Emulator, name: str, command: str) -> None:
    """Publish a pipeline of one step that reads a folder and writes one."""
    bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
    with httpx.Client(base_url=emulator.http, headers=bearer, trust_env=False, timeout=30) as http:

        def put(path: str, **spec: Any) -> str:
            body = {"properties": {"componentSpec": spec}}
            answer = http.put(f"{WORKSPACE_ID}/components/{path}/versions/1?api-version=2024-01-01-preview", json=body)
            return str(answer.raise_for_status().json()["id"])

        ports: dict[str, Any] = {"inputs": {"data": FOLDER}, "outputs": {"predictions": FOLDER}}
        step = put(f"{name}-step", type="command", name=f"{name}-step", command=command, **ports)
        node = {
            "type": "command",
            "componentId": step,
            "inputs": {"data": {"job_input_type": "literal", "value": "${{parent.inputs.data}}"}},
            "outputs": {"predictions": {"type": "literal", "value": "${{parent.outputs.predictions}}"}},
        }
        put(name, type="pipeline", name=name, jobs={"score": node}, **ports)


@define
class Store:
    """What Airflow keeps for a task instance, or for an asset."""

    kept: dict[str, Any] = field(factory=dict)

    def get(self, key: str) -> Any:
        return self.kept.get(key)

    def set(self, key: str, value: Any, *, retention: object = None) -> None:
        del retention
        self.kept[key] = json.loads(json.dumps(value))


@define
class Airflow:
    """What Airflow knows of runs: their states, and those of their tasks."""

    runs: dict[str, str] = field(factory=dict)
    tasks: dict[str, dict[str, str | None]] = field(factory=dict)

    def get_dagrun_state(self, dag_id: str, run_id: str) -> str:
        assert dag_id == DAG
        if run_id not in self.runs:
            raise AirflowRuntimeError(ErrorResponse(detail={"status_code": 404}))
        return self.runs[run_id]

    def get_task_states(self, dag_id: str, task_ids: list[str], run_ids: list[str]) -> dict[str, Any]:
        assert (dag_id, task_ids) == (DAG, [f"{GROUP}.claim", f"{GROUP}.score"])
        return {run: self.tasks[run] for run in run_ids if run in self.tasks}


@define
class TaskInstance(Airflow):
    """A try of a task, as an operator sees it."""

    run_id: str = ""
    task_id: str = ""
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 0
    dag_id: str = DAG
    pushed: dict[str, Any] = field(factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def xcom_pull(self, task_ids: str, key: str) -> Any:
        assert task_ids == "claim"
        return self.pushed.get(key)


@define
class World:
    """One container of blobs, its ledger, and the runs of a group."""

    emulator: Emulator
    service: BlobServiceClient
    incoming: ContainerClient
    name: str = field(factory=lambda: f"w{uuid.uuid4().hex[:12]}")
    airflow: Airflow = field(factory=Airflow)
    memories: dict[tuple[str, ...], Store] = field(factory=dict)
    of_asset: Store = field(factory=Store)
    asset: Asset | None = None
    events: Any = None

    @property
    def ledger(self) -> BlobLedger:
        return BlobLedger(name=self.name)

    @property
    def account_url(self) -> str:
        return f"{self.emulator.blob}/{ACCOUNT}"

    def put(self, path: str, content: str = "a,b\n1,2\n") -> str:
        """Write a blob; its eTag."""
        answer = self.incoming.upload_blob(path, content.encode(), overwrite=True)
        return str(answer.get_blob_properties().etag).strip('"')

    def claim(
        self,
        run: str,
        *,
        pipeline: str = "count",
        kind: type[AzureMLClaimBatchesOperator] = AzureMLClaimBatchesOperator,
        **more: Any,
    ) -> Any:
        operator = kind(
            task_id="claim",
            pipeline=PipelineComponent(pipeline),
            **{
                "wanted": ArrivalFilter(container=self.incoming.container_name, suffix=".csv").to_wire(),
                "asset": self.asset,
                "batching": Batching(blobs=4),
                **self.shared,
                **more,
            },
        )
        self.airflow.runs.setdefault(run, "running")
        return operator.execute(self.context(run, "claim"))

    def score(self, run: str, batch: str, *, pipeline: str = "count", last: bool = True, **more: Any) -> Any:
        operator = self.scorer(batch, pipeline=pipeline, **more)
        return operator.execute(self.context(run, "score", batch, max_tries=0 if last else 3))

    def scorer(
        self,
        batch: str,
        *,
        pipeline: str = "count",
        kind: type[AzureMLScoreBatchOperator] = AzureMLScoreBatchOperator,
        **more: Any,
    ) -> AzureMLScoreBatchOperator:
        return kind(
            task_id="score",
            batch=batch,
            pipeline=PipelineComponent(pipeline),
            deferrable=False,
            poll_interval=timedelta(seconds=0.1),
            follow="none",
            **{**self.shared, **more},
        )

    def report(self, run: str, batches: Sequence[str], scored: Sequence[Any], **more: Any) -> Any:
        operator = AzureMLReportBatchesOperator(
            task_id="report", batches=batches, scored=scored, **{**self.shared, **more}
        )
        return operator.execute(self.context(run, "report"))

    def more(self, run: str, batches: Sequence[str] | None, **pushed: int) -> None:
        operator = AzureMLMoreBatchesOperator(
            task_id="more", batches=batches, claim="claim", asset=Asset("any"), **self.shared
        )
        context = self.context(run, "more")
        context["ti"].pushed.update(pushed)
        operator.execute(context)

    def run(self, run: str) -> list[dict[str, Any]]:
        """Claim and score what is open; what scoring each batch returned."""
        results = [self.score(run, batch) for batch in self.claim(run)]
        self.end(run)
        return results

    def end(self, run: str, state: str = "success") -> None:
        """Let a run be over."""
        self.airflow.runs[run] = state

    @property
    def shared(self) -> dict[str, Any]:
        return {
            "group": GROUP,
            "account_url": self.account_url,
            "results": f"azureml://datastores/workspaceblobstore/paths/{self.name}/",
            "staging": f"{self.account_url}/staged/{self.name}",
            "ledger": self.ledger,
        }

    def context(self, run: str, task: str, *place: str, max_tries: int = 0) -> Any:
        memory = self.memories.setdefault((run, task, *place), Store())
        ti = TaskInstance(
            runs=self.airflow.runs,
            tasks=self.airflow.tasks,
            run_id=run,
            task_id=f"{GROUP}.{task}",
            max_tries=max_tries,
        )
        return {
            "ti": ti,
            "task_state_store": memory,
            "asset_state_store": {self.asset: self.of_asset},
            "inlet_events": {self.asset: self.events},
        }

    def published(self) -> dict[str, dict[str, Any]]:
        """Read the markers, by batch."""
        container = self._results()
        return {
            (one := json.loads(container.download_blob(name).readall()))["batch"]: one
            for name in container.list_blob_names(name_starts_with=f"{self.name}/_published/")
        }

    def scored(self) -> list[str]:
        """Name the versions that are in published results, each as often as it is."""
        return sorted(
            f"{each['path']}@{each['etag']}" for marker in self.published().values() for each in marker["files"]
        )

    def rejected(self) -> dict[str, str]:
        """Name the blobs that published markers tell to be rejected, with their reasons."""
        return {each["path"]: each["reason"] for one in self.published().values() for each in one["rejected"]}

    def staged(self) -> list[str]:
        """Name what is in the folders of batches, manifests left out."""
        names = self.service.get_container_client("staged").list_blob_names(name_starts_with=f"{self.name}/")
        return [str(name) for name in names if not str(name).endswith("/manifest.json")]

    def jobs(self) -> list[Mapping[str, Any]]:
        """List the jobs of this world's batches."""
        url = f"{self.emulator.http}{WORKSPACE_ID}/jobs?api-version=2024-01-01-preview"
        found: list[Mapping[str, Any]] = []
        while url:
            page = httpx.get(url, trust_env=False, timeout=30).raise_for_status().json()
            found += page["value"]
            url = page.get("nextLink", "")
        outputs = f"/paths/{self.name}/"
        return [one for one in found if outputs in json.dumps(one["properties"].get("outputs") or {})]

    def _results(self) -> ContainerClient:
        url = f"{self.emulator.http}{WORKSPACE_ID}/datastores/workspaceblobstore?api-version=2024-10-01"
        bearer = {"Authorization": f"Bearer {issue('https://management.azure.com')}"}
        found = httpx.get(url, headers=bearer, trust_env=False, timeout=30).raise_for_status().json()
        return self.service.get_container_client(found["properties"]["containerName"])
