"""What Airflow, the workspace and the storage say has become of retrainings, and what is wrong.

Models, jobs and blobs are asked of Azure ML and of Blob Storage; the verdict is read from its artefact there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import httpx
from azure.storage.blob import BlobServiceClient

from demo.azure import WORKSPACE_ID
from demo.evidence import API_VERSION, KEY_PROPERTY, OWNER_PROPERTY, Job, Witness
from demo.stack import Stack

DAG = "weekly_retraining"
GROUP = "diabetes"
MODEL = "diabetes-ridge"
QUARANTINE = "airflow-azureml-quarantine"
ENDED = ("success", "failed")
#: The version that azure-ai-ml uses for models.
MODELS_VERSION = "2023-08-01-preview"


@attrs.frozen(kw_only=True)
class Model:
    """A version of the model, as the workspace has it."""

    version: str
    stage: str
    job: str
    properties: Mapping[str, str]


@attrs.frozen(kw_only=True)
class Retraining:
    """A run of the DAG.

    Attributes:
        state: The run's.
        tasks: The state of each task of the group, by its name in the group; of a mapped one, of all its instances.
        verdict: The gate's, from its artefact; None where there is none.
        outcome: What the last task returned; empty where it returned nothing.
        jobs: The jobs that the run has submitted, by the name of the task.
    """

    run: str
    state: str
    tasks: Mapping[str, str]
    verdict: Mapping[str, Any] | None
    outcome: Mapping[str, Any]
    jobs: Mapping[str, Job]

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in ENDED


@attrs.frozen(kw_only=True)
class ModelLook:
    """The model and the quarantine, as one look showed them.

    Attributes:
        models: Its versions, oldest first.
        quarantined: What lies in quarantine.
    """

    models: Sequence[Model]
    quarantined: frozenset[str]

    @property
    def champions(self) -> list[str]:
        """The versions that are called the champion."""
        return [each.version for each in self.models if each.stage == "champion"]


class RetrainingWitness(Witness):
    """Looks at a stack whose DAG ``weekly_retraining``, or a copy of it, runs; use it with ``with``.

    Attributes:
        dag: The DAG.
    """

    def __init__(self, stack: Stack, blobs: BlobServiceClient, *, dag: str = DAG) -> None:
        super().__init__(stack, blobs)
        self.dag = dag

    def runs(self) -> dict[str, str]:
        """List the runs of the DAG, each with its state; none of a DAG that Airflow has not read yet."""
        try:
            return super().runs()
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.NOT_FOUND:
                return {}
            raise

    def is_over(self, run: str) -> bool:
        """Tell whether a run has ended; a server that is too busy to answer has not said so."""
        try:
            return self.runs().get(run) in ENDED
        except httpx.TimeoutException:
            return False

    def look_at_model(self) -> ModelLook:
        """Look at the model once."""
        names = (each.name for each in self._blobs(QUARANTINE)) if self._has(QUARANTINE) else ()
        return ModelLook(
            models=sorted(self._models(), key=lambda each: int(each.version)), quarantined=frozenset(names)
        )

    def look_at_run(self, run: str) -> Retraining:
        """Look at a run once."""
        state = self.runs().get(run, "none")
        tasks = self._states(run)
        told = (self.xcom(run, "gate") or {}) if tasks.get("gate") == "success" else {}
        return Retraining(
            run=run,
            state=state,
            tasks=tasks,
            verdict=self.artefact(told["verdict_uri"]) if told.get("verdict_uri") else None,
            outcome=(self.xcom(run, "outcome") or {}) if tasks.get("outcome") == "success" else {},
            jobs=dict(self._jobs_of(f"{self.dag}/{run}/{GROUP}.")),
        )

    def xcom(self, run: str, task: str, *, key: str = "return_value", index: int = -1) -> Any:
        """Read what a task of the group left; None where it left nothing."""
        path = f"/api/v2/dags/{self.dag}/dagRuns/{run}/taskInstances/{GROUP}.{task}/xcomEntries/{key}"
        try:
            return self.stack.airflow.get(path, map_index=index)["value"]
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.NOT_FOUND:
                return None
            raise

    def artefact(self, uri: str) -> Any:
        """Read a JSON file of a datastore."""
        container, path = self.place(uri)
        return json.loads(self.blobs.get_blob_client(container, path).download_blob().readall())

    def container_of_datastore(self) -> str:
        """Name the container of the workspace's default datastore."""
        return self.place("azureml://datastores/workspaceblobstore/paths/x")[0]

    def names(self, container: str, prefix: str) -> list[str]:
        """Name the blobs of a container that begin so."""
        return list(self.blobs.get_container_client(container).list_blob_names(name_starts_with=prefix))

    def _models(self) -> Iterable[Model]:
        path = f"{WORKSPACE_ID}/models/{MODEL}/versions?api-version={MODELS_VERSION}"
        for raw in self._pages(path):
            body = raw["properties"]
            yield Model(
                version=raw["name"],
                stage=(body.get("tags") or {}).get("stage", ""),
                job=body.get("jobName") or (body.get("properties") or {}).get("job", ""),
                properties=body.get("properties") or {},
            )

    def _jobs_of(self, prefix: str) -> Iterable[tuple[str, Job]]:
        """Find the jobs whose owner begins so, each with the name of the task."""
        for raw in self._pages(f"{WORKSPACE_ID}/jobs?api-version={API_VERSION}"):
            told = raw["properties"].get("properties") or {}
            owner = str(told.get(OWNER_PROPERTY, ""))
            if owner.startswith(prefix):
                job = Job(
                    name=raw["name"],
                    status=raw["properties"]["status"],
                    key=told.get(KEY_PROPERTY, ""),
                    owner=owner,
                    steps=tuple(self._steps(raw["name"])),
                )
                yield owner.removeprefix(prefix).partition("/")[0], job

    def _states(self, run: str) -> dict[str, str]:
        try:
            found = self._airflow(f"/dags/{self.dag}/dagRuns/{run}/taskInstances", "task_instances")
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.NOT_FOUND:
                return {}
            raise
        states: dict[str, list[str]] = {}
        for each in found:
            states.setdefault(each["task_id"].removeprefix(f"{GROUP}."), []).append(each["state"] or "none")
        return {task: _together(each) for task, each in states.items()}

    def _has(self, container: str) -> bool:
        return any(each.name == container for each in self.blobs.list_containers())


