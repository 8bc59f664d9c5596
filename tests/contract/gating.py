"""A workspace whose blobs are evaluations, and the gate's tasks, run one by one: Airflow's part is a few lines."""

from __future__ import annotations

import contextlib
import json
import random
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import DownstreamTasksSkipped
from attrs import define, field, frozen
from azure.storage.blob import BlobServiceClient, ContainerClient

from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.gate import Better, Comparison, IntervalRule, Policy, Threshold
from airflow_azureml.operators.gate import AzureMLGateOperator
from azureml_emulator.settings import DEV_ACCOUNT, DEV_ACCOUNT_KEY
from tests.contract.conftest import ARM_ID, WORKSPACE, Emulator
from tests.contract.controlled import client_of

SUBSCRIPTION, GROUP, NAME = WORKSPACE.split("/")
CONN = "gated"
ROWS = 60
GOOD = Policy(
    name="tests",
    version="1",
    no_champion="accept",
    thresholds=[Threshold(metric="rmse", at_most=60)],
    comparisons=[Comparison(metric="rmse", better=Better.LOWER)],
    intervals=[IntervalRule(loss="squared_error", wanted="when_written")],
)


@define
class Instance:
    """What a task sees of its instance."""

    task: Any
    map_index: int = -1
    pushed: dict[str, Any] = field(factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = json.loads(json.dumps(value))


@frozen
class Told:
    """What became of a task.

    Attributes:
        result: Its XCom, as Airflow stores it.
        skipped: The tasks behind it that are skipped.
    """

    result: dict[str, Any]
    skipped: set[str]

    @property
    def verdict(self) -> Verdict:
        return Verdict.from_wire(self.result)

    @property
    def reasons(self) -> str:
        return " ".join(finding.reason for finding in self.verdict.failed)


@frozen
class Bench:
    """A workspace, and the container behind its default datastore."""

    http: httpx.Client
    blobs: ContainerClient
    folder: str = field(factory=lambda: uuid.uuid4().hex[:12])

    def uri(self, name: str) -> str:
        return f"azureml://datastores/workspaceblobstore/paths/{self.folder}/{name}/"

    def put(self, name: str, content: str | bytes) -> None:
        self.blobs.upload_blob(f"{self.folder}/{name}", content, overwrite=True)

    def read(self, uri: str) -> bytes:
        return self.blobs.download_blob(uri.partition("/paths/")[2]).readall()

    def evaluate(self, name: str, *, rmse: Any = 50.0, losses: Any = None, **more: Any) -> str:
        """Write an evaluation as a pipeline would, and return its folder's URI."""
        document = {"schema": 1, "metrics": {"rmse": rmse}, "data": {"version": "sha256:1", "rows": ROWS}}
        if losses is not None:
            ending = "parquet" if isinstance(losses, bytes) else "csv"
            self.put(f"{name}/losses.{ending}", losses)
            document["losses"] = {"path": f"losses.{ending}", "column": "squared_error", "key": "row"}
        self.put(f"{name}/evaluation.json", json.dumps({**document, **more}))
        return self.uri(name)

    def gate(self, ours: str, theirs: str | Mapping[str, Any] = "", **more: Any) -> Told:
        """Run the gate with two tasks behind it, `register` and `tell`."""
        against = champion_at(theirs) if isinstance(theirs, str) else theirs
        with DAG("gated", schedule=None) as dag:
            gate = AzureMLGateOperator(
                task_id="gate",
                **{"challenger": trained(ours), "champion": against, "policy": GOOD, "conn_id": CONN, **more},
            )
            gate >> [EmptyOperator(task_id="register"), EmptyOperator(task_id="tell")]
        del dag
        return run(gate)


def trained(evaluation: str, **more: Any) -> dict[str, Any]:
    """What the task of a training pipeline returned."""
    steps = [{"name": "evaluate", "status": "Completed", "seconds": 1.0, "reused": False}]
    return {"job": "train-1", "outputs": {"evaluation": evaluation}, "steps": steps, "left_out": 0, **more}


def champion_at(evaluation: str, **more: Any) -> dict[str, Any]:
    """What the task that looked for the champion returned."""
    told = {"model": "ridge", "version": "3", "uri": "azureml://u", "job": "train-0", "data_version": "sha256:1"}
    return {**told, "evaluation": evaluation, **more} if evaluation else {}


def run(task: Any) -> Told:
    instance = Instance(task)
    skipped: set[str] = set()
    try:
        task.execute({"ti": instance})
    except DownstreamTasksSkipped as skip:
        skipped = {each[0] if isinstance(each, tuple) else each for each in skip.tasks}
    return Told(instance.pushed["return_value"], skipped)


def losses(shift: float, *, seed: int = 1, rows: int = ROWS) -> str:
    """Losses around 2500, each with some noise; the same seed has the same noise but for a little."""
    noise, own = random.Random(seed), random.Random(str(shift))  # noqa: S311  # simulated losses
    lines = [f"row {number},{2500 + noise.gauss(0, 300) + shift + own.gauss(0, 20)}" for number in range(rows)]
    own.shuffle(lines)
    return "\n".join(["row,squared_error", *lines, ""])


@contextlib.contextmanager
def opened(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Open the workspace, and let Airflow know it as a connection."""
    extra = {"subscription_id": SUBSCRIPTION, "resource_group": GROUP, "workspace": NAME}
    reached = {"authentication": "emulator", "endpoint": emulator.addresses.http}
    monkeypatch.setenv(
        f"AIRFLOW_CONN_{CONN.upper()}", json.dumps({"conn_type": "azureml", "extra": {**extra, **reached}})
    )
    credential = {"account_name": DEV_ACCOUNT, "account_key": DEV_ACCOUNT_KEY}
    with (
        client_of(emulator) as http,
        BlobServiceClient(f"{emulator.addresses.blob}/{DEV_ACCOUNT}", credential=credential) as service,
    ):
        found = http.get(f"{ARM_ID}/datastores/workspaceblobstore?api-version=2024-10-01").raise_for_status().json()
        yield Bench(http, service.get_container_client(found["properties"]["containerName"]))
        http.delete("/control/faults")


def publish(bench: Bench, name: str, command: str, inputs: Mapping[str, Any]) -> None:
    """Publish a pipeline of one step, `evaluate`, that writes the folder `evaluation`."""

    def put(version: str, **spec: Any) -> str:
        body = {"properties": {"componentSpec": spec}}
        answer = bench.http.put(f"{ARM_ID}/components/{version}/versions/1", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    ports = {"inputs": inputs, "outputs": {"evaluation": {"type": "uri_folder"}}}
    step = put(f"{name}-step", type="command", name=f"{name}-step", command=command, is_deterministic=True, **ports)
    node = {
        "type": "command",
        "componentId": step,
        "inputs": {each: {"value": f"${{{{parent.inputs.{each}}}}}"} for each in inputs},
        "outputs": {"evaluation": {"value": "${{parent.outputs.evaluation}}"}},
    }
    put(name, type="pipeline", name=name, jobs={"evaluate": node}, **ports)