def _together(states: Sequence[str]) -> str:
    """Say the state of a task that may be mapped: the one that decides."""
    order = (
        "failed",
        "upstream_failed",
        "up_for_retry",
        "running",
        "deferred",
        "queued",
        "scheduled",
        "none",
        "skipped",
    )
    return next((each for each in order if each in states), states[0])


def faults_of_accepted(round_: Retraining, before: ModelLook, after: ModelLook) -> list[str]:
    """Say what is not as it has to be when a better model was trained; empty when all is."""
    wrong = _faults_of_run(round_, accepted=True, trained=True)
    new = [each for each in after.models if each.version not in {one.version for one in before.models}]
    if len(new) != 1:
        return [*wrong, f"{len(new)} versions of {MODEL} are new after a better model was trained, not 1"]
    (version,) = new
    if after.champions != [version.version]:
        wrong.append(f"the champions are {after.champions}, not version {version.version}, which is new")
    train = round_.jobs.get("train")
    if train is None or version.job != train.name:
        wrong.append(f"version {version.version} is of job {version.job or 'none'}, not of the training")
    return wrong


def faults_of_rejected(round_: Retraining, before: ModelLook, after: ModelLook) -> list[str]:
    """Say what is not as it has to be when a worse model was trained; empty when all is."""
    wrong = _faults_of_run(round_, accepted=False, trained=True)
    return [*wrong, *_faults_of_change(before, after, "a worse model was trained")]


def faults_of_quarantined(
    round_: Retraining, before: ModelLook, after: ModelLook, *, path: str, is_there: bool
) -> list[str]:
    """Say what is not as it has to be when a partition failed its tests; empty when all is.

    Args:
        round_: The run.
        before: The model before it.
        after: The model after it.
        path: The partition, in its container.
        is_there: Whether it lies there still.
    """
    wrong = _faults_of_run(round_, accepted=None, trained=False)
    wrong += _faults_of_change(before, after, "data was quarantined")
    mine = [name for name in after.quarantined - before.quarantined if path in name]
    for ending in ("/part.csv", "/report.html", "/verdict.json"):
        if sum(name.endswith(ending) for name in mine) != 1:
            wrong.append(f"{path} is not in quarantine with its {ending[1:]}: {', '.join(sorted(mine)) or 'nothing'}")
    if len(mine) != len(after.quarantined - before.quarantined):
        wrong.append(f"more than {path} is in quarantine: {', '.join(sorted(after.quarantined - before.quarantined))}")
    if not is_there:
        wrong.append(f"{path} is not where it was; quarantine is a copy")
    return wrong


def _faults_of_run(round_: Retraining, *, accepted: bool | None, trained: bool) -> list[str]:
    wrong = [] if round_.state == "success" else [f"run {round_.run} is {round_.state}: {dict(round_.tasks)}"]
    said = None if round_.verdict is None else round_.verdict.get("accepted")
    if said is not accepted:
        wrong.append(f"run {round_.run}: the verdict says accepted={said}, not {accepted}")
    reasons = [each["reason"] for each in (round_.verdict or {}).get("findings", ()) if not each["passed"]]
    if accepted is False and not all(reasons):
        wrong.append(f"run {round_.run}: the verdict has no reasons")
    train = round_.jobs.get("train")
    if trained and (train is None or train.status != "Completed"):
        wrong.append(f"run {round_.run}: the training is {train.status if train else 'not there'}, not Completed")
    if not trained and round_.jobs:
        wrong.append(f"run {round_.run} has submitted {', '.join(round_.jobs)}, and must not")
    return wrong


def _faults_of_change(before: ModelLook, after: ModelLook, when: str) -> list[str]:
    wrong = []
    if [each.version for each in before.models] != [each.version for each in after.models]:
        wrong.append(f"the versions of {MODEL} changed though {when}")
    if before.champions != after.champions or len(after.champions) != 1:
        wrong.append(f"the champions were {before.champions}, and are {after.champions} though {when}")
    return wrong
